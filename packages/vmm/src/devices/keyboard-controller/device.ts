/**
 * What an 8042 is still used for: it pulses its output lines, one of which resets the machine. No keyboard is connected, and
 * ACPI says so; the controller is never busy and never has anything to say.
 */
import type { StateSection, VmmPort } from "@hvjournal/core";
import type { PortDevice } from "../port-device.js";

const COMMAND_OFFSET = 4;
/** Command written last was no data; self-test passed; keyboard not locked. Both buffers are empty. */
const STATUS = 0x1c;
/** 0xf0 to 0xff pulse the lines whose bit is 0; bit 0 is the reset line. */
const PULSE_MASK = 0xf0;
const PULSE_RESET = 1;

export class KeyboardController implements PortDevice {
  readonly name = "i8042";
  readonly offsets = [0, COMMAND_OFFSET];

  read(offset: number): number {
    return offset === COMMAND_OFFSET ? STATUS : 0;
  }

  write(offset: number, value: number, port: VmmPort): void {
    const pulsesReset = (value & PULSE_MASK) === PULSE_MASK && (value & PULSE_RESET) === 0;
    if (offset === COMMAND_OFFSET && pulsesReset) port.stop({ what: "reset", by: "keyboard controller" });
  }

  save(): StateSection[] {
    return [];
  }

  restore(): void {
    // It remembers nothing.
  }
}
