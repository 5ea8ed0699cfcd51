/**
 * What the bits and words of CPUID are called: Intel SDM volume 2, CPUID; AMD APM volume 3, appendix E;
 * Documentation/virt/kvm/x86/cpuid.rst; Hypervisor Top-Level Functional Specification, "Feature and Interface Discovery".
 */

export const CPUID_REGISTERS = ["EAX", "EBX", "ECX", "EDX"] as const;
export type CpuidRegister = (typeof CPUID_REGISTERS)[number];

interface NamedWord {
  /** Of the register as a whole, where it is one number. */
  readonly word?: string;
  /** By number of the bit. */
  readonly bits?: ReadonlyMap<number, string>;
}

/** From bit 0 on, a comma between; nothing: reserved. */
function from0(text: string): ReadonlyMap<number, string> {
  const names = text.split(",").map((name) => name.trim());
  return new Map(names.flatMap((name, bit) => (name === "" ? [] : [[bit, name] as const])));
}

function at(bits: Readonly<Record<number, string>>): ReadonlyMap<number, string> {
  return new Map(Object.entries(bits).map(([bit, name]) => [Number(bit), name]));
}

const FEATURES_1_ECX =
  "SSE3, PCLMULQDQ, DTES64, MONITOR, DS-CPL, VMX, SMX, EIST, TM2, SSSE3, CNXT-ID, SDBG, FMA, CX16, xTPR, PDCM, , PCID, DCA, SSE4.1, SSE4.2, x2APIC, MOVBE, POPCNT, TSC-deadline, AES, XSAVE, , AVX, F16C, RDRAND, hypervisor";
const FEATURES_1_EDX =
  "FPU, VME, DE, PSE, TSC, MSR, PAE, MCE, CX8, APIC, , SEP, MTRR, PGE, MCA, CMOV, PAT, PSE-36, PSN, CLFSH, , DS, ACPI, MMX, FXSR, SSE, SSE2, SS, HTT, TM, , PBE";
const FEATURES_7_EBX =
  "FSGSBASE, TSC_ADJUST, SGX, BMI1, HLE, AVX2, FDP_EXCPTN_ONLY, SMEP, BMI2, ERMS, INVPCID, RTM, RDT-M, no FCS and FDS, MPX, RDT-A, AVX512F, AVX512DQ, RDSEED, ADX, SMAP, AVX512_IFMA, , CLFLUSHOPT, CLWB, Intel PT, AVX512PF, AVX512ER, AVX512CD, SHA, AVX512BW, AVX512VL";
const FEATURES_7_ECX =
  "PREFETCHWT1, AVX512_VBMI, UMIP, PKU, , WAITPKG, AVX512_VBMI2, CET_SS, GFNI, VAES, VPCLMULQDQ, AVX512_VNNI, AVX512_BITALG, TME, AVX512_VPOPCNTDQ, , LA57, , , , , , RDPID";
const EXTENDED_ECX =
  "LAHF, CmpLegacy, SVM, ExtApicSpace, AltMovCr8, LZCNT, SSE4A, MisAlignSse, PREFETCHW, OSVW, IBS, XOP, SKINIT, WDT, , LWP, FMA4, TCE";
const KVM_FEATURES =
  "CLOCKSOURCE, NOP_IO_DELAY, MMU_OP, CLOCKSOURCE2, ASYNC_PF, STEAL_TIME, PV_EOI, PV_UNHALT, , PV_TLB_FLUSH, ASYNC_PF_VMEXIT, PV_SEND_IPI, POLL_CONTROL, PV_SCHED_YIELD, ASYNC_PF_INT, MSI_EXT_DEST_ID, HC_MAP_GPA_RANGE, MIGRATION_CONTROL, , , , , , , CLOCKSOURCE_STABLE_BIT";
const HYPERV_PRIVILEGES =
  "VP_RUNTIME, TIME_REF_COUNT, SynIC MSRs, synthetic timers, APIC MSRs, GUEST_OS_ID and HYPERCALL, VP_INDEX, RESET, , REFERENCE_TSC, , TSC and APIC frequency, , reenlightenment, , TSC invariant control";
const HYPERV_RECOMMENDATIONS =
  ", , use of remote TLB flush, use of APIC MSRs, , relaxed timing, , , , no AutoEOI, use of cluster IPI, extended processor masks, , , use of enlightened VMCS, , , , no non-architectural core sharing";

function named(leaf: number, subleaf: number | undefined, words: Partial<Record<CpuidRegister, NamedWord>>) {
  return [leafKey(leaf, subleaf), words] as const;
}

const HYPERV = 0x4000_0000;
const EXTENDED = 0x8000_0000;

