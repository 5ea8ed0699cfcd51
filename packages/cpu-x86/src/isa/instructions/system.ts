/** HLT, and what has to do with caches and translations. References: sections of Intel SDM volume 2. */
import type { Instruction, Stage } from "@hvjournal/engine";
import { addressText, assembly, registerName } from "../assembly-text.js";
import { accessMemory } from "../effective-address.js";
import { defineEncoded } from "../encoding.js";
import { raiseException, raiseIf, Vector } from "../exceptions.js";
import { BACKDOOR_COUNTERS, ExitCode } from "../exit-code.js";
import { Mode } from "../fields.js";
import { generalRegister, low32, readRegister } from "../general-registers.js";
import { memoryOperand, register } from "../operands.js";
import { Cr4 } from "../registers.js";
import { cpl, cr4, Register } from "../state.js";
import { isNotCanonical } from "../translation.js";

function requireSystem(stage: Stage): void {
  raiseIf(stage, stage.read(cpl), Vector.generalProtection);
}

const hlt = defineEncoded({
  mnemonic: "HLT",
  reference: "3.3 HLT",
  pattern: "F4",
  formFields: [],
  operands: {},
  text: (fields, pc) => assembly(fields, pc, "hlt"),
  execute(_form, _operands, stage) {
    requireSystem(stage);
    stage.exitAfter(ExitCode.halt);
  },
});

/** Of the system only, and without effect: caches are never seen, and a TLB is not either. */
function withoutEffect(mnemonic: string, pattern: string): Instruction {
  return defineEncoded({
    mnemonic,
    reference: `3.3 to 6.3 ${mnemonic}`,
    pattern,
    formFields: [],
    operands: memoryOperand,
    text: (fields, pc) =>
      assembly(fields, pc, mnemonic.toLowerCase(), ...(fields.memory === 1 ? [addressText(fields)] : [])),
    execute: (_form, _operands, stage) => requireSystem(stage),
  });
}

/** Kinds: one address, one PCID, all, all but global. */
const INVPCID_KIND_MAX = 3;

const invpcid = defineEncoded({
  mnemonic: "INVPCID",
  reference: "3.3 INVPCID",
  pattern: "66 0F 38 82 /r mem",
  formFields: ["mode"],
  operands: { ...memoryOperand, kind: register("reg") },
  text: (fields, pc) =>
    assembly(
      fields,
      pc,
      "invpcid",
      registerName(fields.reg, fields.mode === Mode.long ? 3 : 2),
      `OWORD PTR ${addressText(fields)}`,
    ),
  execute(form, operands, stage) {
    requireSystem(stage);
    const size = form.mode === Mode.long ? 3 : 2;
    const kind = low32(stage, size, readRegister(stage, size, operands.kind));
    const tooLarge = stage.compare("gt_u", kind, stage.constant32(INVPCID_KIND_MAX));
    const handle = accessMemory(stage, operands, 16, "read");
    const first = stage.load(64, handle, 0, 64);
    const address = stage.load(64, handle, 8, 64);
    const isReserved = stage.isZero(stage.isZero(stage.shiftRight(first, 12)));
    const isAddress = stage.isZero(kind);
    const usesPcid = stage.compare("le_u", kind, stage.constant32(1));
    const without = stage.isZero(stage.and(stage.truncate32(stage.read(cr4)), stage.constant32(Cr4.PCIDE)));
    const otherPcid = stage.isZero(stage.isZero(first));
    const refused = [
      isReserved,
      stage.and(isAddress, isNotCanonical(stage, address)),
      stage.and(usesPcid, stage.and(without, otherPcid)),
    ].reduce((all, one) => stage.or(all, one), tooLarge);
    raiseIf(stage, refused, Vector.generalProtection);
  },
});

/** There are no performance counters, so no number of one is right, but for those of VMware's backdoor. CR4.PCE lets every level ask. */
const rdpmc = defineEncoded({
  mnemonic: "RDPMC",
  reference: "4.3 RDPMC",
  pattern: "0F 33",
  formFields: [],
  operands: {},
  text: (fields, pc) => assembly(fields, pc, "rdpmc"),
  execute(_form, _operands, stage) {
    const number = stage.truncate32(stage.read(generalRegister(Register.rcx)));
    const index = stage.sub(number, stage.constant32(BACKDOOR_COUNTERS.first));
    const count = BACKDOOR_COUNTERS.last - BACKDOOR_COUNTERS.first;
    const isBackdoor = stage.compare("le_u", index, stage.constant32(count));
    stage.if(isBackdoor, () => stage.exitBefore(ExitCode.backdoorCounter, stage.nextPc()));
    raiseException(stage, Vector.generalProtection);
  },
});

/** Not offered by CPUID, or outside the mode that it belongs to. */
function undefinedHere(mnemonic: string, pattern: string, rm?: number): Instruction {
  return defineEncoded({
    mnemonic: `${mnemonic} (not offered)`,
    reference: `3.3 to 6.3 ${mnemonic}`,
    pattern,
    where: (fields) => rm === undefined || (fields.rm & 7) === rm,
    formFields: [],
    operands: {},
    text: () => "(bad)",
    execute: (_form, _operands, stage) => raiseException(stage, Vector.invalidOpcode),
  });
}

export const systemInstructions: readonly Instruction[] = [
  hlt,
  withoutEffect("WBINVD", "0F 09"),
  withoutEffect("INVD", "0F 08"),
  withoutEffect("INVLPG", "0F 01 /7 mem"),
  invpcid,
  rdpmc,
  undefinedHere("MONITOR", "0F 01 /1 reg", 0),
  undefinedHere("MWAIT", "0F 01 /1 reg", 1),
];
