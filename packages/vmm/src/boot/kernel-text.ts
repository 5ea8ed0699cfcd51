/** What of a kernel is executed and not written: what may be measured. */
import { BootError } from "./boot-error.js";
import type { KernelFile, RamRange, TextSpan } from "./kernel-format.js";
import { loadKernel } from "./kernel-image.js";
import { loadX86Kernel } from "./x86-kernel.js";

/**
 * An ELF file's code; of any other file all of it, because nothing tells its code from its data. Empty where the file can't be booted,
 * which whoever boots it says.
 */
export function kernelText(file: KernelFile, architecture: string, ram: RamRange): readonly TextSpan[] {
  try {
    const { text, segments } = architecture === "amd64" ? loadX86Kernel(file, ram) : loadKernel(file, ram);
    return text ?? segments.map(({ address, bytes }) => ({ address, bytes: bytes.length }));
  } catch (error) {
    if (error instanceof BootError) return [];
    throw error;
  }
}
