/** Exits, MSR filters, the protocol of KVM_RUN and migration on x86. Documentation/virt/kvm/api.rst, 4.97, 5, 6, 7.21. */
import type { KvmVm, MsrEntry, VcpuEvents } from "@hvjournal/cpu-x86";
import { expect } from "@jest/globals";
import { in8, loadRax, readMsr, writeMsr } from "./instructions.js";
import { DATA, DEVICE, errno, outcomeOf, type Program } from "./program.js";
import { type Row, testRows } from "./rows.js";

const USER_SPACE_MSR = "X86_USER_SPACE_MSR";
const Reason = { invalid: 1, unknown: 2, filter: 4 } as const;
const READ = 1;
const WRITE = 2;
const DEFAULT_DENY = 1;
/** None of any CPU's. */
const UNKNOWN_MSR = 0x1234;
const TSC_ADJUST = 0x3b;
const LSTAR = 0xc000_0082;
const X2APIC_ID = 0x802;
const APIC_BASE = 0x1b;
const X2APIC_ENABLED = 0xfee0_0d00n;
const GUEST_OS_ID = 0x4000_0000;
const HYPERCALL = 0x4000_0001;
const SCONTROL = 0x4000_0080;
const SIMP = 0x4000_0083;
const SINT2 = 0x4000_0092;
const LINUX = 0x8100_0000_0000_0000n;
const PAGE = BigInt(DATA);
const PORT = 0x510;
const HYPERV = { configuration: [["hv", "all"]] } as const;
const VMCALL_RET = [0x0f, 0x01, 0xc1, 0xc3];
const VMMCALL_RET = [0x0f, 0x01, 0xd9, 0xc3];

function denied(base: number, nmsrs: number, flags = READ | WRITE): Parameters<KvmVm["setMsrFilter"]>[0] {
  return { flags: 0, ranges: [{ flags, nmsrs, base, bitmap: new Uint8Array(Math.ceil(nmsrs / 8)) }] };
}

const ALLOW_ALL = { flags: 0, ranges: [] };

function eaxOf({ vcpu }: Program): bigint {
  return vcpu.getReg("rax") & 0xffff_ffffn;
}

function events(changes: Partial<VcpuEvents>): VcpuEvents {
  return {
    exception: { injected: false, nr: 0, hasErrorCode: false, errorCode: 0 },
    interrupt: { injected: false, nr: 0, soft: false, shadow: 0 },
    nmi: { injected: false, pending: false, masked: false },
    flags: 0,
    ...changes,
  };
}

/** What a guest's store to a device told: it came so far, or took an exception. */
function ends(run: Parameters<typeof outcomeOf>[0]): string | undefined {
  return outcomeOf(run);
}

