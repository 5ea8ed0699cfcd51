/** Made-up runs for tests and measurements: what a guest that boots and prints leaves in a journal. */
import {
  type BatchStart,
  EventBatch,
  EXIT_WORD_COUNT,
  ExitWord,
  FinishedBy,
  KvmExit,
  PAGE_BYTES,
  type RecordingHeader,
  type RowEvent,
  type Snapshot,
  type StateSection,
} from "@hvjournal/core";
import { contentHash, hex, PAGE_HASH_BYTES } from "../canonical/hash.js";
import { FORMAT_VERSION } from "../store/schema.js";

/** Mulberry32. */
export class SeededNumbers {
  #state: number;

  constructor(seed: number) {
    this.#state = seed >>> 0;
  }

  /** From 0 to `bound - 1`. */
  below(bound: number): number {
    this.#state = (this.#state + 0x6d2b79f5) >>> 0;
    let mixed = this.#state;
    mixed = Math.imul(mixed ^ (mixed >>> 15), mixed | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return Math.floor((((mixed ^ (mixed >>> 14)) >>> 0) / 0x1_0000_0000) * bound);
  }

  bytes(count: number): Uint8Array {
    return Uint8Array.from({ length: count }, () => this.below(256));
  }
}

export const SAMPLE_REASONS = ["DABT_LOW", "SYS64", "HVC64", "WFx", "IRQ"] as const;
const Reason = { dataAbort: 0, systemRegister: 1, hypercall: 2, wait: 3 } as const;

export function sampleHeader(changes: Partial<RecordingHeader> = {}): RecordingHeader {
  return {
    id: "00112233445566778899aabbccddeeff",
    formatVersion: FORMAT_VERSION,
    createdBy: "hvjournal 0.1.0",
    architecture: "arm64",
    architectureRevision: 1,
    machine: {
      board: "virt",
      cpu: "cortex-a57",
      memoryBytes: 0x1000_0000,
      seed: 0xfedc_ba98_7654_3210n,
      exitModel: { name: "kvm-arm64", version: 1, reasons: [...SAMPLE_REASONS] },
    },
    quirks: [],
    parent: undefined,
    ...changes,
  };
}

const KERNEL_LINES = [
  "Booting Linux on physical CPU 0x0000000000 [0x411fd070]",
  "Linux version 6.12.0 (builder@host) (gcc 12.2.0, GNU ld 2.40) #1 SMP PREEMPT",
  "random: crng init done",
  "Memory: 240532K/262144K available (9216K kernel code, 1042K rwdata, 3120K rodata, 1984K init, 540K bss)",
  "rcu: Hierarchical RCU implementation.",
  "arch_timer: cp15 timer(s) running at 62.50MHz (virt).",
  "printk: legacy console [ttyAMA0] enabled",
  "Run /init as init process",
];

const UART = 0x0900_0000;
const PRINT_PC = 0x0815_2a30;

interface MmioAccess {
  readonly pcLow: number;
  readonly address: number;
  readonly write: number | undefined;
}

/** Small, so that a short run has several batches. */
const SAMPLE_EVENTS_PER_BATCH = 1024;

/** Appends a run's events to batch after batch. */
export class SampleRun {
  readonly #numbers: SeededNumbers;
  readonly #flush: (batch: EventBatch) => void;
  readonly #frame = new Uint32Array(EXIT_WORD_COUNT);
  readonly batch = new EventBatch();
  icount: number;
  exitNumber: number;
  #line = 0;

  /** `flush` gets each batch when it is full, and at `end`; it must have done with it when it returns. */
  constructor(seed: number, start: BatchStart, flush: (batch: EventBatch) => void) {
    this.#numbers = new SeededNumbers(seed);
    this.#flush = flush;
    this.icount = start.icount;
    this.exitNumber = start.exitNumber;
    this.batch.begin(start);
  }

  end(): void {
    this.#flush(this.batch);
    this.batch.begin({ firstSeq: this.batch.nextSeq, exitNumber: this.exitNumber, icount: this.icount });
  }

  #room(bytes: number): void {
    if (this.batch.count >= SAMPLE_EVENTS_PER_BATCH || !this.batch.hasRoom(bytes)) this.end();
  }

