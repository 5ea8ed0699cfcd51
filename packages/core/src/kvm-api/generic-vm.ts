/** What a VM's file descriptor, and a VMM's own means around it, are on every architecture. */
import type { GuestStop, VmmPort } from "../ports/vmm-half.js";
import { type Eventfd, type IoeventfdArguments, openEventfd, setIoeventfd } from "./eventfd-calls.js";
import { givenBytes, type WholeNumber, wholeNumber } from "./given-values.js";

export class GenericVm<ControlState, Vcpu> {
  readonly #port: VmmPort;
  readonly #makeVcpu: (port: VmmPort, index: number) => Vcpu;
  /** Made when they are first asked for. */
  readonly #vcpus: Vcpu[] = [];

  protected constructor(port: VmmPort, makeVcpu: (port: VmmPort, index: number) => Vcpu) {
    this.#port = port;
    this.#makeVcpu = makeVcpu;
  }

  /** What the control plane's events have made of the VM. */
  get controlState(): ControlState {
    return this.#port.configuration as ControlState;
  }

  get vcpuCount(): number {
    return this.#port.context.vcpuCount;
  }

  get vcpus(): readonly Vcpu[] {
    return Array.from({ length: this.vcpuCount }, (_, index) => this.vcpu(index));
  }

  /** Throws RangeError for a vCPU that there is not. */
  vcpu(given: WholeNumber): Vcpu {
    const index = Number(given);
    if (!Number.isInteger(index) || index < 0 || index >= this.vcpuCount)
      throw new RangeError(`vcpu${index} of ${this.vcpuCount}`);
    this.#vcpus[index] ??= this.#makeVcpu(this.#port, index);
    return this.#vcpus[index];
  }

  /** eventfd(2), non-blocking. */
  eventfd(): Eventfd {
    return openEventfd(this.#port);
  }

  /** KVM_IOEVENTFD. Throws KvmError: EINVAL, EBADF, EEXIST, ENOENT. */
  ioeventfd(ioeventfd: IoeventfdArguments): void {
    setIoeventfd(this.#port, ioeventfd);
  }

  /** Guest RAM, by guest-physical address. Throws RangeError outside. */
  readMemory(physical: WholeNumber, bytes: WholeNumber): Uint8Array {
    return this.#port.readMemory(
      wholeNumber("readMemory: physical", physical),
      wholeNumber("readMemory: bytes, a count,", bytes),
    );
  }

  writeMemory(physical: WholeNumber, bytes: Uint8Array): void {
    this.#port.writeMemory(wholeNumber("writeMemory: physical", physical), givenBytes("writeMemory: bytes", bytes));
  }

  /** Bytes that leave the machine; port 0 is the console. */
  output(port: number, bytes: Uint8Array): void {
    this.#port.output(port, givenBytes("output: bytes", bytes));
  }

  /** The VMM ends the VM: what the guest has done, and by what. */
  stop(reason: GuestStop): void {
    this.#port.stop(reason);
  }

  get guestTimeNs(): number {
    return this.#port.guestTimeNs;
  }

  /** Whether any vCPU has been run. */
  get hasRun(): boolean {
    return this.#port.context.hasRun;
  }
}
