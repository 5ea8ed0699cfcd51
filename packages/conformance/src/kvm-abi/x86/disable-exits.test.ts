/** KVM_CAP_X86_DISABLE_EXITS: HLT that does not leave guest mode. Documentation/virt/kvm/api.rst, 7.13. */
import type { KvmVm } from "@hvjournal/cpu-x86";
import { expect } from "@jest/globals";
import { move, spin, storeByte, vmcall } from "./instructions.js";
import { DEVICE, errno, outcomeOf, type Program, type ProgramOptions } from "./program.js";
import { type Row, testRows } from "./rows.js";

const CAP = "X86_DISABLE_EXITS";
const DisabledExit = { mwait: 1n, hlt: 2n, pause: 4n, cstate: 8n } as const;
const HALTS_IN_GUEST: ProgramOptions = {
  beforeVcpus(vm) {
    vm.enableCap({ cap: CAP, args: [DisabledExit.hlt] });
  },
};
const TWO_HALT_IN_GUEST = { ...HALTS_IN_GUEST, vcpuCount: 2 } as const;

const KVM_FEATURES = 0x4000_0001;
const KVM_FEATURES_BESIDE_HYPERV = 0x4000_0101;
const PV_UNHALT = 1 << 7;
const KICK_CPU = 5;
const RUNNABLE = 0;

const STI = 0xfb;
const CLI = 0xfa;
const HLT = 0xf4;
/** By its own gate the guest tells of it with a store to a device. */
const VECTOR = 0x1e;
const NMI = 2;
const TSC_DEADLINE = 2 << 17;
const IA32_TSC_DEADLINE = 0x6e0;
const apicWrite = (register: number, value: number): number[] => [
  ...move("rax", 0xfee0_0000 + register),
  ...[0xc7, 0x00, ...[0, 8, 16, 24].map((shift) => (value >>> shift) & 0xff)],
];
const enableApic = apicWrite(0xf0, 0x1ff);
const endOfInterrupt = apicWrite(0xb0, 0);
/** Fixed, to the vCPU whose APIC has id 1. */
const interruptTheOther = [...apicWrite(0x310, 1 << 24), ...apicWrite(0x300, 0x4000 | VECTOR)];
const sendNmiToTheOther = [...apicWrite(0x310, 1 << 24), ...apicWrite(0x300, 0x4400)];
const kickTheOther = [...move("rbx", 0), ...move("rcx", 1), ...move("rax", KICK_CPU), ...vmcall];
/** RDTSC; WRMSR of the deadline so many units of the counter later. */
const wakeIn = (ticks: number): number[] => [
  ...[...enableApic, ...apicWrite(0x320, TSC_DEADLINE | VECTOR), ...move("rcx", IA32_TSC_DEADLINE)],
  ...[0x0f, 0x31, 0x05, ...[0, 8, 16, 24].map((shift) => (ticks >>> shift) & 0xff), 0x83, 0xd2, 0x00, 0x0f, 0x30],
];
const pauses = (count: number): number[] => Array.from({ length: count }, () => [0xf3, 0x90]).flat();

/** What KVM_GET_SUPPORTED_CPUID has, with PV_UNHALT. */
function setSupportedCpuid({ vm, vcpu }: Program): void {
  vcpu.setCpuid2(vm.system.getSupportedCpuid());
}

function features({ vcpu }: Program, leaf = KVM_FEATURES): number {
  return vcpu.getCpuid2().find((entry) => entry.function === leaf)?.eax ?? 0;
}

/** The first vCPU runs until the second one has halted, and comes to a store to the device. */
function withTheOtherHalted(it: Program, waiting: readonly number[]): void {
  it.load([...waiting, HLT, ...storeByte(DEVICE, 1), ...spin], 1);
  it.vm.vcpu(1).setMpState(RUNNABLE);
  expect(it.exit([...enableApic, ...pauses(64)])).toMatchObject({ exitReason: "MMIO", vcpu: 0 });
}

/** Runs instructions of the first vCPU; which vCPU is told of, or that none is. */
function toldAfter(it: Program, bytes: readonly number[]): string {
  it.load([...bytes, ...spin]);
  let told = "";
  const stop = errno(() => {
    const run = it.run({ units: 200_000 });
    told = `vcpu${run.vcpu} ${outcomeOf(run) ?? run.exitReason}`;
  });
  return told || stop;
}

/** A guest that sleeps until its timer three times over. */
function sleepThrice(it: Program): object {
  for (let round = 1; round <= 3; round++) {
    it.load([...endOfInterrupt, ...wakeIn(1_000_000), STI, HLT, ...spin]);
    expect(outcomeOf(it.run())).toBe(`exception ${VECTOR}`);
  }
  const { exitNumber, icount } = it.session.recorder.machine;
  return { exitNumber, icount, guestTimeNs: it.vm.guestTimeNs, rip: it.vcpu.getReg("rip") };
}

