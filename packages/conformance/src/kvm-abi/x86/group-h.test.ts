/** CPUID on x86: what KVM says that it can tell guests, in both scopes, and what a VMM makes of it. arch/x86/kvm/cpuid.c, hyperv.c. */
import type { CpuidEntry } from "@hvjournal/cpu-x86";
import { expect } from "@jest/globals";
import { errno, type Program } from "./program.js";
import { type Row, testRows } from "./rows.js";

const EVMCS = "HYPERV_ENLIGHTENED_VMCS";
const EVMCS_RECOMMENDED = 1 << 14;
const NO_CORE_SHARING = 1 << 18;
const LEAVES = [0, 1, 2, 3, 4, 5, 0x80, 0x81, 0x82, 0xa].map((leaf) => 0x4000_0000 + leaf);
const SIGNATURE_BIT = 1 << 23;

function leafOf(entries: readonly CpuidEntry[], leaf: number): CpuidEntry {
  const found = entries.find((each) => each.function === leaf);
  if (found === undefined) throw new Error(`no leaf 0x${leaf.toString(16)}`);
  return found;
}

function withEax(entries: readonly CpuidEntry[], leaf: number, eax: number): CpuidEntry[] {
  return entries.map((each) => (each.function === leaf ? { ...each, eax } : each));
}

/** What its guest is told, with the vCPU's own leaves of Hyper-V, as a VMM passes them on. */
function passOn({ vcpu, vm }: Program): CpuidEntry[] {
  return [
    ...vm.system.getSupportedCpuid().filter((each) => each.function >>> 28 !== 4),
    ...vcpu.getSupportedHvCpuid().entries,
  ];
}

