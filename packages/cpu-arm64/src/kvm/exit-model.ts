/**
 * The exit model `kvm-arm64`: which guest actions leave guest mode under Linux' KVM on an Armv8.0 host without
 * VHE, with a hardware GICv3, for a guest without EL2. Names are those of `kvm_arm_exception_class` and
 * `kvm_arm_exception_type` in arch/arm64/include/asm/kvm_arm.h, as `perf kvm stat` prints them.
 */
import type { ExitModel, ExitReason } from "@hvjournal/core";
import { systemRegisters, Trap } from "../isa/system-registers.js";
import { interfaceRegisterTraps } from "./gicv3/system-registers.js";
import { timerRegisterTraps } from "./timers.js";

/** Row of each reason in `kvmArm64`. */
export const Reason = { irq: 0, wfx: 1, hvc64: 2, smc64: 3, sys64: 4, dabtLow: 5, suspend: 6 } as const;

/** ESR_EL2.EC. */
export const EsrClass = { wfx: 0x01, hvc64: 0x16, smc64: 0x17, sys64: 0x18, dabtLow: 0x24 } as const;

const reasons: readonly ExitReason[] = [
  {
    name: "IRQ",
    // ARM_EXCEPTION_IRQ is an exception type, not a class: no EC.
    code: 0,
    condition:
      "HCR_EL2.IMO = 1, and a physical interrupt: a timer of the running vCPU expires, or an interrupt line is raised from outside while the guest runs",
    finishedBy: "kernel half",
    pc: "at",
  },
  {
    name: "WFx",
    code: EsrClass.wfx,
    condition: "HCR_EL2.TWI = 1 (WFI with no interrupt signalled), HCR_EL2.TWE = 1 (WFE with the event register clear)",
    finishedBy: "kernel half",
    pc: "behind",
  },
  {
    name: "HVC64",
    code: EsrClass.hvc64,
    condition: "always at EL1, but for calls of the workarounds 1 to 3, which EL2's vector answers itself",
    finishedBy:
      "SMCCC filter: kernel half, or VMM half with KVM_EXIT_HYPERCALL; PSCI system functions: VMM half with KVM_EXIT_SYSTEM_EVENT",
    pc: "behind",
  },
  {
    name: "SMC64",
    code: EsrClass.smc64,
    condition: "HCR_EL2.TSC = 1",
    finishedBy: "as HVC64; with an immediate other than 0: kernel half",
    pc: "behind",
  },
  {
    name: "SYS64",
    code: EsrClass.sys64,
    condition: "the system registers below",
    finishedBy: "kernel half",
    pc: "at",
  },
  {
    name: "DABT_LOW",
    code: EsrClass.dabtLow,
    condition: "HCR_EL2.VM = 1, and a load or store at a guest-physical address without RAM",
    finishedBy:
      "GIC frames: kernel half; all others: VMM half with KVM_EXIT_MMIO; without a valid syndrome and with KVM_CAP_ARM_NISV_TO_USER: VMM half with KVM_EXIT_ARM_NISV",
    pc: "at",
  },
  {
    name: "KVM_REQ_SUSPEND",
    // A request within KVM_RUN and no exception: no EC.
    code: 0,
    condition: "KVM_MP_STATE_SUSPENDED, and an interrupt that would wake the vCPU from WFI",
    finishedBy: "VMM half with KVM_EXIT_SYSTEM_EVENT of type KVM_SYSTEM_EVENT_WAKEUP",
    pc: "at",
  },
];

export const kvmArm64: ExitModel = { name: "kvm-arm64", version: 2, reasons };
/** As it was before vCPUs could be suspended. */
const kvmArm64Version1: ExitModel = { name: "kvm-arm64", version: 1, reasons: reasons.slice(0, 6) };
/** The newest of a name first. */
export const exitModels: readonly ExitModel[] = [kvmArm64, kvmArm64Version1];

/** HCR_EL2 as KVM has it here: of the controls that the register table names, these trap. TVM too, until the caches are on. */
const HCR_TRAPS = [Trap.TID1, Trap.TID3, Trap.TIDCP, Trap.TACR, Trap.TSW, Trap.TVM] as const;
/** MDCR_EL2: the debug registers trap as long as the guest has armed no breakpoint, which is always. */
const MDCR_TRAPS = [Trap.TPM, Trap.TDA, Trap.TDOSA, Trap.TDRA] as const;

function maskOf(controls: readonly { readonly bit: number }[]): bigint {
  return controls.reduce((mask, control) => mask | (1n << BigInt(control.bit)), 0n);
}

export const HCR_EL2_VALUE: bigint = maskOf(HCR_TRAPS);
export const MDCR_EL2_VALUE: bigint = maskOf(MDCR_TRAPS);
export const HCR_EL2_TVM: bigint = maskOf([Trap.TVM]);

/** Whether a register that lives in the kernel half (`service`) also leaves guest mode. */
export function serviceRegisterTraps(selector: number): boolean {
  return interfaceRegisterTraps(selector) || timerRegisterTraps(selector);
}

