/** Loading and storing segment registers. References: sections of Intel SDM volume 2; rules: volume 3, 5.4 to 5.7. */
import type { Instruction, Stage, Value } from "@hvjournal/engine";
import { addressText, assembly, modrmText, registerName } from "../assembly-text.js";
import { contextChanged } from "../context.js";
import { accessMemory, accessStack, stackPointer, writeStackPointer } from "../effective-address.js";
import { defineEncoded } from "../encoding.js";
import { raiseException, raiseIf, Vector } from "../exceptions.js";
import { Mode } from "../fields.js";
import {
  bytesOf,
  loadOperand,
  low32,
  type OperandSize,
  sizeOf,
  storeOperand,
  widen,
  writeRegister,
} from "../general-registers.js";
import { memoryOperand, register } from "../operands.js";
import { endOneShot } from "../one-shot.js";
import { modrmPlace } from "../places.js";
import { segmentationOf } from "../segment-access.js";
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
  segmentFields,
  selectorError,
  writeNullSegment,
  writeRealSegment,
  writeSegment,
} from "../segments.js";
import { cpl, InterruptShadow, interruptShadow, Segment } from "../state.js";

interface ModeForm {
  readonly mode: number;
}

const NAMES = ["es", "cs", "ss", "ds", "fs", "gs"] as const;
const { S, code, conforming, writable, P } = SegmentAttribute;

/** Checks a load of a segment register; gives what carries it out. */
function checkLoad(stage: Stage, form: ModeForm, segment: number, selector: Value<32>): () => void {
  if (segmentationOf(stage) === "limits") return () => writeRealSegment(stage, segment, selector);
  const isNull = isNullSelector(stage, selector);
  const error = selectorError(stage, selector);
  if (segment === Segment.ss) checkStackSelector(stage, form, selector, isNull);
  const descriptor = stage.variable(stage.constant64(0));
  const place = stage.variable(stage.constant64(0));
  const notNull = stage.isZero(isNull);
  stage.if(notNull, () => {
    stage.set(place, descriptorPlace(stage, selector, error));
    stage.set(descriptor, readDescriptor(stage, stage.get(place)));
    if (segment === Segment.ss) checkStackSegment(stage, stage.get(descriptor), error);
    else checkDataSegment(stage, stage.get(descriptor), selector);
  });
  const setAccessed = probeAccessedFlag(stage, stage.get(place), stage.get(descriptor), notNull);
  return () => {
    setAccessed();
    stage.if(
      isNull,
      () => writeNullSegment(stage, segment, selector),
      () => writeSegment(stage, segment, selector, stage.get(descriptor)),
    );
  };
}

/** MOV in volume 2, "IF SS is loaded". A null SS is for 64-bit mode below CPL 3. */
function checkStackSelector(stage: Stage, form: ModeForm, selector: Value<32>, isNull: Value<32>): void {
  const level = stage.read(cpl);
  const inUserMode = stage.compare("eq", level, stage.constant32(3));
  const mayBeNull = form.mode === Mode.long ? stage.isZero(inUserMode) : stage.constant32(0);
  raiseIf(stage, stage.and(isNull, stage.isZero(mayBeNull)), Vector.generalProtection);
  const wrongRpl = stage.compare("ne", rplOf(stage, selector), level);
  raiseIf(stage, wrongRpl, Vector.generalProtection, selectorError(stage, selector));
}

function checkStackSegment(stage: Stage, descriptor: Value<64>, error: Value<32>): void {
  const attributes = attributesOf(stage, descriptor);
  const isStack = attributesAre(stage, attributes, S | code | writable, S | writable);
  const rightLevel = stage.compare("eq", dplOf(stage, attributes), stage.read(cpl));
  raiseIf(stage, stage.isZero(stage.and(isStack, rightLevel)), Vector.generalProtection, error);
  raiseIf(stage, attributesAre(stage, attributes, P, 0), Vector.stackFault, error);
}

/** Data, or code that may be read; conforming code is for every level. */
function checkDataSegment(stage: Stage, descriptor: Value<64>, selector: Value<32>): void {
  const error = selectorError(stage, selector);
  const attributes = attributesOf(stage, descriptor);
  const dpl = dplOf(stage, attributes);
  const isSystem = attributesAre(stage, attributes, S, 0);
  const isUnreadable = attributesAre(stage, attributes, code | writable, code);
  const conforms = attributesAre(stage, attributes, code | conforming, code | conforming);
  const tooFarIn = stage.or(
    stage.compare("gt_u", rplOf(stage, selector), dpl),
    stage.compare("gt_u", stage.read(cpl), dpl),
  );
  const refused = stage.or(stage.or(isSystem, isUnreadable), stage.and(tooFarIn, stage.isZero(conforms)));
  raiseIf(stage, refused, Vector.generalProtection, error);
  raiseIf(stage, attributesAre(stage, attributes, P, 0), Vector.segmentNotPresent, error);
}

