/** Control and debug registers. References: sections of Intel SDM volume 2. */
import { elementOf, type Instruction, type Stage, type StateField, type Value } from "@hvjournal/engine";
import { assembly, modrmText, registerName } from "../assembly-text.js";
import { contextChanged } from "../context.js";
import { checkCr0, checkCr3, checkCr4 } from "../control-registers.js";
import { accessMemory } from "../effective-address.js";
import { defineEncoded } from "../encoding.js";
import { noteDebugFault, raiseException, raiseIf, Vector } from "../exceptions.js";
import { ExitCode } from "../exit-code.js";
import { type DecodedFields, Mode } from "../fields.js";
import { low32, type OperandSize, readRegister, sizeOf, writeRegister } from "../general-registers.js";
import { memoryOperand, register } from "../operands.js";
import { modrmPlace } from "../places.js";
import { Cr0, Cr4, Dr6, DR6_FIXED, Dr7, DR7_FIXED } from "../registers.js";
import { cpl, cr0, cr2, cr3, cr4, debugAddress, dr6, dr7, taskPriority } from "../state.js";

function requireSystem(stage: Stage): void {
  raiseIf(stage, stage.read(cpl), Vector.generalProtection);
}

/** Whole registers, whatever the operand size: of 64 bits in 64-bit mode. */
function wholeSize(form: { readonly mode: number }): OperandSize {
  return form.mode === Mode.long ? 3 : 2;
}

/** The register itself: REX decides only about its number. */
const whole = {
  u16: (fields: DecodedFields): number => register("rm").u16({ ...fields, size: 3 }),
};

function readWhole(stage: Stage, form: { readonly mode: number }, operand: Value<32>): Value<64> {
  const size = wholeSize(form);
  const value = readRegister(stage, size, operand);
  return size === 3 ? (value as Value<64>) : stage.zeroExtend64(value as Value<32>);
}

function writeWhole(stage: Stage, form: { readonly mode: number }, operand: Value<32>, value: Value<64>): void {
  const size = wholeSize(form);
  writeRegister(stage, size, operand, size === 3 ? value : stage.truncate32(value));
}

function wholeName({ rm, mode }: DecodedFields): string {
  return registerName(rm, mode === Mode.long ? 3 : 2);
}

function moveFromControl(number: number, field: StateField<64>): Instruction {
  return defineEncoded({
    mnemonic: `MOV (r, CR${number})`,
    reference: "4.3 MOV - Move to/from control registers",
    pattern: "0F 20 /r registers",
    where: ({ reg }) => reg === number,
    formFields: ["mode"],
    operands: { rm: whole },
    text: (fields, pc) => assembly(fields, pc, "mov", wholeName(fields), `cr${number}`),
    execute(form, { rm }, stage) {
      requireSystem(stage);
      writeWhole(stage, form, rm, stage.read(field));
    },
  });
}

function moveToControl(
  number: number,
  check: (stage: Stage, value: Value<64>, is64: boolean) => () => void,
): Instruction {
  return defineEncoded({
    mnemonic: `MOV (CR${number}, r)`,
    reference: "4.3 MOV - Move to/from control registers",
    pattern: "0F 22 /r registers",
    where: ({ reg }) => reg === number,
    formFields: ["mode"],
    operands: { rm: whole },
    text: (fields, pc) => assembly(fields, pc, "mov", `cr${number}`, wholeName(fields)),
    execute(form, { rm }, stage) {
      requireSystem(stage);
      check(stage, readWhole(stage, form, rm), form.mode === Mode.long)();
      stage.endBlock("a control register is written");
    },
  });
}

function checkCr2(stage: Stage, value: Value<64>): () => void {
  return () => stage.write(cr2, value);
}

const readTaskPriority = defineEncoded({
  mnemonic: "MOV (r, CR8)",
  reference: "4.3 MOV - Move to/from control registers",
  pattern: "long 0F 20 /r registers",
  where: ({ reg }) => reg === 8,
  formFields: ["mode"],
  operands: { rm: whole },
  text: (fields, pc) => assembly(fields, pc, "mov", wholeName(fields), "cr8"),
  execute(form, { rm }, stage) {
    requireSystem(stage);
    writeWhole(stage, form, rm, stage.zeroExtend64(stage.read(taskPriority)));
  },
});

