import { describe, expect, it } from "@jest/globals";
import { compilePattern, Decoder, extractFields } from "@hvjournal/engine";
import { cortexA57 } from "../cpu.js";

/** Encodings and their text as GNU objdump prints it. */
const CORPUS: readonly (readonly [number, string])[] = [
  [0xd400_00a1, "svc #0x5"],
  [0xd400_0002, "hvc #0x0"],
  [0xd400_0003, "smc #0x0"],
  [0xd421_0000, "brk #0x800"],
  [0xd440_0020, "hlt #0x1"],
  [0xd4a0_0001, "dcps1"],
  [0xd4a0_0062, "dcps2 #0x3"],
  [0xd6bf_03e0, "drps"],
  [0xd69f_03e0, "eret"],
  [0xd503_201f, "nop"],
  [0xd503_203f, "yield"],
  [0xd503_205f, "wfe"],
  [0xd503_207f, "wfi"],
  [0xd503_209f, "sev"],
  [0xd503_20bf, "sevl"],
  [0xd503_229f, "csdb"],
  [0xd503_221f, "esb"],
  [0xd503_245f, "bti c"],
  [0xd503_233f, "paciasp"],
  [0xd503_25ff, "hint #0x2f"],
  [0xd503_3f5f, "clrex"],
  [0xd503_335f, "clrex #0x3"],
  [0xd503_3f9f, "dsb sy"],
  [0xd503_3b9f, "dsb ish"],
  [0xd503_3a9f, "dsb ishst"],
  [0xd503_359f, "dsb nshld"],
  [0xd503_39bf, "dmb ishld"],
  [0xd503_33bf, "dmb osh"],
  [0xd503_3dbf, "dmb ld"],
  [0xd503_3fdf, "isb"],
  [0xd503_33df, "isb #0x3"],
  [0xd503_309f, "ssbb"],
  [0xd503_349f, "pssbb"],
  [0xd500_41bf, "msr spsel, #0x1"],
  [0xd503_42df, "msr daifset, #0x2"],
  [0xd503_4fff, "msr daifclr, #0xf"],
  [0xd508_751f, "ic iallu"],
  [0xd508_711f, "ic ialluis"],
  [0xd50b_7523, "ic ivau, x3"],
  [0xd50b_7420, "dc zva, x0"],
  [0xd508_7621, "dc ivac, x1"],
  [0xd50b_7a22, "dc cvac, x2"],
  [0xd50b_7b23, "dc cvau, x3"],
  [0xd50b_7e24, "dc civac, x4"],
  [0xd508_7645, "dc isw, x5"],
  [0xd508_7a46, "dc csw, x6"],
  [0xd508_7e47, "dc cisw, x7"],
  [0xd508_831f, "tlbi vmalle1is"],
  [0xd508_871f, "tlbi vmalle1"],
  [0xd508_8323, "tlbi vae1is, x3"],
  [0xd508_8723, "tlbi vae1, x3"],
  [0xd508_8343, "tlbi aside1is, x3"],
  [0xd508_8749, "tlbi aside1, x9"],
  [0xd508_8363, "tlbi vaae1is, x3"],
  [0xd508_8763, "tlbi vaae1, x3"],
  [0xd508_83a3, "tlbi vale1is, x3"],
  [0xd508_87a3, "tlbi vale1, x3"],
  [0xd508_83e3, "tlbi vaale1is, x3"],
  [0xd508_87e3, "tlbi vaale1, x3"],
  [0xd508_7801, "at s1e1r, x1"],
  [0xd508_7822, "at s1e1w, x2"],
  [0xd508_7843, "at s1e0r, x3"],
  [0xd508_7864, "at s1e0w, x4"],
  [0xd509_b264, "sys #1, C11, C2, #3, x4"],
  [0xd529_f263, "sysl x3, #1, C15, C2, #3"],
  [0xd538_1000, "mrs x0, sctlr_el1"],
  [0xd518_1001, "msr sctlr_el1, x1"],
  [0xd518_2002, "msr ttbr0_el1, x2"],
  [0xd538_2022, "mrs x2, ttbr1_el1"],
  [0xd53b_d05e, "mrs x30, tpidr_el0"],
  [0xd51b_d05f, "msr tpidr_el0, xzr"],
  [0xd53b_d061, "mrs x1, tpidrro_el0"],
  [0xd53b_4201, "mrs x1, nzcv"],
  [0xd51b_4203, "msr nzcv, x3"],
  [0xd53b_4221, "mrs x1, daif"],
  [0xd51b_4222, "msr daif, x2"],
  [0xd538_4241, "mrs x1, currentel"],
  [0xd538_4201, "mrs x1, spsel"],
  [0xd518_4202, "msr spsel, x2"],
  [0xd538_4103, "mrs x3, sp_el0"],
  [0xd518_4103, "msr sp_el0, x3"],
  [0xd53b_4403, "mrs x3, fpcr"],
  [0xd51b_4423, "msr fpsr, x3"],
  [0xd538_0004, "mrs x4, midr_el1"],
  [0xd538_00a4, "mrs x4, mpidr_el1"],
  [0xd538_00c4, "mrs x4, revidr_el1"],
  [0xd538_0404, "mrs x4, id_aa64pfr0_el1"],
  [0xd538_0744, "mrs x4, id_aa64mmfr2_el1"],
  [0xd53b_0024, "mrs x4, ctr_el0"],
  [0xd53b_00e4, "mrs x4, dczid_el0"],
  [0xd539_0024, "mrs x4, clidr_el1"],
  [0xd539_0004, "mrs x4, ccsidr_el1"],
  [0xd51a_0005, "msr csselr_el1, x5"],
  [0xd53b_e044, "mrs x4, cntvct_el0"],
  [0xd53b_e024, "mrs x4, cntpct_el0"],
  [0xd53b_e004, "mrs x4, cntfrq_el0"],
  [0xd51b_e324, "msr cntv_ctl_el0, x4"],
  [0xd51b_e344, "msr cntv_cval_el0, x4"],
  [0xd53b_e204, "mrs x4, cntp_tval_el0"],
  [0xd518_e104, "msr cntkctl_el1, x4"],
  [0xd538_cc04, "mrs x4, icc_iar1_el1"],
  [0xd518_cc24, "msr icc_eoir1_el1, x4"],
  [0xd518_cba4, "msr icc_sgi1r_el1, x4"],
  [0xd538_c944, "mrs x4, icc_ap1r2_el1"],
  [0xd530_0244, "mrs x4, mdscr_el1"],
  [0xd510_1084, "msr oslar_el1, x4"],
  [0xd530_1184, "mrs x4, oslsr_el1"],
  [0xd510_0384, "msr dbgbvr3_el1, x4"],
  [0xd510_01e4, "msr dbgwcr1_el1, x4"],
  [0xd53b_9c04, "mrs x4, pmcr_el0"],
  [0xd51b_eda4, "msr pmevtyper13_el0, x4"],
  [0xd53b_9d04, "mrs x4, pmccntr_el0"],
  [0xd538_7404, "mrs x4, par_el1"],
  [0xd538_c104, "mrs x4, isr_el1"],
  [0xd539_f204, "mrs x4, s3_1_c15_c2_0"],
  [0xd51b_b0e3, "msr s3_3_c11_c0_7, x3"],
  [0xd538_d024, "mrs x4, contextidr_el1"],
  [0xd538_5204, "mrs x4, esr_el1"],
  [0xd533_0104, "mrs x4, mdccsr_el0"],
  [0xd538_0104, "mrs x4, id_pfr0_el1"],
  [0xd538_0324, "mrs x4, mvfr1_el1"],
  [0xd530_7ec4, "mrs x4, dbgauthstatus_el1"],
];

