/** RDMSR and WRMSR. References: sections of Intel SDM volume 2. */
import type { Instruction, Stage, Value } from "@hvjournal/engine";
import { assembly } from "../assembly-text.js";
import { checkEfer } from "../control-registers.js";
import { defineEncoded } from "../encoding.js";
import { raiseIf, Vector } from "../exceptions.js";
import { ExitCode } from "../exit-code.js";
import { generalRegister } from "../general-registers.js";
import { type Msr, msrs } from "../msr.js";
import { cpl, msrExits, Register } from "../state.js";
import { isNotCanonical } from "../translation.js";

const rax = generalRegister(Register.rax);
const rcx = generalRegister(Register.rcx);
const rdx = generalRegister(Register.rdx);

function requireSystem(stage: Stage): void {
  raiseIf(stage, stage.read(cpl), Vector.generalProtection);
}

/** Runs `then` for the MSR that ECX names; `otherwise` for those that are the kernel half's, and while it looks at all. */
function chooseMsr(stage: Stage, then: (msr: Msr) => void, otherwise: () => void): void {
  stage.if(stage.read(msrExits), otherwise, () => chooseKept(stage, then, otherwise));
}

function chooseKept(stage: Stage, then: (msr: Msr) => void, otherwise: () => void): void {
  const number = stage.truncate32(stage.read(rcx));
  const from = (index: number): void => {
    const msr = msrs[index];
    if (msr === undefined) return otherwise();
    const isThis = stage.compare("eq", number, stage.constant32(msr.number));
    stage.if(
      isThis,
      () => then(msr),
      () => from(index + 1),
    );
  };
  from(0);
}

const rdmsr = defineEncoded({
  mnemonic: "RDMSR",
  reference: "4.3 RDMSR",
  pattern: "0F 32",
  formFields: [],
  operands: {},
  text: (fields, pc) => assembly(fields, pc, "rdmsr"),
  execute(_form, _operands, stage) {
    requireSystem(stage);
    const read = (msr: Msr): void => {
      const value = stage.read(msr.field);
      stage.write(rax, stage.zeroExtendFrom(32, value));
      stage.write(rdx, stage.shiftRight(value, 32));
    };
    chooseMsr(stage, read, () => stage.exitBefore(ExitCode.readMsr, stage.nextPc()));
  },
});

/** Truth: one of eight memory types is reserved: 2, 3 and those above 7. */
function isReservedMemoryType(stage: Stage, value: Value<64>): Value<32> {
  const reservedBits = stage.and(value, stage.constant64(0xf8f8_f8f8_f8f8_f8f8n));
  const second = stage.shiftRight(value, 1);
  // Bit 1 without bit 2.
  const twoOrThree = stage.and(
    stage.and(second, stage.not(stage.shiftRight(value, 2))),
    stage.constant64(0x0101_0101_0101_0101n),
  );
  return stage.isZero(stage.isZero(stage.or(reservedBits, twoOrThree)));
}

function writeMsr(stage: Stage, { field, rule }: Msr, value: Value<64>): void {
  switch (rule) {
    case "any":
      break;
    case "canonical":
      raiseIf(stage, isNotCanonical(stage, value), Vector.generalProtection);
      break;
    case "low32":
      raiseIf(stage, stage.isZero(stage.isZero(stage.shiftRight(value, 32))), Vector.generalProtection);
      break;
    case "memoryTypes":
      raiseIf(stage, isReservedMemoryType(stage, value), Vector.generalProtection);
      break;
    case "efer": {
      checkEfer(stage, value)();
      return stage.endBlock("EFER is written");
    }
    default:
      return rule satisfies never;
  }
  stage.write(field, value);
}

const wrmsr = defineEncoded({
  mnemonic: "WRMSR",
  reference: "5.3 WRMSR",
  pattern: "0F 30",
  formFields: [],
  operands: {},
  text: (fields, pc) => assembly(fields, pc, "wrmsr"),
  execute(_form, _operands, stage) {
    requireSystem(stage);
    const low = stage.zeroExtendFrom(32, stage.read(rax));
    const value = stage.or(stage.shiftLeft(stage.read(rdx), 32), low);
    chooseMsr(
      stage,
      (msr) => writeMsr(stage, msr, value),
      () => stage.exitBefore(ExitCode.writeMsr, stage.nextPc()),
    );
  },
});

export const modelSpecificInstructions: readonly Instruction[] = [rdmsr, wrmsr];
