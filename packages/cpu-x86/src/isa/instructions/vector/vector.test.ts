/** What the comparison with other CPUs (`packages/conformance/src/x86`) does not see: availability, faults, handlers, text. */
import { describe, expect, it } from "@jest/globals";
import { Engine, type EngineOptions, type ProfileEntry } from "@hvjournal/engine";
import { x86Cpu } from "../../cpu.js";
import { Vector } from "../../exceptions.js";
import { ExitCode } from "../../exit-code.js";
import type { DecodedFields } from "../../fields.js";
import { Cr0, Cr4 } from "../../registers.js";
import { CODE, DATA, frameOf, handledVector, machine, type Machine, UNMAPPED } from "../../testing/machine.js";
import { vectorInstructions } from "./all.js";

const HLT = 0xf4;
const ONES = (1n << 128n) - 1n;

/** Some definitions inline, as a profile has them. */
const profile: readonly ProfileEntry[] = vectorInstructions
  .filter(({ mnemonic }) => /^(PADDB|MOVDQA|ADDSD|ADDPS|CVTTSD2SI|PCMPISTRI)/.test(mnemonic))
  .flatMap(({ mnemonic }) => [0, 1].map((memory) => ({ mnemonic, form: { memory } })));

const tiers: readonly (readonly [name: string, options: Partial<EngineOptions>])[] = [
  ["handlers out of line", {}],
  ["handlers inline", { profile }],
  ["compiled blocks", { tier: "blocks" }],
];

const PADDB = [0x66, 0x0f, 0xfc, 0xc1];
const PADDB_MMX = [0x0f, 0xfc, 0xc1];
const ADDSD = [0xf2, 0x0f, 0x58, 0xc1];
/** movdqa xmm0,[rdi] */
const MOVDQA = [0x66, 0x0f, 0x6f, 0x07];

const bits = new DataView(new ArrayBuffer(8));
function doubleBits(value: number): bigint {
  bits.setFloat64(0, value);
  return bits.getBigUint64(0);
}

function runToHandler(guest: Machine): number {
  expect(guest.engine.run(10)).toBe(ExitCode.halt);
  return handledVector(guest);
}

