/**
 * Instructions that are easy to get wrong, on every way in which an instruction can be run: out of line, inline in the
 * interpreter, compiled, with small and large TLBs; and their programs as text, which all of these are generated from.
 */
import { describe, expect, it } from "@jest/globals";
import { cortexA57, vcpuState } from "@hvjournal/cpu-arm64";
import {
  elementOf,
  Engine,
  EngineExit,
  type EngineOptions,
  type ProfileEntry,
  programOf,
  programText,
} from "@hvjournal/engine";
import { createGuest } from "../testing/guest-recording.js";
import { recordingDirectory } from "../testing/recording-directory.js";
import {
  CODE,
  DATA,
  OTHER_DATA,
  OTHER_TABLES,
  READ_ONLY,
  SECOND,
  SystemMachine,
  UNMAPPED,
  USER_CODE,
  Vector,
} from "./system-machine.js";

/** The base is X1, data X3 and X4, results X0, X5 and the status W2, unless the name says otherwise. */
const Word = {
  "ldp x0, x5, [x1]": 0xa940_1420,
  "ldr x0, [x1, #8]!": 0xf840_8c20,
  "stp x3, x4, [x1, #16]!": 0xa981_1023,
  "str x3, [x1], #8": 0xf800_8423,
  "ldp q2, q3, [x1], #32": 0xacc1_0c22,
  "ldxp x0, x5, [x1]": 0xc87f_1420,
  "stxp w2, x3, x4, [x1]": 0xc822_1023,
  "ld4 {v0.4s-v3.4s}, [x1]": 0x4c40_0820,
  "ld4 {v0.16b-v3.16b}, [x1], #64": 0x4cdf_0020,
  "st4 {v0.4s-v3.4s}, [x1]": 0x4c00_0820,
  "dc zva, x1": 0xd50b_7421,
  "mrs x0, nzcv": 0xd53b_4200,
  "msr nzcv, x3": 0xd51b_4203,
  "mrs x0, tpidr_el1": 0xd538_d080,
  "msr tpidr_el1, x3": 0xd518_d083,
  "msr ttbr0_el1, x3": 0xd518_2003,
  "ldr x0, [x1]": 0xf940_0020,
  eret: 0xd69f_03e0,
  nop: 0xd503_201f,
  // Armv8.1.
  "cas x2, x3, [x1]": 0xc8a2_7c23,
  "casp x2, x3, x4, x5, [x1]": 0x4822_7c24,
  "ldadd x2, x3, [x1]": 0xf822_0023,
} as const;
type Assembly = keyof typeof Word;

/** Context of EL1 with nothing trapped. */
const CONTEXT_EL1 = 1;
const decoder = new Engine(cortexA57, { ramBase: 0x4000_0000, ramBytes: 0x1000, vcpuCount: 1 });

/** What stands inline in an interpreter whose profile is just these instructions. */
const profile: readonly ProfileEntry[] = Object.values(Word).flatMap((word) => {
  const decoded = decoder.decode(word, CONTEXT_EL1);
  if (decoded === undefined) return [];
  const { instruction, fields } = decoded;
  const form = Object.fromEntries(instruction.formFields.map((name) => [name, fields[name] ?? 0]));
  return [{ mnemonic: instruction.mnemonic, form }];
});

const ways: readonly (readonly [string, Partial<EngineOptions>])[] = (
  [
    ["out of line", {}],
    ["inline", { profile }],
    ["compiled", { tier: "blocks" as const }],
  ] as const
).flatMap(([name, options]) =>
  [16, 4096].map((tlbEntries) => [`${name}, TLB of ${tlbEntries}`, { ...options, tlbEntries }] as const),
);

/** ESR_EL1 of data aborts from EL1, without WnR. */
const Abort = { translation: 0x9600_0007n, permission: 0x9600_000fn, alignment: 0x9600_0021n } as const;
const WRITE = 1n << 6n;
const UNKNOWN = 0x0200_0000n;

const FIRST = 0x1111_2222_3333_4444n;
const LATER = 0x5555_6666_7777_8888n;

function bytesOf(...values: readonly bigint[]): Uint8Array {
  return new Uint8Array(BigUint64Array.from(values).buffer);
}

/** 0, 1, 2, ... from `start` on. */
function counting(count: number, start = 0): Uint8Array {
  return Uint8Array.from({ length: count }, (_, index) => start + index);
}

