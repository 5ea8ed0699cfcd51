/** Port 0x80, to which firmware writes how far it has come, and to which drivers write to pass a microsecond. */
import type { StateSection } from "@hvjournal/core";
import type { PortDevice } from "../port-device.js";

export class PostCode implements PortDevice {
  readonly name = "post-code";
  readonly offsets = [0];

  read(): number {
    return 0;
  }

  write(): void {
    // Nobody looks.
  }

  save(): StateSection[] {
    return [];
  }

  restore(): void {
    // It remembers nothing.
  }
}
