/** Loading SS, with the interrupt shadow behind it. References: sections of Intel SDM volume 2. */
import type { Instruction, Stage, Value } from "@hvjournal/engine";
import { assembly, modrmText } from "../assembly-text.js";
import { accessStack, stackPointer, writeStackPointer } from "../effective-address.js";
import { defineEncoded } from "../encoding.js";
import { raiseException, Vector } from "../exceptions.js";
import { bytesOf, low32, type OperandSize, sizeOf } from "../general-registers.js";
import { memoryOperand, register } from "../operands.js";
import { endOneShot } from "../one-shot.js";
import { modrmPlace } from "../places.js";
import { SegmentAttribute } from "../segment-attributes.js";
import {
  attributesAre,
  attributesOf,
  descriptorPlace,
  dplOf,
  isNullSelector,
  probeAccessedFlag,
  readDescriptor,
  rplOf,
  selectorError,
  writeNullSegment,
  writeSegment,
} from "../segments.js";
import { cpl, InterruptShadow, interruptShadow, Segment } from "../state.js";

interface ModeForm {
  readonly mode: number;
}

/**
 * Loads SS, does what else retires, and starts the interrupt shadow. Of several loads in a row only the first has one.
 * The rules are those of a stack segment: MOV in volume 2, "IF SS is loaded".
 */
function loadSs(stage: Stage, form: ModeForm, selector: Value<32>, retire: () => void): void {
  const level = stage.read(cpl);
  const inUserMode = stage.compare("eq", level, stage.constant32(3));
  const isNull = isNullSelector(stage, selector);
  // A null SS is for 64-bit mode below CPL 3.
  const mayBeNull = form.mode === 0 ? stage.isZero(inUserMode) : stage.constant32(0);
  stage.if(stage.and(isNull, stage.isZero(mayBeNull)), () => raiseException(stage, Vector.generalProtection));
  const error = selectorError(stage, selector);
  const wrongRpl = stage.compare("ne", rplOf(stage, selector), level);
  stage.if(wrongRpl, () => raiseException(stage, Vector.generalProtection, error));
  const descriptor = stage.variable(stage.constant64(0));
  const place = stage.variable(stage.constant64(0));
  const notNull = stage.isZero(isNull);
  stage.if(notNull, () => {
    stage.set(place, descriptorPlace(stage, selector, error));
    stage.set(descriptor, readDescriptor(stage, stage.get(place)));
    checkStackSegment(stage, stage.get(descriptor), level, selector);
  });
  const setAccessed = probeAccessedFlag(stage, stage.get(place), stage.get(descriptor), notNull);
  const first = stage.compare("ne", stage.read(interruptShadow), stage.constant32(InterruptShadow.movSs));
  const shadow = stage.select(first, stage.constant32(InterruptShadow.movSs), stage.constant32(InterruptShadow.none));
  setAccessed();
  stage.if(
    isNull,
    () => writeNullSegment(stage, Segment.ss, selector),
    () => writeSegment(stage, Segment.ss, selector, stage.get(descriptor)),
  );
  retire();
  endOneShot(stage, shadow);
  stage.endBlock("interrupt shadow");
}

function checkStackSegment(stage: Stage, descriptor: Value<64>, level: Value<32>, selector: Value<32>): void {
  const error = selectorError(stage, selector);
  const attributes = attributesOf(stage, descriptor);
  const { S, code, writable, P } = SegmentAttribute;
  const isStack = attributesAre(stage, attributes, S | code | writable, S | writable);
  const rightLevel = stage.compare("eq", dplOf(stage, attributes), level);
  stage.if(stage.isZero(stage.and(isStack, rightLevel)), () => raiseException(stage, Vector.generalProtection, error));
  stage.if(attributesAre(stage, attributes, P, 0), () => raiseException(stage, Vector.stackFault, error));
}

const movSs = defineEncoded({
  mnemonic: "MOV (SS, r/m16)",
  reference: "4.3 MOV",
  pattern: "8E /2",
  formFields: ["mode", "memory"],
  operands: { ...memoryOperand, rm: register("rm") },
  text: (fields, pc) => assembly(fields, pc, "mov", "ss", modrmText({ ...fields, size: fields.memory === 1 ? 1 : 2 })),
  execute(form, operands, stage) {
    const size: OperandSize = 1;
    const selector = low32(stage, size, modrmPlace(stage, form, size, operands, "read").read());
    loadSs(stage, form, selector, () => undefined);
  },
});

/** #UD in 64-bit mode. */
const popSs = defineEncoded({
  mnemonic: "POP (SS)",
  reference: "4.3 POP",
  pattern: "compat 17",
  formFields: ["mode", "stackSize", "size"],
  operands: {},
  text: (fields, pc) => assembly(fields, pc, "pop", "ss"),
  execute(form, _operands, stage) {
    const bytes = bytesOf(sizeOf(form));
    const handle = accessStack(stage, stackPointer(stage, form, 0), bytes, "read");
    const selector = stage.load(32, handle, 0, 16);
    const pointer = stackPointer(stage, form, bytes);
    loadSs(stage, form, selector, () => writeStackPointer(stage, form, pointer));
  },
});

/** They start shadows of their own: `oneShot` leaves them as they are. */
export const segmentRegisterInstructions: readonly Instruction[] = [movSs, popSs];
