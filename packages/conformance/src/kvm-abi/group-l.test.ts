/** Group L: the protocol of KVM_RUN and what VMMs ask for, as far as it is not x86's alone (Documentation/virt/kvm/api.rst). */
import { compareContracts, type ContractItem, contractOf } from "@hvjournal/core";
import { FORMAT_VERSION } from "@hvjournal/journal";
import { expect } from "@jest/globals";
import { moveImmediate } from "./instructions.js";
import { DEVICE, errno, type Program, touchDevice } from "./program.js";
import { type Row, testRows } from "./rows.js";
import { FORWARD, setFilter, VENDOR } from "./smccc-filter.js";

const DATA = 0x1234_5678;
const LOAD_BYTES = 4;

function pcOf({ vcpu }: Program): bigint {
  return vcpu.getOneReg("pc");
}

/** What a plain destination does not have. */
function configure(p: Program): void {
  p.vm.enableCap({ cap: "KVM_CAP_ARM_SYSTEM_SUSPEND" });
  p.vcpu.setOneReg("KVM_REG_ARM_STD_BMAP", 0n);
  expect(setFilter(p, VENDOR, 1, FORWARD)).toBe("0");
}

function contract({ session: { recorder } }: Program): readonly ContractItem[] {
  const { machine } = recorder;
  const { architecture, description, kernel } = machine;
  return contractOf({
    ...{ architecture, machine: description, kernel, control: machine.plainControl() },
    formatVersion: FORMAT_VERSION,
  });
}

function differences(source: Program, destination: Program): string[] {
  const compared = compareContracts(contract(source), contract(destination));
  return compared.differences.map((each) => JSON.stringify([each.name, each.source ?? "-", each.destination ?? "-"]));
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
  [
    "L16",
    "KVM_SET_VCPU_EVENTS with what it does not know is EINVAL",
    "KVM_CAP_VCPU_EVENTS is 0: a vCPU has no SError that could be pending",
  ],
  [
    "L24",
    "what a destination lacks is told item by item with both values, and nothing once it is set up alike",
    (source) => {
      const destination = source.another();
      configure(source);
      const told = differences(source, destination);
      for (const item of [/SYSTEM_SUSPEND/, /STD_BMAP|standardServices/, /SMCCC_FILTER|smcccFilter/])
        expect(told).toContainEqual(expect.stringMatching(item));
      configure(destination);
      expect(differences(source, destination)).toEqual([]);
    },
  ],
];

testRows("group L", rows);
