/** Everything that the ACPI registers' future depends on. No event ever happens, so there is no status. */
import { structure, u16, type SectionFormat, type StateOf } from "../../state-coding.js";

const codec = structure({ enable: u16, control: u16 });

export type AcpiPowerState = StateOf<typeof codec>;

export const acpiPowerFormat: SectionFormat<AcpiPowerState> = { version: 1, codec };