/** Loads SS, does what else retires, and starts the interrupt shadow. Of several loads in a row only the first has one. */
function loadSs(stage: Stage, form: ModeForm, selector: Value<32>, retire: () => void): void {
  const load = checkLoad(stage, form, Segment.ss, selector);
  const first = stage.compare("ne", stage.read(interruptShadow), stage.constant32(InterruptShadow.movSs));
  const shadow = stage.select(first, stage.constant32(InterruptShadow.movSs), stage.constant32(InterruptShadow.none));
  retire();
  load();
  endOneShot(stage, shadow);
  stage.endBlock("interrupt shadow");
}

/** Loads another one. Outside 64-bit mode what is decoded depends on the segments. */
function loadOther(stage: Stage, form: ModeForm, segment: number, selector: Value<32>, retire: () => void): void {
  const load = checkLoad(stage, form, segment, selector);
  retire();
  load();
  if (form.mode === Mode.long) return;
  contextChanged(stage);
  stage.endBlock("segments have changed");
}

const nothing = (): void => undefined;

const movSs = defineEncoded({
  mnemonic: "MOV (SS, r/m16)",
  reference: "4.3 MOV",
  pattern: "8E /2",
  formFields: ["mode", "memory"],
  operands: { ...memoryOperand, rm: register("rm") },
  text: (fields, pc) => assembly(fields, pc, "mov", "ss", modrmText({ ...fields, size: fields.memory === 1 ? 1 : 2 })),
  execute(form, operands, stage) {
    const selector = low32(stage, 1, modrmPlace(stage, form, 1, operands, "read").read());
    loadSs(stage, form, selector, nothing);
  },
});

function movTo(segment: number): Instruction {
  const name = NAMES[segment] ?? "";
  return defineEncoded({
    mnemonic: `MOV (${name.toUpperCase()} as Sreg, r/m16)`,
    reference: "4.3 MOV",
    pattern: `8E /${segment}`,
    formFields: ["mode", "memory"],
    operands: { ...memoryOperand, rm: register("rm") },
    text: (fields, pc) =>
      assembly(fields, pc, "mov", name, modrmText({ ...fields, size: fields.memory === 1 ? 1 : 2 })),
    execute(form, operands, stage) {
      const selector = low32(stage, 1, modrmPlace(stage, form, 1, operands, "read").read());
      loadOther(stage, form, segment, selector, nothing);
    },
  });
}

/** CS can't be moved to, and there are six. */
const movToNone = defineEncoded({
  mnemonic: "MOV (no such Sreg, r/m16)",
  reference: "4.3 MOV",
  pattern: "8E /r",
  where: ({ reg }) => (reg & 7) === Segment.cs || (reg & 7) >= NAMES.length,
  formFields: [],
  operands: {},
  text: () => "(bad)",
  execute: (_form, _operands, stage) => raiseException(stage, Vector.invalidOpcode),
});

/** To memory always 16 bits. */
const movFrom = defineEncoded({
  mnemonic: "MOV (r/m, Sreg)",
  reference: "4.3 MOV",
  pattern: "8C /r",
  where: ({ reg }) => (reg & 7) < NAMES.length,
  formFields: ["memory", "size"],
  operands: {
    ...memoryOperand,
    rm: register("rm"),
    selector: { u16: ({ reg }) => segmentFields(reg & 7).selector.offset },
  },
  text: (fields, pc) =>
    assembly(
      fields,
      pc,
      "mov",
      modrmText({ ...fields, size: fields.memory === 1 ? 1 : fields.size }),
      NAMES[fields.reg & 7] ?? "",
    ),
  execute(form, operands, stage) {
    const selector = stage.readAt(32, operands.selector);
    if (form.memory === 1) return stage.store(accessMemory(stage, operands, 2, "write"), 0, 16, selector);
    writeRegister(stage, sizeOf(form), operands.rm, widen(stage, sizeOf(form), selector));
  },
});

const movFromNone = defineEncoded({
  mnemonic: "MOV (r/m, no such Sreg)",
  reference: "4.3 MOV",
  pattern: "8C /r",
  formFields: [],
  operands: {},
  text: () => "(bad)",
  execute: (_form, _operands, stage) => raiseException(stage, Vector.invalidOpcode),
});

