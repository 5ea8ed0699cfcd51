/** The port of one call: once the call has been answered, or given up, nothing can be done through it any more. */
import type { VmmPort } from "@hvjournal/core";

export class CallPort implements VmmPort {
  readonly #port: VmmPort;
  readonly #beforeChange: () => void;
  #isClosed = false;

  /** `beforeChange`: before a register may change. */
  constructor(port: VmmPort, beforeChange: () => void) {
    this.#port = port;
    this.#beforeChange = beforeChange;
  }

  close(): void {
    this.#isClosed = true;
  }

  #open(): VmmPort {
    if (this.#isClosed) throw new RangeError("the call is over: what a handler does, it does before it answers");
    return this.#port;
  }

  complete(low: number, high: number): void {
    this.#beforeChange();
    this.#open().complete(low, high);
  }

  readMemory(physical: number, bytes: number): Uint8Array {
    return this.#open().readMemory(physical, bytes);
  }

  writeMemory(physical: number, bytes: Uint8Array): void {
    this.#open().writeMemory(physical, bytes);
  }

  readRegister(vcpu: number, name: string): bigint {
    return this.#open().readRegister(vcpu, name);
  }

  eventfdCount(fd: number): number {
    return this.#open().eventfdCount(fd);
  }

  setRegister(vcpu: number, name: string, value: bigint): void {
    this.#beforeChange();
    this.#open().setRegister(vcpu, name, value);
  }

  setIrqLine(line: number, level: 0 | 1): void {
    this.#open().setIrqLine(line, level);
  }

  sendMsi(address: bigint, data: number): void {
    this.#open().sendMsi(address, data);
  }

  output(port: number, bytes: Uint8Array): void {
    this.#open().output(port, bytes);
  }

  control(...[command]: Parameters<VmmPort["control"]>): ReturnType<VmmPort["control"]> {
    this.#beforeChange();
    return this.#open().control(command);
  }

  stop(...[reason]: Parameters<VmmPort["stop"]>): void {
    this.#open().stop(reason);
  }

  begin(): ReturnType<VmmPort["begin"]> {
    return this.#open().begin();
  }

  get guestTimeNs(): number {
    return this.#open().guestTimeNs;
  }

  get configuration(): unknown {
    return this.#open().configuration;
  }

  get context(): VmmPort["context"] {
    return this.#open().context;
  }
}
