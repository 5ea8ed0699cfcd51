/** The text of `docs/exits-amd64.md`, from the exit models' tables. */
import type { ExitReason } from "@hvjournal/core";
import { EXIT_ROWS, kvmAmd, kvmIntel } from "./exit-model.js";

function row({ name, code, condition, finishedBy, pc }: ExitReason): string {
  return `| ${name} | 0x${code.toString(16).padStart(2, "0")} | ${condition} | ${finishedBy} | ${pc} |`;
}

function table(rows: readonly ExitReason[], code: string): string {
  const head = `| exit | ${code} | condition | finished by | pc at \`exit:N\` |\n|---|---|---|---|---|`;
  return `${head}\n${rows.map(row).join("\n")}`;
}

export function exitModelsMarkdown(): string {
  return `# Exits on amd64

KVM with its irqchip in the kernel, with nested paging and without APICv or AVIC. This file is generated from the tables in \`packages/cpu-x86/src/kvm/exit-model.ts\`.

## Exit model \`${kvmIntel.name}\`, version ${kvmIntel.version}

${table(EXIT_ROWS.intel, "VMX basic exit reason")}

## Exit model \`${kvmAmd.name}\`, version ${kvmAmd.version}

${table(EXIT_ROWS.amd, "SVM exit code")}

"at" is the address of the instruction that left, which has not retired; "behind" that of the next one. For interrupts and timers it is the instruction at which the guest goes on.

## A VM on a host of the other vendor

A row's number stands in each recorded exit, and the table of a recording never changes. So each model has the other vendor's rows behind its own, and a VM that moves to a host of that vendor leaves by those from there on: the move is the event \`x86.HostChanged\`, and exits before it keep their names. CPUID and HLT, which both vendors have by the same name, are one row. Version 1 of each model has its own vendor's rows only; a VM that was recorded with it can't move to the other vendor.

## Decisions

- RAM is mapped at once: no exits for first touches, dirty logging or huge-page splits.
- MSRs that instructions use (EFER, STAR, LSTAR, CSTAR, FMASK, FS and GS bases, SYSENTER, PAT, TSC_AUX) belong to the guest: no exits. All others exit.
- CR0, CR3, CR4 and CR8 belong to the guest, and so do the debug registers, XSETBV, WBINVD, INVLPG, PAUSE, RDTSC, RDTSCP, RDRAND and RDSEED: no exits.
- With KVM_CAP_X86_DISABLE_EXITS for HLT, HLT is no exit: the vCPU waits in guest mode, and to KVM it runs (KVM_MP_STATE_RUNNABLE). An interrupt that it takes wakes it without an exit, as one that waits outside; KVM_HC_KICK_CPU does not. The capability's other bits are not offered: PAUSE is no exit, and CPUID tells of no MWAIT.
- An interrupt that the guest does not take yet waits without an exit: no interrupt-window exits.
- A timer of the running vCPU's local APIC that expires is one exit. One that expires while its vCPU waits or while another vCPU runs wakes it without an exit; so do the PIT and Hyper-V's synthetic timers unless the running vCPU is given a new interrupt by them.
- An interrupt line that is raised by the VMM half inside an exit is seen at the next entry. One that is raised at a deadline or with an input finds the vCPU in guest mode: the kick is an exit.
- Several vCPUs run in turn. The change from one to the next is no exit. IPIs to another vCPU find it outside guest mode.
- Each element of INS and OUTS is an exit of its own.
- Accesses to memory that is none of RAM leave piece by piece, each piece an exit of at most 8 bytes.
- VMCALL on AMD and VMMCALL on Intel are #UD that KVM intercepts: it writes the host's own call over them, which is an event with both instructions' bytes, or with the policy \`x86.hypercall.patch=ud\` lets the guest have its #UD.
- Writes of Hyper-V's RESET and CRASH_CTL are carried out once the VMM half has been told.
`;
}
