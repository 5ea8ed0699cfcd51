/** LAR, LSL, VERR, VERW, ARPL: what a selector would be good for. References: sections of Intel SDM volume 2. */
import type { Instruction, Stage, Value } from "@hvjournal/engine";
import { assembly, modrmText, registerName } from "../assembly-text.js";
import { defineEncoded } from "../encoding.js";
import { setZeroFlag } from "../flags.js";
import { type OperandSize, low32, sizeOf, widen, writeRegister } from "../general-registers.js";
import { memoryOperand, register } from "../operands.js";
import { modrmPlace, registerPlace } from "../places.js";
import { SegmentAttribute } from "../segment-attributes.js";
import {
  AS_SYSTEM,
  attributesAre,
  attributesOf,
  dplOf,
  isLongModeActive,
  isNullSelector,
  limitOf,
  rplOf,
  segmentFields,
} from "../segments.js";
import { cpl, gdtBase, gdtLimit, Segment } from "../state.js";

const { S, code, conforming, writable, unusable } = SegmentAttribute;

interface Looked {
  readonly descriptor: Value<64>;
  /** The selector is not null, and its table has it. */
  readonly exists: Value<32>;
}

/** Reads a descriptor; a selector without one only says so. */
function lookUp(stage: Stage, selector: Value<32>): Looked {
  const ldtr = segmentFields(Segment.ldtr);
  const isLocal = stage.isZero(stage.isZero(stage.and(selector, stage.constant32(4))));
  const base = stage.select(isLocal, stage.read(ldtr.base), stage.read(gdtBase));
  const limit = stage.select(isLocal, stage.read(ldtr.limit), stage.read(gdtLimit));
  const offset = stage.and(selector, stage.constant32(0xfff8));
  const within = stage.compare("le_u", stage.add(offset, stage.constant32(7)), limit);
  const hasTable = attributesAre(stage, stage.read(ldtr.attributes), unusable, 0);
  const inTable = stage.and(within, stage.or(stage.isZero(isLocal), hasTable));
  const exists = stage.and(inTable, stage.isZero(isNullSelector(stage, selector)));
  const descriptor = stage.variable(stage.constant64(0));
  stage.if(exists, () => {
    const place = stage.add(base, stage.zeroExtend64(offset));
    stage.set(descriptor, stage.load(64, stage.access(place, 8, "read", AS_SYSTEM(stage)), 0, 64));
  });
  return { descriptor: stage.get(descriptor), exists };
}

/** Truth: neither CPL nor RPL is outside DPL; conforming code is for all. */
function isWithinReach(stage: Stage, attributes: Value<32>, selector: Value<32>): Value<32> {
  const dpl = dplOf(stage, attributes);
  const conforms = attributesAre(stage, attributes, S | code | conforming, S | code | conforming);
  const inside = stage.and(
    stage.compare("le_u", stage.read(cpl), dpl),
    stage.compare("le_u", rplOf(stage, selector), dpl),
  );
  return stage.or(conforms, inside);
}

/** Truth: bit `type` of a table is set. */
function isTypeOf(stage: Stage, types: Value<32>, attributes: Value<32>): Value<32> {
  const type = stage.and(attributes, stage.constant32(0xf));
  return stage.and(stage.binary("shr_u", types, type), stage.constant32(1));
}

function bitsOf(...types: readonly number[]): number {
  return types.reduce((all, type) => all | (1 << type), 0);
}

/** System types that LAR and LSL know, in long mode and elsewhere. */
const LAR_TYPES = bitsOf(1, 2, 3, 4, 5, 9, 11, 12);
const LAR_TYPES_LONG = bitsOf(2, 9, 11, 12);
const LSL_TYPES = bitsOf(1, 2, 3, 9, 11);
const LSL_TYPES_LONG = bitsOf(2, 9, 11);

function isKnown(stage: Stage, attributes: Value<32>, types: number, longTypes: number): Value<32> {
  const known = stage.select(isLongModeActive(stage), stage.constant32(longTypes), stage.constant32(types));
  const isSystem = attributesAre(stage, attributes, S, 0);
  return stage.or(stage.isZero(isSystem), isTypeOf(stage, known, attributes));
}

