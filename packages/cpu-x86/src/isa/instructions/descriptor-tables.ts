/** GDTR, IDTR, LDTR and TR. References: sections of Intel SDM volume 2; descriptors: volume 3, 3.5, 8.2. */
import type { Instruction, Stage, StateField, Value } from "@hvjournal/engine";
import { addressText, assembly, modrmText } from "../assembly-text.js";
import { accessMemory } from "../effective-address.js";
import { defineEncoded } from "../encoding.js";
import { raiseIf, Vector } from "../exceptions.js";
import { Mode } from "../fields.js";
import { low32, sizeOf, widen, writeRegister } from "../general-registers.js";
import { memoryOperand, register } from "../operands.js";
import { modrmPlace } from "../places.js";
import { SegmentAttribute } from "../segment-attributes.js";
import {
  AS_SYSTEM,
  attributesAre,
  attributesOf,
  baseOf,
  descriptorPlace,
  isLongModeActive,
  isNullSelector,
  limitOf,
  readDescriptor,
  segmentFields,
  selectorError,
  writeNullSegment,
} from "../segments.js";
import { cpl, gdtBase, gdtLimit, idtBase, idtLimit, Segment } from "../state.js";
import { isNotCanonical } from "../translation.js";
import { refuseUserMode } from "./control-registers.js";

function requireSystem(stage: Stage): void {
  raiseIf(stage, stage.read(cpl), Vector.generalProtection);
}

interface Table {
  readonly name: "gdt" | "idt";
  readonly digit: number;
  readonly base: StateField<64>;
  readonly limit: StateField<32>;
}

const GDT: Table = { name: "gdt", digit: 2, base: gdtBase, limit: gdtLimit };
const IDT: Table = { name: "idt", digit: 3, base: idtBase, limit: idtLimit };

function tableBytes(form: { readonly mode: number }): 10 | 6 {
  return form.mode === Mode.long ? 10 : 6;
}

/** With operands of 16 bits the base has 24. */
function loadTable({ name, digit, base, limit }: Table): Instruction {
  return defineEncoded({
    mnemonic: `L${name.toUpperCase()}`,
    reference: "3.3 LGDT/LIDT",
    pattern: `0F 01 /${digit} mem`,
    formFields: ["mode", "size"],
    operands: memoryOperand,
    text: (fields, pc) => assembly(fields, pc, `l${name}`, addressText(fields)),
    execute(form, operands, stage) {
      requireSystem(stage);
      const handle = accessMemory(stage, operands, tableBytes(form), "read");
      const newLimit = stage.load(32, handle, 0, 16);
      const isLong = form.mode === Mode.long;
      const whole = isLong ? stage.load(64, handle, 2, 64) : stage.load(64, handle, 2, 32);
      const newBase = !isLong && form.size === 1 ? stage.zeroExtendFrom(24, whole) : whole;
      if (isLong) raiseIf(stage, isNotCanonical(stage, newBase), Vector.generalProtection);
      stage.write(base, newBase);
      stage.write(limit, newLimit);
    },
  });
}

/** The operand size does not matter: the whole base is stored. */
function storeTable({ name, digit, base, limit }: Table): Instruction {
  return defineEncoded({
    mnemonic: `S${name.toUpperCase()}`,
    reference: `4.3 S${name.toUpperCase()}`,
    pattern: `0F 01 /${digit - 2} mem`,
    formFields: ["mode"],
    operands: memoryOperand,
    text: (fields, pc) => assembly(fields, pc, `s${name}`, addressText(fields)),
    execute(form, operands, stage) {
      refuseUserMode(stage);
      const handle = accessMemory(stage, operands, tableBytes(form), "write");
      const isLong = form.mode === Mode.long;
      const address = stage.read(base);
      const bytes = stage.read(limit);
      stage.store(handle, 0, 16, bytes);
      if (isLong) stage.store(handle, 2, 64, address);
      else stage.store(handle, 2, 32, stage.truncate32(address));
    },
  });
}

const { S, P } = SegmentAttribute;
const TYPE_MASK = 0x1f;
const LDT = 0x02;
/** Available; bit 3 tells 32 or 64 bits from 16, which long mode does not have. */
const TSS = 0x01;
const TSS_WIDE = 0x08;
const TSS_BUSY = 0x02;

interface SystemDescriptor {
  readonly place: Value<64>;
  readonly low: Value<64>;
  /** Bits 63 to 32 of the base, in long mode. */
  readonly high: Value<64>;
}

/** A descriptor of LDTR or TR: in the GDT, and of 16 bytes in long mode. */
function readSystemDescriptor(stage: Stage, selector: Value<32>): SystemDescriptor {
  const error = selectorError(stage, selector);
  raiseIf(stage, stage.and(selector, stage.constant32(4)), Vector.generalProtection, error);
  const place = descriptorPlace(stage, selector, error);
  const low = readDescriptor(stage, place);
  const high = stage.variable(stage.constant64(0));
  stage.if(isLongModeActive(stage), () => {
    const second = descriptorPlace(stage, stage.add(selector, stage.constant32(8)), error);
    const upper = readDescriptor(stage, second);
    const hasType = stage.isZero(stage.isZero(stage.extractBits(upper, 40, 5)));
    raiseIf(stage, hasType, Vector.generalProtection, error);
    const base = stage.or(stage.shiftLeft(upper, 32), baseOf(stage, low));
    raiseIf(stage, isNotCanonical(stage, base), Vector.generalProtection, error);
    stage.set(high, stage.shiftLeft(upper, 32));
  });
  return { place, low, high: stage.get(high) };
}

