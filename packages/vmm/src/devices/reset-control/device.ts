/** The reset control register of Intel's chipsets, port 0xcf9 (82371AB PIIX4 data sheet, 4.1.6). */
import type { StateSection, VmmPort } from "@hvjournal/core";
import { restoreSection, saveSection } from "../../state-coding.js";
import type { TakeSection } from "../mmio-device.js";
import type { PortDevice } from "../port-device.js";
import { resetControlFormat, type ResetControlState } from "./state.js";

/** SRST says which kind of reset; RCPU, set, starts it. */
const SYSTEM_RESET = 1 << 1;
const RESET_CPU = 1 << 2;
export const RESET_VALUE = SYSTEM_RESET | RESET_CPU;

const SECTION = "vmm.reset-control";

export class ResetControl implements PortDevice {
  readonly name = "reset-control";
  readonly offsets = [0];
  /** A word of 32 bits at 0xcf8 is an address in PCI's configuration space. */
  readonly takesSingleBytesOnly = true;
  #state: ResetControlState = { control: 0 };

  read(): number {
    return this.#state.control;
  }

  write(_offset: number, value: number, port: VmmPort): void {
    this.#state.control = value & SYSTEM_RESET;
    if (value & RESET_CPU) port.stop({ what: "reset", by: "reset control register" });
  }

  save(): StateSection[] {
    return [saveSection(resetControlFormat, SECTION, this.#state)];
  }

  restore(take: TakeSection): void {
    this.#state = restoreSection(resetControlFormat, take(SECTION));
  }
}
