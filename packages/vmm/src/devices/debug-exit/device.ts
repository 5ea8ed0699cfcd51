/** QEMU's `isa-debug-exit`: a guest that writes v ends with status 2v + 1. */
import type { StateSection, VmmPort } from "@hvjournal/core";
import type { PortDevice } from "../port-device.js";

const STATUS_MASK = 0xff;

export class DebugExit implements PortDevice {
  readonly name = "isa-debug-exit";
  readonly offsets = [0];

  read(): number {
    return 0;
  }

  write(_offset: number, value: number, port: VmmPort): void {
    port.stop({ what: "powered off", by: "isa-debug-exit", status: ((value << 1) | 1) & STATUS_MASK });
  }

  save(): StateSection[] {
    return [];
  }

  restore(): void {
    // It remembers nothing.
  }
}
