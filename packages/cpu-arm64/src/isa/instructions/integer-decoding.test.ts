import { readFileSync } from "node:fs";
import { describe, expect, it } from "@jest/globals";
import { Decoder, everyForm, type Instruction, programOf } from "@hvjournal/engine";
import { branches } from "./branches.js";
import { dataProcessingImmediate } from "./data-processing-immediate.js";
import { dataProcessingRegister } from "./data-processing-register.js";
import { exclusives } from "./exclusives.js";
import { loadsAndStores } from "./loads-and-stores.js";

const instructions: readonly Instruction[] = [
  ...dataProcessingImmediate,
  ...dataProcessingRegister,
  ...branches,
  ...loadsAndStores,
  ...exclusives,
];
const decoder = new Decoder(instructions);

/** Lines of encoding, tab, text as GNU objdump 2.40 shows it with the first line at this address. */
const CORPUS_ADDRESS = 0x40_0000n;
const corpus = readFileSync(new URL("../testing/integer-corpus.txt", import.meta.url), "utf8")
  .trimEnd()
  .split("\n")
  .map((line, index) => {
    const [encoding = "", text = ""] = line.split("\t");
    return { encoding: Number.parseInt(encoding, 16), text, pc: CORPUS_ADDRESS + BigInt(4 * index) };
  });

describe("A64 integer decoding", () => {
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

  it("stages every form within the rules of the stage", () => {
    let count = 0;
    for (const { instruction, form } of everyForm(instructions)) {
      programOf(instruction, form);
      count += 1;
    }
    expect(count).toBeGreaterThan(1000);
  });

  it.each([
    ["ADD (shifted) by ROR", 0x8bc2_0420],
    ["ADD (shifted) of W registers by 32", 0x0b02_8020],
    ["ADD (extended) by 5", 0x8b22_7420],
    ["AND (immediate) of W registers with N", 0x1240_0020],
    ["AND (immediate) of all ones", 0x9240_fc20],
    ["AND (shifted) of W registers by 32", 0x0a02_8020],
    ["MOVZ of a W register's third halfword", 0x52c0_0000],
    ["move wide with opcode 1", 0xb280_0000],
    ["UBFM of W registers with N", 0x5340_1c20],
    ["UBFM of W registers from bit 32", 0x5320_7c20],
    ["bitfield with opcode 3", 0x7300_1c20],
    ["EXTR of W registers by 32", 0x1382_8020],
    ["EXTR with sf and N apart", 0x9382_0420],
    ["CCMP with o3 set", 0xfa41_0013],
    ["CSEL with S set", 0xba82_0020],
    ["CSEL with opcode 2", 0x9a82_0820],
    ["REV of W registers with opcode 3", 0x5ac0_0c20],
    ["PACIA (ARMv8.3)", 0xdac1_0020],
    ["CRC32X with sf clear", 0x1ac2_4c20],
    ["CRC32W with sf set", 0x9ac2_4820],
    ["SUBP (ARMv8.5)", 0x9ac2_0020],
    ["three sources with opcode 3", 0x9b62_0c20],
    ["BC.cond (ARMv8.8)", 0x5400_0010],
    ["BRAA (ARMv8.3)", 0xd71f_0820],
    ["RETAA (ARMv8.3)", 0xd65f_0bff],
    ["LDR with opcode 3 at size 3", 0xf9c0_0000],
    ["LDRSW with opcode 3", 0xb9c0_0000],
    ["LDR (register) with a byte index", 0xf862_0820],
    ["LDR with writeback to its base and target", 0xf840_8421],
    ["STR with writeback of its data", 0xf800_8c21],
    ["LDP into one register twice", 0xa940_0020],
    ["LDP with writeback to a target", 0xa8c1_0420],
    ["LDPSW as a store", 0x6900_0820],
    ["STNP with opcode 1", 0x6800_0820],
    ["LDADD (ARMv8.1)", 0xf822_0020],
    ["CAS (ARMv8.1)", 0xc8a2_7c20],
    ["CASP (ARMv8.1)", 0x4820_7c22],
    ["STLLR (ARMv8.1)", 0xc89f_7c20],
    ["LDAPR (ARMv8.3)", 0xf8bf_c020],
    ["LDAPUR (ARMv8.4)", 0xd940_0020],
    ["LDXP into one register twice", 0xc87f_0020],
    ["STXR with its status in its data", 0xc802_7c22],
    ["STXR with its status in its base", 0xc801_7c22],
    ["STXP with its status in its second data", 0xc823_0c22],
  ])("leaves %s undefined", (_what, encoding) => {
    expect(decoder.decode(encoding)?.instruction.mnemonic).toBeUndefined();
  });
});