describe.each(tiers)("vector instructions with %s", (_name, options) => {
  const prepared = (code: readonly number[], change: (guest: Machine) => void = () => undefined): Machine => {
    const guest = machine([...code, HLT], options);
    guest.set("rdi", DATA);
    change(guest);
    return guest;
  };
  const withCr =
    (name: "cr0" | "cr4", set: number, clear = 0) =>
    (guest: Machine): void =>
      guest.set(name, (guest.get(name) & ~BigInt(clear)) | BigInt(set));

  it.each([
    ["SSE", PADDB, withCr("cr0", Cr0.EM), Vector.invalidOpcode],
    ["SSE", PADDB, withCr("cr4", 0, Cr4.OSFXSR), Vector.invalidOpcode],
    ["SSE", PADDB, withCr("cr0", Cr0.TS), Vector.deviceNotAvailable],
    ["SSE", PADDB, withCr("cr0", Cr0.TS | Cr0.EM), Vector.invalidOpcode],
    ["MMX", PADDB_MMX, withCr("cr0", Cr0.EM | Cr0.TS), Vector.invalidOpcode],
    ["MMX", PADDB_MMX, withCr("cr0", Cr0.TS), Vector.deviceNotAvailable],
    ["SSE with LOCK", [0xf0, ...PADDB], () => undefined, Vector.invalidOpcode],
    ["SSE with a prefix of no instruction", [0xf2, 0x0f, 0xfc, 0xc1], () => undefined, Vector.invalidOpcode],
  ] as const)(
    "raise for %s where the control registers or the encoding do not allow it",
    (_what, code, change, vector) => {
      const guest = prepared(code, change);
      guest.set("xmm0", 5n);
      expect(runToHandler(guest)).toBe(vector);
      expect(guest.get("xmm0")).toBe(5n);
    },
  );

  it("raise #MF for MMX while an exception of the x87 waits, and not for SSE", () => {
    const waits = (guest: Machine): void => {
      guest.set("fsw", 0x8081);
      guest.set("fcw", 0x37e);
    };
    expect(runToHandler(prepared(PADDB_MMX, waits))).toBe(Vector.floatError);
    const guest = prepared(PADDB, waits);
    expect(guest.engine.run(10)).toBe(ExitCode.halt);
    expect(guest.get("rip")).toBe(BigInt(CODE + 5));
  });

  it("raise #GP for an operand of 16 bytes that is not aligned, before a page fault, unless the move allows it", () => {
    expect(runToHandler(prepared(MOVDQA, (guest) => guest.set("rdi", UNMAPPED + 8)))).toBe(Vector.generalProtection);
    // paddb xmm0,[rdi]
    const add = prepared([0x66, 0x0f, 0xfc, 0x07], (guest) => guest.set("rdi", DATA + 1));
    expect(runToHandler(add)).toBe(Vector.generalProtection);
    // movdqu xmm0,[rdi]; pcmpistri xmm0,[rdi],0
    const allowed = prepared([0xf3, 0x0f, 0x6f, 0x07, 0x66, 0x0f, 0x3a, 0x63, 0x07, 0x00], (guest) =>
      guest.set("rdi", DATA + 1),
    );
    expect(allowed.engine.run(10)).toBe(ExitCode.halt);
    expect(allowed.get("rip")).toBe(BigInt(CODE + 11));
  });

  it("make all registers of the x87 full with MMX, TOP 0, and sign and exponent of the written one all ones", () => {
    const guest = prepared(PADDB_MMX, (guest) => {
      guest.set("fsw", 5 << 11);
      guest.set("fpuTags", 0);
      guest.set("fpr0", 0x0102n);
      guest.set("fpr1", 0x0101n);
    });
    expect(guest.engine.run(10)).toBe(ExitCode.halt);
    expect([guest.get("fpr0"), guest.get("fpr1"), guest.get("fpuTags"), guest.get("fsw")]).toEqual([
      (0xffffn << 64n) | 0x0203n,
      0x0101n,
      0xffn,
      0n,
    ]);
  });

  it("report an inexact sum once, and give it from the host's arithmetic afterwards as before", () => {
    const guest = prepared([...ADDSD, ...ADDSD], (guest) => {
      guest.set("xmm0", (7n << 64n) | doubleBits(0.1));
      guest.set("xmm1", doubleBits(0.2));
    });
    expect(guest.engine.run(10)).toBe(ExitCode.halt);
    expect([guest.get("xmm0"), guest.get("mxcsr")]).toEqual([(7n << 64n) | doubleBits(0.1 + 0.2 + 0.2), 0x1fa0n]);
  });

  it.each([
    ["#XM", Cr4.OSXMMEXCPT, Vector.simdFloat],
    ["#UD, without CR4.OSXMMEXCPT,", 0, Vector.invalidOpcode],
  ] as const)("raise %s for a float exception that has a handler, which is told in MXCSR", (_what, enabled, vector) => {
    const guest = prepared(ADDSD, (guest) => {
      withCr("cr4", enabled, Cr4.OSXMMEXCPT)(guest);
      guest.set("mxcsr", 0x0f80);
      guest.set("xmm0", doubleBits(0.1));
      guest.set("xmm1", doubleBits(0.2));
    });
    expect(runToHandler(guest)).toBe(vector);
    expect([guest.get("xmm0"), guest.get("mxcsr")]).toEqual([doubleBits(0.1), 0x0fa0n]);
    expect(frameOf(guest, false)["rip"]).toBe(BigInt(CODE));
  });

  it("report only what comes before the operation where one of that has a handler", () => {
    // divpd xmm0,xmm1: 1 / 0 and 1 / 3.
    const guest = prepared([0x66, 0x0f, 0x5e, 0xc1], (guest) => {
      withCr("cr4", Cr4.OSXMMEXCPT)(guest);
      guest.set("mxcsr", 0x1d80);
      guest.set("xmm0", (doubleBits(1) << 64n) | doubleBits(1));
      guest.set("xmm1", doubleBits(3) << 64n);
    });
    expect(runToHandler(guest)).toBe(Vector.simdFloat);
    expect(guest.get("mxcsr")).toBe(0x1d84n);
  });

  it("store the bytes that MASKMOVDQU's mask has, and look at no memory without one", () => {
    const code = [0x66, 0x0f, 0xf7, 0xc1];
    const guest = prepared(code, (guest) => {
      guest.set("xmm0", 0x1111_2222_3333_4444n);
      guest.set("xmm1", 0x8000_0000_0000_0080n);
      guest.setWord64(DATA, 0n);
    });
    expect(guest.engine.run(10)).toBe(ExitCode.halt);
    expect(guest.word64(DATA)).toBe(0x1100_0000_0000_0044n);
    const none = prepared(code, (guest) => guest.set("rdi", UNMAPPED));
    expect(none.engine.run(10)).toBe(ExitCode.halt);
    expect(none.get("rip")).toBe(BigInt(CODE + 5));
  });

  it("refuse a reserved bit of MXCSR", () => {
    const guest = prepared([0x0f, 0xae, 0x17], (guest) => guest.setWord64(DATA, 0x1_1f80n));
    expect(runToHandler(guest)).toBe(Vector.generalProtection);
    expect(guest.get("mxcsr")).toBe(0x1f80n);
  });
});