const rows: readonly Row[] = [
  [
    "L01",
    "a read that a filter denies, with the reason asked for: an exit, whose data the guest gets",
    (it) => {
      it.vm.enableCap({ cap: USER_SPACE_MSR, args: [BigInt(Reason.filter)] });
      it.vm.setMsrFilter(denied(TSC_ADJUST, 1));
      const run = it.exit(readMsr(TSC_ADJUST));
      if (run.exitReason !== "X86_RDMSR") throw new Error(run.exitReason);
      expect([run.msr.index, run.msr.reason]).toEqual([TSC_ADJUST, Reason.filter]);
      run.msr.data = 0x1_2345_6789n;
      expect(it.outcomeNow()).toBe("done");
      expect([it.vcpu.getReg("rdx"), eaxOf(it)]).toEqual([1n, 0x2345_6789n]);
    },
  ],
  [
    "L01",
    "a write that it denies: the value, and nothing is written",
    (it) => {
      it.vm.enableCap({ cap: USER_SPACE_MSR, args: [BigInt(Reason.filter)] });
      it.vm.setMsrFilter(denied(LSTAR, 1, WRITE));
      const run = it.exit(writeMsr(LSTAR, 0x7000n));
      if (run.exitReason !== "X86_WRMSR") throw new Error(run.exitReason);
      expect([run.msr.index, run.msr.data]).toEqual([LSTAR, 0x7000n]);
      expect(it.outcomeNow()).toBe("done");
      expect(it.readMsr(LSTAR)).toBe(0n);
    },
  ],
  [
    "L02",
    "error = 1: #GP in the guest",
    (it) => {
      it.vm.enableCap({ cap: USER_SPACE_MSR, args: [BigInt(Reason.filter)] });
      it.vm.setMsrFilter(denied(LSTAR, 1));
      const run = it.exit(readMsr(LSTAR));
      if (run.exitReason !== "X86_RDMSR") throw new Error(run.exitReason);
      run.msr.error = 1;
      expect(it.outcomeNow()).toBe("#GP");
    },
  ],
  [
    "L03",
    "an MSR that there is not, with reason UNKNOWN: an exit with reason 2",
    (it) => {
      expect(it.readMsr(UNKNOWN_MSR)).toBe("#GP");
      it.vm.enableCap({ cap: USER_SPACE_MSR, args: [BigInt(Reason.unknown)] });
      const run = it.exit(readMsr(UNKNOWN_MSR));
      expect(run).toMatchObject({ exitReason: "X86_RDMSR", msr: { reason: Reason.unknown, index: UNKNOWN_MSR } });
    },
  ],
  [
    "L04",
    "bits that are not defined, of filter, range and mask: EINVAL",
    ({ vm }) => {
      const [range] = denied(LSTAR, 1).ranges;
      if (range === undefined) throw new Error("no range");
      for (let bit = 1; bit < 32; bit++)
        expect(errno(() => vm.setMsrFilter({ flags: 2 ** bit, ranges: [range] }))).toBe("EINVAL");
      for (let bit = 2; bit < 32; bit++)
        expect(errno(() => vm.setMsrFilter({ flags: 0, ranges: [{ ...range, flags: 2 ** bit }] }))).toBe("EINVAL");
      for (let bit = 3n; bit < 64n; bit++)
        expect(errno(() => vm.enableCap({ cap: USER_SPACE_MSR, args: [1n << bit] }))).toBe("EINVAL");
      expect(errno(() => vm.setMsrFilter({ flags: 0, ranges: Array.from({ length: 17 }, () => range) }))).toBe(
        "EINVAL",
      );
    },
  ],
  [
    "L05",
    "a filter that changes while the guest runs: the next access follows it",
    (it) => {
      it.vm.setMsrFilter(denied(LSTAR, 1));
      expect(it.readMsr(LSTAR)).toBe("#GP");
      expect(it.writeMsr(LSTAR, 5n)).toBe("#GP");
      it.vm.setMsrFilter(denied(LSTAR, 1, READ));
      expect(it.writeMsr(LSTAR, 5n)).toBe("done");
      expect(it.readMsr(LSTAR)).toBe("#GP");
      it.vm.setMsrFilter(ALLOW_ALL);
      expect(it.readMsr(LSTAR)).toBe(5n);
    },
  ],
  [
    "L05",
    "allowed accesses do what they do without a filter, of the vCPU's own MSRs too",
    (it) => {
      it.vm.setMsrFilter(denied(TSC_ADJUST, 1));
      expect(it.writeMsr(LSTAR, 0xffff_8000_0000_0000n)).toBe("done");
      expect(it.readMsr(LSTAR)).toBe(0xffff_8000_0000_0000n);
      expect(it.writeMsr(LSTAR, 0x8000_0000_0000_0000n)).toBe("#GP");
      expect(it.writeMsr(0x277, 2n)).toBe("#GP");
      // EFER: LME can't go while there is paging; LMA is not written.
      expect(it.writeMsr(0xc000_0080, 0n)).toBe("#GP");
      expect(it.writeMsr(0xc000_0080, 0x901n)).toBe("done");
      expect(it.readMsr(0xc000_0080)).toBe(0xd01n);
    },
  ],
  [
    "L06",
    "the VMM's own accesses are not filtered",
    (it) => {
      it.vm.setMsrFilter(denied(LSTAR, 1));
      expect(it.vcpu.setMsrs([{ index: LSTAR, data: 9n }])).toBe(1);
      expect(it.vcpu.getMsrs([LSTAR])).toEqual([{ index: LSTAR, data: 9n }]);
    },
  ],
  [
    "L06",
    "--msr-filter: rw, r, w and -; the last one of a range holds",
    (it) => {
      const ask = (): unknown[] => [it.writeMsr(LSTAR, 3n), it.readMsr(LSTAR)];
      it.vm.configure("msr-filter", "0xc0000080+8=r");
      expect(ask()).toEqual(["#GP", 0n]);
      it.vm.configure("msr-filter", "0xc0000082=w");
      expect(ask()).toEqual(["done", "#GP"]);
      it.vm.configure("msr-filter", "0xc0000082=-");
      expect(ask()).toEqual(["#GP", "#GP"]);
      it.vm.configure("msr-filter", "0xc0000080+8=rw");
      expect(ask()).toEqual(["done", 3n]);
    },
  ],
  [
    "L07",
    "DEFAULT_DENY with ranges that are all empty: EINVAL",
    ({ vm }) => {
      expect(errno(() => vm.setMsrFilter({ flags: DEFAULT_DENY, ranges: [] }))).toBe("EINVAL");
      expect(errno(() => vm.setMsrFilter({ ...denied(LSTAR, 0), flags: DEFAULT_DENY }))).toBe("EINVAL");
    },
  ],
  [
    "L08",
    "x2APIC's MSRs are not filtered",
    (it) => {
      expect(it.writeMsr(APIC_BASE, X2APIC_ENABLED)).toBe("done");
      it.vm.setMsrFilter(denied(0x800, 0x100));
      expect(it.readMsr(X2APIC_ID)).toBe(0n);
    },
  ],
  [
    "L09",
    "bits of kvm_valid_regs and kvm_dirty_regs that there are not: EINVAL",
    ({ session }) => {
      for (const bit of [8, 16, 1 << 30]) {
        expect(errno(() => void session.runSynced({ validRegs: bit }))).toBe("EINVAL");
        expect(errno(() => void session.runSynced({ dirtyRegs: bit }))).toBe("EINVAL");
      }
    },
  ],
  [
    "L10",
    "what is dirty is taken before the run, what is valid is told after it",
    (it) => {
      it.load([0x48, 0xff, 0xc0, 0xc6, 0x04, 0x25, 0, 0, 0, 0x10, 0]);
      const { rip = 0n } = it.vcpu.getRegs();
      const { run, synced } = it.session.runSynced({ validRegs: 7, dirtyRegs: 1, given: { regs: { rax: 41n, rip } } });
      expect(ends(run)).toBe("done");
      expect(synced.regs?.["rax"]).toBe(42n);
      expect(synced.sregs).toEqual(it.vcpu.getSregs());
      expect(synced.events).toEqual(it.vcpu.getVcpuEvents());
    },
  ],
  [
    "L11",
    "KVM_SET_BOOT_CPU_ID once there is a vCPU: EBUSY",
    ({ vm }) => expect(errno(() => vm.setBootCpuId(1))).toBe("EBUSY"),
  ],
  [
    "L12",
    "REP INSB by KVM_EXIT_IO: memory has what the VMM gave",
    (it) => {
      it.vcpu.setRegs({ rcx: 3n, rdi: PAGE, rdx: BigInt(PORT) });
      it.load([0xf3, 0x6c, 0xc6, 0x04, 0x25, 0, 0, 0, 0x10, 0]);
      for (const value of [7, 8, 9]) {
        const run = it.run();
        if (run.exitReason !== "IO") throw new Error(run.exitReason);
        expect([run.io.direction, run.io.size, run.io.port, run.io.count]).toEqual([0, 1, PORT, 1]);
        run.io.data[0] = value;
      }
      expect(it.outcomeNow()).toBe("done");
      expect([...it.vm.readMemory(DATA, 4)]).toEqual([7, 8, 9, 0]);
    },
  ],
  ["L13", "INTERNAL_ERROR with suberror 1 and the instruction's bytes", "no instruction goes through KVM's emulator"],
  [
    "L14",
    "immediate_exit with an MMIO read, or IN, that waits: it is completed first, then EINTR",
    (it) => {
      const run = it.exit(loadRax(DEVICE + 8));
      if (run.exitReason !== "MMIO") throw new Error(run.exitReason);
      run.mmio.data.set([1, 2, 3, 4, 5, 6, 7, 8]);
      expect(errno(() => void it.run({ immediateExit: true }))).toBe("EINTR");
      expect(it.vcpu.getReg("rax")).toBe(0x0807_0605_0403_0201n);
      const input = it.exit(in8(PORT));
      if (input.exitReason !== "IO") throw new Error(input.exitReason);
      input.io.data[0] = 0x5a;
      expect(errno(() => void it.run({ immediateExit: true }))).toBe("EINTR");
      expect(it.vcpu.getReg("rax") & 0xffn).toBe(0x5an);
      expect(it.outcomeNow()).toBe("done");
    },
  ],
  [
    "L15",
    "KVM_SET_REGS behind KVM_SET_VCPU_EVENTS: the exception is lost; before it, it is taken",
    (it) => {
      const exception = { injected: true, nr: 13, hasErrorCode: true, errorCode: 0 };
      it.load([0xc6, 0x04, 0x25, 0, 0, 0, 0x10, 0]);
      const regs = it.vcpu.getRegs();
      it.vcpu.setVcpuEvents(events({ exception }));
      expect(it.vcpu.getVcpuEvents().exception).toEqual(exception);
      it.vcpu.setRegs(regs);
      expect(it.outcomeNow()).toBe("done");
      it.vcpu.setRegs(regs);
      it.vcpu.setVcpuEvents(events({ exception }));
      expect(it.outcomeNow()).toBe("#GP");
    },
  ],
  [
    "L16",
    "KVM_SET_VCPU_EVENTS with flags or exceptions that there are not: EINVAL",
    ({ vcpu }) => {
      for (const flags of [8, 16, 32, 64]) expect(errno(() => vcpu.setVcpuEvents(events({ flags })))).toBe("EINVAL");
      for (const nr of [2, 32]) {
        const exception = { injected: true, nr, hasErrorCode: false, errorCode: 0 };
        expect(errno(() => vcpu.setVcpuEvents(events({ exception })))).toBe("EINVAL");
      }
    },
  ],
  ["L17", "MP_STATE without a local APIC in the kernel", "the irqchip is always in the kernel"],
  [
    "L17",
    "an mp_state that x86 does not have: EINVAL; SIPI_RECEIVED waits as INIT_RECEIVED",
    ({ vm }) => {
      for (const state of [5, 7, 10, 11]) expect(errno(() => vm.vcpu(1).setMpState(state))).toBe("EINVAL");
      vm.vcpu(1).setMpState(4);
      expect(vm.vcpu(1).getMpState()).toBe(2);
    },
    { vcpuCount: 2 },
  ],
  [
    "L17",
    "KVM_RUN of vCPUs that have had no INIT: EAGAIN",
    (it) => {
      it.vcpu.setMpState(1);
      expect(errno(() => void it.run())).toBe("EAGAIN");
    },
  ],
  [
    "L18",
    "KVM_CHECK_EXTENSION of a number that there is not: 0",
    ({ vm }) =>
      expect([vm.checkExtension(9999), vm.checkExtension(188), vm.system.checkExtension(-1)]).toEqual([0, 7, 0]),
  ],
  [
    "L19",
    "restored on the other vendor's host: HYPERCALL writes its call into the page",
    (it) => {
      it.writeMsr(GUEST_OS_ID, LINUX);
      it.writeMsr(HYPERCALL, PAGE | 1n);
      const saved = it.vcpu.getMsrs([GUEST_OS_ID, HYPERCALL]);
      const other = it.another({ ...HYPERV, host: "amd" });
      other.vm.writeMemory(DATA, it.vm.readMemory(DATA, 4096));
      expect([...other.vm.readMemory(DATA, 4)]).toEqual(VMCALL_RET);
      expect(other.vcpu.setMsrs(saved)).toBe(2);
      expect([...other.vm.readMemory(DATA, 4)]).toEqual(VMMCALL_RET);
    },
    HYPERV,
  ],
  [
    "L20",
    "HYPERCALL before GUEST_OS_ID: it stays disabled",
    (it) => {
      const entries: MsrEntry[] = [
        { index: HYPERCALL, data: PAGE | 1n },
        { index: GUEST_OS_ID, data: LINUX },
      ];
      expect(it.vcpu.setMsrs(entries)).toBe(2);
      expect(it.readMsr(HYPERCALL)).toBe(0n);
      expect(it.vcpu.setMsrs([...entries].reverse())).toBe(2);
      expect(it.readMsr(HYPERCALL)).toBe(PAGE | 1n);
    },
    HYPERV,
  ],
  [
    "L21",
    "what KVM_GET_MSR_INDEX_LIST names is not the whole SynIC: SIMP and the SINTs have to be added",
    (it) => {
      it.vcpu.enableCap({ cap: "HYPERV_SYNIC2", args: [0n] });
      const list = it.vm.system.getMsrIndexList();
      expect([SCONTROL, SIMP, SINT2].map((msr) => list.includes(msr))).toEqual([true, false, false]);
      const state: MsrEntry[] = [
        { index: SCONTROL, data: 1n },
        { index: SIMP, data: PAGE | 1n },
        { index: SINT2, data: 0x40n },
      ];
      expect(it.vcpu.setMsrs(state)).toBe(3);
      const restored = (indices: readonly number[]): unknown[] => {
        const other = it.another(HYPERV);
        other.vcpu.enableCap({ cap: "HYPERV_SYNIC2", args: [0n] });
        expect(other.vcpu.setMsrs(it.vcpu.getMsrs(indices))).toBe(indices.length);
        return [other.readMsr(SIMP), other.readMsr(SINT2)];
      };
      expect(restored(list.filter((msr) => it.vcpu.getMsr(msr) !== undefined))).toEqual([0n, 0x1_0000n]);
      expect(restored([SCONTROL, SIMP, SINT2])).toEqual([PAGE | 1n, 0x40n]);
    },
    HYPERV,
  ],
  [
    "L22",
    "a VM that moves in the middle of KVM_EXIT_HYPERV: the call comes again at its new VMM, and is completed there",
    (it) => {
      it.writeMsr(GUEST_OS_ID, LINUX);
      it.vcpu.setRegs({ rcx: 0x8001n, rdx: 0n, r8: PAGE });
      const first = it.exit([0x0f, 0x01, 0xc1]);
      if (first.exitReason !== "HYPERV") throw new Error(first.exitReason);
      const there = it.moved();
      const again = there.run();
      if (again.exitReason !== "HYPERV" || again.hyperv.type !== 2) throw new Error(again.exitReason);
      expect(again.hyperv.input).toBe(0x8001n);
      again.hyperv.result = 0n;
      expect(there.outcomeNow()).toBe("done");
      expect(there.vcpu.getReg("rax")).toBe(0n);
    },
    HYPERV,
  ],
  [
    "L23",
    "CPUID and a filter go with the VM",
    (it) => {
      it.vm.setMsrFilter(denied(LSTAR, 1));
      it.vcpu.setCpuid2(it.vcpu.getCpuid2().map((each) => (each.function === 0x15 ? { ...each, eax: 9 } : each)));
      const there = it.moved();
      expect(there.cpuid(0x15)[0]).toBe(9);
      expect(there.readMsr(LSTAR)).toBe("#GP");
    },
  ],
  ["L24", "what a destination does not have, item by item", "kvm-abi/x86/hosts.test.ts and contract tests show it"],
];

testRows("group L, x86", rows);