const NAMES: ReadonlyMap<string, Partial<Record<CpuidRegister, NamedWord>>> = new Map([
  named(0, undefined, { EAX: { word: "highest basic leaf" } }),
  named(1, undefined, {
    EAX: { word: "signature" },
    EBX: { word: "APIC id, processors, CLFLUSH" },
    ECX: { bits: from0(FEATURES_1_ECX) },
    EDX: { bits: from0(FEATURES_1_EDX) },
  }),
  named(7, 0, {
    EAX: { word: "highest subleaf" },
    EBX: { bits: from0(FEATURES_7_EBX) },
    ECX: { bits: from0(FEATURES_7_ECX) },
    EDX: {
      bits: at({ 4: "FSRM", 10: "MD_CLEAR", 26: "IBRS and IBPB", 27: "STIBP", 29: "ARCH_CAPABILITIES", 31: "SSBD" }),
    },
  }),
  named(0xd, 1, { EAX: { bits: from0("XSAVEOPT, XSAVEC, XGETBV1, XSAVES") } }),
  named(0x15, undefined, {
    EAX: { word: "TSC ratio, denominator" },
    EBX: { word: "TSC ratio, numerator" },
    ECX: { word: "crystal clock, Hz" },
  }),
  named(0x16, undefined, {
    EAX: { word: "base frequency, MHz" },
    EBX: { word: "highest frequency, MHz" },
    ECX: { word: "bus frequency, MHz" },
  }),
  named(EXTENDED, undefined, { EAX: { word: "highest extended leaf" } }),
  named(EXTENDED + 1, undefined, {
    ECX: { bits: from0(EXTENDED_ECX) },
    EDX: {
      bits: at({ 11: "SYSCALL", 20: "NX", 22: "MMXEXT", 25: "FFXSR", 26: "1-GB pages", 27: "RDTSCP", 29: "LM" }),
    },
  }),
  named(EXTENDED + 7, undefined, { EDX: { bits: at({ 8: "invariant TSC" }) } }),
  named(EXTENDED + 8, undefined, { EAX: { word: "address widths" } }),
]);

const HYPERV_NAMES: ReadonlyMap<string, Partial<Record<CpuidRegister, NamedWord>>> = new Map([
  named(HYPERV, undefined, { EAX: { word: "highest leaf" } }),
  named(HYPERV + 1, undefined, { EAX: { word: "interface" } }),
  named(HYPERV + 2, undefined, { EAX: { word: "build" }, EBX: { word: "version" } }),
  named(HYPERV + 3, undefined, {
    EAX: { bits: from0(HYPERV_PRIVILEGES) },
    EBX: { bits: at({ 4: "PostMessages", 5: "SignalEvents", 11: "debugging", 20: "extended hypercalls" }) },
    EDX: {
      bits: at({
        ...{ 1: "guest debugging", 4: "XMM fast input", 8: "frequency MSRs", 10: "crash MSRs", 11: "debug MSRs" },
        ...{ 14: "extended GVA ranges", 15: "XMM output", 19: "direct synthetic timers" },
      }),
    },
  }),
  named(HYPERV + 4, undefined, { EAX: { bits: from0(HYPERV_RECOMMENDATIONS) }, EBX: { word: "spin retries" } }),
  named(HYPERV + 5, undefined, { EAX: { word: "most virtual processors" }, EBX: { word: "most logical processors" } }),
  named(HYPERV + 0xa, undefined, {
    EAX: { bits: at({ 17: "direct flush", 19: "enlightened MSR bitmap" }) },
    EBX: { bits: at({ 0: "perf global control in eVMCS" }) },
  }),
]);

/** Of the leaves of KVM, wherever they lie. */
const KVM_NAMES: ReadonlyMap<number, Partial<Record<CpuidRegister, NamedWord>>> = new Map([
  [0, { EAX: { word: "highest leaf" } }],
  [1, { EAX: { bits: from0(KVM_FEATURES) }, EDX: { bits: at({ 0: "HINTS_REALTIME" }) } }],
  [0x10, { EAX: { word: "TSC frequency, kHz" }, EBX: { word: "APIC frequency, kHz" } }],
]);

/** "0x7.0", "0x1": as an option of the command line names a leaf. */
export function leafKey(leaf: number, subleaf?: number): string {
  const text = `0x${leaf.toString(16)}`;
  return subleaf === undefined ? text : `${text}.${subleaf}`;
}

/** A register's names. `kvmBase`: where KVM's leaves begin; Hyper-V's stand before them where that is not at the first. */
export function namesOf(
  leaf: number,
  subleaf: number | undefined,
  register: CpuidRegister,
  kvmBase: number | undefined,
): NamedWord {
  const key = leafKey(leaf, subleaf);
  const isOfKvm = kvmBase !== undefined && leaf >>> 28 === 4 && leaf >= kvmBase;
  const words = isOfKvm ? KVM_NAMES.get(leaf - kvmBase) : (NAMES.get(key) ?? HYPERV_NAMES.get(key));
  return words?.[register] ?? {};
}
