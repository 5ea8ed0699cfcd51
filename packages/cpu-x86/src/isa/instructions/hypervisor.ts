/** Instructions that leave for the kernel half, which carries them out (`ExitCode`). References: sections of Intel SDM volume 2. */
import type { Instruction, Stage } from "@hvjournal/engine";
import { assembly, registerName } from "../assembly-text.js";
import { defineEncoded } from "../encoding.js";
import { raiseException, Vector } from "../exceptions.js";
import { ExitCode } from "../exit-code.js";
import { RepeatPrefix } from "../fields.js";
import { bytesOf, sizeOf } from "../general-registers.js";
import { register } from "../operands.js";
import { Cr4 } from "../registers.js";
import { cpl, cr4, pauseExits } from "../state.js";

function requireSystem(stage: Stage): void {
  stage.if(stage.read(cpl), () => raiseException(stage, Vector.generalProtection));
}

const cpuid = defineEncoded({
  mnemonic: "CPUID",
  reference: "3.3 CPUID",
  pattern: "0F A2",
  formFields: [],
  operands: {},
  text: (fields, pc) => assembly(fields, pc, "cpuid"),
  execute(_form, _operands, stage) {
    stage.exitBefore(ExitCode.cpuid, stage.nextPc());
  },
});

/** CR4.TSD keeps it from all levels but 0. */
function readTimeStamp(stage: Stage, withProcessor: 0 | 1): void {
  const disabled = stage.and(stage.truncate32(stage.read(cr4)), stage.constant32(Cr4.TSD));
  stage.if(disabled, () => requireSystem(stage));
  stage.exitBefore(ExitCode.readTimeStamp, stage.nextPc(), stage.constant64(withProcessor));
}

const rdtsc = defineEncoded({
  mnemonic: "RDTSC",
  reference: "4.3 RDTSC",
  pattern: "0F 31",
  formFields: [],
  operands: {},
  text: (fields, pc) => assembly(fields, pc, "rdtsc"),
  execute: (_form, _operands, stage) => readTimeStamp(stage, 0),
});

const rdtscp = defineEncoded({
  mnemonic: "RDTSCP",
  reference: "4.3 RDTSCP",
  pattern: "0F 01 /7 reg",
  where: ({ rm }) => (rm & 7) === 1,
  formFields: [],
  operands: {},
  text: (fields, pc) => assembly(fields, pc, "rdtscp"),
  execute: (_form, _operands, stage) => readTimeStamp(stage, 1),
});

/** The two vendors' calls of the hypervisor; on the other one's CPU each is undefined, which is the hypervisor's to answer too. */
function hypervisorCall(mnemonic: string, digit: number, isOfAmd: 0 | 1): Instruction {
  return defineEncoded({
    mnemonic: mnemonic.toUpperCase(),
    reference: isOfAmd === 1 ? "AMD APM volume 3, VMMCALL" : "volume 3, 31.3 VMCALL",
    pattern: `0F 01 /${digit} reg`,
    where: ({ rm }) => (rm & 7) === 1,
    formFields: [],
    operands: {},
    text: (fields, pc) => assembly(fields, pc, mnemonic),
    execute(_form, _operands, stage) {
      stage.exitBefore(ExitCode.hypervisorCall, stage.nextPc(), stage.constant64(isOfAmd));
    },
  });
}

const pause = defineEncoded({
  mnemonic: "PAUSE",
  reference: "4.3 PAUSE",
  pattern: "90+r",
  where: ({ rep, rm }) => rep === RepeatPrefix.rep && rm === 0,
  formFields: [],
  operands: {},
  text: (fields, pc) => assembly(fields, pc, "pause"),
  execute(_form, _operands, stage) {
    stage.if(stage.read(pauseExits), () => stage.exitAfter(ExitCode.pause));
  },
});

function random(mnemonic: string, digit: number): Instruction {
  return defineEncoded({
    mnemonic: mnemonic.toUpperCase(),
    reference: `4.3 ${mnemonic.toUpperCase()}`,
    pattern: `0F C7 /${digit} reg`,
    // With F2 or F3 other instructions, which are not offered.
    where: ({ rep }) => rep === RepeatPrefix.none,
    formFields: ["size"],
    operands: { rm: register("rm") },
    text: (fields, pc) => assembly(fields, pc, mnemonic, registerName(fields.rm, fields.size)),
    execute(form, { rm }, stage) {
      const bytes = stage.constant64(bytesOf(sizeOf(form)));
      stage.exitBefore(ExitCode.random, stage.nextPc(), stage.zeroExtend64(rm), bytes);
    },
  });
}

export const hypervisorInstructions: readonly Instruction[] = [
  cpuid,
  rdtsc,
  rdtscp,
  hypervisorCall("vmcall", 0, 0),
  hypervisorCall("vmmcall", 3, 1),
  random("rdrand", 6),
  random("rdseed", 7),
];

/** Before an exchange of RAX with itself, whose encoding it shares. */
export const pauseInstructions: readonly Instruction[] = [pause];