const rows: readonly Row[] = [
  [
    "K11",
    "PV_UNHALT goes where HLT does not exit: of what KVM_SET_CPUID2 is given, KVM keeps all but that bit",
    (it) => {
      setSupportedCpuid(it);
      const other = it.another();
      setSupportedCpuid(other);
      expect(features(other) & PV_UNHALT).toBe(PV_UNHALT);
      expect(features(it)).toBe(features(other) & ~PV_UNHALT);
      expect([it.cpuid(KVM_FEATURES)[0], other.cpuid(KVM_FEATURES)[0]]).toEqual([features(it), features(other)]);
      // Both have run: what they were given is what they have.
      for (const program of [it, other]) expect(errno(() => setSupportedCpuid(program))).toBe("0");
    },
    HALTS_IN_GUEST,
  ],
  [
    "K11a",
    "it goes wherever KVM's leaves stand, and nothing else has that bit cleared",
    (it) => {
      const own = it.vm.system.getSupportedCpuid().filter((entry) => entry.function >>> 8 === KVM_FEATURES >>> 8);
      const moved = own.map((entry) => ({ ...entry, function: entry.function + 0x100 }));
      const foreign = {
        ...{ function: KVM_FEATURES - 1, index: 0, flags: 0 },
        eax: KVM_FEATURES,
        ebx: 0,
        ecx: 0,
        edx: 0,
      };
      const all = { ...foreign, function: KVM_FEATURES, eax: 0xffff_ffff };
      it.vcpu.setCpuid2([foreign, all, ...moved]);
      expect(features(it)).toBe(0xffff_ffff);
      expect(features(it, KVM_FEATURES_BESIDE_HYPERV) & PV_UNHALT).toBe(0);
      expect(features(it, KVM_FEATURES_BESIDE_HYPERV)).not.toBe(0);
    },
    HALTS_IN_GUEST,
  ],
  [
    "K11b",
    "a single word of CPUID that has PV_UNHALT: the same",
    (it) => expect(it.cpuid(KVM_FEATURES)[0]).toBe(0x0100_0829),
    { ...HALTS_IN_GUEST, configuration: [["cpuid", "0x40000001:eax=0x010008a9"]] },
  ],
  [
    "K11c",
    "CHECK: HLT alone, for PAUSE does not exit anyway, and there are no MWAIT and C-states; each other bit is EINVAL",
    (it) => {
      const { mwait, pause, cstate } = DisabledExit;
      const answers: unknown[] = [];
      const enable = (vm: Pick<KvmVm, "enableCap">, args: readonly bigint[]): string =>
        errno(() => vm.enableCap({ cap: CAP, args }));
      it.another({
        beforeVcpus: (vm) => {
          answers.push(vm.checkExtension(CAP), vm.checkExtension(143));
          answers.push(...[mwait, pause, cstate, 0x10n, 0xfn].map((bits) => enable(vm, [bits])));
        },
      });
      expect(answers).toEqual([2, 2, ...Array<string>(5).fill("EINVAL")]);
      expect([it.vm.checkExtension(CAP), it.vm.system.checkExtension(CAP)]).toEqual([2, 2]);
    },
  ],
  [
    "K11d",
    "what was disabled stays so: 0 takes nothing away",
    (it) => {
      setSupportedCpuid(it);
      expect(features(it) & PV_UNHALT).toBe(0);
    },
    {
      beforeVcpus: (vm) => {
        for (const bits of [DisabledExit.hlt, 0n]) vm.enableCap({ cap: CAP, args: [bits] });
      },
    },
  ],
  [
    "K11e",
    "HLT that does not exit sleeps as long, and is one exit less each time",
    (it) => {
      const { exitNumber, ...same } = sleepThrice(it.another()) as { readonly exitNumber: number };
      expect(sleepThrice(it)).toEqual({ ...same, exitNumber: exitNumber - 3 });
    },
    HALTS_IN_GUEST,
  ],
  [
    "K11f",
    "an interrupt that waits already ends it at once, and the guest does not leave",
    (it) => {
      const sendSelf = apicWrite(0x300, 0x4_0000 | VECTOR);
      const before = it.session.recorder.machine.exitNumber;
      it.load([...enableApic, ...sendSelf, STI, HLT, ...spin]);
      expect(outcomeOf(it.run())).toBe(`exception ${VECTOR}`);
      // Two writes of the local APIC, and the store.
      expect(it.session.recorder.machine.exitNumber).toBe(before + 3);
    },
    HALTS_IN_GUEST,
  ],
  [
    "K11g",
    "to KVM it runs: KVM_GET_MP_STATE is RUNNABLE, KICK_CPU does not end it, another vCPU's IPI does",
    (it) => {
      withTheOtherHalted(it, [...enableApic, STI]);
      expect(it.vm.vcpu(1).getMpState()).toBe(RUNNABLE);
      expect(toldAfter(it, kickTheOther)).toBe("EINTR");
      expect(toldAfter(it, interruptTheOther)).toBe(`vcpu1 exception ${VECTOR}`);
    },
    TWO_HALT_IN_GUEST,
  ],
  [
    "K11h",
    "with interrupts off an NMI ends it, and an interrupt does not",
    (it) => {
      withTheOtherHalted(it, [...enableApic, CLI]);
      expect(toldAfter(it, interruptTheOther)).toBe("EINTR");
      expect(toldAfter(it, sendNmiToTheOther)).toBe(`vcpu1 exception ${NMI}`);
    },
    TWO_HALT_IN_GUEST,
  ],
  [
    "K11i",
    "a vCPU that halts in guest mode moves with the VM",
    (it) => {
      withTheOtherHalted(it, [...enableApic, STI]);
      const there = it.moved();
      // The exit that waits is told to the next VMM too.
      expect(there.run()).toMatchObject({ exitReason: "MMIO", vcpu: 0 });
      expect(toldAfter(there, kickTheOther)).toBe("EINTR");
      expect(toldAfter(there, interruptTheOther)).toBe(`vcpu1 exception ${VECTOR}`);
    },
    TWO_HALT_IN_GUEST,
  ],
];

testRows("exits that are disabled, x86", rows);
