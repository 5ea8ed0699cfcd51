import { readFileSync } from "node:fs";
import { describe, expect, it } from "@jest/globals";
import { Decoder, everyForm, programOf } from "@hvjournal/engine";
import { simdAndFloatInstructions as instructions } from "./simd-and-floating-point.js";

const decoder = new Decoder(instructions);

/** Lines of encoding, tab, text as GNU objdump 2.40 shows it with the first line at this address. */
const CORPUS_ADDRESS = 0x40_0000n;
const corpus = readFileSync(new URL("../testing/simd-corpus.txt", import.meta.url), "utf8")
  .trimEnd()
  .split("\n")
  .map((line, index) => {
    const [encoding = "", text = ""] = line.split("\t");
    return { encoding: Number.parseInt(encoding, 16), text, pc: CORPUS_ADDRESS + BigInt(4 * index) };
  });

describe("A64 SIMD and floating-point decoding", () => {
  it("shows every encoding of the corpus as objdump does", () => {
    const shown = corpus.map(({ encoding, pc }) => {
      const decoded = decoder.decode(encoding);
      return decoded?.instruction.text(decoded.fields, pc);
    });
    expect(shown).toEqual(corpus.map(({ text }) => text));
  });

  it("meets every definition in the corpus, so that none is hidden by an earlier one", () => {
    const met = new Set(corpus.map(({ encoding }) => decoder.decode(encoding)?.instruction.mnemonic));
    expect(instructions.map(({ mnemonic }) => mnemonic).filter((mnemonic) => !met.has(mnemonic))).toEqual([]);
  });

  it("names every definition once", () => {
    expect(new Set(instructions.map(({ mnemonic }) => mnemonic)).size).toBe(instructions.length);
  });

  it("stages every form that decodes within the rules of the stage", () => {
    const staged = new Set<string>();
    for (const { encoding } of corpus) {
      const decoded = decoder.decode(encoding);
      if (decoded !== undefined) programOf(decoded.instruction, decoded.fields);
      staged.add(decoded?.instruction.mnemonic ?? "");
    }
    expect(staged.size).toBe(instructions.length);
    expect([...everyForm(instructions)].length).toBeGreaterThan(2000);
  });

  it.each([
    ["LDR of 256 bits", 0x7dc0_0020],
    ["LDR (register, SIMD&FP) with a byte index", 0x3c62_0820],
    ["LDP of SIMD registers with opc 3", 0xed40_0820],
    ["LD2 of 1D vectors", 0x0c40_8c20],
    ["LD1 (multiple structures) with opcode 1", 0x4c40_1020],
    ["LD1R as a store", 0x4d00_c020],
    ["LD1 (single structure) of a doubleword with S", 0x4d40_9420],
    ["DUP of one doubleword", 0x0e08_0420],
    ["DUP without a size", 0x4e00_0420],
    ["SMOV of a word to a W register", 0x0e04_2c20],
    ["UMOV of a doubleword to a W register", 0x0e08_3c20],
    ["FMOV (vector, immediate) of one double", 0x2f00_f420],
    ["EXT of 64 bits beyond byte 7", 0x2e02_4020],
    ["ZIP1 of one doubleword", 0x0ec2_3820],
    ["ADD of one doubleword as a vector", 0x0ee2_8420],
    ["ADD of words as scalars", 0x5ea2_8420],
    ["MUL of doublewords", 0x4ee2_9c20],
    ["PMUL of halfwords", 0x6e62_9c20],
    ["SQDMULH of bytes", 0x4e22_b420],
    ["SQRDMLAH (ARMv8.1)", 0x6e82_8420],
    ["SDOT (ARMv8.2)", 0x4e82_9420],
    ["FADD of halves (ARMv8.2)", 0x4e42_1420],
    ["FADD of scalar halves (ARMv8.2)", 0x1ee2_2820],
    ["FADD of one double", 0x0e62_d420],
    ["FCMLA (ARMv8.3)", 0x6e82_c420],
    ["REV32 of words", 0x6ea0_0820],
    ["CNT of halfwords", 0x4e60_5820],
    ["ADDV of two words", 0x0eb1_b820],
    ["FMAXV of two singles", 0x2e30_f820],
    ["SSHR of one doubleword as a vector", 0x0f41_0420],
    ["SSHR of a word as a scalar", 0x5f20_0420],
    ["SCVTF of a W register with 33 fraction bits", 0x1e02_7c20],
    ["FCVT from half to half", 0x1ee3_c020],
    ["FCVTXN to halves", 0x2e21_6820],
    ["FJCVTZS (ARMv8.3)", 0x1e7e_0020],
    ["FRINT32Z (ARMv8.5)", 0x1e28_4020],
    ["BFCVT (ARMv8.6)", 0x1e63_4020],
    ["PMULL of doublewords (cryptographic extension)", 0x0ee2_e020],
    ["AESE (cryptographic extension)", 0x4e28_4820],
    ["SHA256H (cryptographic extension)", 0x5e02_4020],
  ])("leaves %s undefined", (_what, encoding) => {
    expect(decoder.decode(encoding)?.instruction.mnemonic).toBeUndefined();
  });
});