/** It leaves behind: what interrupts are taken may differ. */
const writeTaskPriority = defineEncoded({
  mnemonic: "MOV (CR8, r)",
  reference: "4.3 MOV - Move to/from control registers",
  pattern: "long 0F 22 /r registers",
  where: ({ reg }) => reg === 8,
  formFields: ["mode"],
  operands: { rm: whole },
  text: (fields, pc) => assembly(fields, pc, "mov", "cr8", wholeName(fields)),
  execute(form, { rm }, stage) {
    requireSystem(stage);
    const value = readWhole(stage, form, rm);
    raiseIf(stage, stage.isZero(stage.isZero(stage.shiftRight(value, 4))), Vector.generalProtection);
    stage.write(taskPriority, stage.truncate32(value));
    stage.exitAfter(ExitCode.taskPriority);
  },
});

/** Truth: CR4.DE is set, so that DR4 and DR5 do not exist; else they are DR6 and DR7. */
function refuseAlias(stage: Stage, number: number): void {
  if (number !== 4 && number !== 5) return;
  const extensions = stage.and(stage.truncate32(stage.read(cr4)), stage.constant32(Cr4.DE));
  raiseIf(stage, extensions, Vector.invalidOpcode);
}

/** DR7.GD: the registers are guarded. #DB with DR6.BD, in front of the instruction. */
function checkGuard(stage: Stage): void {
  const guarded = stage.and(stage.truncate32(stage.read(dr7)), stage.constant32(Dr7.GD));
  stage.if(guarded, () => stage.raise(noteDebugFault, stage.constant32(Dr6.BD)));
}

function debugRegister(number: number): StateField<64> {
  if (number < 4) return elementOf(debugAddress, number);
  return number === 4 || number === 6 ? dr6 : dr7;
}

function moveFromDebug(number: number): Instruction {
  return defineEncoded({
    mnemonic: `MOV (r, DR${number})`,
    reference: "4.3 MOV - Move to/from debug registers",
    pattern: "0F 21 /r registers",
    where: ({ reg }) => reg === number,
    formFields: ["mode"],
    operands: { rm: whole },
    text: (fields, pc) => assembly(fields, pc, "mov", wholeName(fields), `dr${number}`),
    execute(form, { rm }, stage) {
      refuseAlias(stage, number);
      requireSystem(stage);
      checkGuard(stage);
      writeWhole(stage, form, rm, stage.read(debugRegister(number)));
    },
  });
}

function moveToDebug(number: number): Instruction {
  return defineEncoded({
    mnemonic: `MOV (DR${number}, r)`,
    reference: "4.3 MOV - Move to/from debug registers",
    pattern: "0F 23 /r registers",
    where: ({ reg }) => reg === number,
    formFields: ["mode"],
    operands: { rm: whole },
    text: (fields, pc) => assembly(fields, pc, "mov", `dr${number}`, wholeName(fields)),
    execute(form, { rm }, stage) {
      refuseAlias(stage, number);
      requireSystem(stage);
      checkGuard(stage);
      writeDebug(stage, number, readWhole(stage, form, rm));
    },
  });
}

function writeDebug(stage: Stage, number: number, value: Value<64>): void {
  if (number < 4) return stage.write(debugRegister(number), value);
  raiseIf(stage, stage.isZero(stage.isZero(stage.shiftRight(value, 32))), Vector.generalProtection);
  const is6 = number === 4 || number === 6;
  if (is6) {
    const kept = stage.and(value, stage.constant64(BigInt(0xf | Dr6.BD | Dr6.BS | Dr6.BT)));
    return stage.write(dr6, stage.or(kept, stage.constant64(DR6_FIXED)));
  }
  const kept = stage.and(value, stage.constant64(0xffff_23ffn));
  stage.write(dr7, stage.or(kept, stage.constant64(DR7_FIXED)));
  contextChanged(stage);
  stage.endBlock("breakpoints are written");
}

