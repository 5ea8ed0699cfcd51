/** Function 0 of device 0: the host bridge as its own bus shows it. It has nothing that can be set. */
import type { StateSection } from "@hvjournal/core";
import { ConfigurationSpace } from "./configuration-space.js";
import type { DecodedBar, PciFunction } from "./function.js";
import { PciClass, PciRegister } from "./registers.js";

/** Red Hat's generic host bridge of QEMU's: drivers have no quirks for it. */
const VENDOR = 0x1b36;
const DEVICE = 0x0008;

export class HostBridgeFunction implements PciFunction {
  readonly name = "pci-host";
  readonly #space = new ConfigurationSpace();

  constructor() {
    this.#space.set(PciRegister.vendor, 2, VENDOR);
    this.#space.set(PciRegister.device, 2, DEVICE);
    this.#space.set(PciRegister.classCode, 3, PciClass.hostBridge);
  }

  readConfiguration(offset: number, bytes: number): number {
    return this.#space.get(offset, bytes);
  }

  writeConfiguration(): void {
    // All of it is read-only.
  }

  decodedBars(): readonly DecodedBar[] {
    return [];
  }

  save(): StateSection[] {
    return [];
  }

  restore(): void {
    // Nothing is saved.
  }
}
