/** What a board gives the hypervisor: the VMM half of a VM, and the one port through which it acts on the guest. */
import type { ControlCommand, ControlContext, Refusal } from "./control.js";
import type { ExitFrame } from "../event/exit-frame.js";
import type { StateSection } from "./state-section.js";

/** How a run ends. */
export interface GuestStop {
  /** "powered off", "reset", "crashed", "suspended". */
  readonly what: string;
  /** By what: "PSCI SYSTEM_OFF". */
  readonly by: string;
  /** The guest's own status where it gives one. */
  readonly status?: number;
}

/** Who has answered a call: one of the handlers, by its name, or the board, because none of them took it. */
export type CallAnswerer =
  { readonly by: "handler" | "builtin"; readonly name: string } | { readonly by: "board"; readonly name?: never };

/** What has been done since `VmmPort.begin`: takes effect as a whole, or not at all. One of both is called, once. */
export interface VmmAttempt {
  /** `answerer`: whose answer follows, for whoever reads the recording. */
  keep(answerer: CallAnswerer): void;
  /** The VM is as it was. */
  undo(): void;
}

/**
 * The only way for the VMM half to act on the guest, and each call is an event. Valid inside
 * `handleExit`, `reachDeadline` and `takeInput`.
 */
export interface VmmPort {
  /** Finishes the exit with data for the guest (MMIO read). Low and high word. */
  complete(low: number, high: number): void;
  readMemory(physical: number, bytes: number): Uint8Array;
  writeMemory(physical: number, bytes: Uint8Array): void;
  readRegister(vcpu: number, name: string): bigint;
  /** How often an eventfd has been signalled: whoever reads it remembers how far it had come. */
  eventfdCount(fd: number): number;
  setRegister(vcpu: number, name: string, value: bigint): void;
  setIrqLine(line: number, level: 0 | 1): void;
  /** A message-signalled interrupt (KVM_SIGNAL_MSI): 64 bits of address, 32 of data. Throws `VmmPortError` where there is nothing that takes one. */
  sendMsi(address: bigint, data: number): void;
  /** Bytes that leave the machine. Port 0 is the console. */
  output(port: number, bytes: Uint8Array): void;
  /** Through the one command path; a refusal is KVM's errno and changes nothing. */
  control(command: ControlCommand): Refusal | undefined;
  stop(reason: GuestStop): void;
  /**
   * From here on everything is on trial: the VMM half sees what it does, no event says so yet. Inside `handleExit` only, and
   * one at a time; one that an error leaves open is undone.
   */
  begin(): VmmAttempt;
  readonly guestTimeNs: number;
  /** The architecture's part of the control plane's state, as it is now. */
  readonly configuration: unknown;
  readonly context: ControlContext;
}

/** Bytes from outside for a port: port 0 is the console. */
export interface OutsideInput {
  readonly port: number;
  readonly bytes: Uint8Array;
}

/** A device of the board, where a guest finds it. */
export interface BoardDevice {
  readonly name: string;
  /** Guest-physical. */
  readonly base: number;
  readonly bytes: number;
}

/** Where devices find the bytes of a drive. Only the CLI opens files; reads must give the same bytes for ever. */
export interface BlockBackend {
  readonly id: string;
  readonly bytes: number;
  readonly readOnly: boolean;
  read(offset: number, bytes: number): Uint8Array;
  /** SHA-256 of the whole image, hex: the base image's fingerprint. */
  fingerprint(): string;
}

export interface VmmHalf {
  /** Writes boot images, tables and first registers. Once, before anything runs. */
  boot(port: VmmPort): void;
  /** Answers an exit whose `finishedBy` is the VMM half; synchronous, or a promise while the whole VM stands still. */
  handleExit(exit: ExitFrame, port: VmmPort): void | Promise<void>;
  /** Whether a handler is asked about such an exit, and not the board alone. */
  asksHandlers?(exit: ExitFrame): boolean;
  /** While that promise is not kept: who is to answer, and what was asked, for people. */
  readonly waitsFor?: string | undefined;
  /** Nobody waits any more: the promise rejects, the VM is as it was, and the exit waits until it is handled anew. */
  withdraw?(): void;
  /**
   * An exit that the kernel half has just finished signalled this eventfd. Nothing can be done to the guest yet: who wants to
   * act on it has a deadline from now on, and acts when that is reached, at this very icount.
   */
  noteSignal?(fd: number): void;
  /** Guest time at which the VMM half wants to act, if any. */
  readonly deadlineNs: number | undefined;
  reachDeadline(port: VmmPort): void;
  /** False: no device takes it now (a full FIFO); it is offered again later. */
  takeInput(input: OutsideInput, port: VmmPort): boolean;
  /** What a guest could have seen of a port so far, for an input's anchor: count of reads that found no byte. */
  readCount(port: number): number;
  /** Name of the device at a guest-physical address, for `log`. */
  deviceAt(physical: number): string | undefined;
  /** The same of an I/O port, where there are any. */
  portDeviceAt?(port: number): string | undefined;
  /** Every device that a guest may find, in the order of their addresses. */
  devices?(): readonly BoardDevice[];
  /** Calls of the guest that nobody took, by name, with their count; what the guest was told is the interface's own error. */
  unansweredCalls?(): ReadonlyMap<string, number>;
  save(): StateSection[];
  restore(sections: readonly StateSection[]): void;
}
