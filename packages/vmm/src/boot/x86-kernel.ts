/** Tells the kinds of x86 kernel files from each other, and from what can't be booted. */
import { isBzImage, loadBzImage } from "./bz-image.js";
import { isElf } from "./elf-file.js";
import { loadFlatBinary } from "./flat-binary.js";
import { refuseKernel } from "./foreign-formats.js";
import type { KernelFile, RamRange } from "./kernel-format.js";
import { checkMultiboot, findMultibootHeader, hasLoadAddresses, loadByAddresses } from "./multiboot.js";
import { loadX86Elf } from "./x86-elf.js";
import type { X86Kernel } from "./x86-kernel-format.js";

const EXPECTED = 'neither a bzImage (no "HdrS" at byte 0x202) nor an ELF file, nor does it have a Multiboot header';

/** Throws `BootError` when the file can't be booted, saying what it is instead. */
export function loadX86Kernel(file: KernelFile, ram: RamRange): X86Kernel {
  if (file.format === "flat") return { ...loadFlatBinary(file, ram), format: "flat", protocol: { kind: "bare" } };
  if (isBzImage(file.bytes)) return loadBzImage(file, ram);
  if (isElf(file.bytes)) return loadX86Elf(file, ram);
  const header = findMultibootHeader(file.bytes);
  if (header === undefined || !hasLoadAddresses(header)) return refuseKernel(file, "x86-64", EXPECTED);
  checkMultiboot(file, header);
  return { format: "flat", protocol: { kind: "multiboot" }, ...loadByAddresses(file, header, ram) };
}