describe("the XSAVE family", () => {
  const SAVE = [0x48, 0x0f, 0xae, 0x27];
  const SAVE_COMPACT = [0x48, 0x0f, 0xc7, 0x27];
  const RESTORE = [0x48, 0x0f, 0xae, 0x2f];
  const HEADER = DATA + 512;

  function prepared(code: readonly number[], components = 3): Machine {
    const guest = machine([...code, HLT]);
    guest.set("cr4", guest.get("cr4") | BigInt(Cr4.OSXSAVE));
    guest.set("xcr0", 3);
    guest.set("rdi", DATA);
    guest.set("rax", components);
    guest.set("rdx", 0);
    return guest;
  }

  it("needs CR4.OSXSAVE, alignment to 64 bytes, and CR0.TS clear", () => {
    const without = prepared(SAVE);
    without.set("cr4", without.get("cr4") & ~BigInt(Cr4.OSXSAVE));
    expect(runToHandler(without)).toBe(Vector.invalidOpcode);
    const crooked = prepared(SAVE);
    crooked.set("rdi", DATA + 16);
    expect(runToHandler(crooked)).toBe(Vector.generalProtection);
    const lazy = prepared(SAVE);
    lazy.set("cr0", lazy.get("cr0") | BigInt(Cr0.TS));
    expect(runToHandler(lazy)).toBe(Vector.deviceNotAvailable);
  });

  it.each([
    ["XSAVE", SAVE, 7n, 5n],
    ["XSAVEC", SAVE_COMPACT, 3n, (1n << 63n) | 3n],
  ] as const)("%s and XRSTOR bring back x87 and SSE", (_name, save, state, format) => {
    const guest = prepared(save);
    guest.setWord64(HEADER, 4n);
    guest.setWord64(HEADER + 8, 5n);
    guest.set("xmm3", ONES);
    guest.set("fpr2", 0x1_2345n);
    guest.set("fpuTags", 4);
    guest.set("mxcsr", 0x1fbf);
    expect(guest.engine.run(10)).toBe(ExitCode.halt);
    expect([guest.word64(HEADER), guest.word64(HEADER + 8)]).toEqual([state, format]);
    guest.setWord64(HEADER, 3n);
    if (save === SAVE) guest.setWord64(HEADER + 8, 0n);
    guest.place(CODE, [...RESTORE, HLT]);
    for (const name of ["xmm3", "fpr2", "fpuTags"]) guest.set(name, 0);
    guest.set("mxcsr", 0x1f80);
    guest.set("rip", CODE);
    expect(guest.engine.run(10)).toBe(ExitCode.halt);
    expect(["xmm3", "fpr2", "fpuTags", "mxcsr"].map((name) => guest.get(name))).toEqual([ONES, 0x1_2345n, 4n, 0x1fbfn]);
  });

  it("initialises a component that XSTATE_BV has not, and keeps one that is not asked for", () => {
    const guest = prepared(RESTORE, 1);
    guest.set("xmm3", ONES);
    guest.set("fpuTags", 0xff);
    guest.set("fcw", 0x27f);
    expect(guest.engine.run(10)).toBe(ExitCode.halt);
    expect([guest.get("xmm3"), guest.get("fpuTags"), guest.get("fcw")]).toEqual([ONES, 0n, 0x37fn]);
  });

  it.each([
    ["a component that is not enabled", 4n, 0n],
    ["the standard format with XCOMP_BV", 0n, 1n],
    ["a component that XCOMP_BV has not", 2n, (1n << 63n) | 1n],
  ] as const)("XRSTOR refuses %s", (_what, state, format) => {
    const guest = prepared(RESTORE);
    guest.setWord64(HEADER, state);
    guest.setWord64(HEADER + 8, format);
    guest.set("xmm3", ONES);
    expect(runToHandler(guest)).toBe(Vector.generalProtection);
    expect(guest.get("xmm3")).toBe(ONES);
  });

  it("reads and writes XCR0, which always has the x87", () => {
    const guest = prepared([0x0f, 0x01, 0xd1, 0x0f, 0x01, 0xd0], 1);
    guest.set("rcx", 0);
    expect(guest.engine.run(10)).toBe(ExitCode.halt);
    expect([guest.get("xcr0"), guest.get("rax"), guest.get("rdx")]).toEqual([1n, 1n, 0n]);
    const none = prepared([0x0f, 0x01, 0xd1], 2);
    none.set("rcx", 0);
    expect(runToHandler(none)).toBe(Vector.generalProtection);
  });
});

