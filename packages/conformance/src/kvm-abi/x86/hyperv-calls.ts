/** Hyper-V's calls as guests of the tables make them: TLFS, "Hypercall Interface". */
import { move, vmcall } from "./instructions.js";
import type { Program } from "./program.js";
import type { KvmRun } from "@hvjournal/cpu-x86";

const GUEST_OS_ID = 0x4000_0000;
const LINUX = 0x8100_0000_0000_0000n;

export const Status = {
  success: 0n,
  invalidCode: 2n,
  invalidInput: 3n,
  invalidAlignment: 4n,
  invalidParameter: 5n,
  accessDenied: 6n,
  operationDenied: 8n,
} as const;

/** The whole of an input value's fast form. */
export const FAST = 0x1_0000n;

/** Instructions: the two parameters, the input value, the call. */
export function callBytes(input: bigint, first = 0n, second = 0n): number[] {
  return [...move("rdx", first), ...move("r8", second), ...move("rcx", input), ...vmcall];
}

/** The guest says who it is, which lets its calls be Hyper-V's. */
export function identify({ vcpu }: Program): void {
  vcpu.setMsrs([{ index: GUEST_OS_ID, data: LINUX }]);
}

/** The guest may only what its CPUID offers. */
export function enforce({ vcpu }: Program): void {
  vcpu.enableCap({ cap: "HYPERV_ENFORCE_CPUID", args: [1n] });
}

/** A call that the kernel answers: its result, or the exception. */
export function hvCall(it: Program, input: bigint, first = 0n, second = 0n): bigint | string {
  identify(it);
  const outcome = it.outcome(callBytes(input, first, second));
  return outcome === "done" ? it.vcpu.getReg("rax") : outcome;
}

/** A call that the VMM is to answer: its exit. The guest goes on with `outcomeNow`. */
export function hvExit(it: Program, input: bigint, first = 0n, second = 0n): Extract<KvmRun, { exitReason: "HYPERV" }> {
  identify(it);
  const run = it.exit(callBytes(input, first, second));
  if (run.exitReason !== "HYPERV") throw new Error(`${run.exitReason} where the call was to be the VMM's`);
  return run;
}

/** 64-bit words in guest memory. */
export function putWords({ vm }: Program, address: number, ...words: readonly bigint[]): void {
  const view = new DataView(new ArrayBuffer(8 * words.length));
  words.forEach((word, index) => {
    view.setBigUint64(8 * index, BigInt.asUintN(64, word), true);
  });
  vm.writeMemory(address, new Uint8Array(view.buffer));
}

export function wordAt({ vm }: Program, address: number): bigint {
  const { buffer, byteOffset } = vm.readMemory(address, 8);
  return new DataView(buffer, byteOffset).getBigUint64(0, true);
}