  #exit(reason: number, finishedBy: number, kvmExit: number, pcLow: number): void {
    this.#room(0);
    const frame = this.#frame;
    frame[ExitWord.reason] = reason;
    frame[ExitWord.finishedBy] = finishedBy;
    frame[ExitWord.kvmExit] = kvmExit;
    frame[ExitWord.pcLow] = pcLow;
    frame[ExitWord.pcHigh] = 0xffff_8000;
    this.exitNumber += 1;
    this.batch.appendExit(this.icount, frame);
  }

  #mmio({ pcLow, address, write }: MmioAccess): void {
    this.#frame.fill(0);
    this.#frame[ExitWord.info] = 4 | (write === undefined ? 0 : 0x100);
    this.#frame[ExitWord.syndromeLow] = 0x9381_0007 | (write === undefined ? 0 : 0x40);
    this.#frame[ExitWord.arg0Low] = address;
    this.#frame[ExitWord.arg1Low] = write ?? 0;
    this.#exit(Reason.dataAbort, FinishedBy.vmmHalf, KvmExit.mmio, pcLow);
  }

  /** One character as a console driver writes it: poll the flags, write the byte. */
  print(byte: number): void {
    this.icount += 9;
    this.#mmio({ pcLow: PRINT_PC, address: UART + 0x18, write: undefined });
    this.#room(0);
    this.batch.appendCompleted(this.icount, 0x90, 0);
    this.icount += 14;
    this.#mmio({ pcLow: PRINT_PC + 0x1c, address: UART, write: byte });
    this.#room(1);
    this.batch.appendOutput(this.icount, 0, Uint8Array.of(byte));
  }

  printLine(): void {
    const text = KERNEL_LINES[this.#numbers.below(KERNEL_LINES.length)] ?? "";
    const seconds = (this.icount / 500_000_000).toFixed(6).padStart(12);
    this.#line += 1;
    for (const character of `[${seconds}] ${text} ${this.#line}\r\n`) this.print(character.charCodeAt(0));
    this.icount += 20_000 + this.#numbers.below(200_000);
  }

  readTimer(): void {
    this.icount += this.#numbers.below(5000);
    this.#frame.fill(0);
    this.#frame[ExitWord.syndromeLow] = 0x6232_0000 | this.#numbers.below(32);
    this.#exit(Reason.systemRegister, FinishedBy.kernelHalf, 0, 0x0800_0000 + this.#numbers.below(40) * 4);
    this.#room(0);
    this.batch.appendHandled(this.icount, this.icount >>> 0, 0);
  }

  hypercall(id: number): void {
    this.icount += 100;
    this.#frame.fill(0);
    this.#frame[ExitWord.arg0Low] = id;
    this.#frame[ExitWord.arg1Low] = 0x1000;
    this.#frame[ExitWord.arg2High] = this.#numbers.below(0x1_0000_0000);
    this.#exit(Reason.hypercall, FinishedBy.vmmHalf, KvmExit.hypercall, 0x08a4_1c30);
  }

  irq(line: number, level: number): void {
    this.#room(0);
    this.batch.appendIrqLine(this.icount, line, level);
  }

  digest(): void {
    this.#room(0);
    this.batch.appendDigest(this.icount, this.#numbers.bytes(32));
  }

  row(kind: string, payload: RowEvent["payload"], vcpu = -1): void {
    this.#room(0);
    const { icount, exitNumber } = this;
    this.batch.appendRow({ seq: this.batch.nextSeq, kind, version: 1, vcpu, icount, exitNumber, payload });
  }

  /** A boot's worth of everything, until `exits` have occurred. */
  run(exits: number): void {
    while (this.exitNumber < exits) {
      this.printLine();
      for (let count = this.#numbers.below(4); count > 0; count--) this.readTimer();
      if (this.#numbers.below(8) === 0) this.hypercall(0xc600_0001);
      if (this.#numbers.below(8) === 0) {
        this.irq(1, 1);
        this.irq(1, 0);
      }
      if (this.#numbers.below(16) === 0) this.digest();
      if (this.#numbers.below(16) === 0)
        this.row("GuestMemoryWritten", { gpa: 0x4800_0000n, bytes: this.#numbers.bytes(64) });
    }
  }
}

export interface SampleMemory {
  readonly pages: ReadonlyMap<string, Uint8Array>;
  readonly pageHashes: Uint8Array;
}

/** RAM of `pageCount` pages, of which about one in `sparsity` is not zero. */
export function sampleMemory(seed: number, pageCount: number, sparsity: number): SampleMemory {
  const numbers = new SeededNumbers(seed);
  const pages = new Map<string, Uint8Array>();
  const pageHashes = new Uint8Array(pageCount * PAGE_HASH_BYTES);
  for (let index = 0; index < pageCount; index++) {
    if (numbers.below(sparsity) !== 0) continue;
    const page = new Uint8Array(PAGE_BYTES);
    page.set(numbers.bytes(24), numbers.below(PAGE_BYTES - 24));
    const hash = contentHash(page);
    pages.set(hex(hash), page);
    pageHashes.set(hash, index * PAGE_HASH_BYTES);
  }
  return { pages, pageHashes };
}

function section(name: string, bytes: Uint8Array): StateSection {
  return { name, version: 1, bytes };
}

export function sampleSnapshot(
  number: number,
  at: { seq: number; exitNumber: number; icount: number },
  memory: SampleMemory,
): Snapshot {
  const numbers = new SeededNumbers(number + 77);
  return {
    number,
    kind: number % 2 === 0 ? "full" : "seek",
    ...at,
    guestTimeNs: at.icount * 2,
    digest: numbers.bytes(32),
    guestSections: [
      section("arm64.vcpu0", numbers.bytes(600)),
      section("arm64.gicv3", new Uint8Array(300)),
      section("empty", new Uint8Array(0)),
    ],
    vmmSections: number % 2 === 0 ? [section("vmm.pl011", numbers.bytes(40))] : [],
    control: {
      caps: ["KVM_CAP_ARM_USER_IRQ"],
      filters: [{ base: 0xc600_0000, count: 0x100, action: "forward" }],
      firmware: { psci: 0x1_0003n },
    },
    pageHashes: memory.pageHashes,
  };
}
