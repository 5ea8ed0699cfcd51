/** Instructions that the kernel half carries out: CPUID, RDMSR and WRMSR, hypercalls; and those that do not leave guest mode. */
import { type ExitFrame, ExitWord, setFrameU64 } from "@hvjournal/core";
import { Vector } from "../isa/exceptions.js";
import { ExitCode } from "../isa/exit-code.js";
import { Flag, STATUS_FLAGS } from "../isa/registers.js";
import { cr4, Register, tscAux } from "../isa/state.js";
import { cpuid, hypervOffer } from "./cpuid.js";
import type { ExitCause } from "./exit-model.js";
import { Privilege } from "./hyperv/features.js";
import { finishHypercall, routeCall } from "./hypercalls.js";
import { mayAccess, routeMsr } from "./msr-exits.js";
import { readMsr, writeMsr } from "./msrs.js";
import type { Vm } from "./vm.js";

const COUNTER_LEAF = 0x8000_0007;
/** Bit of EDX of that leaf. */
const INVARIANT_COUNTER = 1 << 8;

/** Of an exit code that is none of those which the run loop handles itself. */
export function causeOf(vm: Vm, code: number): ExitCause {
  switch (code) {
    case ExitCode.cpuid:
      return "cpuid";
    case ExitCode.readMsr:
      return "readMsr";
    case ExitCode.writeMsr:
      return "writeMsr";
    case ExitCode.hypervisorCall: {
      const isOfAmd = vm.engine.exitWord(2) === 1;
      return isOfAmd === (vm.hostVendor === "amd") ? "hypercall" : "invalidOpcode";
    }
    default:
      throw new Error(`the engine left with exit code ${code}, which amd64 does not have`);
  }
}

/** The words of a frame that tell what is asked: arguments as `ExitWord` has them. */
export function describeCall(vm: Vm, cause: ExitCause, frame: ExitFrame): void {
  const { states } = vm;
  switch (cause) {
    case "cpuid":
      frame[ExitWord.arg0Low] = states.readGeneral32(Register.rax);
      frame[ExitWord.arg1Low] = states.readGeneral32(Register.rcx);
      return;
    case "readMsr":
    case "writeMsr":
      frame[ExitWord.arg0Low] = states.readGeneral32(Register.rcx);
      frame[ExitWord.info] = cause === "writeMsr" ? 1 : 0;
      // VMX has no qualification for these; SVM's EXITINFO1 tells which it was.
      frame[ExitWord.syndromeLow] = vm.hostVendor === "amd" && cause === "writeMsr" ? 1 : 0;
      if (cause === "writeMsr") setFrameU64(frame, ExitWord.arg1Low, states.edxEax);
      routeMsr(vm, frame, cause);
      return;
    default:
      states.copyGeneral(Register.rax, frame, ExitWord.arg0Low);
      states.copyGeneral(Register.rbx, frame, ExitWord.arg1Low);
      states.copyGeneral(Register.rcx, frame, ExitWord.arg2Low);
      states.copyGeneral(Register.rdx, frame, ExitWord.arg3Low);
      if (cause === "hypercall") routeCall(vm, frame);
  }
}

/** Carries out the instruction at RIP; `next` is the one behind it. Gives its result. */
export function finishInstructionExit(vm: Vm, cause: ExitCause, frame: ExitFrame, next: bigint): bigint | undefined {
  switch (cause) {
    case "cpuid":
      return finishCpuid(vm, next);
    case "readMsr":
      return finishReadMsr(vm, frame[ExitWord.arg0Low] ?? 0, next);
    case "writeMsr":
      return finishWriteMsr(vm, frame[ExitWord.arg0Low] ?? 0, next);
    default:
      return finishHypercall(vm, cause, next);
  }
}

function finishCpuid(vm: Vm, next: bigint): bigint {
  const { states } = vm;
  const leaf = states.readGeneral32(Register.rax);
  const subleaf = states.readGeneral32(Register.rcx);
  const [eax, ebx, ecx, edx] = cpuid(vm, vm.current, leaf, subleaf, states.engine.readWord(cr4.offset));
  states.writeGeneral32(Register.rax, eax);
  states.writeGeneral32(Register.rbx, ebx);
  states.writeGeneral32(Register.rcx, ecx);
  const hidden = leaf === COUNTER_LEAF && hidesInvariantCounter(vm) ? INVARIANT_COUNTER : 0;
  states.writeGeneral32(Register.rdx, edx & ~hidden);
  vm.retireInstruction(next);
  return BigInt(eax >>> 0);
}

/** Where Hyper-V's guest is to ask for an invariant counter, it is not told of one before (kvm_hv_invtsc_suppressed). */
function hidesInvariantCounter(vm: Vm): boolean {
  const privileges = hypervOffer(vm, vm.current)?.privileges ?? 0;
  return (privileges & Privilege.invariantTsc) !== 0 && vm.hyperv.vm.invariantTsc === 0n;
}

function finishReadMsr(vm: Vm, msr: number, next: bigint): bigint | undefined {
  const value = mayAccess(vm, msr, "read") ? readMsr(vm, msr) : undefined;
  if (value === undefined) {
    vm.states.raise(Vector.generalProtection);
    return undefined;
  }
  vm.states.edxEax = value;
  vm.retireInstruction(next);
  return value;
}

function finishWriteMsr(vm: Vm, msr: number, next: bigint): undefined {
  // What is written may be looked at by the write itself: registers stand as the instruction found them.
  if (!mayAccess(vm, msr, "write") || !writeMsr(vm, msr, vm.states.edxEax)) {
    vm.states.raise(Vector.generalProtection);
    return undefined;
  }
  vm.showTaskPriority();
  vm.retireInstruction(next);
  return undefined;
}

// Not exits

/** RDTSC, RDTSCP. The counter shows the time at which the instruction begins. */
export function readCounter(vm: Vm, next: bigint, withProcessor: boolean): void {
  const { states, guestTimeNs } = vm;
  const counter = vm.timeStampOf(vm.current);
  states.writeGeneral32(Register.rax, counter.low(guestTimeNs));
  states.writeGeneral32(Register.rdx, counter.high(guestTimeNs));
  if (withProcessor) states.writeGeneral32(Register.rcx, vm.engine.readWord(tscAux.offset));
  vm.retireInstruction(next);
}

/** RDRAND, RDSEED into the register at `offset`: CF is set, the other status flags are clear. */
export function readRandom(vm: Vm, next: bigint, offset: number, bytes: number): void {
  const { engine, states } = vm;
  const value = vm.random();
  engine.writeWord(offset, bytes === 2 ? replaceLow16(engine.readWord(offset), value) : Number(value & 0xffff_ffffn));
  if (bytes >= 4) engine.writeWord(offset + 4, bytes === 8 ? Number(value >> 32n) : 0);
  states.writeRflags((states.readRflags() & ~BigInt(STATUS_FLAGS)) | BigInt(Flag.CF));
  vm.retireInstruction(next);
}

function replaceLow16(word: number, value: bigint): number {
  return ((word & 0xffff_0000) | Number(value & 0xffffn)) >>> 0;
}
