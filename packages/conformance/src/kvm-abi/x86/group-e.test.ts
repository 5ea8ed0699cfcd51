/** Hyper-V's MSRs and their privileges on x86: which a guest may use, and what each does. Hyper-V TLFS; arch/x86/kvm/hyperv.c. */
import { HypervMsr as H } from "@hvjournal/cpu-x86";
import { expect } from "@jest/globals";
import { writeMsr } from "./instructions.js";
import { DATA, errno, type Program } from "./program.js";
import { type Row, testRows } from "./rows.js";

const LINUX = 0x8100_0000_0000_0000n;
const PAGE = BigInt(DATA);
const ENABLED = 1n;
const NOTIFY = 1n << 63n;
const MASKED = 0x1_0000n;
const UNKNOWN_MSR = 0x4000_00fe;
const ENFORCE = "HYPERV_ENFORCE_CPUID";
const SYNIC = "HYPERV_SYNIC";
const SYNIC2 = "HYPERV_SYNIC2";
const PRIVILEGES_LEAF = 0x4000_0003;
/** Bits of leaf 0x40000003. */
const SYNIC_MSRS = 1 << 2;
const DEBUG_MSRS = 1 << 11;

interface Gate {
  readonly word: "eax" | "edx";
  readonly bit: number;
  readonly msrs: readonly number[];
}

/** Which bit of leaf 0x40000003 each MSR needs; all of these can be read. */
const GATES: readonly Gate[] = [
  { word: "eax", bit: 0, msrs: [H.HV_X64_MSR_VP_RUNTIME] },
  { word: "eax", bit: 1, msrs: [H.HV_X64_MSR_TIME_REF_COUNT] },
  {
    word: "eax",
    bit: 2,
    msrs: [
      ...[H.HV_X64_MSR_SCONTROL, H.HV_X64_MSR_SVERSION, H.HV_X64_MSR_SIEFP, H.HV_X64_MSR_SIMP],
      ...[H.HV_X64_MSR_EOM, H.HV_X64_MSR_SINT0, H.HV_X64_MSR_SINT0 + 15],
    ],
  },
  { word: "eax", bit: 3, msrs: [H.HV_X64_MSR_STIMER0_CONFIG, H.HV_X64_MSR_STIMER0_COUNT + 6] },
  { word: "eax", bit: 4, msrs: [H.HV_X64_MSR_ICR, H.HV_X64_MSR_TPR, H.HV_X64_MSR_VP_ASSIST_PAGE] },
  { word: "eax", bit: 5, msrs: [H.HV_X64_MSR_GUEST_OS_ID, H.HV_X64_MSR_HYPERCALL] },
  { word: "eax", bit: 6, msrs: [H.HV_X64_MSR_VP_INDEX] },
  { word: "eax", bit: 7, msrs: [H.HV_X64_MSR_RESET] },
  { word: "eax", bit: 9, msrs: [H.HV_X64_MSR_REFERENCE_TSC] },
  { word: "eax", bit: 11, msrs: [H.HV_X64_MSR_TSC_FREQUENCY, H.HV_X64_MSR_APIC_FREQUENCY] },
  {
    word: "eax",
    bit: 13,
    msrs: [
      ...[H.HV_X64_MSR_REENLIGHTENMENT_CONTROL, H.HV_X64_MSR_TSC_EMULATION_CONTROL],
      H.HV_X64_MSR_TSC_EMULATION_STATUS,
    ],
  },
  { word: "eax", bit: 15, msrs: [H.HV_X64_MSR_TSC_INVARIANT_CONTROL] },
  { word: "edx", bit: 10, msrs: [H.HV_X64_MSR_CRASH_P0, H.HV_X64_MSR_CRASH_P0 + 4, H.HV_X64_MSR_CRASH_CTL] },
];