describe.each(ways)("A64, %s", (_way, options) => {
  const machine = new SystemMachine(options);

  /** Before a run: the words at `CODE`, X1 the base, marks in all that must stay as it is. */
  function prepare(assembly: readonly Assembly[], base: number): void {
    machine.reset(assembly.map((text) => Word[text]));
    for (let index = 0; index < 31; index++) machine.setX(index, BigInt(0xa000 + index));
    for (let index = 0; index < 32; index++)
      machine.engine.writeField(elementOf(vcpuState.v, index), BigInt(0xb000 + index));
    machine.setX(1, BigInt(base));
    machine.setX(3, FIRST);
    machine.setX(4, LATER);
  }

  /** Runs to the end of the words, one unit each. */
  function runAll(assembly: readonly Assembly[], base: number): void {
    prepare(assembly, base);
    finish(assembly.length);
  }

  function finish(units: number): void {
    expect(machine.run(units)).toEqual({ exit: EngineExit.budget, units });
    expect(machine.pc).toBe(CODE + 4 * units);
  }

  /** The one instruction faults: one unit for the exception, and no register but those of the exception has changed. */
  function expectFault(assembly: Assembly, base: number, fault: { esr: bigint; far?: number }): void {
    prepare([assembly], base);
    const general = Array.from({ length: 31 }, (_, index) => machine.x(index));
    const memory = machine.dataHash();
    expect(machine.run(1)).toEqual({ exit: EngineExit.budget, units: 1 });
    expect(machine.pc).toBe(Vector.sameLevel);
    expect(machine.get("esrEl1")).toBe(fault.esr);
    expect(machine.get("elrEl1")).toBe(BigInt(CODE));
    if (fault.far !== undefined) expect(machine.get("farEl1")).toBe(BigInt(fault.far));
    expect(Array.from({ length: 31 }, (_, index) => machine.x(index))).toEqual(general);
    for (let index = 0; index < 32; index++) expect(machine.v(index)).toBe(BigInt(0xb000 + index));
    expect(machine.dataHash()).toBe(memory);
  }

  it("LDP loads across two pages that lie apart, and from any byte", () => {
    for (const offset of [8, 1, 15]) {
      prepare(["ldp x0, x5, [x1]"], SECOND - offset);
      machine.writeData(SECOND - offset, bytesOf(FIRST, LATER));
      finish(1);
      expect([machine.x(0), machine.x(5)]).toEqual([FIRST, LATER]);
    }
  });

  it("LDP into a page that is not mapped loads neither register, and names the first byte that fails", () => {
    expectFault("ldp x0, x5, [x1]", UNMAPPED - 8, { esr: Abort.translation, far: UNMAPPED });
    expectFault("ldp x0, x5, [x1]", UNMAPPED + 8, { esr: Abort.translation, far: UNMAPPED + 8 });
    expectFault("ldp q2, q3, [x1], #32", UNMAPPED - 16, { esr: Abort.translation, far: UNMAPPED });
  });

  it("a store into a page that may not be written writes nothing to the page before", () => {
    expectFault("stp x3, x4, [x1, #16]!", READ_ONLY - 24, { esr: Abort.permission | WRITE, far: READ_ONLY });
  });

  it("a fault leaves the base of pre-index and post-index as it was", () => {
    expectFault("ldr x0, [x1, #8]!", UNMAPPED - 8, { esr: Abort.translation, far: UNMAPPED });
    expectFault("stp x3, x4, [x1, #16]!", READ_ONLY - 16, { esr: Abort.permission | WRITE, far: READ_ONLY });
    expectFault("str x3, [x1], #8", UNMAPPED, { esr: Abort.translation | WRITE, far: UNMAPPED });
  });

  it("pre-index and post-index move the base when all went well", () => {
    runAll(["stp x3, x4, [x1, #16]!"], SECOND - 24);
    expect(machine.x(1)).toBe(BigInt(SECOND - 8));
    expect(machine.readData(SECOND - 8, 16)).toEqual(bytesOf(FIRST, LATER));
    runAll(["str x3, [x1], #8"], SECOND - 4);
    expect(machine.x(1)).toBe(BigInt(SECOND + 4));
    expect(machine.readData(SECOND - 4, 8)).toEqual(bytesOf(FIRST));
  });

  it("STXP behind LDXP stores both words and gives 0", () => {
    runAll(["ldxp x0, x5, [x1]", "stxp w2, x3, x4, [x1]"], DATA + 0x20);
    expect([machine.x(0), machine.x(5), machine.x(2)]).toEqual([0n, 0n, 0n]);
    expect(machine.readData(DATA + 0x20, 16)).toEqual(bytesOf(FIRST, LATER));
  });

  it("STXP gives 1 and stores nothing: alone, a second time, and behind a write by a device", () => {
    runAll(["stxp w2, x3, x4, [x1]"], DATA + 0x20);
    expect([machine.x(2), machine.readData(DATA + 0x20, 16)]).toEqual([1n, new Uint8Array(16)]);
    runAll(["ldxp x0, x5, [x1]", "stxp w2, x3, x4, [x1]", "stxp w2, x3, x4, [x1]"], DATA + 0x20);
    expect(machine.x(2)).toBe(1n);
    prepare(["ldxp x0, x5, [x1]", "stxp w2, x3, x4, [x1]"], DATA + 0x20);
    finish(1);
    machine.writeData(DATA + 0x800, counting(4));
    expect(machine.run(1)).toEqual({ exit: EngineExit.budget, units: 1 });
    expect([machine.x(2), machine.readData(DATA + 0x20, 16)]).toEqual([1n, new Uint8Array(16)]);
  });

  it("STXP is aligned to both of its words, and to a page that is not writable it faults", () => {
    expectFault("stxp w2, x3, x4, [x1]", DATA + 8, { esr: Abort.alignment | WRITE, far: DATA + 8 });
    prepare(["ldxp x0, x5, [x1]", "stxp w2, x3, x4, [x1]"], READ_ONLY);
    machine.run(2);
    expect([machine.get("esrEl1"), machine.x(2)]).toEqual([Abort.permission | WRITE, 0xa002n]);
  });

  it.each(["cas x2, x3, [x1]", "casp x2, x3, x4, x5, [x1]", "ldadd x2, x3, [x1]"] as const)(
    "%s of Armv8.1 is undefined and is counted by its encoding",
    (assembly) => {
      const before = machine.engine.undefinedEncodings.get(Word[assembly]) ?? 0;
      expectFault(assembly, DATA, { esr: UNKNOWN });
      expect(machine.engine.undefinedEncodings.get(Word[assembly])).toBeGreaterThan(before);
    },
  );

  it("LD4 parts its structures into four vectors, also across pages, and ST4 puts them together again", () => {
    prepare(["ld4 {v0.4s-v3.4s}, [x1]"], SECOND - 28);
    machine.writeData(SECOND - 28, counting(64));
    finish(1);
    // Element e of vector n is word 4 * e + n: bytes 16 * e + 4 * n on.
    for (let vector = 0; vector < 4; vector++) {
      const bytes = [0, 1, 2, 3].flatMap((element) => [...counting(4, 16 * element + 4 * vector)]);
      expect(machine.v(vector)).toBe(bytes.reduceRight((sum, byte) => (sum << 8n) | BigInt(byte), 0n));
    }
    machine.setField(vcpuState.pc, BigInt(CODE));
    machine.place(CODE, [Word["st4 {v0.4s-v3.4s}, [x1]"]]);
    machine.setX(1, BigInt(SECOND - 60));
    finish(1);
    expect(machine.readData(SECOND - 60, 64)).toEqual(counting(64));
  });

  it("LD4 with post-index moves its base by all that it has loaded", () => {
    prepare(["ld4 {v0.16b-v3.16b}, [x1], #64"], DATA);
    machine.writeData(DATA, counting(64));
    finish(1);
    expect(machine.x(1)).toBe(BigInt(DATA + 64));
    expect([machine.v(0) & 0xffffn, machine.v(3) >> 120n]).toEqual([0x0400n, 63n]);
  });

  it("LD4 and ST4 that fault in their second page change no vector and no byte", () => {
    expectFault("ld4 {v0.4s-v3.4s}, [x1]", UNMAPPED - 32, { esr: Abort.translation, far: UNMAPPED });
    expectFault("ld4 {v0.16b-v3.16b}, [x1], #64", UNMAPPED - 1, { esr: Abort.translation, far: UNMAPPED });
    expectFault("st4 {v0.4s-v3.4s}, [x1]", READ_ONLY - 60, { esr: Abort.permission | WRITE, far: READ_ONLY });
  });

  it("DC ZVA zeroes the 64 bytes around its address and no others", () => {
    prepare(["dc zva, x1"], DATA + 0x7f);
    machine.writeData(DATA, counting(192, 1));
    finish(1);
    const expected = counting(192, 1).fill(0, 64, 128);
    expect(machine.readData(DATA, 192)).toEqual(expected);
  });

  it("DC ZVA faults as a write of its own address, into nothing", () => {
    expectFault("dc zva, x1", UNMAPPED + 0x35, { esr: Abort.translation | WRITE, far: UNMAPPED + 0x35 });
    expectFault("dc zva, x1", READ_ONLY + 0x40, { esr: Abort.permission | WRITE, far: READ_ONLY + 0x40 });
  });

  it("MSR and MRS carry NZCV in its four bits, and a system register whole", () => {
    runAll(["msr nzcv, x3", "mrs x0, nzcv"], DATA);
    expect(machine.x(0)).toBe(FIRST & 0xf000_0000n);
    prepare(["msr nzcv, x3", "mrs x0, nzcv"], DATA);
    machine.setX(3, 0xffff_ffff_f123_4567n);
    finish(2);
    expect(machine.x(0)).toBe(0xf000_0000n);
    runAll(["msr tpidr_el1, x3", "mrs x0, tpidr_el1"], DATA);
    expect(machine.x(0)).toBe(FIRST);
  });

  it("MSR of TTBR0_EL1 holds for the very next access", () => {
    prepare(["ldr x0, [x1]", "msr ttbr0_el1, x3", "ldr x0, [x1]"], DATA);
    machine.writeData(DATA, bytesOf(FIRST));
    machine.write64(OTHER_DATA, LATER);
    machine.setX(3, BigInt(OTHER_TABLES));
    finish(1);
    expect(machine.x(0)).toBe(FIRST);
    expect(machine.run(2).units).toBe(2);
    expect(machine.x(0)).toBe(LATER);
  });

  it("ERET to EL0 takes level, flags and stack pointer, and what EL0 may not read comes back as an exception", () => {
    prepare(["eret"], DATA);
    machine.place(USER_CODE, [Word["mrs x0, nzcv"], Word["mrs x0, tpidr_el1"]]);
    machine.set("elrEl1", BigInt(USER_CODE));
    machine.set("spsrEl1", 0x6000_0000n);
    machine.setField(vcpuState.sp, 0x1111n);
    machine.setField(vcpuState.spInactive, 0x2220n);
    expect(machine.run(1).units).toBe(1);
    expect(machine.pc).toBe(USER_CODE);
    expect(machine.engine.readField(vcpuState.exceptionLevel)).toBe(0n);
    expect(machine.engine.readField(vcpuState.sp)).toBe(0x2220n);
    expect(machine.run(2).units).toBe(2);
    expect(machine.x(0)).toBe(0x6000_0000n);
    expect(machine.pc).toBe(Vector.fromEl0);
    expect([machine.get("esrEl1"), machine.get("spsrEl1")]).toEqual([UNKNOWN, 0x6000_0000n]);
    expect(machine.get("elrEl1")).toBe(BigInt(USER_CODE + 4));
    expect(machine.engine.readField(vcpuState.sp)).toBe(0x1111n);
  });

  it("ERET to a level that is not there stays and makes the next instruction an illegal state exception", () => {
    prepare(["eret", "nop"], DATA);
    const EL2H = 9n;
    const IL = 1n << 20n;
    machine.set("elrEl1", BigInt(CODE + 4));
    machine.set("spsrEl1", 0x9000_0000n | EL2H);
    expect(machine.run(2).units).toBe(2);
    expect(machine.pc).toBe(Vector.sameLevel);
    expect(machine.get("esrEl1")).toBe((0x0en << 26n) | (1n << 25n));
    expect(machine.get("elrEl1")).toBe(BigInt(CODE + 4));
    expect(machine.get("spsrEl1") & (IL | 0xf000_0000n)).toBe(IL | 0x9000_0000n);
  });
});

