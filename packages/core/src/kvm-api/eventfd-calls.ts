/** Eventfds and KVM_IOEVENTFD, as a VMM calls them. */
import { nextEventfd, type EventfdState } from "../control/eventfd-part.js";
import type { VmmPort } from "../ports/vmm-half.js";
import { accepted, KvmError } from "./kvm-error.js";

/** `struct kvm_ioeventfd`. */
export interface IoeventfdArguments {
  readonly datamatch?: bigint;
  readonly addr: bigint;
  /** 0, 1, 2, 4, 8; 0: a write of any length. */
  readonly len: number;
  readonly fd: number;
  /** KVM_IOEVENTFD_FLAG_*: 1 DATAMATCH, 2 PIO, 4 DEASSIGN. */
  readonly flags?: number;
}

export class Eventfd {
  readonly fd: number;
  readonly #port: VmmPort;
  #read: number;

  constructor(port: VmmPort, fd: number) {
    this.#port = port;
    this.fd = fd;
    this.#read = port.eventfdCount(fd);
  }

  /** read(2): the signals since it was read last. Throws KvmError: EAGAIN where there were none. */
  read(): number {
    const count = this.#port.eventfdCount(this.fd);
    const signals = count - this.#read;
    if (signals === 0) throw new KvmError({ errno: "EAGAIN", call: "read", reason: `eventfd ${this.fd} is 0` });
    this.#read = count;
    return signals;
  }
}

/** eventfd(2), non-blocking. */
export function openEventfd(port: VmmPort): Eventfd {
  const fd = nextEventfd(port.configuration as EventfdState);
  accepted(port.control({ name: "eventfd" }));
  return new Eventfd(port, fd);
}

/** KVM_IOEVENTFD. Throws KvmError: EINVAL, EBADF, EEXIST, ENOENT. */
export function setIoeventfd(port: VmmPort, { addr, len, fd, flags = 0, datamatch = 0n }: IoeventfdArguments): void {
  accepted(port.control({ name: "ioeventfd", addr, len, fd, flags, datamatch }));
}
