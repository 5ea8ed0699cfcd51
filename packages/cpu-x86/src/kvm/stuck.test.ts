import { describe, expect, it } from "@jest/globals";
import * as a from "./testing/assembler.js";
import { CODE, DATA, type Guest, guest, runOn } from "./testing/guest.js";

/** icount at which the kernel half first looks. */
const FIRST_LOOK = 2 ** 20;
const LIMIT = 2 ** 20 + 100;
const SPURIOUS = 0xfee0_00f0;
const SPURIOUS_ENABLED = 0x1ff;
const LINT0 = 0xfee0_0350;
const LVT_MASKED = 0x1_0000;

function stopOf({ kernel }: Guest, step?: () => number): readonly [string, number] {
  const { stop } = runOn(kernel, { limit: LIMIT, ...(step === undefined ? {} : { step }) });
  return [stop, kernel.icount];
}

/** JMP rel8, from its own start. */
const jump = (distance: number): number[] => [0xeb, (distance - 2) & 0xff];
/** DEC ecx; JNZ back to it: goes on below once ECX is 0. */
const countDown = [0xff, 0xc9, 0x75, 0xfc];
const xorEaxEax = [0x31, 0xc0];
const cmpEaxOne = [0x83, 0xf8, 0x01];
/** JNE rel8, from its own start. */
const jumpUnequal = (distance: number): number[] => [0x75, (distance - 2) & 0xff];
const pushPop = [0x50, 0x58];
const loadEax = [0x8b, 0x04, 0x25, ...[0, 0, 3, 0]];
const flush = [0x0f, 0x20, 0xd8, 0x0f, 0x22, 0xd8];
const hex = (value: number): string => `0x${value.toString(16)}`;

/** Nothing can interrupt it: no line of the PIC, and the APIC is as it was at reset, disabled by software. */
const nothingComes = a.store(LINT0, LVT_MASKED);

describe("a guest that can't go on", () => {
  it.each<readonly [string, Guest, string | RegExp]>([
    [
      "branches to itself",
      guest([...a.nop, ...a.spin]),
      `vcpu0 branches to itself at ${hex(CODE + 1)} with interrupts off`,
    ],
    [
      "branches to itself by a long way",
      guest([0xe9, 0xfb, 0xff, 0xff, 0xff]),
      `vcpu0 branches to itself at ${hex(CODE)} with interrupts off`,
    ],
    [
      "pauses between",
      guest([...a.pause, ...jump(-2)]),
      /^vcpu0 repeats the same 2 instructions for ever, at 0x1000[02], with interrupts off$/,
    ],
    [
      "asks its registers again and again",
      guest([...xorEaxEax, ...cmpEaxOne, ...jumpUnequal(-5)]),
      /^vcpu0 repeats the same 3 instructions for ever, at 0x1000[025], with interrupts off$/,
    ],
    [
      "switches interrupts off and goes round",
      guest([...a.cli, ...a.nop, ...a.nop, ...jump(-3)]),
      /^vcpu0 repeats the same 4 instructions for ever/,
    ],
    [
      "goes round with interrupts on while no interrupt could come",
      guest([...nothingComes, ...a.sti, ...a.spin]),
      `vcpu0 branches to itself at ${hex(CODE + nothingComes.length + 1)} with no interrupt that could come`,
    ],
  ])("is found when it %s", (_what, it, reason) => {
    const [stop, icount] = stopOf(it);
    expect(icount).toBe(FIRST_LOOK);
    if (typeof reason === "string") expect(stop).toBe(reason);
    else expect(stop).toMatch(reason);
    expect(it.kernel.run(3_000_000)).toBe("stuck");
  });

  it("is found at the same place however often an observer stops it, and the look leaves no trace", () => {
    let units = 0;
    const stepping = (): number => (units = (units % 70_000) + 997);
    const make = (): Guest => guest([...xorEaxEax, ...cmpEaxOne, ...jumpUnequal(-5)]);
    const [often, once] = [make(), make()];
    expect(stopOf(often, stepping)).toEqual(stopOf(once));
    expect(often.kernel.save()).toEqual(once.kernel.save());
  });
});

describe("a guest that may go on is let be", () => {
  it.each<readonly [string, Guest]>([
    [
      "waits for an interrupt of its local APIC",
      guest([...a.store(SPURIOUS, SPURIOUS_ENABLED), ...a.store(LINT0, LVT_MASKED), ...a.sti, ...a.spin]),
    ],
    ["waits for an interrupt of the PIC", guest([...a.sti, ...a.spin])],
    ["polls memory, which a device may write", guest([...loadEax, ...jump(-loadEax.length)])],
    ["counts", guest([...a.move("ecx", -1 >>> 0), ...countDown])],
    ["counts in memory", guest([...a.increment(DATA), ...jump(-7)])],
    ["uses its stack", guest([...pushPop, ...jump(-2)])],
    ["watches the clock", guest([...a.rdtsc, ...jump(-2)])],
    ["writes a control register", guest([...flush, ...jump(-flush.length)])],
    ["steps by itself", guest([0x9c, 0x81, 0x0c, 0x24, 0, 1, 0, 0, 0x9d, ...a.spin])],
  ])("when it %s", (_what, it) => {
    it.setGate(1, CODE + 0x800);
    it.place(CODE + 0x800, a.iret);
    expect(stopOf(it)).toEqual(["limit", LIMIT]);
  });
});
