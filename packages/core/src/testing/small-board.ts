/** The VMM half beside `small-cpu`: a console, a DMA engine, a timer device, a few hypercalls. */
import type { GuestStop, OutsideInput, VmmHalf, VmmPort } from "../ports/vmm-half.js";
import { ExitWord, KvmExit, type ExitFrame } from "../event/exit-frame.js";
import type { StateSection } from "../ports/state-section.js";
import type { SeededEntropy } from "../entropy.js";
import { decodeCanonicalMap, encodeCanonical } from "../canonical/canonical-encoding.js";
import { PayloadFields } from "../canonical/payload-fields.js";

export const SMALL_RAM_BASE = 0x4000_0000;
/** Write: a byte to the console. Read: the next byte typed in, or 0xffffffff. */
export const CONSOLE_DATA = 0x0900_0000;
/** Write an address: 600 bytes of entropy go there, then line 1 is raised. */
export const DMA_START = 0x0900_1000;
/** Write nanoseconds: line 2 is raised then. */
export const TIMER_START = 0x0900_2000;

export const CONSOLE_LINE = 0;
export const DMA_LINE = 1;
export const TIMER_LINE = 2;
export const DMA_BYTES = 600;
const FIFO_BYTES = 4;

export interface SmallBoardOptions {
  readonly program: readonly number[];
  readonly entropy: SeededEntropy;
  /** Answers are promises. */
  readonly isAsync?: boolean;
  /** What hypercall 0x10 answers: another number is a changed handler. */
  readonly answer?: bigint;
}

export class SmallBoard implements VmmHalf {
  readonly #options: SmallBoardOptions;
  readonly #fifo: number[] = [];
  #deadline = -1;
  #emptyReads = 0;

  constructor(options: SmallBoardOptions) {
    this.#options = options;
  }

  boot(port: VmmPort): void {
    const words = Uint32Array.from(this.#options.program);
    port.writeMemory(SMALL_RAM_BASE, new Uint8Array(words.buffer));
    port.setRegister(0, "pc", BigInt(SMALL_RAM_BASE));
  }

  handleExit(exit: ExitFrame, port: VmmPort): void | Promise<void> {
    if (this.#options.isAsync !== true) return this.#answer(exit, port);
    return Promise.resolve().then(() => this.#answer(exit, port));
  }

  #answer(exit: ExitFrame, port: VmmPort): void {
    const kvmExit = exit[ExitWord.kvmExit];
    if (kvmExit === KvmExit.systemEvent) {
      const stop: GuestStop = { what: "powered off", by: "OFF" };
      port.stop(stop);
    } else if (kvmExit === KvmExit.hypercall) this.#hypercall(exit, port);
    else if (((exit[ExitWord.info] ?? 0) & 0x100) !== 0)
      this.#write(exit[ExitWord.arg0Low] ?? 0, exit[ExitWord.arg1Low] ?? 0, port);
    else port.complete(this.#read(exit[ExitWord.arg0Low] ?? 0, port), 0);
  }

  #hypercall(exit: ExitFrame, port: VmmPort): void {
    const vcpu = exit[ExitWord.vcpu] ?? 0;
    if (exit[ExitWord.arg0Low] === 0x10) port.setRegister(vcpu, "x0", this.#options.answer ?? 42n);
    // Any other forwarded call is answered by nothing at all: the registers stay as they are.
  }

  #read(address: number, port: VmmPort): number {
    if (address !== CONSOLE_DATA) return 0;
    const byte = this.#fifo.shift();
    if (byte === undefined) {
      this.#emptyReads += 1;
      return 0xffff_ffff;
    }
    if (this.#fifo.length === 0) port.setIrqLine(CONSOLE_LINE, 0);
    return byte;
  }

  #write(address: number, value: number, port: VmmPort): void {
    if (address === CONSOLE_DATA) port.output(0, Uint8Array.of(value & 0xff));
    else if (address === DMA_START) this.#dma(value, port);
    else if (address === TIMER_START) this.#deadline = port.guestTimeNs + value;
  }

  #dma(address: number, port: VmmPort): void {
    const bytes = new Uint8Array(DMA_BYTES);
    const random = this.#options.entropy.stream("dma");
    for (let at = 0; at < bytes.length; at++) bytes[at] = Number(random.next() & 0xffn);
    port.writeMemory(address, bytes);
    port.setIrqLine(DMA_LINE, 1);
    port.setIrqLine(DMA_LINE, 0);
  }

  get deadlineNs(): number | undefined {
    return this.#deadline < 0 ? undefined : this.#deadline;
  }

  reachDeadline(port: VmmPort): void {
    this.#deadline = -1;
    port.setIrqLine(TIMER_LINE, 1);
    port.setIrqLine(TIMER_LINE, 0);
  }

  takeInput(input: OutsideInput, port: VmmPort): boolean {
    if (input.port !== 0 || this.#fifo.length + input.bytes.length > FIFO_BYTES) return false;
    this.#fifo.push(...input.bytes);
    port.setIrqLine(CONSOLE_LINE, 1);
    return true;
  }

  readCount(): number {
    return this.#emptyReads;
  }

  deviceAt(physical: number): string | undefined {
    if (physical === CONSOLE_DATA) return "console";
    return physical === DMA_START ? "dma" : undefined;
  }

  save(): StateSection[] {
    const state = { fifo: Uint8Array.from(this.#fifo), deadline: this.#deadline, emptyReads: this.#emptyReads };
    return [{ name: "small.board", version: 1, bytes: encodeCanonical(state) }];
  }

  restore(sections: readonly StateSection[]): void {
    const bytes = sections.find((section) => section.name === "small.board")?.bytes ?? new Uint8Array(0);
    const fields = new PayloadFields("small.board", decodeCanonicalMap(bytes));
    this.#fifo.splice(0, this.#fifo.length, ...fields.bytes("fifo"));
    this.#deadline = fields.number("deadline");
    this.#emptyReads = fields.number("emptyReads");
  }
}
