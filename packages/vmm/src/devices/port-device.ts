/** What the board asks of a device behind I/O ports. */
import type { StateSection, VmmPort } from "@hvjournal/core";
import type { TakeSection } from "./mmio-device.js";

/** Takes accesses as wide as they are made, before devices of 8 bits get them in pieces. */
export interface WidePortDevice {
  readonly name: string;
  claims(port: number, bytes: number): boolean;
  read(port: number, bytes: number, vmm: VmmPort): number;
  write(port: number, bytes: number, value: number, vmm: VmmPort): void;
  save(): StateSection[];
  restore(take: TakeSection): void;
}

/** Of 8 bits, as on an ISA bus: wider accesses come as several, lowest port first. */
export interface PortDevice {
  /** As `log` prints it, and the end of its section's name. */
  readonly name: string;
  /** Those of its ports that exist, from its first one. */
  readonly offsets: readonly number[];
  /** Wider accesses that cover its port are for something else. */
  readonly takesSingleBytesOnly?: boolean;
  /** `offset`: from the device's first port. */
  read(offset: number, port: VmmPort): number;
  write(offset: number, value: number, port: VmmPort): void;
  save(): StateSection[];
  restore(take: TakeSection): void;
}
