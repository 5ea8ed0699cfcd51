/** Plain code without a header. */
import { BootError } from "./boot-error.js";
import type { KernelFile, LoadedKernel, RamRange } from "./kernel-format.js";

const INSTRUCTION_BYTES = 4;

/** Placed at `flatOffset` (default 0) from the start of RAM, and entered at its first byte. */
export function loadFlatBinary({ bytes, name, flatOffset = 0 }: KernelFile, ram: RamRange): LoadedKernel {
  if (!Number.isInteger(flatOffset) || flatOffset < 0 || flatOffset % INSTRUCTION_BYTES !== 0) {
    throw new BootError(`can't boot ${name}: offset ${flatOffset} is no multiple of ${INSTRUCTION_BYTES} within RAM`);
  }
  if (bytes.length === 0) {
    throw new BootError(`can't boot ${name}: the file is empty`);
  }
  const address = ram.base + flatOffset;
  const end = address + bytes.length;
  if (end > ram.base + ram.bytes) {
    throw new BootError(
      `can't boot ${name}: ${bytes.length} bytes at offset ${flatOffset} do not fit into ${ram.bytes} bytes of RAM`,
    );
  }
  return { format: "flat", segments: [{ address, bytes }], entry: address, end };
}
