/** Hyper-V's clock, timers and SynIC on x86. Hyper-V TLFS, "Timers", "Virtual Interrupts"; arch/x86/kvm/hyperv.c. */
import { expect } from "@jest/globals";
import { identify, putWords, wordAt } from "./hyperv-calls.js";
import { move, readMsr, spin, storeRax, writeMsr } from "./instructions.js";
import { DATA, errno, outcomeOf, type Program } from "./program.js";
import { type Row, testRows } from "./rows.js";

const M = {
  time: 0x4000_0020,
  referenceTsc: 0x4000_0021,
  control: 0x4000_0080,
  messagePage: 0x4000_0083,
  endOfMessage: 0x4000_0084,
  sint0: 0x4000_0090,
  timerConfig: 0x4000_00b0,
  timerCount: 0x4000_00b1,
  reenlightenment: 0x4000_0106,
  emulationControl: 0x4000_0107,
} as const;
const PAGE = BigInt(DATA);
const MESSAGES = DATA + 0x1000;
const ENABLED = 1n;
const SECOND_UNITS = 10_000_000n;
const TSC_HZ = 1_000_000_000n;
const SECOND_NS = 1_000_000_000n;

function enablePage(it: Program): void {
  identify(it);
  expect(it.writeMsr(M.referenceTsc, PAGE | ENABLED)).toBe("done");
}

/** Sequence, scale, offset. */
function page(it: Program): bigint[] {
  return [wordAt(it, DATA) & 0xffff_ffffn, wordAt(it, DATA + 8), BigInt.asIntN(64, wordAt(it, DATA + 16))];
}

function pageTime(it: Program, counter: bigint): bigint {
  const [, scale = 0n, offset = 0n] = page(it);
  return ((counter * scale) >> 64n) + offset;
}

/** RDTSC into RAX whole, in the middle of other instructions. */
const readCounter = [0x0f, 0x31, 0x48, 0xc1, 0xe2, 0x20, 0x48, 0x09, 0xd0];
/** EDX:EAX as one in RAX. */
const joined = [0x48, 0xc1, 0xe2, 0x20, 0x48, 0x09, 0xd0];
const enableApic = [...move("rax", 0xfee0_00f0), 0xc7, 0x00, 0xff, 0x01, 0, 0];
const TIMER_VECTOR = 0x1d;
const MESSAGE_VECTOR = 0x1e;
const TIMER_EXPIRED = 0x8000_0010n;

/** Enables the SynIC with SINT2 at a vector, and its message page. */
const enableSynic = [
  ...enableApic,
  ...writeMsr(M.control, 1n),
  ...writeMsr(M.messagePage, BigInt(MESSAGES) | ENABLED),
  ...writeMsr(M.sint0 + 2, BigInt(MESSAGE_VECTOR)),
];
/** Timer 0 expires once after a millisecond of reference time, by a message in SINT2 or directly. */
const timerAt = (at: bigint, config: bigint): number[] => [
  ...writeMsr(M.timerConfig, config),
  ...writeMsr(M.timerCount, at),
];
const autoMessage = (2n << 16n) | 8n;
const autoDirect = (BigInt(TIMER_VECTOR) << 4n) | (1n << 12n) | 8n;

/** Runs to the first exit that tells something of the guest; told of the SynIC's registers on the way. */
function told(it: Program): string | undefined {
  for (;;) {
    const run = it.run();
    if (run.exitReason !== "HYPERV") return outcomeOf(run);
    expect(run.hyperv.type).toBe(1);
  }
}