/** With 32 bits only the selector is written, as Intel's processors do. */
function push(segment: number, pattern: string): Instruction {
  const name = NAMES[segment] ?? "";
  return defineEncoded({
    mnemonic: `PUSH (${name.toUpperCase()})`,
    reference: "4.3 PUSH",
    pattern,
    formFields: ["size", "stackSize"],
    operands: {},
    text: (fields, pc) => assembly(fields, pc, "push", name),
    execute(form, _operands, stage) {
      const size = sizeOf(form);
      const pointer = stackPointer(stage, form, -bytesOf(size));
      const handle = accessStack(stage, pointer, bytesOf(size), "write");
      const selector = stage.read(segmentFields(segment).selector);
      if (size === 2) stage.store(handle, 0, 16, selector);
      else storeOperand(stage, size, handle, widen(stage, size, selector));
      writeStackPointer(stage, form, pointer);
    },
  });
}

function pop(segment: number, pattern: string): Instruction {
  const name = NAMES[segment] ?? "";
  return defineEncoded({
    mnemonic: `POP (${name.toUpperCase()})`,
    reference: "4.3 POP",
    pattern,
    formFields: ["mode", "stackSize", "size"],
    operands: {},
    text: (fields, pc) => assembly(fields, pc, "pop", name),
    execute(form, _operands, stage) {
      const bytes = bytesOf(sizeOf(form));
      const handle = accessStack(stage, stackPointer(stage, form, 0), bytes, "read");
      const selector = stage.load(32, handle, 0, 16);
      const pointer = stackPointer(stage, form, bytes);
      const load = segment === Segment.ss ? loadSs : loadInto(segment);
      load(stage, form, selector, () => writeStackPointer(stage, form, pointer));
    },
  });
}

function loadInto(segment: number): typeof loadSs {
  return (stage, form, selector, retire) => loadOther(stage, form, segment, selector, retire);
}

const POINTERS = ["", "DWORD PTR ", "FWORD PTR ", "TBYTE PTR "] as const;

/** A far pointer: offset into a general register, selector into a segment register. */
function loadPointer(segment: number, pattern: string): Instruction {
  const name = `l${NAMES[segment] ?? ""}`;
  return defineEncoded({
    mnemonic: name.toUpperCase(),
    reference: "3.3 LDS/LES/LFS/LGS/LSS",
    pattern,
    formFields: ["mode", "size"],
    operands: { ...memoryOperand, register: register("reg") },
    text: (fields, pc) =>
      assembly(
        fields,
        pc,
        name,
        registerName(fields.reg, fields.size),
        `${POINTERS[fields.size] ?? ""}${addressText(fields)}`,
      ),
    execute(form, operands, stage) {
      const size: OperandSize = sizeOf(form);
      const handle = accessMemory(stage, operands, bytesOf(size) + 2, "read");
      const offset = loadOperand(stage, size, handle);
      const selector = stage.load(32, handle, bytesOf(size), 16);
      // LSS has no shadow: the stack pointer is loaded with it.
      loadOther(stage, form, segment, selector, () => writeRegister(stage, size, operands.register, offset));
    },
  });
}

/** They start shadows of their own: `oneShot` leaves them as they are. */
export const stackSegmentInstructions: readonly Instruction[] = [movSs, pop(Segment.ss, "compat 17")];

export const segmentRegisterInstructions: readonly Instruction[] = [
  movTo(Segment.es),
  movTo(Segment.ds),
  movTo(Segment.fs),
  movTo(Segment.gs),
  movToNone,
  movFrom,
  movFromNone,
  push(Segment.es, "compat 06"),
  push(Segment.cs, "compat 0E"),
  push(Segment.ss, "compat 16"),
  push(Segment.ds, "compat 1E"),
  push(Segment.fs, "0F A0 d64"),
  push(Segment.gs, "0F A8 d64"),
  pop(Segment.es, "compat 07"),
  pop(Segment.ds, "compat 1F"),
  pop(Segment.fs, "0F A1 d64"),
  pop(Segment.gs, "0F A9 d64"),
  loadPointer(Segment.es, "compat C4 /r mem"),
  loadPointer(Segment.ds, "compat C5 /r mem"),
  loadPointer(Segment.ss, "0F B2 /r mem"),
  loadPointer(Segment.fs, "0F B4 /r mem"),
  loadPointer(Segment.gs, "0F B5 /r mem"),
];
