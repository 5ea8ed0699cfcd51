/**
 * The exit models `kvm-intel` and `kvm-amd`: which guest actions leave guest mode under Linux' KVM with its irqchip in the
 * kernel. Names are those of VMX_EXIT_REASONS and SVM_EXIT_REASONS (arch/x86/include/uapi/asm/vmx.h, svm.h) without prefix.
 */
import type { ExitModel, ExitReason } from "@hvjournal/core";

/** What makes a vCPU leave, whoever made it. */
export const EXIT_CAUSES = [
  "interrupt",
  "timer",
  "invalidOpcode",
  "shutdown",
  "cpuid",
  "halt",
  "hypercall",
  "port",
  "readMsr",
  "writeMsr",
  "apicPage",
  "mmio",
] as const;
export type ExitCause = (typeof EXIT_CAUSES)[number];

interface Row extends ExitReason {
  readonly causes: readonly ExitCause[];
}

export type HostVendor = "intel" | "amd";

const KERNEL = "kernel half";
const PORTS = "PIC, ELCR, PIT and port 0x61: kernel half; all others: VMM half with KVM_EXIT_IO";
const MSRS =
  "kernel half; with KVM_CAP_X86_USER_SPACE_MSR for what it enables: VMM half with KVM_EXIT_X86_RDMSR or KVM_EXIT_X86_WRMSR";
const CALLS =
  "Xen's, where KVM_XEN_HVM_CONFIG intercepts them: VMM half with KVM_EXIT_XEN; else kernel half; KVM_HC_MAP_GPA_RANGE where KVM_CAP_EXIT_HYPERCALL enables it: VMM half with KVM_EXIT_HYPERCALL; Hyper-V's, where they are not KVM's: VMM half with KVM_EXIT_HYPERV";
const INTERRUPT =
  "a physical interrupt: an interrupt line or message of the irqchip changes from outside while the guest runs, for the running vCPU";
const FOREIGN =
  "#UD of the other vendor's VMCALL or VMMCALL, which KVM intercepts; all other #UD are the guest's and do not leave";
const DEVICE = "an access at a guest-physical address without RAM";

const intelRows: readonly Row[] = [
  { name: "EXCEPTION_NMI", code: 0, condition: FOREIGN, finishedBy: "as VMCALL", pc: "at", causes: ["invalidOpcode"] },
  { name: "EXTERNAL_INTERRUPT", code: 1, condition: INTERRUPT, finishedBy: KERNEL, pc: "at", causes: ["interrupt"] },
  {
    name: "TRIPLE_FAULT",
    code: 2,
    condition: "always",
    finishedBy: "VMM half with KVM_EXIT_SHUTDOWN",
    pc: "at",
    causes: ["shutdown"],
  },
  { name: "CPUID", code: 10, condition: "always", finishedBy: KERNEL, pc: "at", causes: ["cpuid"] },
  { name: "HLT", code: 12, condition: "HLT exiting", finishedBy: KERNEL, pc: "behind", causes: ["halt"] },
  { name: "VMCALL", code: 18, condition: "always", finishedBy: CALLS, pc: "at", causes: ["hypercall"] },
  {
    name: "IO_INSTRUCTION",
    code: 30,
    condition: "unconditional I/O exiting",
    finishedBy: PORTS,
    pc: "at",
    causes: ["port"],
  },
  { name: "MSR_READ", code: 31, condition: "MSR bitmap", finishedBy: MSRS, pc: "at", causes: ["readMsr"] },
  { name: "MSR_WRITE", code: 32, condition: "MSR bitmap", finishedBy: MSRS, pc: "at", causes: ["writeMsr"] },
  {
    name: "APIC_ACCESS",
    code: 44,
    condition: "virtualize APIC accesses, and an access to the local APIC's page",
    finishedBy: KERNEL,
    pc: "at",
    causes: ["apicPage"],
  },
  {
    name: "EPT_MISCONFIG",
    code: 49,
    condition: DEVICE,
    finishedBy: "IOAPIC: kernel half; all others: VMM half with KVM_EXIT_MMIO",
    pc: "at",
    causes: ["mmio"],
  },
  {
    name: "PREEMPTION_TIMER",
    code: 52,
    condition: "activate VMX-preemption timer: the local APIC's timer expires while its vCPU runs",
    finishedBy: KERNEL,
    pc: "at",
    causes: ["timer"],
  },
];

