/** State of a virtio function on PCI, beside what every transport has. */
import { byteArray, list, structure, u16, type SectionFormat, type StateOf } from "../state-coding.js";

const codec = structure({
  /** All of its configuration space. */
  configuration: byteArray,
  configVector: u16,
  queueVectors: list(u16),
  /** MSI-X's table, and its pending bits. */
  messages: byteArray,
  pending: byteArray,
});

export const pciTransportFormat: SectionFormat<StateOf<typeof codec>> = { version: 1, codec };