describe("the text of vector and x87 instructions", () => {
  /** Bytes, and what binutils prints for them (Intel syntax). */
  const DISASSEMBLY: readonly (readonly [string, string])[] = [
    ["66 0f fc 07", "paddb xmm0,XMMWORD PTR [rdi]"],
    ["0f fc c1", "paddb mm0,mm1"],
    ["f3 45 0f 6f 0f", "movdqu xmm9,XMMWORD PTR [r15]"],
    ["0f 60 07", "punpcklbw mm0,DWORD PTR [rdi]"],
    ["66 48 0f 6e c0", "movq xmm0,rax"],
    ["66 0f 7e 07", "movd DWORD PTR [rdi],xmm0"],
    ["66 0f d7 c1", "pmovmskb eax,xmm1"],
    ["66 0f 73 d9 03", "psrldq xmm1,0x3"],
    ["66 0f 70 c1 1b", "pshufd xmm0,xmm1,0x1b"],
    ["f2 0f c2 c1 01", "cmpltsd xmm0,xmm1"],
    ["f2 48 0f 2c c1", "cvttsd2si rax,xmm1"],
    ["66 0f 3a 63 07 0c", "pcmpistri xmm0,XMMWORD PTR [rdi],0xc"],
    ["66 0f 3a 0b c1 09", "roundsd xmm0,xmm1,0x9"],
    ["48 0f ae 0f", "fxrstor64 [rdi]"],
    ["d8 c3", "fadd st,st(3)"],
    ["de e9", "fsubp st(1),st"],
    ["da 3f", "fidivr DWORD PTR [rdi]"],
    ["df 7f 08", "fistp QWORD PTR [rdi+0x8]"],
    ["db ea", "fucomi st,st(2)"],
    ["d9 e8", "fld1"],
    ["df e0", "fnstsw ax"],
    ["dd 37", "fnsave [rdi]"],
    ["9b", "fwait"],
  ];
  const engine = new Engine(x86Cpu, { ramBase: 0, ramBytes: 4096, vcpuCount: 1 });

  it.each(DISASSEMBLY)("%s is %s", (bytes, text) => {
    const code = bytes.split(" ").map((byte) => Number.parseInt(byte, 16));
    const decoded = engine.decodeBytes(
      Uint8Array.from([...code, ...Array.from({ length: 15 - code.length }, () => 0)]),
      0,
    );
    expect(decoded?.instruction.text(decoded.fields as DecodedFields as never, BigInt(CODE))).toBe(text);
    expect(decoded?.length).toBe(code.length);
  });
});