const amdRows: readonly Row[] = [
  { name: "EXCP_UD", code: 0x46, condition: FOREIGN, finishedBy: "as VMMCALL", pc: "at", causes: ["invalidOpcode"] },
  {
    name: "INTR",
    code: 0x60,
    condition: `INTERCEPT_INTR, and ${INTERRUPT}; or its local APIC's timer expires meanwhile`,
    finishedBy: KERNEL,
    pc: "at",
    causes: ["interrupt", "timer"],
  },
  { name: "CPUID", code: 0x72, condition: "INTERCEPT_CPUID", finishedBy: KERNEL, pc: "at", causes: ["cpuid"] },
  { name: "HLT", code: 0x78, condition: "INTERCEPT_HLT", finishedBy: KERNEL, pc: "behind", causes: ["halt"] },
  { name: "IOIO", code: 0x7b, condition: "INTERCEPT_IOIO_PROT", finishedBy: PORTS, pc: "at", causes: ["port"] },
  {
    name: "MSR",
    code: 0x7c,
    condition: "INTERCEPT_MSR_PROT and the permission map; EXITINFO1 is 1 for WRMSR",
    finishedBy: MSRS,
    pc: "at",
    causes: ["readMsr", "writeMsr"],
  },
  {
    name: "SHUTDOWN",
    code: 0x7f,
    condition: "INTERCEPT_SHUTDOWN",
    finishedBy: "VMM half with KVM_EXIT_SHUTDOWN",
    pc: "at",
    causes: ["shutdown"],
  },
  { name: "VMMCALL", code: 0x81, condition: "INTERCEPT_VMMCALL", finishedBy: CALLS, pc: "at", causes: ["hypercall"] },
  {
    name: "NPF",
    code: 0x400,
    condition: `nested paging, and ${DEVICE}`,
    finishedBy: "local APIC's page and IOAPIC: kernel half; all others: VMM half with KVM_EXIT_MMIO",
    pc: "at",
    causes: ["apicPage", "mmio"],
  },
];

function withoutCauses({ name, code, condition, finishedBy, pc }: Row): ExitReason {
  return { name, code, condition, finishedBy, pc };
}

/** Behind a vendor's own rows those of the other one, for a VM that moves there: a name that both have is one row. */
function withRowsOf(other: readonly Row[], own: readonly Row[]): readonly Row[] {
  return [...own, ...other.filter(({ name }) => !own.some((row) => row.name === name))];
}

export const EXIT_ROWS: Readonly<Record<HostVendor, readonly Row[]>> = { intel: intelRows, amd: amdRows };

interface ModelRows {
  readonly model: ExitModel;
  readonly rows: readonly Row[];
}

function modelOf(name: string, version: number, rows: readonly Row[]): ModelRows {
  return { model: { name, version, reasons: rows.map(withoutCauses) }, rows };
}

const INTEL = modelOf("kvm-intel", 2, withRowsOf(amdRows, intelRows));
const AMD = modelOf("kvm-amd", 2, withRowsOf(intelRows, amdRows));
/** The first versions know their own vendor only: their VMs can't move to the other. */
const MODELS = [INTEL, AMD, modelOf("kvm-intel", 1, intelRows), modelOf("kvm-amd", 1, amdRows)] as const;

export const kvmIntel: ExitModel = INTEL.model;
export const kvmAmd: ExitModel = AMD.model;
/** The default first. */
export const exitModels: readonly ExitModel[] = MODELS.map(({ model }) => model);

function rowsOf({ name, version }: Pick<ExitModel, "name" | "version">): readonly Row[] {
  const found = MODELS.find(({ model }) => model.name === name && model.version === version);
  if (found === undefined) throw new RangeError(`amd64 has no exit model ${name} version ${version}`);
  return found.rows;
}

/** Of the host that a model was made for: the one under a VM that names none. */
export function vendorOf(model: Pick<ExitModel, "name">): HostVendor {
  return model.name === kvmAmd.name ? "amd" : "intel";
}

/** Row of each cause in a model. */
export type ReasonOf = Readonly<Record<ExitCause, number>>;

/** Whether a model has names for what leaves guest mode on a host of this vendor. */
export function hasReasonsOf(model: Pick<ExitModel, "name" | "version">, vendor: HostVendor): boolean {
  const names = new Set(rowsOf(model).map(({ name }) => name));
  return EXIT_ROWS[vendor].every(({ name }) => names.has(name));
}

/** As the CPUs of this vendor leave. Throws RangeError for a model that has no names for that. */
export function reasonsOf(model: ExitModel, vendor: HostVendor): ReasonOf {
  const all = rowsOf(model);
  const rows = EXIT_ROWS[vendor].flatMap(({ name, causes }) => {
    const index = all.findIndex((row) => row.name === name);
    if (index < 0) throw new RangeError(`${model.name} version ${model.version} has no exit ${name}`);
    return causes.map((cause) => [cause, index] as const);
  });
  return Object.fromEntries(rows) as ReasonOf;
}

/** Whose CPUs alone leave by a row of a model; undefined: both vendors' do (CPUID, HLT). */
export function vendorOfRow(model: Pick<ExitModel, "name" | "version">, reason: number): HostVendor | undefined {
  const name = rowsOf(model)[reason]?.name;
  const vendors = (["intel", "amd"] as const).filter((vendor) => EXIT_ROWS[vendor].some((row) => row.name === name));
  return vendors.length === 1 ? vendors[0] : undefined;
}

/** What a row of a model stands for. */
export function causesOfRow(model: Pick<ExitModel, "name" | "version">, reason: number): readonly ExitCause[] {
  return rowsOf(model)[reason]?.causes ?? [];
}

/** Whether a row of a model stands for a cause. */
export function isCause(model: ExitModel, reason: number, cause: ExitCause): boolean {
  return causesOfRow(model, reason).includes(cause);
}