const decoder = new Decoder(cortexA57.instructionsFor(1));

describe("system instructions as text", () => {
  it.each(CORPUS.map(([word, text]) => [text, word] as const))("prints %s", (text, word) => {
    const decoded = decoder.decode(word);
    expect(decoded?.instruction.text(decoded.fields, 0n)).toBe(text);
  });

  it("matches each encoding by one definition only", () => {
    const candidates = cortexA57
      .instructionsFor(1)
      .map((instruction) => ({ instruction, pattern: compilePattern(instruction.pattern) }));
    for (const [word, text] of CORPUS) {
      const matching = candidates
        .filter(({ pattern }) => (word & pattern.mask) >>> 0 === pattern.value)
        .filter(({ instruction, pattern }) => instruction.where?.(extractFields(pattern, word)) ?? true)
        .map(({ instruction }) => instruction.mnemonic);
      // Named hints come before the rest of the hint space.
      const expected = matching.filter((mnemonic) => mnemonic !== "HINT" || matching.length === 1);
      expect([text, expected]).toEqual([text, [expect.any(String)]]);
    }
  });

  it("has a mnemonic of its own for each definition", () => {
    const names = cortexA57.instructionsFor(1).map(({ mnemonic }) => mnemonic);
    expect(names.filter((name, index) => names.indexOf(name) !== index)).toEqual([]);
  });
});
