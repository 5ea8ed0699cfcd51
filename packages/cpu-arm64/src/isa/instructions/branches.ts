/** Branches. References as in `data-processing-immediate.ts`. */
import { defineInstruction, elementOf, type Instruction, type Stage, type Value } from "@hvjournal/engine";
import { addressText, assembly, conditionName, registerName } from "../assembly-text.js";
import { conditionHolds } from "../flags.js";
import { isZeroAt, widthOf } from "../general-registers.js";
import { sourceX } from "../operands.js";
import { scaledImmediate, signedImmediate } from "../signed-immediate.js";
import { x } from "../state.js";

const INSTRUCTION_BYTES = 4;
const LINK_REGISTER = elementOf(x, 30);

function displacementOf19({ imm19 }: Readonly<Record<"imm19", number>>): bigint {
  return scaledImmediate(imm19, 19, INSTRUCTION_BYTES);
}

function displacementOf26({ imm26 }: Readonly<Record<"imm26", number>>): bigint {
  return scaledImmediate(imm26, 26, INSTRUCTION_BYTES);
}

function jumpBy(stage: Stage, displacement: Value<64>): void {
  stage.jump(stage.add(stage.pc(), displacement));
}

const branch = defineInstruction({
  mnemonic: "B",
  reference: "C4.1 Unconditional branch (immediate)",
  pattern: "0 00101 imm26:26",
  formFields: [],
  operands: { displacement: { i64: displacementOf26 } },
  text: (fields, pc) => assembly("b", addressText(pc, displacementOf26(fields))),
  execute(_form, { displacement }, stage) {
    jumpBy(stage, displacement);
  },
});

const branchWithLink = defineInstruction({
  mnemonic: "BL",
  reference: "C4.1 Unconditional branch (immediate)",
  pattern: "1 00101 imm26:26",
  formFields: [],
  operands: { displacement: { i64: displacementOf26 } },
  text: (fields, pc) => assembly("bl", addressText(pc, displacementOf26(fields))),
  execute(_form, { displacement }, stage) {
    stage.write(LINK_REGISTER, stage.nextPc());
    jumpBy(stage, displacement);
  },
});

const branchConditionally = defineInstruction({
  mnemonic: "B.cond",
  reference: "C4.1 Conditional branch (immediate)",
  pattern: "0101010 0 imm19:19 0 cond:4",
  formFields: ["cond"],
  operands: { displacement: { i64: displacementOf19 } },
  text: (fields, pc) => assembly(`b.${conditionName(fields.cond)}`, addressText(pc, displacementOf19(fields))),
  execute({ cond }, { displacement }, stage) {
    stage.if(conditionHolds(stage, cond), () => jumpBy(stage, displacement));
  },
});

function compareAndBranch(mnemonic: "CBZ" | "CBNZ", op: "0" | "1"): Instruction {
  return defineInstruction({
    mnemonic,
    reference: "C4.1 Compare and branch (immediate)",
    pattern: `sf:1 011010 ${op} imm19:19 Rt:5`,
    formFields: ["sf"],
    operands: { rt: sourceX("Rt"), displacement: { i64: displacementOf19 } },
    text: (fields, pc) =>
      assembly(mnemonic.toLowerCase(), registerName(fields.sf, fields.Rt), addressText(pc, displacementOf19(fields))),
    execute({ sf }, { rt, displacement }, stage) {
      const width = widthOf(sf);
      const isZero = isZeroAt(stage, width, stage.readAt(width, rt));
      stage.if(mnemonic === "CBZ" ? isZero : stage.isZero(isZero), () => jumpBy(stage, displacement));
    },
  });
}

const registerTested = sourceX("Rt");
const WORD_BYTES = 4;

/** The word that has the bit is tested, so that 32 bits are enough at run time. */
function testBitAndBranch(mnemonic: "TBZ" | "TBNZ", op: "0" | "1"): Instruction {
  const displacementOf = ({ imm14 }: Readonly<Record<"imm14", number>>): number =>
    signedImmediate(imm14, 14) * INSTRUCTION_BYTES;
  return defineInstruction({
    mnemonic,
    reference: "C4.1 Test and branch (immediate)",
    pattern: `b5:1 011011 ${op} b40:5 imm14:14 Rt:5`,
    formFields: [],
    operands: {
      word: { u16: (fields) => registerTested.u16(fields) + (fields.b5 === 1 ? WORD_BYTES : 0) },
      mask: { i32: ({ b40 }) => 1 << b40 },
      displacement: { i32: displacementOf },
    },
    text: (fields, pc) =>
      assembly(
        mnemonic.toLowerCase(),
        registerName(fields.b5, fields.Rt),
        `#${fields.b5 * 32 + fields.b40}`,
        addressText(pc, BigInt(displacementOf(fields))),
      ),
    execute(_form, { word, mask, displacement }, stage) {
      const bit = stage.and(stage.readAt(32, word), mask);
      const taken = mnemonic === "TBZ" ? stage.isZero(bit) : bit;
      stage.if(taken, () => jumpBy(stage, stage.signExtend64(displacement)));
    },
  });
}

const branchToRegister = defineInstruction({
  mnemonic: "BR",
  reference: "C4.1 Unconditional branch (register)",
  pattern: "1101011 0000 11111 000000 Rn:5 00000",
  formFields: [],
  operands: { rn: sourceX("Rn") },
  text: ({ Rn }) => assembly("br", registerName(1, Rn)),
  execute(_form, { rn }, stage) {
    stage.jump(stage.readAt(64, rn));
  },
});

const branchWithLinkToRegister = defineInstruction({
  mnemonic: "BLR",
  reference: "C4.1 Unconditional branch (register)",
  pattern: "1101011 0001 11111 000000 Rn:5 00000",
  formFields: [],
  operands: { rn: sourceX("Rn") },
  text: ({ Rn }) => assembly("blr", registerName(1, Rn)),
  execute(_form, { rn }, stage) {
    const target = stage.readAt(64, rn);
    stage.write(LINK_REGISTER, stage.nextPc());
    stage.jump(target);
  },
});

const returnFromSubroutine = defineInstruction({
  mnemonic: "RET",
  reference: "C4.1 Unconditional branch (register)",
  pattern: "1101011 0010 11111 000000 Rn:5 00000",
  formFields: [],
  operands: { rn: sourceX("Rn") },
  text: ({ Rn }) => (Rn === 30 ? "ret" : assembly("ret", registerName(1, Rn))),
  execute(_form, { rn }, stage) {
    stage.jump(stage.readAt(64, rn));
  },
});

export const branches: readonly Instruction[] = [
  branch,
  branchWithLink,
  branchConditionally,
  compareAndBranch("CBZ", "0"),
  compareAndBranch("CBNZ", "1"),
  testBitAndBranch("TBZ", "0"),
  testBitAndBranch("TBNZ", "1"),
  branchToRegister,
  branchWithLinkToRegister,
  returnFromSubroutine,
];
