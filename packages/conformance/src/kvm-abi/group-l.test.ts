/** Group L: the protocol of KVM_RUN and what VMMs ask for, as far as it is not x86's alone (Documentation/virt/kvm/api.rst). */
import { expect } from "@jest/globals";
import { moveImmediate } from "./instructions.js";
import { DEVICE, errno, type Program, touchDevice } from "./program.js";
import { type Row, testRows } from "./rows.js";

const DATA = 0x1234_5678;
const LOAD_BYTES = 4;

function pcOf({ vcpu }: Program): bigint {
  return vcpu.getOneReg("pc");
}

const rows: readonly Row[] = [
  [
    "L10",
    "registers set between two runs are the guest's, and what it left is read at the exit",
    (p) => {
      // ADD X0, X1, X2
      p.load([0x8b02_0020, ...touchDevice]);
      p.vcpu.setOneReg("x1", 40n);
      p.vcpu.setOneReg("x2", 2n);
      expect(p.run().exitReason).toBe("MMIO");
      expect(p.vcpu.getOneReg("x0")).toBe(42n);
    },
  ],
  [
    "L14",
    "immediate_exit finishes the access that waits, then it is EINTR, and nothing more has run",
    (p) => {
      p.load([...touchDevice, ...touchDevice]);
      const run = p.run();
      if (run.exitReason !== "MMIO") throw new Error(run.exitReason);
      const at = pcOf(p);
      new DataView(run.mmio.data.buffer).setUint32(0, DATA, true);
      expect(errno(() => p.run({ immediateExit: true }))).toBe("EINTR");
      expect(p.vcpu.getOneReg("x9")).toBe(BigInt(DATA));
      expect(pcOf(p)).toBe(at + 4n);
      expect(errno(() => p.run({ immediateExit: true }))).toBe("EINTR");
      expect(pcOf(p)).toBe(at + 4n);
      expect(p.run()).toMatchObject({ exitReason: "MMIO", mmio: { len: LOAD_BYTES, isWrite: false } });
    },
  ],
  [
    "L14",
    "of a pair of loads the second waits behind immediate_exit, and is then the VMM's to answer",
    (p) => {
      // LDP X9, X11, [X10]
      p.load([...moveImmediate(10, BigInt(DEVICE)), 0xa940_2d49, ...touchDevice]);
      const answer = (value: number): void => {
        const run = p.run();
        if (run.exitReason !== "MMIO") throw new Error(run.exitReason);
        new DataView(run.mmio.data.buffer).setUint32(0, value, true);
      };
      answer(1);
      expect(errno(() => p.run({ immediateExit: true }))).toBe("EINTR");
      answer(2);
      expect(errno(() => p.run({ immediateExit: true }))).toBe("EINTR");
      expect(["x9", "x11"].map((name) => p.vcpu.getOneReg(name))).toEqual([1n, 2n]);
    },
  ],
  [
    "L18",
    "KVM_CHECK_EXTENSION is 0 for what nobody knows, by number and by name, and never an error",
    ({ vm }) => {
      for (const unknown of [0xffff, 0x7fff_ffff, 224, -1, "KVM_CAP_NOTHING"])
        expect(vm.checkExtension(unknown)).toBe(0);
      expect(vm.checkExtension("KVM_CAP_ONE_REG")).toBe(1);
      expect(errno(() => vm.enableCap({ cap: 0xffff }))).toBe("EINVAL");
    },
  ],
];

testRows("group L", rows);
