/** KVM_SET_GUEST_DEBUG: it shows the guest and changes nothing of it (Documentation/virt/kvm/api.rst, 4.87). */
import { expect } from "@jest/globals";
import { Psci } from "./function-ids.js";
import { hvc, moveImmediate, nop, spin } from "./instructions.js";
import { CODE, type Program, touchDevice } from "./program.js";
import { type Row, testRows } from "./rows.js";

const STEP = 0xca00_0022;
const BREAKPOINT = 0xc200_0022;

function stopAt(p: Program): number {
  const run = p.run();
  if (run.exitReason !== "DEBUG") throw new Error(run.exitReason);
  expect(run.debug.far).toBe(p.vcpu.getOneReg("pc"));
  return (Number(run.debug.far) - CODE) / 4;
}

function exitReasons(p: Program, count: number): string[] {
  return Array.from({ length: count }, () => p.run().exitReason);
}

const rows: readonly Row[] = [
  [
    "single step",
    "stops behind every instruction, taken branches and hypercalls too",
    (p) => {
      p.load([nop, ...spin(2n), ...moveImmediate(0, BigInt(Psci.version)), hvc(0), nop, ...touchDevice]);
      p.session.setGuestDebug({ singleStep: true });
      expect(Array.from({ length: 9 }, () => stopAt(p))).toEqual([1, 2, 3, 2, 3, 4, 5, 6, 7]);
      expect(p.vcpu.getOneReg("x0")).toBe(0x1_0003n);
    },
  ],
  [
    "single step",
    "is a software step to the syndrome, and leaves for a device as ever",
    (p) => {
      p.load([nop, ...touchDevice, nop]);
      p.session.setGuestDebug({ singleStep: true });
      expect(p.run()).toMatchObject({ exitReason: "DEBUG", debug: { hsr: STEP } });
      const { length } = touchDevice;
      expect(exitReasons(p, length + 1)).toEqual([...Array(length - 1).fill("DEBUG"), "MMIO", "DEBUG"]);
      expect(p.vcpu.getOneReg("pc")).toBe(BigInt(CODE + 4 * (1 + length)));
    },
  ],
  [
    "breakpoint",
    "stops in front of its instruction, each time round",
    (p) => {
      p.load([...spin(3n), ...touchDevice]);
      p.session.setGuestDebug({ breakpoint: BigInt(CODE + 4) });
      expect(p.run()).toMatchObject({ exitReason: "DEBUG", debug: { hsr: BREAKPOINT, far: BigInt(CODE + 4) } });
      expect(p.vcpu.getOneReg("x9")).toBe(3n);
      expect(stopAt(p)).toBe(1);
      expect(stopAt(p)).toBe(1);
      expect(p.vcpu.getOneReg("x9")).toBe(1n);
      expect(p.run().exitReason).toBe("MMIO");
    },
  ],
  [
    "breakpoint",
    "that is taken away stops nobody",
    (p) => {
      p.load([...spin(3n), ...touchDevice]);
      p.session.setGuestDebug({ breakpoint: BigInt(CODE + 4) });
      expect(stopAt(p)).toBe(1);
      p.session.setGuestDebug({});
      expect(p.run().exitReason).toBe("MMIO");
    },
  ],
  [
    "breakpoint",
    "in front of a device access comes before its exit",
    (p) => {
      const { length } = touchDevice;
      p.load([...touchDevice, nop, ...touchDevice]);
      p.session.setGuestDebug({ breakpoint: BigInt(CODE + 4 * (length - 1)) });
      expect(exitReasons(p, 3)).toEqual(["DEBUG", "MMIO", "MMIO"]);
    },
  ],
  [
    "debug",
    "changes nothing: the guest comes to its exit at the same count",
    (p) => {
      const counts = [{}, { singleStep: true }, { breakpoint: BigInt(CODE + 4) }].map((debug) => {
        const other = p.another();
        other.load([...spin(5n), ...touchDevice]);
        other.session.setGuestDebug(debug);
        while (other.run().exitReason === "DEBUG");
        return other.session.recorder.machine.icount;
      });
      expect(new Set(counts).size).toBe(1);
    },
  ],
];

testRows("guest debug", rows);
