/** KVM's own hypercalls and paravirtual features on x86. Documentation/virt/kvm/x86/hypercalls.rst, cpuid.rst, msr.rst. */
import { expect } from "@jest/globals";
import { move, readMsr, spin, vmcall, vmmcall, writeMsr } from "./instructions.js";
import { putWords, wordAt } from "./hyperv-calls.js";
import { CODE, DATA, DEVICE, errno, outcomeOf, type Program, RAM_BYTES } from "./program.js";
import { type Row, testRows } from "./rows.js";
import { enterCompatibilityMode, enterUserMode } from "./user-mode.js";

const Call = { pollIrq: 1, kickCpu: 5, sendIpi: 10, schedYield: 11, mapGpaRange: 12 } as const;
const FIX_HYPERCALL = 32n;
const QUIRKS = 0x1ffn;
const ENOSYS = -1000n;
const MSR_KVM = {
  wallClockOld: 0x11,
  systemTime: 0x4b56_4d01,
  stealTime: 0x4b56_4d03,
  eoiEnable: 0x4b56_4d04,
  pollControl: 0x4b56_4d05,
} as const;
const ASYNC_PF = 0x4b56_4d02;
const MIGRATION_CONTROL = 0x4b56_4d08;
const ALL_FEATURES = "0x40000001:eax=0x010438a9";

function callBytes(nr: bigint | number, args: readonly bigint[] = [], call: readonly number[] = vmcall): number[] {
  const registers = ["rbx", "rcx", "rdx", "rsi"] as const;
  return [...args.flatMap((arg, at) => move(registers[at] ?? "rsi", arg)), ...move("rax", nr), ...call];
}

/** What RAX is after a call, as a signed number; or the exception. */
function kvmCall(
  it: Program,
  nr: number,
  args: readonly bigint[] = [],
  call: readonly number[] = vmcall,
): bigint | string {
  const outcome = it.outcome(callBytes(nr, args, call));
  return outcome === "done" ? BigInt.asIntN(64, it.vcpu.getReg("rax")) : outcome;
}

function enforceFeatures({ vcpu }: Program): void {
  vcpu.enableCap({ cap: "ENFORCE_PV_FEATURE_CPUID", args: [1n] });
}

const enableMapRange = ({ vm }: Program): void => {
  vm.enableCap({ cap: "EXIT_HYPERCALL", args: [0x1000n] });
};

/** Where the call of `callBytes(nr, [], call)` stands. */
const CALL_AT = CODE + 10;
const PML4 = 0x1000;
const CANONICAL_END = 0x8000_0000_0000n;
/** Where the guest is told that an interrupt's end is free, and two vectors of one class. */
const PLACE = BigInt(DATA);
const PV_EOI_FEATURE = 1 << 6;
const VP_ASSIST_PAGE = 0x4000_0073;
const [FIRST, SECOND] = [0x1c, 0x1d];
const apicWrite = (register: number, value: number): number[] => [
  ...move("rax", 0xfee0_0000 + register),
  ...[0xc7, 0x00, ...[0, 8, 16, 24].map((shift) => (value >>> shift) & 0xff)],
];
const enableApic = apicWrite(0xf0, 0x1ff);
const endOfInterrupt = apicWrite(0xb0, 0);
/** An edge to itself by the interrupt command register. */
const sendSelf = (vector: number): number[] => apicWrite(0x300, 0x4_0000 | vector);
/** BTR dword [rax], 0: as Linux does, which needs EOI only where the bit was clear. */
const takeEnd = [...move("rax", DATA), 0x0f, 0xba, 0x30, 0x00];

/** With a place for the end of interrupts, the guest is given the highest of these. */
function interruptItself(it: Program, vectors: readonly number[]): void {
  const begin = [...enableApic, ...writeMsr(MSR_KVM.eoiEnable, PLACE | 1n)];
  it.load([...begin, ...vectors.flatMap(sendSelf), 0xfb, ...spin]);
  expect(outcomeOf(it.run())).toBe(`exception ${Math.max(...vectors)}`);
}

/** Vectors 0 to 31 of the in-service register, as the guest reads it. */
function inService(it: Program): bigint {
  it.outcome([...move("rax", 0xfee0_0100), 0x8b, 0x00]);
  return it.vcpu.getReg("rax");
}

