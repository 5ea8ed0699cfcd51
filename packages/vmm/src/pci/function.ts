/** What PCI's host bridge asks of a function. */
import type { StateSection, VmmPort } from "@hvjournal/core";
import type { MmioDevice, TakeSection } from "../devices/mmio-device.js";

/** A BAR as it is decoded now. */
export interface DecodedBar {
  readonly device: MmioDevice;
  readonly base: number;
  readonly bytes: number;
}

export interface PciFunction {
  readonly name: string;
  /** Naturally aligned, 1, 2 or 4 bytes. */
  readConfiguration(offset: number, bytes: number, port: VmmPort): number;
  writeConfiguration(offset: number, bytes: number, value: number, port: VmmPort): void;
  /** None while memory space is off. */
  decodedBars(): readonly DecodedBar[];
  save(): StateSection[];
  restore(take: TakeSection): void;
}
