/** A VM's kernel half with a small program, for tests of exits, interrupts and time. */
import type { Entropy, EntropyStream, KernelHalf, KernelHalfOptions } from "@hvjournal/core";
import { ExitWord, FinishedBy, frameU64, KvmExit } from "@hvjournal/core";
import { arm64 } from "../architecture.js";
import { MMIO_WRITE } from "../exit-frames.js";
import { kvmArm64 } from "../exit-model.js";

export const RAM_BASE = 0x4000_0000;
export const RAM_BYTES = 0x40_0000;
/** Where programs start; each vCPU has its own from `CODE + vcpu * CODE_BYTES` on. */
export const CODE: number = RAM_BASE + 0x1000;
export const CODE_BYTES = 0x1000;
/** VBAR_EL1 for programs that take interrupts. */
export const VECTORS: number = RAM_BASE + 0x10000;
/** Offset of the vector for an IRQ at EL1 with SP_EL1. */
export const VECTOR_IRQ = 0x280;
export const VECTOR_SYNCHRONOUS = 0x200;
export const DATA: number = RAM_BASE + 0x20000;
/** A device's address for tests. */
export const UART = 0x0900_0000;

/** A stream that counts in steps of the golden ratio: enough for tests, and its draws are easy to predict. */
class CountingStream implements EntropyStream {
  counter = 0n;
  readonly #seed: bigint;
  constructor(seed: bigint) {
    this.#seed = seed;
  }
  next(): bigint {
    this.counter += 1n;
    return BigInt.asUintN(64, (this.counter + this.#seed) * 0x9e37_79b9_7f4a_7c15n);
  }
}

export class CountingEntropy implements Entropy {
  readonly streams: Map<string, CountingStream> = new Map();
  readonly #seed: bigint;
  constructor(seed = 0n) {
    this.#seed = seed;
  }
  stream(name: string): EntropyStream {
    const known = this.streams.get(name) ?? new CountingStream(this.#seed);
    this.streams.set(name, known);
    return known;
  }
}

export interface Guest {
  readonly kernel: KernelHalf;
  readonly entropy: CountingEntropy;
  place(address: number, words: readonly number[]): void;
}

/** A VM with `words` at `CODE` and pc there. */
export function guest(words: readonly number[], options: Partial<KernelHalfOptions> = {}): Guest {
  const entropy = new CountingEntropy();
  const kernel = arm64.createKernelHalf({
    cpuModel: "cortex-a57",
    vcpuCount: 1,
    memoryBase: RAM_BASE,
    memoryBytes: RAM_BYTES,
    exitModel: kvmArm64,
    entropy,
    ...options,
  });
  const place = (address: number, code: readonly number[]): void => {
    kernel.memory.write(address, new Uint8Array(Uint32Array.from(code).buffer));
  };
  place(CODE, words);
  kernel.writeRegister(0, "pc", BigInt(CODE));
  kernel.writeRegister(0, "vbar_el1", BigInt(VECTORS));
  return { kernel, entropy, place };
}

export function reasonOf(kernel: KernelHalf): string {
  return kvmArm64.reasons[kernel.exit[ExitWord.reason] ?? -1]?.name ?? "?";
}

/** What `runOn` met: exits by name with what the VMM half was asked, and the final stop. */
export interface Trace {
  readonly exits: string[];
  readonly stop: string;
}

export interface RunOptions {
  readonly limit?: number;
  /** Observer stops between: units to run at a time. */
  readonly step?: () => number;
  readonly readMmio?: (physical: number, bytes: number) => number;
  /** Called at each exit, before anything is answered. */
  readonly atExit?: (kernel: KernelHalf) => void;
}

/** Runs with a VMM half that answers MMIO reads by `readMmio` and jumps to timers; ends at a system event or anything else. */
export function runOn(kernel: KernelHalf, options: RunOptions = {}): Trace {
  const limit = options.limit ?? 100_000;
  const exits: string[] = [];
  for (;;) {
    const target = options.step === undefined ? limit : Math.min(limit, kernel.icount + options.step());
    const stop = kernel.run(target);
    if (stop === "limit" && target < limit) continue;
    if (stop === "idle" && kernel.idleDeadlineNs !== undefined) {
      kernel.skipTo(kernel.idleDeadlineNs);
      continue;
    }
    if (stop !== "exit") return { exits, stop };
    exits.push(exitLine(kernel));
    options.atExit?.(kernel);
    if (!answerExit(kernel, options.readMmio)) return { exits, stop: `system event ${kernel.exit[ExitWord.info]}` };
  }
}

/** icount, vCPU and the one line of the pending exit. */
export function exitLine(kernel: KernelHalf): string {
  return `${kernel.icount} vcpu${kernel.exit[ExitWord.vcpu]} ${arm64.describeExit(kvmArm64, kernel.exit)}`;
}

/** Answers the pending exit as either half would; false for a system event, which stays pending. */
export function answerExit(kernel: KernelHalf, readMmio: RunOptions["readMmio"] = () => 0): boolean {
  const { exit } = kernel;
  if (exit[ExitWord.finishedBy] === FinishedBy.kernelHalf) {
    kernel.finishExit();
    return true;
  }
  if (exit[ExitWord.kvmExit] === KvmExit.systemEvent) return false;
  const info = exit[ExitWord.info] ?? 0;
  const isRead = exit[ExitWord.kvmExit] === KvmExit.mmio && (info & MMIO_WRITE) === 0;
  kernel.completeExit(isRead ? readMmio(Number(frameU64(exit, ExitWord.arg0Low)), info & 0xff) : 0, 0);
  return true;
}