function writeSystemSegment(
  stage: Stage,
  segment: number,
  selector: Value<32>,
  { low, high }: SystemDescriptor,
  added: number,
): void {
  const fields = segmentFields(segment);
  const attributes = stage.or(attributesOf(stage, low), stage.constant32(added));
  stage.write(fields.selector, selector);
  stage.write(fields.base, stage.or(high, baseOf(stage, low)));
  stage.write(fields.limit, limitOf(stage, low));
  stage.write(fields.attributes, attributes);
}

const lldt = defineEncoded({
  mnemonic: "LLDT",
  reference: "3.3 LLDT",
  pattern: "protected 0F 00 /2",
  formFields: ["memory"],
  operands: { ...memoryOperand, rm: register("rm") },
  text: (fields, pc) => assembly(fields, pc, "lldt", modrmText({ ...fields, size: 1 })),
  execute(form, operands, stage) {
    requireSystem(stage);
    const selector = low32(stage, 1, modrmPlace(stage, form, 1, operands, "read").read());
    stage.if(
      isNullSelector(stage, selector),
      () => writeNullSegment(stage, Segment.ldtr, selector),
      () => {
        const error = selectorError(stage, selector);
        const descriptor = readSystemDescriptor(stage, selector);
        const attributes = attributesOf(stage, descriptor.low);
        const isLdt = attributesAre(stage, attributes, TYPE_MASK, LDT);
        raiseIf(stage, stage.isZero(isLdt), Vector.generalProtection, error);
        raiseIf(stage, attributesAre(stage, attributes, P, 0), Vector.segmentNotPresent, error);
        writeSystemSegment(stage, Segment.ldtr, selector, descriptor, 0);
      },
    );
  },
});

/** Marks the TSS as busy. */
const ltr = defineEncoded({
  mnemonic: "LTR",
  reference: "3.3 LTR",
  pattern: "protected 0F 00 /3",
  formFields: ["memory"],
  operands: { ...memoryOperand, rm: register("rm") },
  text: (fields, pc) => assembly(fields, pc, "ltr", modrmText({ ...fields, size: 1 })),
  execute(form, operands, stage) {
    requireSystem(stage);
    const selector = low32(stage, 1, modrmPlace(stage, form, 1, operands, "read").read());
    raiseIf(stage, isNullSelector(stage, selector), Vector.generalProtection);
    const error = selectorError(stage, selector);
    const descriptor = readSystemDescriptor(stage, selector);
    const attributes = attributesOf(stage, descriptor.low);
    const isTss = attributesAre(stage, attributes, S | (TYPE_MASK & ~TSS_WIDE), TSS);
    const isNarrow = attributesAre(stage, attributes, TSS_WIDE, 0);
    const refused = stage.or(stage.isZero(isTss), stage.and(isNarrow, isLongModeActive(stage)));
    raiseIf(stage, refused, Vector.generalProtection, error);
    raiseIf(stage, attributesAre(stage, attributes, P, 0), Vector.segmentNotPresent, error);
    const typeByte = stage.add(descriptor.place, stage.constant64(5));
    const handle = stage.access(typeByte, 1, "readWrite", AS_SYSTEM(stage));
    const type = stage.load(32, handle, 0, 8);
    stage.store(handle, 0, 8, stage.or(type, stage.constant32(TSS_BUSY)));
    writeSystemSegment(stage, Segment.tr, selector, descriptor, TSS_BUSY);
  },
});

/** To memory always 16 bits. */
function storeSelector(mnemonic: "SLDT" | "STR", digit: number, segment: number): Instruction {
  return defineEncoded({
    mnemonic,
    reference: `4.3 ${mnemonic}`,
    pattern: `protected 0F 00 /${digit}`,
    formFields: ["memory", "size"],
    operands: { ...memoryOperand, rm: register("rm") },
    text: (fields, pc) =>
      assembly(
        fields,
        pc,
        mnemonic.toLowerCase(),
        modrmText({ ...fields, size: fields.memory === 1 ? 1 : fields.size }),
      ),
    execute(form, operands, stage) {
      refuseUserMode(stage);
      const selector = stage.read(segmentFields(segment).selector);
      if (form.memory === 1) return stage.store(accessMemory(stage, operands, 2, "write"), 0, 16, selector);
      writeRegister(stage, sizeOf(form), operands.rm, widen(stage, sizeOf(form), selector));
    },
  });
}

export const descriptorTableInstructions: readonly Instruction[] = [
  loadTable(GDT),
  loadTable(IDT),
  storeTable(GDT),
  storeTable(IDT),
  lldt,
  ltr,
  storeSelector("SLDT", 0, Segment.ldtr),
  storeSelector("STR", 1, Segment.tr),
];