const rows: readonly Row[] = [
  ["H01", "the system's form is there", ({ vm }) => expect(vm.checkExtension("SYS_HYPERV_CPUID")).toBe(1)],
  [
    "H02",
    "room for none: E2BIG",
    ({ vm, vcpu }) => {
      expect(errno(() => void vm.system.getSupportedHvCpuid(0))).toBe("E2BIG");
      expect(errno(() => void vm.system.getSupportedHvCpuid(9))).toBe("E2BIG");
      expect(errno(() => void vcpu.getSupportedHvCpuid(9))).toBe("E2BIG");
    },
  ],
  [
    "H03",
    "room for 10 or 20: 10 are written",
    ({ vm }) => {
      expect(vm.system.getSupportedHvCpuid(10).nent).toBe(10);
      expect(vm.system.getSupportedHvCpuid(20).nent).toBe(10);
    },
  ],
  [
    "H04",
    "every entry is one of the ten leaves, with index and flags 0",
    ({ vm }) => {
      const { entries } = vm.system.getSupportedHvCpuid();
      expect(entries.map((each) => each.function)).toEqual(LEAVES);
      expect(entries.every(({ index, flags }) => index === 0 && flags === 0)).toBe(true);
    },
  ],
  [
    "H06",
    "EAX[18] of leaf 0x40000004: set where two virtual processors never share a core",
    (it) => {
      for (const [host, bit] of [
        ["intel", 0],
        ["intel-no-smt", NO_CORE_SHARING],
      ] as const) {
        const { vm, vcpu } = it.another({ host });
        for (const { entries } of [vm.system.getSupportedHvCpuid(), vcpu.getSupportedHvCpuid()])
          expect([host, leafOf(entries, 0x4000_0004).eax & NO_CORE_SHARING]).toEqual([host, bit]);
      }
    },
  ],
  [
    "H08",
    "with enlightened VMCS enabled on the vCPU: its versions, and that it is recommended",
    ({ vcpu }) => {
      const before = vcpu.getSupportedHvCpuid();
      expect(vcpu.enableCap({ cap: EVMCS })).toBe(0x0101);
      const { entries, dependsOn, cacheKey } = vcpu.getSupportedHvCpuid();
      expect(leafOf(entries, 0x4000_000a).eax & 0xffff).toBe(0x0101);
      expect(leafOf(entries, 0x4000_0004).eax & EVMCS_RECOMMENDED).toBe(EVMCS_RECOMMENDED);
      expect(dependsOn).toContainEqual({ on: "KVM_CAP_HYPERV_ENLIGHTENED_VMCS of vcpu0", is: true });
      expect(cacheKey).not.toBe(before.cacheKey);
    },
  ],
  [
    "H08",
    "enlightened VMCS of one vCPU changes nothing of another's answer",
    ({ vm }) => {
      vm.vcpu(1).enableCap({ cap: 163 });
      expect(leafOf(vm.vcpu(0).getSupportedHvCpuid().entries, 0x4000_000a).eax & 0xffff).toBe(0);
      expect(leafOf(vm.vcpu(1).getSupportedHvCpuid().entries, 0x4000_000a).eax & 0xffff).toBe(0x0101);
    },
    { vcpuCount: 2 },
  ],
  [
    "H08",
    "enlightened VMCS on a host without VMX: ENOTTY",
    ({ vm, vcpu }) => {
      expect(errno(() => void vcpu.enableCap({ cap: EVMCS }))).toBe("ENOTTY");
      expect(leafOf(vm.system.getSupportedHvCpuid().entries, 0x4000_000a).eax & 0xffff).toBe(0);
    },
    { host: "amd" },
  ],
  [
    "H09",
    "without it: version 0, and the leaf is there",
    ({ vcpu }) => {
      const { entries } = vcpu.getSupportedHvCpuid();
      expect(leafOf(entries, 0x4000_000a).eax).toBe(0x000a_0000);
      expect(leafOf(entries, 0x4000_0004).eax & EVMCS_RECOMMENDED).toBe(0);
    },
  ],
  [
    "H10",
    "the two forms differ in enlightened VMCS alone: the local APIC is the kernel's",
    ({ vm, vcpu }) => {
      const [system, own] = [vm.system.getSupportedHvCpuid().entries, vcpu.getSupportedHvCpuid().entries];
      const different = system.filter((each, index) => JSON.stringify(each) !== JSON.stringify(own[index]));
      expect(different.map((each) => each.function)).toEqual([0x4000_0004, 0x4000_000a]);
      const now = leafOf(system, 0x4000_0004).eax ^ leafOf(own, 0x4000_0004).eax;
      expect(now).toBe(EVMCS_RECOMMENDED);
    },
  ],
  ["H10", "EDX[19] and EAX[10] without a local APIC in the kernel", "the irqchip is always in the kernel"],
  [
    "H11",
    "KVM_SET_CPUID2 after KVM_RUN: EINVAL for a change, the same content is taken",
    (it) => {
      const entries = passOn(it);
      it.vcpu.setCpuid2(entries);
      expect(it.cpuid(0x4000_0001)[0]).toBe(0x3123_7648);
      expect(errno(() => it.vcpu.setCpuid2(withEax(entries, 0x4000_0003, 0)))).toBe("EINVAL");
      expect(errno(() => it.vcpu.setCpuid2(entries))).toBe("0");
      expect(it.cpuid(0x4000_0003)[0]).toBe(leafOf(entries, 0x4000_0003).eax);
    },
  ],
  [
    "H12",
    "the same of ordinary leaves, and of what was never set",
    (it) => {
      const before = it.vcpu.getCpuid2();
      it.runOnce();
      expect(errno(() => it.vcpu.setCpuid2(withEax(before, 1, 0x600)))).toBe("EINVAL");
      expect(errno(() => it.vcpu.setCpuid2(before))).toBe("0");
    },
  ],
  [
    "H13",
    "the system's answer is the same whatever VMs do",
    (it) => {
      const first = JSON.stringify(it.vm.system.getSupportedHvCpuid());
      it.vcpu.enableCap({ cap: EVMCS });
      const { vm } = it.another({ vcpuCount: 2 });
      expect(JSON.stringify(it.vm.system.getSupportedHvCpuid())).toBe(first);
      expect(JSON.stringify(vm.system.getSupportedHvCpuid())).toBe(first);
    },
  ],
  [
    "H13",
    "policy hv.cpuid.scope=vcpu: /dev/kvm has no such ioctl, ENOTTY, and its capability is 0; vCPUs have",
    ({ vm, vcpu }) => {
      expect(errno(() => void vm.system.getSupportedHvCpuid())).toBe("ENOTTY");
      expect(vcpu.getSupportedHvCpuid().nent).toBe(10);
      for (const { checkExtension: check, it } of [
        { checkExtension: (cap: number) => vm.checkExtension(cap), it: "vm" },
        { checkExtension: (cap: number) => vm.system.checkExtension(cap), it: "system" },
      ])
        expect([it, check(191), check(167)]).toEqual([it, 0, 1]);
    },
    { configuration: [["policy", "hv.cpuid.scope=vcpu"]] },
  ],
  [
    "H13",
    "policy hv.cpuid.scope=system: a vCPU has no such ioctl, and hv passthrough hands on the system's answer",
    (it) => {
      expect(errno(() => void it.vcpu.getSupportedHvCpuid())).toBe("ENOTTY");
      expect([it.vm.checkExtension("SYS_HYPERV_CPUID"), it.vm.checkExtension("HYPERV_CPUID")]).toEqual([1, 0]);
      const versions = (program: Program): number => (program.cpuid(0x4000_000a)[0] ?? 0) & 0xffff;
      expect(versions(it)).toBe(0x0101);
      expect(versions(it.another({ configuration: [["hv", "passthrough"]] }))).toBe(0);
    },
    {
      configuration: [
        ["policy", "hv.cpuid.scope=system"],
        ["hv", "passthrough"],
      ],
    },
  ],
  [
    "H13",
    "the scope is of the kernel: it can't change under a VM that has run, EBUSY",
    (it) => {
      const cap = "HVJ_CAP_HV_CPUID_SCOPE";
      expect([it.vm.checkExtension(cap), errno(() => it.vm.enableCap({ cap, args: [2n] }))]).toEqual([1, "0"]);
      expect(errno(() => void it.vm.system.getSupportedHvCpuid())).toBe("ENOTTY");
      it.runOnce();
      expect(errno(() => it.vm.enableCap({ cap, args: [0n] }))).toBe("EBUSY");
    },
  ],
  ["H14", "DIRECT_TLBFLUSH: the VM's calls go to L0", "the host is no guest of Hyper-V"],
  [
    "H15",
    "a VM has no KVM_GET_SUPPORTED_HV_CPUID: ENOTTY",
    ({ vm }) => expect(errno(() => vm.getSupportedHvCpuid())).toBe("ENOTTY"),
  ],
  [
    "H16",
    "the guest is told what KVM_SET_CPUID2 has set, of its own vCPU",
    (it) => {
      it.vcpu.setCpuid2(withEax(passOn(it), 0x15, 7));
      expect(it.cpuid(0x15)[0]).toBe(7);
      // Beyond the highest leaf of its block: the highest basic one answers.
      expect(it.cpuid(0x4000_0090)).toEqual(it.cpuid(0x16));
      expect(it.cpuid(0x4000_0100)).toEqual(it.cpuid(0x16));
      expect(it.vcpu.getCpuid2()).toEqual(withEax(passOn(it), 0x15, 7));
    },
  ],
  [
    "H16",
    "too many entries: E2BIG; linear addresses of 50 bits: EINVAL",
    (it) => {
      const entries = passOn(it);
      const many = Array.from({ length: 257 }, () => entries[0] as CpuidEntry);
      expect(errno(() => it.vcpu.setCpuid2(many))).toBe("E2BIG");
      expect(errno(() => it.vcpu.setCpuid2(withEax(entries, 0x8000_0008, 50 << 8)))).toBe("EINVAL");
    },
  ],
  [
    "H16",
    "OSXSAVE follows CR4, whatever was set",
    (it) => {
      const entries = passOn(it).map((each) => (each.function === 1 ? { ...each, ecx: each.ecx | (1 << 27) } : each));
      it.vcpu.setCpuid2(entries);
      expect((it.cpuid(1)[2] ?? 0) & (1 << 27)).toBe(0);
    },
  ],
  [
    "H16",
    "--cpuid sets one word, beside --hv; bits that the CPU does not have are refused",
    (it) => {
      const [, , ecx = 0] = it.another({ configuration: [["hv", "relaxed"]] }).cpuid(1);
      const bare = (ecx & ~SIGNATURE_BIT) >>> 0;
      const word = `0x1:ECX=0x${bare.toString(16)}`;
      const other = it.another({
        configuration: [
          ["hv", "relaxed"],
          ["cpuid", word],
          ["cpuid", "0x40000004:EBX=0x80"],
        ],
      });
      expect(other.cpuid(1)[2]).toBe(bare);
      expect(other.cpuid(0x4000_0004).slice(0, 2)).toEqual([1 << 5, 0x80]);
      for (const text of ["0x1:ECX=0x10000000", "0x40000003:EAX=0x400", "0x17:EAX=1", "0x0:EAX=0x20"])
        expect([text, errno(() => it.vm.configure("cpuid", text))]).toEqual([text, "EINVAL"]);
      it.vcpu.setCpuid2(passOn(it));
      expect(errno(() => it.vm.configure("cpuid", word))).toBe("EINVAL");
      expect(errno(() => it.vm.configure("hv", "all"))).toBe("EINVAL");
    },
  ],
  [
    "H16",
    "Hyper-V's interface is there by its leaf alone: a guest of KVM_SET_CPUID2 reads GUEST_OS_ID, one without does not",
    (it) => {
      expect(it.readMsr(0x4000_0000)).toBe("#GP");
      const other = it.another();
      other.vcpu.setCpuid2(passOn(other));
      expect(other.readMsr(0x4000_0000)).toBe(0n);
    },
  ],
];

testRows("group H, x86", rows);