function load(
  mnemonic: "LAR" | "LSL",
  pattern: string,
  types: readonly [number, number],
  resultOf: (stage: Stage, descriptor: Value<64>) => Value<32>,
): Instruction {
  return defineEncoded({
    mnemonic,
    reference: `3.3 ${mnemonic}`,
    pattern,
    formFields: ["memory", "size"],
    operands: { ...memoryOperand, rm: register("rm"), result: register("reg") },
    text: (fields, pc) =>
      assembly(
        fields,
        pc,
        mnemonic.toLowerCase(),
        registerName(fields.reg, fields.size),
        modrmText({ ...fields, size: fields.memory === 1 ? 1 : fields.size }),
      ),
    execute(form, operands, stage) {
      const selector = low32(stage, 1, modrmPlace(stage, form, 1, operands, "read").read());
      const { descriptor, exists } = lookUp(stage, selector);
      const attributes = attributesOf(stage, descriptor);
      const allowed = stage.and(isKnown(stage, attributes, ...types), isWithinReach(stage, attributes, selector));
      const isGood = stage.and(exists, allowed);
      const result = resultOf(stage, descriptor);
      const size = sizeOf(form);
      stage.if(isGood, () => writeRegister(stage, size, operands.result, widen(stage, size, result)));
      setZeroFlag(stage, isGood);
    },
  });
}

/** Bits 23 to 8 of the descriptor's second half, in place. */
function accessRights(stage: Stage, descriptor: Value<64>): Value<32> {
  return stage.and(stage.truncate32(stage.shiftRight(descriptor, 32)), stage.constant32(0x00f0_ff00));
}

function verify(mnemonic: "VERR" | "VERW", digit: number): Instruction {
  return defineEncoded({
    mnemonic,
    reference: "4.3 VERR/VERW",
    pattern: `protected 0F 00 /${digit}`,
    formFields: ["memory"],
    operands: { ...memoryOperand, rm: register("rm") },
    text: (fields, pc) => assembly(fields, pc, mnemonic.toLowerCase(), modrmText({ ...fields, size: 1 })),
    execute(form, operands, stage) {
      const selector = low32(stage, 1, modrmPlace(stage, form, 1, operands, "read").read());
      const { descriptor, exists } = lookUp(stage, selector);
      const attributes = attributesOf(stage, descriptor);
      const isUnreadable = attributesAre(stage, attributes, code | writable, code);
      const isWritable = attributesAre(stage, attributes, code | writable, writable);
      const rights = mnemonic === "VERR" ? stage.isZero(isUnreadable) : isWritable;
      const isSegment = stage.isZero(attributesAre(stage, attributes, S, 0));
      const reached = isWithinReach(stage, attributes, selector);
      const isGood = [isSegment, rights, reached].reduce((all, one) => stage.and(all, one), exists);
      setZeroFlag(stage, isGood);
    },
  });
}

const arpl = defineEncoded({
  mnemonic: "ARPL",
  reference: "3.3 ARPL",
  pattern: "compat protected 63 /r",
  formFields: ["memory"],
  operands: { ...memoryOperand, rm: register("rm"), source: register("reg") },
  text: (fields, pc) => assembly(fields, pc, "arpl", modrmText({ ...fields, size: 1 }), registerName(fields.reg, 1)),
  execute(form, operands, stage) {
    const size: OperandSize = 1;
    const destination = modrmPlace(stage, form, size, operands, "readWrite");
    const selector = low32(stage, size, destination.read());
    const wanted = rplOf(stage, low32(stage, size, registerPlace(stage, size, operands.source).read()));
    const adjusts = stage.compare("lt_u", rplOf(stage, selector), wanted);
    const adjusted = stage.or(stage.and(selector, stage.constant32(~3)), wanted);
    stage.if(adjusts, () => destination.write(adjusted));
    setZeroFlag(stage, adjusts);
  },
});

export const accessRightInstructions: readonly Instruction[] = [
  load("LAR", "protected 0F 02 /r", [LAR_TYPES, LAR_TYPES_LONG], accessRights),
  load("LSL", "protected 0F 03 /r", [LSL_TYPES, LSL_TYPES_LONG], limitOf),
  verify("VERR", 4),
  verify("VERW", 5),
  arpl,
];