const rows: readonly Row[] = [
  [
    "I01",
    "TIME_REF_COUNT goes as the time-stamp counter does, within 1 %",
    (it) => {
      const both = (at: number): number[] => [
        ...readMsr(M.time),
        ...joined,
        ...storeRax(at),
        ...readCounter,
        ...storeRax(at + 8),
      ];
      const wait = [...move("rcx", 200_000), 0x48, 0xff, 0xc9, 0x75, 0xfb];
      expect(it.outcome([...both(DATA), ...wait, ...both(DATA + 16)])).toBe("done");
      const units = wordAt(it, DATA + 16) - wordAt(it, DATA);
      const ticks = wordAt(it, DATA + 24) - wordAt(it, DATA + 8);
      expect(Math.abs(Number(units * TSC_HZ) / Number(ticks * SECOND_UNITS) - 1)).toBeLessThan(0.01);
    },
  ],
  [
    "I02",
    "the reference TSC page stays zero until it is enabled",
    (it) => {
      expect(it.writeMsr(M.referenceTsc, PAGE)).toBe("done");
      expect(page(it)).toEqual([0n, 0n, 0n]);
    },
  ],
  [
    "I03",
    "enabled: its sequence is not 0, and its time is no more than the MSR's and less than 10 ms before it",
    (it) => {
      enablePage(it);
      expect(page(it)[0]).not.toBe(0n);
      expect(
        it.outcome([
          ...readCounter,
          ...storeRax(DATA + 0x800),
          ...readMsr(M.time),
          ...joined,
          ...storeRax(DATA + 0x808),
        ]),
      ).toBe("done");
      const later = wordAt(it, DATA + 0x808) - pageTime(it, wordAt(it, DATA + 0x800));
      expect(later >= 0n && later < SECOND_UNITS / 100n).toBe(true);
    },
  ],
  [
    "I04",
    "KVM_SET_CLOCK changes the page, and both clocks with it",
    (it) => {
      enablePage(it);
      const before = page(it);
      const clock = it.vm.getClock();
      it.vm.setClock(clock + 5n * SECOND_NS);
      expect(page(it)[2]).toBe((before[2] ?? 0n) + 5n * SECOND_UNITS);
      expect(it.vm.getClock() - clock).toBe(5n * SECOND_NS);
      expect(Number(it.readMsr(M.time)) * 100).toBeGreaterThanOrEqual(Number(clock + 5n * SECOND_NS) - 100);
    },
  ],
  [
    "I05",
    "with TSC emulation on, the page keeps its scale and offset over KVM_SET_CLOCK",
    (it) => {
      enablePage(it);
      expect(it.writeMsr(M.reenlightenment, 0x1_00eeen)).toBe("done");
      expect(it.writeMsr(M.emulationControl, 1n)).toBe("done");
      const before = page(it);
      it.vm.setClock(it.vm.getClock() + 5n * SECOND_NS);
      expect(page(it)).toEqual(before);
      expect(Number(it.readMsr(M.time))).toBeLessThan(Number(SECOND_UNITS));
      expect(it.writeMsr(M.emulationControl, 0n)).toBe("done");
      it.vm.setClock(it.vm.getClock());
      expect(page(it)[2]).toBe((before[2] ?? 0n) + 5n * SECOND_UNITS);
    },
  ],
  [
    "I06",
    "disabled after use, the page is left alone",
    (it) => {
      enablePage(it);
      const before = page(it);
      expect(it.writeMsr(M.referenceTsc, PAGE)).toBe("done");
      it.vm.setClock(it.vm.getClock() + SECOND_NS);
      expect(page(it)).toEqual(before);
    },
  ],
  [
    "I07",
    "REFERENCE_TSC reads back, on and off",
    (it) => {
      enablePage(it);
      expect(it.readMsr(M.referenceTsc)).toBe(PAGE | ENABLED);
      expect(it.writeMsr(M.referenceTsc, 0n)).toBe("done");
      expect(it.readMsr(M.referenceTsc)).toBe(0n);
    },
  ],
  [
    "I08",
    "a timer's message comes to its SINT's slot and vector; the next waits for the slot, and EOM, which reads 0, lets it come",
    (it) => {
      identify(it);
      expect(errno(() => it.vcpu.enableCap({ cap: "HYPERV_SYNIC2" }))).toBe("0");
      it.load([...enableSynic, ...timerAt(10_000n, autoMessage), 0xfb, ...spin]);
      expect(told(it)).toBe(`exception ${MESSAGE_VECTOR}`);
      const slot = MESSAGES + 2 * 256;
      expect([wordAt(it, slot) & 0xffff_ffffn, wordAt(it, slot + 16) & 0xffff_ffffn]).toEqual([TIMER_EXPIRED, 0n]);
      // The slot is taken: the message is pending, and says so.
      expect(
        it.outcome([...timerAt(20_000n, autoMessage), ...move("rcx", 2_000_000), 0x48, 0xff, 0xc9, 0x75, 0xfb]),
      ).toBe("done");
      expect((wordAt(it, slot) >> 40n) & 1n).toBe(1n);
      putWords(it, slot, 0n);
      expect(it.writeMsr(M.endOfMessage, 0n)).toBe("done");
      expect(wordAt(it, slot) & 0xffff_ffffn).toBe(TIMER_EXPIRED);
      expect(it.readMsr(M.endOfMessage)).toBe(0n);
    },
  ],
  [
    "I09",
    "a timer in direct mode interrupts by its own vector",
    (it) => {
      identify(it);
      it.load([...enableApic, ...timerAt(10_000n, autoDirect), 0xfb, ...spin]);
      expect(told(it)).toBe(`exception ${TIMER_VECTOR}`);
    },
  ],
  [
    "I10",
    "direct mode is #GP where it is not offered, and enforced",
    (it) => {
      it.vcpu.enableCap({ cap: "HYPERV_ENFORCE_CPUID", args: [1n] });
      expect(it.writeMsr(M.timerConfig, autoDirect)).toBe("#GP");
      expect(it.writeMsr(M.timerConfig, autoMessage)).toBe("done");
    },
    { configuration: [["hv", "vpindex,synic,time,stimer"]] },
  ],
  [
    "I11",
    "what the VMM has set moves with the VM: the clock, VP indices, the debugger's registers",
    (it) => {
      enablePage(it);
      it.vm.setClock(it.vm.getClock() + 5n * SECOND_NS);
      const set = [
        [0x4000_0002, 5n],
        [0x4000_00f1, 0x11n],
        [0x4000_00f2, 0x12n],
        [0x4000_00f3, 0x13n],
        [0x4000_00f4, 0x14n],
        [0x4000_00f5, 0x15n],
        [0x4000_00ff, 4n],
      ] as const;
      const entries = set.map(([index, data]) => ({ index, data }));
      expect(it.vcpu.setMsrs(entries)).toBe(entries.length);
      const [clock, time] = [it.vm.getClock(), it.vcpu.getMsr(M.time)];
      const there = it.moved();
      expect(there.vcpu.getMsrs(set.map(([index]) => index))).toEqual(entries);
      expect([there.vm.getClock(), there.vcpu.getMsr(M.time)]).toEqual([clock, time]);
    },
  ],
];

testRows("group I, x86", rows, { configuration: [["hv", "all"]] });
