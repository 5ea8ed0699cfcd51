/** The CPU architectures of this build, and how their registers and calls are shown. */
import type { Architecture, ExitFrame } from "@hvjournal/core";
import { arm64 } from "@hvjournal/cpu-arm64";
import {
  amd64,
  hypervCallTitle,
  recordedHypervCall,
  recordedXenCall,
  xenCallTitle,
  xenParameters,
} from "@hvjournal/cpu-x86";
import { CliError } from "./cli-error.js";
import { ExitStatus } from "./exit-status.js";

/** A call whose ABI packs more than its function into the function's number. */
export interface PackedCall {
  /** What calls of one kind share: code and name. */
  readonly title: string;
  /** For `--json`. */
  readonly fields: Readonly<Record<string, unknown>>;
  /** Names of the frame's words behind the number. */
  readonly argumentNames: readonly string[];
}

/** What a person expects to see of an architecture. */
export interface ArchitectureDisplay {
  /** Where a hypercall's result comes back. */
  readonly resultRegister: string;
  /** `kvm_run.hypercall.flags` in a word: "HVC". */
  hypercallFlags(flags: number): string;
  /** All that an answer may set. */
  readonly resultRegisters: string;
  /** Functions by which a guest ends or resets its machine. */
  readonly stopCalls: ReadonlySet<number>;
  /** Those behind the function number, as the exit's frame carries them. */
  readonly argumentRegisters: readonly string[];
  /** undefined: the number of that call is its function. */
  packedCall(frame: ExitFrame): PackedCall | undefined;
  /** System registers that are shown without being asked for. */
  readonly systemRegisters: readonly string[];
  /** Where an exit shows the next instruction: length of the one before. On amd64 that is HLT alone. */
  readonly instructionBytes: number;
  /** "EL1h" of the register that holds it. */
  readonly mode: { readonly register: string; text(value: bigint): string };
  readonly syndrome: string;
  /** The exit by which a vCPU waits: idle time is spent in it. */
  readonly idleReason: string;
  /** Accesses to registers that trap, by their exits. */
  readonly registerReasons: readonly string[];
  /** The register that holds the address of the kernel's vectors, and the symbols that it may be. */
  readonly vectors: { readonly register: string; readonly symbols: readonly string[] };
  /** The kernel's file says nothing of its size in memory. */
  readonly isKernelCompressed: boolean;
}

/** PSTATE.M of a processor in AArch64 state (Arm ARM C5.2.19, SPSR_EL1.M). */
const EXCEPTION_LEVELS: ReadonlyMap<bigint, string> = new Map([
  [0x0n, "EL0t"],
  [0x4n, "EL1t"],
  [0x5n, "EL1h"],
]);

const ARM64_DISPLAY: ArchitectureDisplay = {
  resultRegister: "x0",
  resultRegisters: "x0 to x3",
  // KVM_HYPERCALL_EXIT_SMC.
  hypercallFlags: (flags) => ((flags & 1) === 0 ? "HVC" : "SMC"),
  // PSCI SYSTEM_OFF, SYSTEM_RESET, and the two forms of SYSTEM_RESET2 and SYSTEM_OFF2.
  stopCalls: new Set([0x8400_0008, 0x8400_0009, 0x8400_0012, 0xc400_0012, 0x8400_0015, 0xc400_0015]),
  argumentRegisters: ["x1", "x2", "x3"],
  packedCall: () => undefined,
  systemRegisters: ["sctlr_el1", "ttbr0_el1", "ttbr1_el1", "vbar_el1"],
  instructionBytes: 4,
  mode: {
    register: "pstate",
    text: (value) => EXCEPTION_LEVELS.get(value & 0x1fn) ?? `mode 0x${(value & 0x1fn).toString(16)}`,
  },
  syndrome: "ESR",
  idleReason: "WFx",
  registerReasons: ["SYS64"],
  vectors: { register: "vbar_el1", symbols: ["vectors", "__bp_harden_el1_vectors"] },
  isKernelCompressed: false,
};

/** Of Xen's ABI: the first of its parameters. */
function xenCall(frame: ExitFrame): PackedCall | undefined {
  const call = recordedXenCall(frame);
  if (call === undefined) return undefined;
  const argumentNames = xenParameters(call.longMode).map(({ name }) => name);
  return { title: xenCallTitle(call), fields: { ...call }, argumentNames };
}

/** Of Hyper-V's ABI: addresses of the input and the output block, or two parameters where it is fast. */
function hypervCall(frame: ExitFrame): PackedCall | undefined {
  const call = recordedHypervCall(frame);
  return call && { title: hypervCallTitle(call), fields: { ...call }, argumentNames: ["input", "output"] };
}

const AMD64_DISPLAY: ArchitectureDisplay = {
  resultRegister: "rax",
  resultRegisters: "rax",
  // KVM_HYPERCALL_EXIT_LONG_MODE.
  hypercallFlags: (flags) => ((flags & 1) === 0 ? "32 bits" : "64 bits"),
  // A guest powers off by a device, not by a call.
  stopCalls: new Set(),
  argumentRegisters: ["rbx", "rcx", "rdx"],
  packedCall: (frame) => xenCall(frame) ?? hypervCall(frame),
  systemRegisters: ["cr0", "cr3", "cr4", "efer"],
  instructionBytes: 1,
  mode: { register: "cpl", text: (value) => `CPL${value}` },
  syndrome: "qualification",
  idleReason: "HLT",
  registerReasons: ["MSR_READ", "MSR_WRITE", "MSR"],
  vectors: { register: "ia32_lstar", symbols: ["entry_SYSCALL_64"] },
  isKernelCompressed: true,
};

interface Supported {
  readonly architecture: Architecture;
  readonly display: ArchitectureDisplay;
}

const SUPPORTED: readonly Supported[] = [
  { architecture: arm64, display: ARM64_DISPLAY },
  { architecture: amd64, display: AMD64_DISPLAY },
];

/** Other names that users have for one. */
const ALIASES: Readonly<Record<string, string>> = { aarch64: "arm64", x86_64: "amd64" };

function supported(name: string): Supported {
  const wanted = ALIASES[name] ?? name;
  const found = SUPPORTED.find(({ architecture }) => architecture.name === wanted);
  if (found === undefined) {
    throw new CliError(
      `this build has no architecture ${name}: it has ${SUPPORTED.map(({ architecture }) => architecture.name).join(", ")}`,
      { code: "not-known-here", status: ExitStatus.untestable },
    );
  }
  return found;
}

/** Throws CliError with status 125: another build may have it. */
export function architectureNamed(name: string): Architecture {
  return supported(name).architecture;
}

export function knownArchitectures(): readonly Architecture[] {
  return SUPPORTED.map(({ architecture }) => architecture);
}

export function displayOf(architecture: Architecture): ArchitectureDisplay {
  return supported(architecture.name).display;
}