const rows: readonly Row[] = [
  [
    "K01",
    "the other vendor's call: SCHED_YIELD gives 0, and the host's own stands there now",
    (it) => {
      expect(kvmCall(it, Call.schedYield, [], vmmcall)).toBe(0n);
      expect([...it.vm.readMemory(CALL_AT, 3)]).toEqual([...vmcall]);
    },
  ],
  [
    "K01a",
    "the same on AMD",
    (it) => {
      expect(kvmCall(it, Call.schedYield, [], vmcall)).toBe(0n);
      expect([...it.vm.readMemory(CALL_AT, 3)]).toEqual([...vmmcall]);
    },
    { host: "amd" },
  ],
  [
    "K02",
    "by the policy ud it is #UD, and the bytes stay; in its older words too",
    (it) => {
      expect(kvmCall(it, Call.schedYield, [], vmmcall)).toBe("#UD");
      expect([...it.vm.readMemory(CALL_AT, 3)]).toEqual([...vmmcall]);
      it.vm.configure("policy", "x86.hypercall.patch=on");
      expect(kvmCall(it, Call.schedYield, [], vmmcall)).toBe(0n);
      it.vm.configure("policy", "x86.hypercall.patch=off");
      expect(kvmCall(it, Call.schedYield, [], vmmcall)).toBe("#UD");
    },
    { configuration: [["policy", "x86.hypercall.patch=ud"]] },
  ],
  [
    "K02a",
    "KVM_X86_QUIRK_FIX_HYPERCALL_INSN disabled is the same",
    (it) => {
      it.vm.enableCap({ cap: "DISABLE_QUIRKS2", args: [FIX_HYPERCALL] });
      expect(kvmCall(it, Call.schedYield, [], vmmcall)).toBe("#UD");
      expect([...it.vm.readMemory(CALL_AT, 3)]).toEqual([...vmmcall]);
    },
  ],
  [
    "K03",
    "the host's own instruction",
    (it) => {
      expect(kvmCall(it, Call.schedYield)).toBe(0n);
    },
  ],
  [
    "K04",
    "a call that ends where the lower canonical addresses do completes, and the fetch behind it faults there",
    (it) => {
      // The last 2 MiB of them are the last 2 MiB of RAM.
      const [pdpt, directory] = [DATA, DATA + 0x1000];
      putWords(it, PML4 + 8 * 255, BigInt(pdpt | 7));
      putWords(it, pdpt + 8 * 511, BigInt(directory | 7));
      putWords(it, directory + 8 * 511, 0x20_0083n);
      it.vm.writeMemory(RAM_BYTES - 3, Uint8Array.from(vmcall));
      it.load([]);
      it.vcpu.setReg("rip", CANONICAL_END - 3n);
      it.vcpu.setReg("rax", 0xffff_ffff_ffff_ffffn);
      expect(outcomeOf(it.run())).toBe("#GP");
      expect(BigInt.asIntN(64, it.vcpu.getReg("rax"))).toBe(ENOSYS);
      // Of the exception's frame: the error code, then RIP.
      expect(wordAt(it, Number(it.vcpu.getReg("rsp")) + 8)).toBe(CANONICAL_END);
    },
  ],
  [
    "K05",
    "the other vendor's call on a page that is read-only: #PF, and the bytes stay",
    (it) => {
      // The first GiB in pages of 2 MiB, of which the second is read-only: tables and stack are in the first.
      const [pml4, pdpt, directory, code] = [DATA, DATA + 0x1000, DATA + 0x2000, DATA + 0x1_0000];
      putWords(it, pml4, BigInt(pdpt | 7));
      putWords(it, pdpt, BigInt(directory | 7));
      putWords(it, directory, 0xe3n, 0x20_00e1n);
      putWords(it, directory + 8 * (DEVICE >>> 21), BigInt(DEVICE) | 0x83n);
      it.load([]);
      it.vm.writeMemory(code, Uint8Array.from(callBytes(Call.schedYield, [], vmmcall)));
      it.vcpu.setReg("rip", code);
      it.vcpu.setReg("cr3", pml4);
      it.vcpu.setReg("cr0", 0x8001_0033);
      expect(outcomeOf(it.run())).toBe("#PF");
      expect(it.vcpu.getReg("cr2")).toBe(BigInt(code + 10));
      expect([...it.vm.readMemory(code + 10, 3)]).toEqual([...vmmcall]);
    },
  ],
  [
    "K06",
    "DISABLE_QUIRKS2: its answer is what can be disabled, and another bit is EINVAL",
    (it) => {
      expect(it.vm.checkExtension("DISABLE_QUIRKS2")).toBe(Number(QUIRKS));
      expect(errno(() => it.vm.enableCap({ cap: "DISABLE_QUIRKS2", args: [1n << 40n] }))).toBe("EINVAL");
    },
  ],
  [
    "K07",
    "at CPL 3: -1, and RIP goes on",
    (it) => {
      enterUserMode(it);
      expect(kvmCall(it, Call.schedYield)).toBe(-1n);
    },
  ],
  [
    "K08",
    "unknown numbers: -1000",
    (it) => {
      expect([2, 3, 4, 6, 0x7fff].map((nr) => kvmCall(it, nr))).toEqual(Array(5).fill(ENOSYS));
    },
  ],
  [
    "K09",
    "KICK_CPU, SEND_IPI and SCHED_YIELD whose features are hidden and enforced: -1000",
    (it) => {
      const calls = [Call.kickCpu, Call.sendIpi, Call.schedYield];
      expect(calls.map((nr) => kvmCall(it, nr, [0n, 0n, 0n, 0x40n]))).not.toContain(ENOSYS);
      enforceFeatures(it);
      expect(calls.map((nr) => kvmCall(it, nr, [0n, 0n, 0n, 0x40n]))).toEqual([ENOSYS, ENOSYS, ENOSYS]);
    },
  ],
  [
    "K09a",
    "enforced, and offered: they are there",
    (it) => {
      enforceFeatures(it);
      const calls = [Call.kickCpu, Call.sendIpi, Call.schedYield];
      expect(calls.map((nr) => kvmCall(it, nr, [0n, 0n, 0n, 0x40n]))).toEqual([0n, 0n, 0n]);
      expect(it.readMsr(MSR_KVM.pollControl)).toBe(1n);
    },
    { configuration: [["cpuid", ALL_FEATURES]] },
  ],
  [
    "K10",
    "KVM's MSRs whose features are hidden and enforced: #GP; the VMM has them",
    (it) => {
      const all = Object.values(MSR_KVM);
      expect(all.map((msr) => typeof it.readMsr(msr))).toEqual(all.map(() => "bigint"));
      enforceFeatures(it);
      expect(all.map((msr) => it.readMsr(msr))).toEqual(all.map(() => "#GP"));
      expect(it.vcpu.getMsrs(all)).toHaveLength(all.length);
    },
    { configuration: [["cpuid", "0x40000001:eax=0"]] },
  ],
  [
    "K12",
    "a guest of 32 bits has the result in EAX",
    (it) => {
      enterCompatibilityMode(it);
      it.load([0xb8, 0xff, 0x7f, 0, 0, ...vmcall, 0xc6, 0x05, 0, 0, 0, 0x10, 0, 0xeb, 0xfe]);
      expect(it.run()).toMatchObject({ exitReason: "MMIO", mmio: { physAddr: BigInt(DEVICE) } });
      expect(it.vcpu.getReg("rax")).toBe(0xffff_fc18n);
    },
  ],
  [
    "K13",
    "VAPIC_POLL_IRQ: 0",
    (it) => {
      expect(kvmCall(it, Call.pollIrq)).toBe(0n);
    },
  ],
  [
    "K14",
    "MAP_GPA_RANGE that nobody asked for: -1000",
    (it) => {
      expect(kvmCall(it, Call.mapGpaRange, [0x1000n, 1n, 0n])).toBe(ENOSYS);
    },
  ],
  [
    "K15",
    "MAP_GPA_RANGE of no pages, of an address within a page, of a range that wraps: -22",
    (it) => {
      enableMapRange(it);
      const args = [
        [0x1000n, 0n],
        [0x1001n, 1n],
        [0xffff_ffff_ffff_f000n, 2n],
      ];
      expect(args.map((each) => kvmCall(it, Call.mapGpaRange, each))).toEqual([-22n, -22n, -22n]);
    },
  ],
  [
    "K16",
    "MAP_GPA_RANGE leaves with its arguments unchecked beyond that, ret 0, and the flag of 64 bits",
    (it) => {
      enableMapRange(it);
      const run = it.exit(callBytes(Call.mapGpaRange, [0x1000n, 2n, 0xffn]));
      if (run.exitReason !== "HYPERCALL") throw new Error(run.exitReason);
      expect(run.hypercall).toEqual({ nr: 12n, args: [0x1000n, 2n, 0xffn, 0n, 0n, 0n], ret: 0n, flags: 1n });
      run.hypercall.ret = -5n;
      expect(it.outcomeNow()).toBe("done");
      expect(BigInt.asIntN(64, it.vcpu.getReg("rax"))).toBe(-5n);
    },
  ],
  [
    "K17",
    "EXIT_HYPERCALL with another bit: EINVAL",
    (it) => {
      expect(errno(() => it.vm.enableCap({ cap: "EXIT_HYPERCALL", args: [0x1001n] }))).toBe("EINVAL");
    },
  ],
  [
    "K18",
    "CHECK of EXIT_HYPERCALL: 0x1000",
    (it) => {
      expect(it.vm.checkExtension("EXIT_HYPERCALL")).toBe(0x1000);
    },
  ],
  [
    "K19",
    "a save while MAP_GPA_RANGE waits has the exit in it: the next VMM answers",
    (it) => {
      enableMapRange(it);
      expect(it.exit(callBytes(Call.mapGpaRange, [0x1000n, 1n, 0n])).exitReason).toBe("HYPERCALL");
      const there = it.moved();
      const run = there.run();
      if (run.exitReason !== "HYPERCALL") throw new Error(run.exitReason);
      run.hypercall.ret = 0n;
      expect(there.outcomeNow()).toBe("done");
      expect(there.vcpu.getReg("rax")).toBe(0n);
    },
  ],
  [
    "K20",
    "KICK_CPU ends the HLT of another vCPU, interrupts off or on: one that came just before is not lost",
    (it) => {
      for (const [name, pauses] of [
        ["after its HLT", 64],
        ["before it", 0],
      ] as const) {
        const isTold = [0xc6, 0x04, 0x25, 0, 0, 0, 0x10, 1, ...spin];
        const waiting = pauses === 0 ? Array.from({ length: 16 }, () => [0xf3, 0x90]).flat() : [];
        it.load([...waiting, 0xfa, 0xf4, ...isTold], 1);
        it.vm.vcpu(1).setMpState(0);
        const wait = Array.from({ length: pauses }, () => [0xf3, 0x90]).flat();
        it.load([...wait, ...callBytes(Call.kickCpu, [0n, 1n]), ...spin]);
        expect([name, it.run()]).toEqual([name, expect.objectContaining({ exitReason: "MMIO", vcpu: 1 })]);
        expect(it.vcpu.getReg("rax")).toBe(0n);
      }
    },
    { vcpuCount: 2 },
  ],
  [
    "K20a",
    "a kick that a vCPU is yet to see moves with the VM",
    (it) => {
      // Longer than any slice: the other one tells that it has kicked before this one halts.
      const delay = [...move("rcx", 200_000), 0x48, 0xff, 0xc9, 0x75, 0xfb];
      it.load([...delay, 0xfa, 0xf4, 0xc6, 0x04, 0x25, 0, 0, 0, 0x10, 1, ...spin], 1);
      it.vm.vcpu(1).setMpState(0);
      expect(it.exit(callBytes(Call.kickCpu, [0n, 1n]))).toMatchObject({ exitReason: "MMIO", vcpu: 0 });
      const there = it.moved();
      // The exit that waits is told to the next VMM too.
      expect(there.run()).toMatchObject({ exitReason: "MMIO", vcpu: 0 });
      expect(there.run()).toMatchObject({ exitReason: "MMIO", vcpu: 1 });
    },
    { vcpuCount: 2 },
  ],
  [
    "K29a",
    "POLL_CONTROL begins with 1, and takes its one bit",
    (it) => {
      expect(it.readMsr(MSR_KVM.pollControl)).toBe(1n);
      expect(it.writeMsr(MSR_KVM.pollControl, 0n)).toBe("done");
      expect(it.writeMsr(MSR_KVM.pollControl, 2n)).toBe("#GP");
      expect(it.readMsr(MSR_KVM.pollControl)).toBe(0n);
      expect(it.moved().readMsr(MSR_KVM.pollControl)).toBe(0n);
    },
  ],
  [
    "K29b",
    "MIGRATION_CONTROL is the VMM's, by KVM_CAP_X86_USER_SPACE_MSR; without it #GP",
    (it) => {
      expect(it.readMsr(MIGRATION_CONTROL)).toBe("#GP");
      it.vm.enableCap({ cap: "X86_USER_SPACE_MSR", args: [2n] });
      const run = it.exit(readMsr(MIGRATION_CONTROL));
      expect(run).toMatchObject({ exitReason: "X86_RDMSR", msr: { index: MIGRATION_CONTROL } });
    },
  ],
  [
    "K29c",
    "async page faults are not there, so nothing offers them, and their MSR is #GP",
    (it) => {
      const asyncPageFaults = (1 << 4) | (1 << 10) | (1 << 14);
      expect((it.cpuid(0x4000_0001)[0] ?? 0) & asyncPageFaults).toBe(0);
      const [supported] = it.vm.system.getSupportedCpuid().filter((each) => each.function === 0x4000_0001);
      expect((supported?.eax ?? 0) & asyncPageFaults).toBe(0);
      expect(it.readMsr(ASYNC_PF)).toBe("#GP");
    },
  ],
  [
    "K29d",
    "what KVM supports has the paravirtual calls; the guest is told of them where the VMM passes that on",
    (it) => {
      const calls = (1 << 7) | (1 << 11) | (1 << 13);
      expect((it.cpuid(0x4000_0001)[0] ?? 0) & calls).toBe(0);
      const other = it.another();
      other.vcpu.setCpuid2(other.vm.system.getSupportedCpuid());
      expect((other.cpuid(0x4000_0001)[0] ?? 0) & calls).toBe(calls);
      enforceFeatures(other);
      const all = [Call.kickCpu, Call.sendIpi, Call.schedYield];
      expect(all.map((nr) => kvmCall(other, nr, [0n, 0n, 0n, 0x40n]))).toEqual([0n, 0n, 0n]);
    },
  ],
  [
    "K32",
    "PV EOI is offered; its MSR takes an address in RAM that is a multiple of 4, and reads back",
    (it) => {
      expect((it.cpuid(0x4000_0001)[0] ?? 0) & PV_EOI_FEATURE).toBe(PV_EOI_FEATURE);
      const write = (value: bigint): string => it.writeMsr(MSR_KVM.eoiEnable, value);
      expect([write(PLACE | 2n), write(0x4000_0000n | 1n), write(PLACE | 1n)]).toEqual(["#GP", "#GP", "done"]);
      expect(it.readMsr(MSR_KVM.eoiEnable)).toBe(PLACE | 1n);
    },
  ],
  [
    "K32a",
    "the guest ends an interrupt by clearing the bit that KVM has set, with no exit, and the next one comes",
    (it) => {
      interruptItself(it, [FIRST]);
      expect(wordAt(it, DATA) & 0xffn).toBe(1n);
      const before = it.exit([0x90]).exitNumber;
      expect(it.exit(takeEnd).exitNumber - before).toBe(1);
      expect(wordAt(it, DATA) & 0xffn).toBe(0n);
      expect(inService(it)).toBe(0n);
      it.load([...sendSelf(FIRST), 0xfb, ...spin]);
      expect(outcomeOf(it.run())).toBe(`exception ${FIRST}`);
    },
  ],
  [
    "K32b",
    "a guest that leaves the bit alone is yet to end its interrupt: it is in service, and the next one waits for EOI",
    (it) => {
      interruptItself(it, [FIRST]);
      it.outcome(sendSelf(FIRST));
      // Something waits: the offer is gone, and the end has to be an exit.
      expect([wordAt(it, DATA) & 0xffn, inService(it)]).toEqual([0n, 1n << BigInt(FIRST)]);
      expect(it.outcome([0xfb, 0x90, 0x90, 0xfa])).toBe("done");
      it.load([...endOfInterrupt, 0xfb, ...spin]);
      expect(outcomeOf(it.run())).toBe(`exception ${FIRST}`);
      expect(wordAt(it, DATA) & 0xffn).toBe(1n);
    },
  ],
  [
    "K32c",
    "where another interrupt waits, or the guest has named no place, the end is an exit",
    (it) => {
      interruptItself(it, [FIRST, SECOND]);
      expect([wordAt(it, DATA) & 0xffn, inService(it)]).toEqual([0n, 1n << BigInt(SECOND)]);
      const other = it.another();
      other.load([...enableApic, ...sendSelf(FIRST), 0xfb, ...spin]);
      expect(outcomeOf(other.run())).toBe(`exception ${FIRST}`);
      expect([wordAt(other, DATA) & 0xffn, inService(other)]).toEqual([0n, 1n << BigInt(FIRST)]);
    },
  ],
  [
    "K32d",
    "an end that the guest was offered moves with the VM",
    (it) => {
      interruptItself(it, [FIRST]);
      const there = it.moved();
      there.run();
      expect(there.outcome(takeEnd)).toBe("done");
      expect(inService(there)).toBe(0n);
    },
  ],
  [
    "K32e",
    "Hyper-V's VP assist page is such a place too: bit 0 of its first word says that no EOI is required",
    (it) => {
      it.load([...enableApic, ...writeMsr(VP_ASSIST_PAGE, PLACE | 1n), ...sendSelf(FIRST), 0xfb, ...spin]);
      expect(outcomeOf(it.run())).toBe(`exception ${FIRST}`);
      expect(wordAt(it, DATA) & 0xffffn).toBe(1n);
      it.outcome(takeEnd);
      expect(inService(it)).toBe(0n);
    },
    { configuration: [["hv", "all"]] },
  ],
];

testRows("group K, x86", rows);
