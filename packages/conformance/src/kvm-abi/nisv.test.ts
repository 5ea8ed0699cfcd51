/** KVM_EXIT_ARM_NISV: accesses that the syndrome does not describe are the VMM's (Documentation/virt/kvm/api.rst, 5 and 7.22). */
import type { KvmRun } from "@hvjournal/cpu-arm64";
import { expect } from "@jest/globals";
import { moveImmediate } from "./instructions.js";
import { CODE, DEVICE, type Program, touchDevice } from "./program.js";
import { type Row, testRows } from "./rows.js";

const CAP = "KVM_CAP_ARM_NISV_TO_USER";
const ISV = 1n << 24n;
const WRITE = 1n << 6n;
const BASE = 10;
/** CPACR_EL1.FPEN. */
const FLOATING_POINT_ON = 3n << 20n;
const X0 = 0x1111_2222_3333_4444n;
const X1 = 0x5555_6666_7777_8888n;
const V0 = 0x0102_0304_0506_0708_090a_0b0c_0d0e_0f10n;
const LOOKED_AT = ["x0", "x1", "x2", "x10", "sp_el1", "v0", "v1", "pc"] as const;
/** In the middle, so that what goes back stays a device. */
const AT = DEVICE + 0x100;

/** [text, encoding without its base register, bytes behind the base that it accesses] */
type Access = readonly [text: string, encoding: number, offset?: number];

function imm9(value: number): number {
  return (value & 0x1ff) << 12;
}

function imm7(value: number): number {
  return (value & 0x7f) << 15;
}

/** The second register of a pair: X1, V1. */
const PAIR = 1 << 10;

const STORES: readonly Access[] = [
  ["stp x0, x1, [x10]", 0xa900_0000 | PAIR],
  ["stp x0, x1, [x10, #16]", 0xa900_0000 | PAIR | imm7(2), 16],
  ["stp x0, x1, [x10], #16", 0xa880_0000 | PAIR | imm7(2)],
  ["stp x0, x1, [x10, #-16]!", 0xa980_0000 | PAIR | imm7(-2), -16],
  ["stp w0, w1, [x10], #8", 0x2880_0000 | PAIR | imm7(2)],
  ["stp w0, w1, [x10, #-8]!", 0x2980_0000 | PAIR | imm7(-2), -8],
  ["stp s0, s1, [x10], #8", 0x2c80_0000 | PAIR | imm7(2)],
  ["stp d0, d1, [x10, #-16]!", 0x6d80_0000 | PAIR | imm7(-2), -16],
  ["stp q0, q1, [x10], #32", 0xac80_0000 | PAIR | imm7(2)],
  ["str x0, [x10], #8", 0xf800_0400 | imm9(8)],
  ["str x0, [x10, #-8]!", 0xf800_0c00 | imm9(-8), -8],
  ["strb w0, [x10], #-1", 0x3800_0400 | imm9(-1)],
  ["strh w0, [x10, #2]!", 0x7800_0c00 | imm9(2), 2],
  ["str w0, [x10], #255", 0xb800_0400 | imm9(255)],
  ["str q0, [x10]", 0x3d80_0000],
  ["str q0, [x10], #16", 0x3c80_0400 | imm9(16)],
  ["str q0, [x10, #-16]!", 0x3c80_0c00 | imm9(-16), -16],
  ["str d0, [x10], #8", 0xfc00_0400 | imm9(8)],
  ["st1 {v0.16b}, [x10]", 0x4c00_7000],
];

const LOADS: readonly Access[] = [
  ["ldp x0, x1, [x10]", 0xa940_0000 | PAIR],
  ["ldp x0, x1, [x10], #16", 0xa8c0_0000 | PAIR | imm7(2)],
  ["ldp x0, x1, [x10, #-16]!", 0xa9c0_0000 | PAIR | imm7(-2), -16],
  ["ldpsw x0, x1, [x10]", 0x6940_0000 | PAIR],
  ["ldr x0, [x10], #8", 0xf840_0400 | imm9(8)],
  ["ldrb w0, [x10, #1]!", 0x3840_0c00 | imm9(1), 1],
  ["ldr q0, [x10]", 0x3dc0_0000],
  ["ldr q0, [x10], #16", 0x3cc0_0400 | imm9(16)],
  ["ldp q0, q1, [x10]", 0xad40_0000 | PAIR],
  ["ldxr x0, [x10]", 0xc85f_7c00],
  ["ld1 {v0.16b}, [x10], #16", 0x4cdf_7000],
];

function registers({ vcpu }: Program): bigint[] {
  return LOOKED_AT.map((name) => vcpu.getOneReg(name));
}