/** What KVM supports, with one word of the privileges changed; and it is enforced. */
function enforce(it: Program, word: "eax" | "ebx" | "edx", change: (value: number) => number): void {
  const { vm, vcpu } = it;
  const leaves = [
    ...vm.system.getSupportedCpuid().filter((each) => each.function >>> 28 !== 4),
    ...vcpu.getSupportedHvCpuid().entries,
  ];
  vcpu.setCpuid2(
    leaves.map((each) => (each.function === PRIVILEGES_LEAF ? { ...each, [word]: change(each[word]) >>> 0 } : each)),
  );
  vcpu.enableCap({ cap: SYNIC2, args: [0n] });
  vcpu.enableCap({ cap: ENFORCE, args: [1n] });
}

function readable(it: Program, msrs: readonly number[]): string[] {
  return msrs.map((msr) => (it.readMsr(msr) === "#GP" ? "#GP" : "read"));
}

function pageBytes({ vm }: Program, count: number): number[] {
  return [...vm.readMemory(DATA, count)];
}

const HYPERV = { configuration: [["hv", "all"]] } as const;
/** Hyper-V and Xen at once. */
const WITH_XEN = {
  configuration: [
    ["hv", "all"],
    ["xen", "0x40000200"],
  ],
} as const;

/** With the identity that a page of calls needs. */
function enableCallPage(it: Program): void {
  expect(it.writeMsr(H.HV_X64_MSR_GUEST_OS_ID, LINUX)).toBe("done");
  expect(it.writeMsr(H.HV_X64_MSR_HYPERCALL, PAGE | ENABLED)).toBe("done");
}

