/** Tells the kinds of arm64 kernel files from each other, and from what can't be booted. */
import { loadArm64Image, isArm64Image } from "./arm64-image.js";
import { loadElf } from "./elf.js";
import { isElf } from "./elf-file.js";
import { loadFlatBinary } from "./flat-binary.js";
import { refuseKernel } from "./foreign-formats.js";
import type { KernelFile, LoadedKernel, RamRange } from "./kernel-format.js";

const EXPECTED = 'neither an arm64 Image (no "ARM\\x64" at byte 56) nor an ELF file';

/** Throws `BootError` when the file can't be booted, saying what it is instead. */
export function loadKernel(file: KernelFile, ram: RamRange): LoadedKernel {
  if (file.format === "flat") {
    return loadFlatBinary(file, ram);
  }
  if (isArm64Image(file.bytes)) {
    return loadArm64Image(file, ram);
  }
  return isElf(file.bytes) ? loadElf(file, ram) : refuseKernel(file, "arm64", EXPECTED);
}
