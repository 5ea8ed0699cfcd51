import { describe, expect, it } from "@jest/globals";
import * as a from "../isa/testing/encodings.js";
import { CODE, DATA, type Guest, guest, runOn, VECTOR_SYNCHRONOUS, VECTORS } from "./testing/guest.js";
import * as p from "./testing/programs.js";

/** icount at which the kernel half first looks. */
const FIRST_LOOK = 2 ** 20;
const LIMIT = 2 ** 20 + 100;
const VECTOR = VECTORS + VECTOR_SYNCHRONOUS;
/** An address beyond what the CPU can have. */
const NOWHERE = 1n << 50n;
const STP_PRE_INDEXED_SP = 0xa9bf_07e0;
const LDR_LITERAL = 0x5800_8001;
const WRITE_DAIF_FROM_X3 = a.msr("DAIF", 3);

/** `handler` at the vector for exceptions at EL1, entered by an undefined instruction. */
function faulting(handler: readonly number[]): Guest {
  const it = guest([a.udf]);
  it.place(VECTOR, handler);
  return it;
}

function stopOf({ kernel }: Guest, step?: () => number): readonly [string, number, string | undefined] {
  const { stop } = runOn(kernel, { limit: LIMIT, ...(step === undefined ? {} : { step }) });
  return [stop, kernel.icount, kernel.stuckReason];
}

const hex = (value: number | bigint): string => `0x${value.toString(16)}`;
const undefinedAt = (place: number): string =>
  `vcpu0 takes the same exception for ever: undefined instruction at ${hex(place)}, vector ${hex(VECTOR)}, esr_el1 0x2000000`;

describe("a guest that can't go on", () => {
  it.each([
    ["faults in the first word of its vector", faulting([a.udf]), undefinedAt(VECTOR)],
    [
      "faults a few instructions into its vector",
      faulting([a.nop, ...a.moveImmediate(3, 5n), a.udf]),
      `${undefinedAt(VECTOR + 8)}, every 3 units`,
    ],
    [
      "can't save registers on its stack",
      ((): Guest => {
        const it = faulting([STP_PRE_INDEXED_SP]);
        it.kernel.writeRegister(0, "sp", NOWHERE);
        return it;
      })(),
      `vcpu0 takes the same exception for ever: data abort at ${hex(VECTOR)}, vector ${hex(VECTOR)}, esr_el1 0x96000040, far_el1 ${hex(NOWHERE - 16n)}`,
    ],
    [
      "has a misaligned stack pointer",
      ((): Guest => {
        const it = faulting([STP_PRE_INDEXED_SP]);
        it.kernel.writeRegister(0, "sp", BigInt(DATA + 8));
        return it;
      })(),
      `vcpu0 takes the same exception for ever: SP alignment fault at ${hex(VECTOR)}, vector ${hex(VECTOR)}, esr_el1 0x9a000000`,
    ],
    [
      "returns to what faults",
      faulting([a.eret]),
      `vcpu0 takes the same exception for ever: undefined instruction at ${hex(CODE)}, vector ${hex(VECTOR)}, esr_el1 0x2000000, every 2 units`,
    ],
    [
      "branches to itself",
      guest([a.nop, a.branch(0)]),
      `vcpu0 branches to itself at ${hex(CODE + 4)} with interrupts masked`,
    ],
    [
      "goes round in a loop",
      guest([a.nop, a.nop, a.wfe, a.branch(-12)]),
      /^vcpu0 repeats the same 4 instructions for ever, at 0x4000100[048c], with interrupts masked$/,
    ],
    [
      "goes round unmasked while no interrupt is enabled",
      guest([a.daifClear(2), a.branch(0)]),
      `vcpu0 branches to itself at ${hex(CODE + 4)} with no interrupt that could come`,
    ],
    [
      "polls for an interrupt that none can be",
      guest([a.mrs(1, "ISR_EL1"), a.branch(-4)]),
      /^vcpu0 repeats the same 2 instructions/,
    ],
  ])("is found when it %s", (_what, it, reason) => {
    const [stop, icount, found] = stopOf(it);
    expect([stop, icount]).toEqual(["stuck", FIRST_LOOK]);
    if (typeof reason === "string") expect(found).toBe(reason);
    else expect(found).toMatch(reason);
    expect(it.kernel.run(3_000_000)).toBe("stuck");
  });

  it("is found at the same place however often an observer stops it, and the look leaves no trace", () => {
    let units = 0;
    const stepping = (): number => (units = (units % 70_000) + 997);
    const [often, once] = [faulting([a.nop, a.udf]), faulting([a.nop, a.udf])];
    expect(stopOf(often, stepping)).toEqual(stopOf(once));
    expect(often.kernel.save()).toEqual(once.kernel.save());
  });
});

/** Opens the GIC for SPI 1, and nothing else. */
const openSpi = [
  ...p.poke32(p.GICD, 0x12),
  ...p.poke32(p.GICD + 0x104, 2),
  ...a.moveImmediate(2, 0xf0n),
  a.msr("ICC_PMR_EL1", 2),
  ...a.moveImmediate(2, 1n),
  a.msr("ICC_IGRPEN1_EL1", 2),
];

describe("a guest that may go on is let be", () => {
  it.each<readonly [string, Guest]>([
    ["waits unmasked for a device's interrupt", guest([...openSpi, a.daifClear(2), a.branch(0)])],
    ["waits unmasked for its timer", guest([...p.openTimerInterrupt(), ...p.startTimer(2 ** 30), a.branch(0)])],
    ["polls ISR_EL1 for a device's interrupt", guest([...openSpi, a.mrs(1, "ISR_EL1"), a.branch(-4)])],
    [
      "unmasks once a round",
      guest([...openSpi, ...a.moveImmediate(3, 0x3c0n), a.daifClear(2), WRITE_DAIF_FROM_X3, a.branch(-8)]),
    ],
    [
      "polls memory, which a device may write",
      guest([...a.moveImmediate(1, BigInt(DATA)), a.load(2, 1), a.branch(-4)]),
    ],
    ["polls memory near pc", guest([LDR_LITERAL, a.branch(-4)])],
    ["counts", guest([p.increment(1), a.branch(-4)])],
    ["counts in memory", guest([...a.moveImmediate(1, BigInt(DATA)), a.store(2, 1), p.increment(2), a.branch(-8)])],
    ["clears memory", guest([...a.moveImmediate(1, BigInt(DATA)), a.sys("dc zva", 1), a.branch(-4)])],
    ["watches the clock", guest([a.mrs(1, "CNTVCT_EL0"), a.branch(-4)])],
  ])("when it %s", (_what, it) => {
    expect(stopOf(it)).toEqual(["limit", LIMIT, undefined]);
  });
});
