/** A VM that another VMM goes on with, from a full snapshot in the midst of things. */
import { MpState } from "@hvjournal/cpu-arm64";
import { expect } from "@jest/globals";
import { Psci, PvTime } from "./function-ids.js";
import { moveImmediate, spin, stop } from "./instructions.js";
import { openTimerInterrupt, startTimer } from "./interrupts.js";
import { callWords, CODE, errno, type Program, touchDevice } from "./program.js";
import { type Row, testRows } from "./rows.js";
import { DENY, FORWARD, setFilter, VENDOR } from "./smccc-filter.js";
import { readStolenTime, setPvTimeIpa } from "./stolen-time.js";

const ID_AA64ISAR0 = 0x6030_0000_0013_c030n;

function stateOf({ vcpu }: Program): bigint[] {
  return vcpu.getRegList().map((id) => vcpu.getOneReg(id));
}

const rows: readonly Row[] = [
  [
    "hypercall",
    "a forwarded call that waits is there, and the other VMM answers it",
    (p) => {
      expect(setFilter(p, VENDOR, 1, FORWARD)).toBe("0");
      const told = p.forwarded(callWords(VENDOR, [1n, 2n], "smc"));
      const before = stateOf(p);
      const to = p.moved();
      expect(stateOf(to)).toEqual(before);
      expect(to.run()).toEqual(told);
      to.vcpu.setOneReg("x0", 77n);
      expect(to.resultsNow()).toEqual([77n, 1n, 2n, 0n]);
    },
  ],
  [
    "device",
    "a load that waits is there, and takes the other VMM's data",
    (p) => {
      p.load([...touchDevice, ...moveImmediate(3, 3n), ...touchDevice]);
      p.run();
      const to = p.moved();
      const run = to.run();
      if (run.exitReason !== "MMIO") throw new Error(run.exitReason);
      new DataView(run.mmio.data.buffer).setUint32(0, 0xabcd, true);
      expect(errno(() => to.run({ immediateExit: true }))).toBe("EINTR");
      expect(to.vcpu.getOneReg("x9")).toBe(0xabcdn);
      expect(to.run().exitReason).toBe("MMIO");
      expect(to.vcpu.getOneReg("x3")).toBe(3n);
    },
  ],
  [
    "configuration",
    "goes along, and is as frozen as it was",
    (p) => {
      p.vcpu.setOneReg(ID_AA64ISAR0, 0n);
      p.vcpu.setOneReg("STD_BMAP", 0n);
      expect(setFilter(p, VENDOR, 1, FORWARD)).toBe("0");
      expect(setPvTimeIpa(p, p.data)).toBe("0");
      p.runOnce();
      const to = p.moved();
      expect([to.vcpu.getOneReg(ID_AA64ISAR0), to.vcpu.getOneReg("STD_BMAP")]).toEqual([0n, 0n]);
      expect(setFilter(to, VENDOR + 1, 1, DENY)).toBe("EBUSY");
      expect(setPvTimeIpa(to, to.data)).toBe("EEXIST");
      expect(errno(() => to.vcpu.setOneReg("STD_BMAP", 1n))).toBe("EBUSY");
      to.run();
      to.load([...callWords(VENDOR), ...touchDevice]);
      expect(to.run().exitReason).toBe("HYPERCALL");
    },
  ],
  [
    "suspended",
    "a suspended vCPU is so in the other VM, and wakes there",
    (p) => {
      p.vm.enableCap({ cap: "KVM_CAP_ARM_SYSTEM_SUSPEND" });
      p.load([
        ...openTimerInterrupt,
        ...startTimer(1000),
        ...callWords(Psci.systemSuspend64, [BigInt(CODE), 0n]),
        ...touchDevice,
      ]);
      p.run();
      p.vcpu.setMpState(MpState.suspended);
      expect(errno(() => p.run({ immediateExit: true }))).toBe("EINTR");
      const to = p.moved();
      expect(to.vcpu.getMpState()).toBe(MpState.suspended);
      expect(to.run()).toMatchObject({ exitReason: "SYSTEM_EVENT", systemEvent: { type: 4 } });
      to.vcpu.setMpState(MpState.runnable);
      expect(to.run().exitReason).toBe("MMIO");
    },
  ],
  [
    "stolen time",
    "is counted on from what it was",
    (p) => {
      expect(setPvTimeIpa(p, p.data)).toBe("0");
      p.load([stop], 1);
      p.load([...callWords(PvTime.stolen), ...spin(100_000n), ...touchDevice, ...spin(100_000n), ...touchDevice]);
      p.run();
      const { stolenNs } = readStolenTime(p, p.data);
      expect(stolenNs).toBeGreaterThan(0n);
      const to = p.moved();
      // The exit that waits comes again where it was not told.
      to.run();
      for (const each of [p, to]) expect(each.run()).toMatchObject({ exitReason: "MMIO", vcpu: 0 });
      const after = readStolenTime(to, to.data).stolenNs;
      expect(after).toBeGreaterThan(stolenNs);
      expect(after).toBe(readStolenTime(p, p.data).stolenNs);
    },
    { vcpuCount: 2, features: [["PSCI_0_2"], ["PSCI_0_2"]] },
  ],
];

testRows("a VM that moves", rows);