/** Before the instruction, with what it could change in registers that are known. */
function stand(p: Program, encoding: number, base = BASE): bigint[] {
  p.load([(encoding | (base << 5)) >>> 0, ...touchDevice]);
  p.vcpu.setOneReg("cpacr_el1", FLOATING_POINT_ON);
  const values = { x0: X0, x1: X1, x10: BigInt(AT), sp_el1: BigInt(AT), v0: V0, v1: V0 + 1n };
  for (const [name, value] of Object.entries(values)) p.vcpu.setOneReg(name, value);
  return registers(p);
}

function nisv(run: KvmRun): bigint[] {
  if (run.exitReason !== "ARM_NISV") throw new Error(run.exitReason);
  return [run.armNisv.esrIss & ISV, run.armNisv.esrIss & WRITE, run.armNisv.faultIpa];
}

function leaves(p: Program, [text, encoding, offset = 0]: Access, isWrite: boolean, base = BASE): void {
  const before = stand(p, encoding, base);
  const wanted = [0n, isWrite ? WRITE : 0n, BigInt(AT + offset)];
  expect([text, ...nisv(p.run())]).toEqual([text, ...wanted]);
  expect([text, ...registers(p)]).toEqual([text, ...before]);
}

/** The VMM has emulated it: pc behind it. */
function goesOn(p: Program): void {
  p.vcpu.setOneReg("x0", 99n);
  p.vcpu.setOneReg("pc", BigInt(CODE + 4));
  expect(p.run()).toMatchObject({ exitReason: "MMIO", mmio: { physAddr: BigInt(DEVICE), isWrite: false } });
  expect(p.vcpu.getOneReg("x0")).toBe(99n);
}

function enable({ vm }: Program): void {
  vm.enableCap({ cap: CAP });
}

const rows: readonly Row[] = [
  [
    "stores",
    "leave before anything has happened, with write-back undone",
    (p) => {
      enable(p);
      for (const access of STORES) {
        leaves(p, access, true);
        goesOn(p);
      }
    },
  ],
  [
    "loads",
    "leave before anything has happened",
    (p) => {
      enable(p);
      for (const access of LOADS) {
        leaves(p, access, false);
        goesOn(p);
      }
    },
  ],
  [
    "stack pointer",
    "is put back where it is the base",
    (p) => {
      enable(p);
      const SP = 31;
      leaves(p, ["stp x0, x1, [sp, #-16]!", 0xa980_0000 | PAIR | imm7(-2), -16], true, SP);
      leaves(p, ["str x0, [sp], #8", 0xf800_0400 | imm9(8)], true, SP);
    },
  ],
  [
    "again",
    "an access that the VMM does nothing about leaves again, and the counter of retired instructions stands still",
    (p) => {
      enable(p);
      stand(p, 0xa880_0000 | PAIR | imm7(2));
      const told = [nisv(p.run()), nisv(p.run()), nisv(p.run())];
      expect(told).toEqual(Array(3).fill([0n, WRITE, BigInt(AT)]));
      expect(p.session.recorder.machine.icount).toBe(0);
    },
  ],
  [
    "described",
    "accesses of one general register without write-back are MMIO as ever",
    (p) => {
      enable(p);
      for (const encoding of [0xf900_0000, 0xb940_0000, 0x3900_0000, 0xf840_0000, 0xf800_0000]) {
        stand(p, encoding);
        expect(p.run()).toMatchObject({ exitReason: "MMIO", mmio: { physAddr: BigInt(AT) } });
        expect(p.run()).toMatchObject({ exitReason: "MMIO", mmio: { physAddr: BigInt(DEVICE) } });
      }
    },
  ],
  [
    "GIC",
    "an access to it that the syndrome does not describe leaves too",
    (p) => {
      enable(p);
      const GICD = 0x0800_0000n;
      p.load([...moveImmediate(BASE, GICD), 0xb840_4540]);
      expect(nisv(p.run())).toEqual([0n, 0n, GICD]);
      expect(p.vcpu.getOneReg("x10")).toBe(GICD);
    },
  ],
  [
    "structure store",
    "with write-back can't be undone: it is MMIO",
    (p) => {
      enable(p);
      stand(p, 0x4c9f_7000);
      expect(p.run()).toMatchObject({ exitReason: "MMIO", mmio: { physAddr: BigInt(AT), isWrite: true } });
    },
  ],
  [
    "without the capability",
    "every access is MMIO, piece by piece",
    (p) => {
      for (const [, encoding] of [...STORES, ...LOADS]) {
        stand(p, encoding);
        expect(p.run().exitReason).toBe("MMIO");
        while (p.vcpu.getOneReg("pc") === BigInt(CODE)) expect(p.run().exitReason).toBe("MMIO");
        expect(p.vcpu.getOneReg("pc")).toBe(BigInt(CODE + 4 * touchDevice.length));
      }
    },
  ],
];

testRows("accesses without a valid syndrome", rows);
