/** A stock Linux with four CPUs that calls its VMM half as it boots: a handler answers, once something outside of the VM is there. */
import { copyFileSync, rmSync, writeFileSync } from "node:fs";
import type { VmSandbox } from "../testing/vm-sandbox.js";
import type { LinuxGuest } from "./linux-guest.js";
import type { GuestArchitecture } from "./stock-guest.js";

const KERNEL = "kernel";
const HANDLER = "backed.mjs";
/** What the handler waits for. */
const BACKEND = "backend";

/** KVM's UID of the vendor's services, and features that KVM does not have; PSCI is the next handler's. */
const arm64Handler = `import { existsSync } from "node:fs";

const UID = [0xb66fb428n, 0xe911c52en, 0x564bcaa9n, 0x743a004dn];
const never = () => new Promise(() => {});

export default (call, vm) => {
  vm.state.calls = Number(vm.state.calls ?? 0) + 1;
  if (call.nr === 0x8600ff01) return UID;
  if (call.nr !== 0x86000000) return vm.notHandled;
  return existsSync("${BACKEND}") ? [0x5an, 0n, 0n, 0n] : never();
};
`;

/** What the next handler answers, once it may. */
const amd64Handler = `import { existsSync } from "node:fs";

const never = () => new Promise(() => {});

export default (call, vm) => {
  if (call.type !== "hv-call" || call.code !== 0x8001) return vm.notHandled;
  vm.state.calls = Number(vm.state.calls ?? 0) + 1;
  return existsSync("${BACKEND}") ? vm.notHandled : never();
};
`;

/** A range of the filter each: PSCI's two, and the vendor's. */
const forwardedRanges = ["0x84000000+0x20", "0xc4000000+0x20", "0x86000000+0x10000"];

interface CallWords {
  readonly handler: string;
  /** What has the call leave the kernel half, and who answers behind the handler. */
  readonly options: readonly string[];
  /** A console from the first line on. */
  readonly console: string;
  /** What the contract says of `options`. */
  readonly contract: readonly string[];
  /** The console as the call waits. */
  readonly before: RegExp;
  /** The call in `log --hypercalls` as it waits, and its answer in the recording where it moved to. */
  readonly pending: RegExp;
  readonly answered: RegExp;
  /** What the console says of the answer. */
  readonly says: string;
  /** Where one further CPU is up and the next one is to come; a number of an exit can't be told beforehand. */
  readonly halfUp: string;
  readonly allUp: string;
}

const WORDS: Readonly<Record<GuestArchitecture, CallWords>> = {
  arm64: {
    handler: arm64Handler,
    options: [
      ...forwardedRanges.flatMap((range) => ["--smccc-filter", `${range}=forward`]),
      ...["--handler", HANDLER, "--handler", "builtin:psci"],
    ],
    console: "earlycon=pl011,0x9000000 console=ttyAMA0",
    contract: forwardedRanges.map((range) => `KVM_ARM_VM_SMCCC_FILTER ${range}`),
    before: /Booting Linux[^]*psci: PSCIv1\.3 detected/,
    pending: /VENDOR_HYP_KVM_FEATURES .*-> pending .*\n$/,
    answered:
      /^.* answer +x0 <- 0x5a .*0x86000000 VENDOR_HYP_KVM_FEATURES .*made in the parent recording {2}filter event:\d+ forward/,
    says: "smccc: KVM: hypervisor services detected (0x00000000 0x00000000 0x00000000 0x0000005a)",
    halfUp: "hypercall:0xc4000003#2",
    allUp: "SMP: Total of 4 processors activated",
  },
  amd64: {
    handler: amd64Handler,
    options: ["--hv", "all", "--handler", HANDLER, "--handler", "builtin:hv-ext"],
    console: "earlyprintk=ttyS0 console=ttyS0",
    contract: ["CPUID 0x40000003.EBX[20] extended hypercalls"],
    before: /Linux version[^]*Hyper-V: Using IPI hypercalls/,
    pending: /HvExtCallQueryCapabilities .*-> pending .*\n$/,
    answered: /^.* answer .*HvExtCallQueryCapabilities, made in the parent recording/,
    says: "Hyper-V: Using enlightened APIC (x2apic mode)",
    halfUp: "console:/node +#0, CPUs: +#1/",
    allUp: "smp: Brought up 1 node, 4 CPUs",
  },
};

/** In a sandbox of its own. */
export class CallingGuest {
  readonly words: CallWords;
  readonly #sandbox: VmSandbox;

  constructor(sandbox: VmSandbox, { architecture, guest }: LinuxGuest) {
    this.#sandbox = sandbox;
    this.words = WORDS[architecture.name as GuestArchitecture];
    copyFileSync(guest.image, sandbox.path(KERNEL));
    writeFileSync(sandbox.path(HANDLER), this.words.handler);
  }

  /** For `record`: equal each time. */
  get machine(): readonly string[] {
    const { console, options } = this.words;
    const fixed = ["--seed", "3", "--rtc", "base=2026-01-01", "--handler-timeout", "500ms"];
    return [KERNEL, "--append", console, "--smp", "4", ...options, ...fixed];
  }

  startBackend(): void {
    writeFileSync(this.#sandbox.path(BACKEND), "");
  }

  stopBackend(): void {
    rmSync(this.#sandbox.path(BACKEND));
  }

  /** Without its handler nothing answers any more. */
  removeHandler(): void {
    this.stopBackend();
    rmSync(this.#sandbox.path(HANDLER));
  }
}