function trappedRegisters(): string[] {
  const rows: string[] = [];
  const active = [...HCR_TRAPS, ...MDCR_TRAPS];
  for (const control of active) {
    const names = systemRegisters
      .filter((register) => register.readTrap === control || register.writeTrap === control)
      .map((register) => directed(register.name, register.readTrap === control, register.writeTrap === control));
    if (names.length > 0) rows.push(`| ${control.name} | ${names.join(", ")} |`);
  }
  const services = systemRegisters.filter(
    (register) => register.home.kind === "service" && serviceRegisterTraps(register.selector),
  );
  const timers = services.filter((register) => timerRegisterTraps(register.selector)).map((register) => register.name);
  const sre = services.filter((register) => register.name === "ICC_SRE_EL1").map((register) => register.name);
  const sgis = services
    .filter((register) => interfaceRegisterTraps(register.selector) && register.name !== "ICC_SRE_EL1")
    .map((register) => register.name);
  rows.push(`| CNTHCTL_EL2.EL1PCEN = 0 | ${timers.join(", ")} |`);
  rows.push(`| HCR_EL2.IMO, FMO | ${sgis.join(", ")} |`);
  rows.push(`| ICC_SRE_EL2.Enable = 0 | ${sre.join(", ")} |`);
  return rows;
}

function directed(name: string, read: boolean, write: boolean): string {
  if (read && write) return name;
  return `${name} (${read ? "read" : "write"})`;
}

/** The text of `docs/exits-arm64.md`. */
export function exitModelMarkdown(): string {
  const table = reasons.map(
    (reason) =>
      `| ${reason.name} | ${reason.code === 0 ? "-" : `0x${reason.code.toString(16).padStart(2, "0")}`} | ${reason.condition} | ${reason.finishedBy} | ${reason.pc} |`,
  );
  return `# Exits on arm64

Exit model \`${kvmArm64.name}\`, version ${kvmArm64.version}: KVM on an Armv8.0 host without VHE, with a hardware GICv3. This file is generated from the table in \`packages/cpu-arm64/src/kvm/exit-model.ts\`.

| exit | ESR_EL2.EC | condition | finished by | pc at \`exit:N\` |
|---|---|---|---|---|
${table.join("\n")}

"at" is the address of the instruction that left, which has not retired; "behind" that of the next one. For IRQ it is the instruction at which the guest goes on. KVM steps over an SMC before it looks at it, and over WFI and WFE when it is done with them; the position shows both as retired.

## SYS64

| control | registers |
|---|---|
${trappedRegisters().join("\n")}

HCR_EL2.TVM holds until the guest has turned on both MMU and data cache (SCTLR_EL1.M and C); then KVM clears it for good on that vCPU. HCR_EL2.TID2 is clear, as in KVM up to Linux 6.2 on hosts whose CPUs have equal caches. Instructions of HCR_EL2.TSW (DC ISW, CSW, CISW) exit and do nothing more. Accesses that HCR_EL2.TIDCP and MDCR_EL2.TPM trap are undefined in the guest. MDCR_EL2.TDA always holds; KVM lifts it for a while after each write to a debug register. A write that enables a hardware breakpoint or watchpoint stops the VM by name: they are not simulated.

## Decisions

- RAM is mapped at stage 2 from the start: no exits for first touches, dirty logging or huge-page splits.
- FP and SIMD state is switched eagerly: no FP_ASIMD exits.
- ICC_IAR, EOIR, PMR and the rest of the CPU interface, the virtual timer and both counters are hardware: no exits.
- A timer that expires while its vCPU runs is a physical interrupt: one IRQ exit for each rise of its output, also when the guest has masked interrupts, and one more when the guest deactivates the timer's interrupt while the output is still high. A timer that expires while its vCPU waits or while another vCPU runs wakes it without an exit.
- An interrupt line that is raised by the VMM half inside an exit is seen at the next entry. One that is raised at a deadline or with an input finds the vCPU in guest mode: the kick is an IRQ exit.
- Several vCPUs run in turn. The change from one to the next is no exit. SGIs to another vCPU find it outside guest mode.
- WFI with an interrupt signalled, and WFE with the event register set, do not leave guest mode. After a WFE exit KVM yields the host CPU and the guest goes on.
- Accesses for which the hardware gives no valid syndrome (pairs, write-back, SIMD registers) are completed piece by piece, each piece an exit of at most 8 bytes, where KVM fails with ENOSYS. With KVM_CAP_ARM_NISV_TO_USER they leave with KVM_EXIT_ARM_NISV as in KVM.
- A vCPU that the VMM has suspended (KVM_MP_STATE_SUSPENDED) and that an interrupt would wake leaves with KVM_SYSTEM_EVENT_WAKEUP, again and again until it is made RUNNABLE.
- The calls SMCCC_ARCH_WORKAROUND_1, 2 and 3 by HVC are answered by EL2's vector and are no exits.
- An instruction fetch from a guest-physical address without RAM is an external abort in the guest, as KVM answers it, but no IABT_LOW exit.
- An access outside 40 bits of guest-physical address faults in stage 1 and never leaves.
`;
}
