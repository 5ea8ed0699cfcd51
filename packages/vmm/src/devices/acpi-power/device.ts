/** ACPI's PM1a blocks, through which a guest powers its machine off (ACPI 6.5, 4.8.3.2). */
import type { StateSection, VmmPort } from "@hvjournal/core";
import { restoreSection, saveSection } from "../../state-coding.js";
import type { TakeSection } from "../mmio-device.js";
import type { PortDevice } from "../port-device.js";
import { PM1_CONTROL_BYTES, PM1_EVENT_BYTES, Pm1Control, SLEEP_TYPE_S5, SLEEP_TYPE_SHIFT } from "./registers.js";
import { acpiPowerFormat, type AcpiPowerState } from "./state.js";

const NAME = "acpi-pm1";
const SECTION = `vmm.${NAME}`;
const ENABLE_OFFSET = PM1_EVENT_BYTES / 2;

export class AcpiPower implements PortDevice {
  readonly name = NAME;
  readonly offsets = Array.from({ length: PM1_EVENT_BYTES + PM1_CONTROL_BYTES }, (_, offset) => offset);
  #state: AcpiPowerState = { enable: 0, control: Pm1Control.sciEnable };

  read(offset: number): number {
    const { enable, control } = this.#state;
    const word = offset < ENABLE_OFFSET ? 0 : offset < PM1_EVENT_BYTES ? enable : control;
    return (word >> (8 * (offset & 1))) & 0xff;
  }

  write(offset: number, value: number, port: VmmPort): void {
    const state = this.#state;
    const shift = 8 * (offset & 1);
    const merged = (word: number): number => (word & ~(0xff << shift)) | (value << shift);
    if (offset >= PM1_EVENT_BYTES) this.#setControl(merged(state.control), port);
    else if (offset >= ENABLE_OFFSET) state.enable = merged(state.enable);
  }

  save(): StateSection[] {
    return [saveSection(acpiPowerFormat, SECTION, this.#state)];
  }

  restore(take: TakeSection): void {
    this.#state = restoreSection(acpiPowerFormat, take(SECTION));
  }

  /** SLP_EN is never kept: it starts what SLP_TYP says. */
  #setControl(value: number, port: VmmPort): void {
    this.#state.control = (value & Pm1Control.sleepType) | Pm1Control.sciEnable;
    const type = (value & Pm1Control.sleepType) >> SLEEP_TYPE_SHIFT;
    if ((value & Pm1Control.sleepEnable) !== 0 && type === SLEEP_TYPE_S5)
      port.stop({ what: "powered off", by: "ACPI S5" });
  }
}