const rows: readonly Row[] = [
  ...GATES.map(({ word, bit, msrs }): Row => [
    "E01",
    `without bit ${bit} of ${word.toUpperCase()}, enforced: #GP`,
    (it) => {
      enforce(it, word, (value) => value & ~(1 << bit));
      expect(readable(it, msrs)).toEqual(msrs.map(() => "#GP"));
    },
    {},
  ]),
  [
    "E02",
    "with each bit, enforced: they can be read",
    (it) => {
      enforce(it, "eax", (value) => value);
      const all = GATES.flatMap(({ msrs }) => msrs);
      expect(readable(it, all)).toEqual(all.map(() => "read"));
    },
    {},
  ],
  [
    "E03",
    "VP_RUNTIME, TIME_REF_COUNT, VP_INDEX and TSC_FREQUENCY written by the guest: #GP",
    (it) => {
      const constants = [H.HV_X64_MSR_VP_RUNTIME, H.HV_X64_MSR_TIME_REF_COUNT];
      for (const msr of [...constants, H.HV_X64_MSR_VP_INDEX, H.HV_X64_MSR_TSC_FREQUENCY, H.HV_X64_MSR_APIC_FREQUENCY])
        expect([msr, it.writeMsr(msr, 1n)]).toEqual([msr, "#GP"]);
    },
  ],
  [
    "E04",
    "REFERENCE_TSC := 0: done",
    (it) => {
      enforce(it, "eax", (value) => value);
      expect(it.writeMsr(H.HV_X64_MSR_REFERENCE_TSC, 0n)).toBe("done");
    },
    {},
  ],
  [
    "E05",
    "RESET := 1: KVM_EXIT_SYSTEM_EVENT of a reset; 0 does nothing",
    (it) => {
      expect(it.writeMsr(H.HV_X64_MSR_RESET, 0n)).toBe("done");
      const run = it.exit(writeMsr(H.HV_X64_MSR_RESET, 1n));
      expect(run).toMatchObject({ exitReason: "SYSTEM_EVENT", systemEvent: { type: 2 } });
      expect(it.readMsr(H.HV_X64_MSR_RESET)).toBe(0n);
    },
  ],
  [
    "E06",
    "EOM with SYNIC2 and without the bit: #GP; with it, done",
    (it) => {
      enforce(it, "eax", (value) => value & ~SYNIC_MSRS);
      expect(it.writeMsr(H.HV_X64_MSR_EOM, 0n)).toBe("#GP");
      const other = it.another();
      enforce(other, "eax", (value) => value);
      expect(other.writeMsr(H.HV_X64_MSR_EOM, 0n)).toBe("done");
    },
    {},
  ],
  [
    "E08",
    "EOI: it can't be read; it can be written",
    (it) => {
      expect(it.readMsr(H.HV_X64_MSR_EOI)).toBe("#GP");
      expect(it.writeMsr(H.HV_X64_MSR_EOI, 0n)).toBe("done");
    },
  ],
  [
    "E10",
    "TSC_EMULATION_STATUS := 1: #GP; 0 is done",
    (it) => {
      expect(it.writeMsr(H.HV_X64_MSR_TSC_EMULATION_STATUS, 1n)).toBe("#GP");
      expect(it.writeMsr(H.HV_X64_MSR_TSC_EMULATION_STATUS, 0n)).toBe("done");
    },
  ],
  [
    "E11",
    "TSC_INVARIANT_CONTROL: bit 0 alone, which stays set",
    (it) => {
      const write = (value: bigint): string => it.writeMsr(H.HV_X64_MSR_TSC_INVARIANT_CONTROL, value);
      expect([write(2n), write(1n), write(0n), it.readMsr(H.HV_X64_MSR_TSC_INVARIANT_CONTROL)]).toEqual([
        ...["#GP", "done", "#GP"],
        1n,
      ]);
    },
  ],
  [
    "E12",
    "SYNDBG_STATUS with bit 11 of EDX: it can be read; without it, #GP",
    (it) => {
      enforce(it, "edx", (value) => value | DEBUG_MSRS);
      expect(it.readMsr(H.HV_X64_MSR_SYNDBG_STATUS)).toBe(0n);
      const other = it.another();
      enforce(other, "edx", (value) => value & ~DEBUG_MSRS);
      expect(other.readMsr(H.HV_X64_MSR_SYNDBG_STATUS)).toBe("#GP");
    },
    {},
  ],
  [
    "E14",
    "GUEST_OS_ID := 0 with the page enabled: HYPERCALL reads with the enable bit clear",
    (it) => {
      enableCallPage(it);
      expect(it.writeMsr(H.HV_X64_MSR_GUEST_OS_ID, 0n)).toBe("done");
      expect(it.readMsr(H.HV_X64_MSR_HYPERCALL)).toBe(PAGE);
    },
  ],
  [
    "E15",
    "HYPERCALL with the enable bit while GUEST_OS_ID is 0: no fault, nothing changes",
    (it) => {
      expect(it.writeMsr(H.HV_X64_MSR_HYPERCALL, PAGE | ENABLED)).toBe("done");
      expect(it.readMsr(H.HV_X64_MSR_HYPERCALL)).toBe(0n);
      expect(pageBytes(it, 4)).toEqual([0, 0, 0, 0]);
    },
  ],
  [
    "E16",
    "HYPERCALL with the enable bit on an Intel host: VMCALL and RET stand in the page, the rest is kept",
    (it) => {
      it.vm.writeMemory(DATA, new Uint8Array(8).fill(0x90));
      enableCallPage(it);
      expect(pageBytes(it, 8)).toEqual([0x0f, 0x01, 0xc1, 0xc3, 0x90, 0x90, 0x90, 0x90]);
      expect(it.writeMsr(H.HV_X64_MSR_HYPERCALL, PAGE)).toBe("done");
      expect(pageBytes(it, 4)).toEqual([0x0f, 0x01, 0xc1, 0xc3]);
    },
  ],
  [
    "E17",
    "the same on an AMD host: VMMCALL and RET",
    (it) => {
      enableCallPage(it);
      expect(pageBytes(it, 5)).toEqual([0x0f, 0x01, 0xd9, 0xc3, 0]);
    },
    { ...HYPERV, host: "amd" },
  ],
  [
    "E18",
    "with Xen's interception too: OR EAX, 0x80000000 stands before, on both hosts",
    (it) => {
      const prefix = [0x0d, 0, 0, 0, 0x80];
      enableCallPage(it);
      expect(pageBytes(it, 10)).toEqual([...prefix, 0x0f, 0x01, 0xc1, 0xc3, 0]);
      const other = it.another({ ...WITH_XEN, host: "amd" });
      enableCallPage(other);
      expect(pageBytes(other, 10)).toEqual([...prefix, 0x0f, 0x01, 0xd9, 0xc3, 0]);
    },
    WITH_XEN,
  ],
  [
    "E19",
    "a page of calls where no RAM is: #GP, and nothing changes",
    (it) => {
      it.writeMsr(H.HV_X64_MSR_GUEST_OS_ID, LINUX);
      expect(it.writeMsr(H.HV_X64_MSR_HYPERCALL, 0x4000_0000n | ENABLED)).toBe("#GP");
      expect(it.readMsr(H.HV_X64_MSR_HYPERCALL)).toBe(0n);
    },
  ],
  [
    "E20",
    "VP_ASSIST_PAGE enabled: the first word of the page is cleared, the others are kept",
    (it) => {
      it.vm.writeMemory(DATA, new Uint8Array(8).fill(0xaa));
      expect(it.writeMsr(H.HV_X64_MSR_VP_ASSIST_PAGE, PAGE | ENABLED)).toBe("done");
      expect(pageBytes(it, 8)).toEqual([0, 0, 0, 0, 0xaa, 0xaa, 0xaa, 0xaa]);
      expect(it.writeMsr(H.HV_X64_MSR_VP_ASSIST_PAGE, 0x4000_0000n | ENABLED)).toBe("#GP");
    },
  ],
  [
    "E21",
    "SINT0 with vector 5, unmasked: #GP for the guest; the VMM may",
    (it) => {
      expect(it.readMsr(H.HV_X64_MSR_SINT0)).toBe(MASKED);
      expect(it.writeMsr(H.HV_X64_MSR_SINT0, 5n)).toBe("#GP");
      expect(it.writeMsr(H.HV_X64_MSR_SINT0, MASKED | 5n)).toBe("done");
      expect(it.vcpu.setMsrs([{ index: H.HV_X64_MSR_SINT0, data: 5n }])).toBe(1);
      expect(it.readMsr(H.HV_X64_MSR_SINT0)).toBe(5n);
    },
  ],
  [
    "E22",
    "an MSR of Hyper-V's numbers that there is not, enforced: #GP",
    (it) => {
      enforce(it, "eax", (value) => value);
      expect(it.readMsr(UNKNOWN_MSR)).toBe("#GP");
      expect(it.writeMsr(UNKNOWN_MSR, 0n)).toBe("#GP");
    },
    {},
  ],
  [
    "E23",
    "not enforced: all can be used, whatever the bits say",
    (it) => {
      const all = GATES.flatMap(({ msrs }) => msrs);
      it.vcpu.setCpuid2([
        ...it.vm.system.getSupportedCpuid().filter((each) => each.function >>> 28 !== 4),
        ...it.vcpu
          .getSupportedHvCpuid()
          .entries.map((each) => (each.function === PRIVILEGES_LEAF ? { ...each, eax: 0, ebx: 0, edx: 0 } : each)),
      ]);
      it.vcpu.enableCap({ cap: SYNIC2, args: [0n] });
      it.vcpu.enableCap({ cap: ENFORCE, args: [0n] });
      expect(readable(it, all)).toEqual(all.map(() => "read"));
    },
    {},
  ],
  [
    "E24",
    "CRASH_CTL with bit 63 by the guest: KVM_EXIT_SYSTEM_EVENT of a crash, and what is stored stays",
    (it) => {
      const run = it.exit(writeMsr(H.HV_X64_MSR_CRASH_CTL, NOTIFY));
      expect(run).toMatchObject({ exitReason: "SYSTEM_EVENT", systemEvent: { type: 3 } });
      expect(it.readMsr(H.HV_X64_MSR_CRASH_CTL)).toBe(0n);
    },
  ],
  [
    "E25",
    "CRASH_CTL reads 0 until the VMM has set what it can; of that only bit 63 is kept",
    (it) => {
      expect(it.vcpu.setMsrs([{ index: H.HV_X64_MSR_CRASH_CTL, data: NOTIFY | 3n }])).toBe(1);
      expect(it.readMsr(H.HV_X64_MSR_CRASH_CTL)).toBe(NOTIFY);
    },
  ],
  [
    "E26",
    "SCONTROL, SIEFP and SIMP by the guest: KVM_EXIT_HYPERV of the SynIC; by the VMM no exit",
    (it) => {
      it.vcpu.enableCap({ cap: SYNIC2, args: [0n] });
      for (const msr of [H.HV_X64_MSR_SCONTROL, H.HV_X64_MSR_SIEFP, H.HV_X64_MSR_SIMP]) {
        expect(it.vcpu.setMsrs([{ index: msr, data: 0n }])).toBe(1);
        const run = it.exit(writeMsr(msr, PAGE | ENABLED));
        expect(run).toMatchObject({ exitReason: "HYPERV", hyperv: { type: 1, msr } });
        expect(it.outcomeNow()).toBe("done");
        expect(it.readMsr(msr)).toBe(PAGE | ENABLED);
      }
      const run = it.exit(writeMsr(H.HV_X64_MSR_SIMP, PAGE));
      expect(run).toMatchObject({ hyperv: { control: PAGE | ENABLED, evtPage: PAGE | ENABLED, msgPage: PAGE } });
    },
  ],
  ...[
    [SYNIC, [], 0],
    [SYNIC2, [0n], 0x55],
  ].map(([cap, args, first]): Row => [
    "E27",
    `SIMP enabled with ${String(cap)}: the page is ${first === 0 ? "cleared" : "kept"}`,
    (it) => {
      it.vcpu.enableCap({ cap: String(cap), args: args as bigint[] });
      it.vm.writeMemory(DATA, new Uint8Array(16).fill(0x55));
      const run = it.exit(writeMsr(H.HV_X64_MSR_SIMP, PAGE | ENABLED));
      expect(run.exitReason).toBe("HYPERV");
      expect(it.outcomeNow()).toBe("done");
      expect(pageBytes(it, 2)).toEqual([first, first]);
    },
  ]),
  [
    "E28",
    "SYNIC2 with an argument: EINVAL; of the VM: EINVAL",
    ({ vm, vcpu }) => {
      expect(errno(() => void vcpu.enableCap({ cap: SYNIC2, args: [1n] }))).toBe("EINVAL");
      expect(errno(() => void vcpu.enableCap({ cap: SYNIC2, flags: 1 }))).toBe("EINVAL");
      expect(errno(() => vm.vcpu(0).enableCap({ cap: "X86_USER_SPACE_MSR", args: [1n] }))).toBe("EINVAL");
    },
  ],
  [
    "E28",
    "SynIC's MSRs before the capability: #GP for the guest; the VMM may write 0",
    (it) => {
      const msrs = [H.HV_X64_MSR_SCONTROL, H.HV_X64_MSR_SIMP, H.HV_X64_MSR_STIMER0_CONFIG];
      for (const msr of msrs) {
        expect([msr, it.readMsr(msr)]).toEqual([msr, "#GP"]);
        expect([msr, it.vcpu.setMsrs([{ index: msr, data: 0n }])]).toEqual([msr, 1]);
        expect([msr, it.vcpu.setMsrs([{ index: msr, data: 1n }])]).toEqual([msr, 0]);
      }
    },
    { configuration: [["hv", "vpindex,time"]] },
  ],
  ["E29", "the SynIC without a local APIC in the kernel: EINVAL", "the irqchip is always in the kernel"],
];

testRows(
  "group E, x86",
  rows.map((row): Row => (typeof row[2] === "string" || row[3] !== undefined ? row : [row[0], row[1], row[2], HYPERV])),
);
