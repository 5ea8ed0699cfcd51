/** What says something to caches and pipelines, of which there are none here. References: sections of Intel SDM volume 2. */
import type { Instruction } from "@hvjournal/engine";
import { addressText, assembly, modrmText } from "../assembly-text.js";
import { accessMemory } from "../effective-address.js";
import { defineEncoded } from "../encoding.js";
import type { DecodedFields } from "../fields.js";
import { memoryOperand } from "../operands.js";

/** Does not look at its operand. ENDBR32, ENDBR64 and RDSSP are NOPs of this kind where shadow stacks are not offered. */
function hint(
  mnemonic: string,
  reference: string,
  pattern: string,
  text: (fields: DecodedFields) => readonly string[],
): Instruction {
  return defineEncoded({
    mnemonic,
    reference,
    pattern,
    formFields: [],
    operands: {},
    text(fields, pc) {
      const [name = "", ...operands] = text(fields);
      return assembly(fields, pc, name, ...operands);
    },
    execute: () => undefined,
  });
}

const PREFETCHES = ["prefetchnta", "prefetcht0", "prefetcht1", "prefetcht2"] as const;

function prefetches(): Instruction[] {
  return PREFETCHES.map((name, digit) =>
    hint(name.toUpperCase(), "4.3 PREFETCHh", `0F 18 /${digit} mem`, (fields) => [
      name,
      `BYTE PTR ${addressText(fields)}`,
    ]),
  );
}

/** 0F 18 to 0F 1F are hints in any case: those without a meaning are NOPs. */
function reservedNops(): Instruction[] {
  return [0x18, 0x19, 0x1a, 0x1b, 0x1c, 0x1d, 0x1e, 0x1f].map((opcode) => {
    const hex = opcode.toString(16).toUpperCase();
    return hint(opcode === 0x1f ? "NOP (r/m)" : `NOP (r/m; 0F ${hex})`, "4.3 NOP", `0F ${hex} /r`, (fields) => [
      "nop",
      modrmText(fields),
    ]);
  });
}

function endBranch(bits: 32 | 64): Instruction {
  const rm = bits === 64 ? 2 : 3;
  return {
    ...hint(`ENDBR${bits}`, "3.3 ENDBR32, ENDBR64", "F3 0F 1E /7 reg", () => [`endbr${bits}`]),
    where: (fields) => (fields as unknown as DecodedFields).modrm === 0xf8 + rm,
  };
}

/** Checks its operand as a load does. */
const clflush = defineEncoded({
  mnemonic: "CLFLUSH",
  reference: "3.3 CLFLUSH",
  pattern: "np 0F AE /7 mem",
  formFields: [],
  operands: memoryOperand,
  text: (fields, pc) => assembly(fields, pc, "clflush", `BYTE PTR ${addressText(fields)}`),
  execute(_form, operands, stage) {
    accessMemory(stage, operands, 1, "read");
  },
});

/** The vCPUs of a VM take turns: every access is done before the next. */
function fence(mnemonic: string, reference: string, digit: number): Instruction {
  return hint(mnemonic, reference, `np 0F AE /${digit} reg`, () => [mnemonic.toLowerCase()]);
}

export const hintInstructions: readonly Instruction[] = [
  ...prefetches(),
  hint("PREFETCHW", "4.3 PREFETCHW", "0F 0D /1 mem", (fields) => ["prefetchw", `BYTE PTR ${addressText(fields)}`]),
  hint("PREFETCH (m8)", "4.3 PREFETCHW", "0F 0D /r mem", (fields) => ["prefetch", `BYTE PTR ${addressText(fields)}`]),
  endBranch(64),
  endBranch(32),
  ...reservedNops(),
  clflush,
  fence("LFENCE", "3.3 LFENCE", 5),
  fence("MFENCE", "4.3 MFENCE", 6),
  fence("SFENCE", "4.3 SFENCE", 7),
];