describe("an undefined encoding", () => {
  const pathOf = recordingDirectory();

  it("is named with its count by the VM that met it", async () => {
    const bytes = new Uint8Array(Uint32Array.of(Word["cas x2, x3, [x1]"]).buffer);
    const recorder = createGuest({ kernel: { name: "flat", bytes, format: "flat" }, append: "" }, pathOf("cas"));
    await recorder.step({ units: 1 });
    recorder.finish({ index: false });
    expect([...recorder.machine.kernel.unimplemented()]).toEqual([[".inst 0xc8a27c23", 1]]);
  });
});

describe("the program of an instruction as text", () => {
  function textOf(assembly: Assembly): string[] {
    const decoded = decoder.decode(Word[assembly], CONTEXT_EL1);
    if (decoded === undefined) throw new Error(`${assembly} is undefined`);
    const { instruction, fields } = decoded;
    const form = Object.fromEntries(instruction.formFields.map((name) => [name, fields[name] ?? 0]));
    return programText(programOf(instruction, form), { layout: vcpuState.layout });
  }

  it.each<[Assembly, string[]]>([
    [
      "ldp x0, x5, [x1]",
      ["m0 = read 16 bytes at i64.add(u64[rn], offset)", "u64[rt] <- m0[0]:64", "u64[rt2] <- m0[8]:64", "next"],
    ],
    [
      "ldr x0, [x1, #8]!",
      ["t0 = i64.add(u64[rn], offset)", "m0 = read 8 bytes at t0", "u64[rt] <- m0[0]:64", "u64[rn] <- t0", "next"],
    ],
    [
      "stp x3, x4, [x1, #16]!",
      [
        "t0 = i64.add(u64[rn], offset)",
        "m0 = write 16 bytes at t0",
        "m0[0] <-64 u64[rt]",
        "m0[8] <-64 u64[rt2]",
        "u64[rn] <- t0",
        "next",
      ],
    ],
    [
      "stxp w2, x3, x4, [x1]",
      [
        "t0 = u64[rn]",
        "if i32.and(i32.wrap_i64(t0), 15)",
        "  raise alignmentFault(t0, 1)",
        "if i32.and(i64.eq(exclusiveAddress, t0), i32.eq(exclusiveBytes, 16))",
        "  m0 = write 16 bytes at t0",
        "  m0[0] <-64 u64[rt]",
        "  m0[8] <-64 u64[rt2]",
        "  u64[rs] <- 0",
        "else",
        "  u64[rs] <- 1",
        "exclusiveBytes <- 0",
        "next",
      ],
    ],
    [
      "ld4 {v0.4s-v3.4s}, [x1]",
      [
        "m0 = read 64 bytes at u64[rn]",
        "t0 = m0[0]:128",
        "t1 = m0[16]:128",
        "t2 = m0[32]:128",
        "t3 = m0[48]:128",
        "t4 = shuffle 0 1 2 3 8 9 10 11 16 17 18 19 24 25 26 27(t0, t1)",
        "t5 = shuffle 0 1 2 3 8 9 10 11 16 17 18 19 24 25 26 27(t2, t3)",
        "t6 = shuffle 4 5 6 7 12 13 14 15 20 21 22 23 28 29 30 31(t0, t1)",
        "t7 = shuffle 4 5 6 7 12 13 14 15 20 21 22 23 28 29 30 31(t2, t3)",
        "u128[vt0] <- shuffle 0 1 2 3 8 9 10 11 16 17 18 19 24 25 26 27(t4, t5)",
        "u128[vt1] <- shuffle 0 1 2 3 8 9 10 11 16 17 18 19 24 25 26 27(t6, t7)",
        "u128[vt2] <- shuffle 4 5 6 7 12 13 14 15 20 21 22 23 28 29 30 31(t4, t5)",
        "u128[vt3] <- shuffle 4 5 6 7 12 13 14 15 20 21 22 23 28 29 30 31(t6, t7)",
        "next",
      ],
    ],
    [
      "dc zva, x1",
      [
        "if i32.and(i32.eqz(exceptionLevel), i64.eqz(i64.and(sctlr_el1, 16384)))",
        "  raise systemRegisterTrap(iss)",
        "t0 = u64[source]",
        "m0 = write 1 bytes at t0",
        "m1 = write 64 bytes at i64.and(t0, -64)",
        "m0[0] <-8 0",
        ...[0, 8, 16, 24, 32, 40, 48, 56].map((offset) => `m1[${offset}] <-64 0`),
        "next",
      ],
    ],
    [
      "msr nzcv, x3",
      [
        "t0 = i32.shr_u(i32.wrap_i64(u64[source]), 28)",
        "flagN <- i64.shl(i64.extend_i32_u(t0), 60)",
        "flagZ <- i64.extend_i32_u(i32.xor(i32.and(i32.shr_u(t0, 2), 1), 1))",
        "flagC <- i32.and(i32.shr_u(t0, 1), 1)",
        "flagV <- i32.and(t0, 1)",
        "next",
      ],
    ],
  ])("of %s is what the interpreter and compiled code are made from", (assembly, lines) => {
    expect(textOf(assembly)).toEqual(lines);
  });

  it.each((Object.keys(Word) as Assembly[]).filter((assembly) => decoder.decode(Word[assembly], CONTEXT_EL1)))(
    "of %s checks all that can fail before it writes anything",
    (assembly) => {
      const lines = textOf(assembly);
      const firstWrite = lines.findIndex((line) => line.includes(" <-"));
      const lastCheck = lines.findLastIndex((line) => /\b(read|write) \d+ bytes|^ *raise |exit before/.test(line));
      if (firstWrite >= 0) expect(lastCheck).toBeLessThan(firstWrite);
    },
  );
});