const clts = defineEncoded({
  mnemonic: "CLTS",
  reference: "3.3 CLTS",
  pattern: "0F 06",
  formFields: [],
  operands: {},
  text: (fields, pc) => assembly(fields, pc, "clts"),
  execute(_form, _operands, stage) {
    requireSystem(stage);
    stage.write(cr0, stage.and(stage.read(cr0), stage.constant64(~BigInt(Cr0.TS))));
    stage.endBlock("a control register is written");
  },
});

/** Writes PE, MP, EM and TS; PE can't be cleared. */
const lmsw = defineEncoded({
  mnemonic: "LMSW",
  reference: "3.3 LMSW",
  pattern: "0F 01 /6",
  formFields: ["memory", "mode"],
  operands: { ...memoryOperand, rm: register("rm") },
  text: (fields, pc) => assembly(fields, pc, "lmsw", modrmText({ ...fields, size: 1 })),
  execute(form, operands, stage) {
    requireSystem(stage);
    const low = low32(stage, 1, modrmPlace(stage, form, 1, operands, "read").read());
    const old = stage.read(cr0);
    const bits = stage.zeroExtend64(stage.and(low, stage.constant32(0xf)));
    const kept = stage.and(old, stage.constant64(~0xen));
    checkCr0(stage, stage.or(kept, bits), form.mode === Mode.long)();
    stage.endBlock("a control register is written");
  },
});

/** With CR4.UMIP only the system may ask: #GP(0). */
export function refuseUserMode(stage: Stage): void {
  const prevented = stage.extractBits(stage.truncate32(stage.read(cr4)), Math.log2(Cr4.UMIP), 1);
  const isOutside = stage.isZero(stage.isZero(stage.read(cpl)));
  raiseIf(stage, stage.and(prevented, isOutside), Vector.generalProtection);
}

/** To memory always 16 bits. */
const smsw = defineEncoded({
  mnemonic: "SMSW",
  reference: "4.3 SMSW",
  pattern: "0F 01 /4",
  formFields: ["memory", "size"],
  operands: { ...memoryOperand, rm: register("rm") },
  text: (fields, pc) =>
    assembly(fields, pc, "smsw", modrmText({ ...fields, size: fields.memory === 1 ? 1 : fields.size })),
  execute(form, operands, stage) {
    refuseUserMode(stage);
    const value = stage.read(cr0);
    if (form.memory === 1) {
      const handle = accessMemory(stage, operands, 2, "write");
      return stage.store(handle, 0, 16, stage.truncate32(value));
    }
    const size = sizeOf(form);
    writeRegister(stage, size, operands.rm, size === 3 ? value : stage.truncate32(value));
  },
});

/** Other control registers do not exist: #UD. */
const noControlRegister = (["0F 20", "0F 22", "0F 21", "0F 23"] as const).map((opcode) =>
  defineEncoded({
    mnemonic: `MOV (${opcode}, no such register)`,
    reference: "4.3 MOV - Move to/from control registers",
    pattern: `${opcode} /r registers`,
    formFields: [],
    operands: {},
    text: () => "(bad)",
    execute: (_form, _operands, stage) => raiseException(stage, Vector.invalidOpcode),
  }),
);

const DEBUG_REGISTERS = [0, 1, 2, 3, 4, 5, 6, 7];

export const controlRegisterInstructions: readonly Instruction[] = [
  moveFromControl(0, cr0),
  moveFromControl(2, cr2),
  moveFromControl(3, cr3),
  moveFromControl(4, cr4),
  moveToControl(0, checkCr0),
  moveToControl(2, checkCr2),
  moveToControl(3, checkCr3),
  moveToControl(4, checkCr4),
  readTaskPriority,
  writeTaskPriority,
  ...DEBUG_REGISTERS.map(moveFromDebug),
  ...DEBUG_REGISTERS.map(moveToDebug),
  ...noControlRegister,
  clts,
  lmsw,
  smsw,
];
