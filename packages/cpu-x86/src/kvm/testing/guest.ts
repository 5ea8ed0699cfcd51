/** A VM's kernel half with a small program in 64-bit mode, for tests of exits, interrupts and time. */
import type { Entropy, EntropyStream, KernelHalf, KernelHalfOptions } from "@hvjournal/core";
import { ExitWord, FinishedBy, frameU64, KvmExit } from "@hvjournal/core";
import { amd64 } from "../architecture.js";
import { MMIO_WRITE } from "../exit-frames.js";
import { kvmIntel } from "../exit-model.js";

export const RAM_BYTES = 0x40_0000;
/** Where programs start; each vCPU has its own from `CODE + vcpu * CODE_BYTES` on. */
export const CODE = 0x1_0000;
export const CODE_BYTES = 0x1000;
export const STACK = 0x2_0000;
export const DATA = 0x3_0000;
/** A device's address, and a port, for tests. */
export const DEVICE = 0xd000_0000;
export const SERIAL = 0x3f8;

const PML4 = 0x1000;
const PDPT = 0x2000;
const GDT = 0x3000;
const IDT = 0x4000;
const GATES = 256;
const CODE_SELECTOR = 0x08;
const DATA_SELECTOR = 0x10;
const CODE64 = 0x00af_9b00_0000_ffffn;
const DATA64 = 0x00cf_9300_0000_ffffn;

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
  place(address: number, bytes: readonly number[]): void;
  /** An interrupt gate to a handler. */
  setGate(vector: number, target: number): void;
}

function word64(value: bigint): Uint8Array {
  const bytes = new Uint8Array(8);
  new DataView(bytes.buffer).setBigUint64(0, value, true);
  return bytes;
}

/** A VM with `bytes` at `CODE`, in 64-bit mode with the first 4 GiB mapped to themselves. */
export function guest(bytes: readonly number[], options: Partial<KernelHalfOptions> = {}): Guest {
  const entropy = new CountingEntropy();
  const kernel = amd64.createKernelHalf({
    cpuModel: "hvj-v1",
    vcpuCount: 1,
    memoryBase: 0,
    memoryBytes: RAM_BYTES,
    exitModel: kvmIntel,
    entropy,
    ...options,
  });
  const { memory } = kernel;
  memory.write(PML4, word64(BigInt(PDPT | 7)));
  for (let gib = 0; gib < 4; gib++) memory.write(PDPT + 8 * gib, word64((BigInt(gib) << 30n) | 0x87n));
  memory.write(GDT + CODE_SELECTOR, word64(CODE64));
  memory.write(GDT + DATA_SELECTOR, word64(DATA64));
  for (let vcpu = 0; vcpu < (options.vcpuCount ?? 1); vcpu++) enterLongMode(kernel, vcpu);
  const made: Guest = {
    kernel,
    entropy,
    place: (address, content) => {
      memory.write(address, Uint8Array.from(content));
    },
    setGate: (vector, target) => {
      const low = BigInt(target & 0xffff) | (BigInt(CODE_SELECTOR) << 16n) | (0x8en << 40n);
      memory.write(IDT + 16 * vector, word64(low | (BigInt(target >>> 16) << 48n)));
    },
  };
  made.place(CODE, bytes);
  return made;
}

const SEGMENTS = ["ds", "es", "ss", "fs", "gs"] as const;

function enterLongMode(kernel: KernelHalf, vcpu: number): void {
  const set = (name: string, value: number | bigint): void => {
    kernel.writeRegister(vcpu, name, BigInt(value));
  };
  set("efer", 0x500);
  set("cr4", 0x620);
  set("cr3", PML4);
  set("cr0", 0x8001_0033n);
  for (const [name, selector, attributes] of [
    ["cs", CODE_SELECTOR, 0xa09b],
    ...SEGMENTS.map((each) => [each, DATA_SELECTOR, 0xc093] as const),
  ] as const) {
    set(name, selector);
    set(`${name}_base`, 0);
    set(`${name}_limit`, 0xffff_ffffn);
    set(`${name}_attributes`, attributes);
  }
  set("gdtr_base", GDT);
  set("gdtr_limit", DATA_SELECTOR + 7);
  set("idtr_base", IDT);
  set("idtr_limit", 16 * GATES - 1);
  set("rsp", STACK + 0x1000 * vcpu);
  set("rip", CODE + CODE_BYTES * vcpu);
}

export function reasonOf(kernel: KernelHalf): string {
  return kvmIntel.reasons[kernel.exit[ExitWord.reason] ?? -1]?.name ?? "?";
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
  /** Answers reads of ports and memory. */
  readonly read?: (place: number, bytes: number) => number;
  /** Called at each exit, before anything is answered. */
  readonly atExit?: (kernel: KernelHalf) => void;
}

/** Runs with a VMM half that answers reads by `read` and jumps to timers; ends at a shutdown or anything else. */
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
    if (stop !== "exit") return { exits, stop: stop === "stuck" ? (kernel.stuckReason ?? stop) : stop };
    exits.push(exitLine(kernel));
    options.atExit?.(kernel);
    if (!answerExit(kernel, options.read)) return { exits, stop: "shutdown" };
  }
}

/** icount, vCPU and the one line of the pending exit. */
export function exitLine(kernel: KernelHalf): string {
  return `${kernel.icount} vcpu${kernel.exit[ExitWord.vcpu]} ${amd64.describeExit(kvmIntel, kernel.exit)}`;
}

/** Answers the pending exit as either half would; false for a shutdown, which stays pending. */
export function answerExit(kernel: KernelHalf, read: RunOptions["read"] = () => 0): boolean {
  const { exit } = kernel;
  if (exit[ExitWord.finishedBy] === FinishedBy.kernelHalf) {
    kernel.finishExit();
    return true;
  }
  if (exit[ExitWord.kvmExit] === KvmExit.shutdown) return false;
  const info = exit[ExitWord.info] ?? 0;
  const isRead = (info & MMIO_WRITE) === 0;
  kernel.completeExit(isRead ? read(Number(frameU64(exit, ExitWord.arg0Low)), info & 0xff) : 0, 0);
  return true;
}
