/** Tells the kinds of kernel files from each other, and from what can't be booted. */
import { decodeUtf8 } from "@hvjournal/core";
import { loadArm64Image, isArm64Image } from "./arm64-image.js";
import { BootError } from "./boot-error.js";
import { isElf, loadElf } from "./elf.js";
import { loadFlatBinary } from "./flat-binary.js";
import type { KernelFile, LoadedKernel, RamRange } from "./kernel-format.js";

interface ForeignFormat {
  readonly offset: number;
  readonly magic: readonly number[];
  /** What the file is, and what to do. */
  readonly is: string;
}

/** More specific first: an x86 kernel is also an EFI program. */
const FOREIGN_FORMATS: readonly ForeignFormat[] = [
  { offset: 0x202, magic: [0x48, 0x64, 0x72, 0x53], is: "an x86 kernel (bzImage); this VM has arm64 vCPUs" },
  { offset: 56, magic: [0x52, 0x53, 0x43, 0x05], is: "a RISC-V kernel; this VM has arm64 vCPUs" },
  { offset: 36, magic: [0x18, 0x28, 0x6f, 0x01], is: "a 32-bit Arm kernel (zImage); this VM has arm64 vCPUs" },
  { offset: 4, magic: [0x7a, 0x69, 0x6d, 0x67], is: "an EFI zboot image (vmlinuz.efi); boot the Image inside it" },
  { offset: 0, magic: [0x4d, 0x5a], is: "an EFI program without an arm64 Linux header, which only firmware can start" },
  { offset: 0, magic: [0x1f, 0x8b], is: "gzip-compressed (Image.gz); decompress it first: gunzip --keep" },
  {
    offset: 0,
    magic: [0xfd, 0x37, 0x7a, 0x58, 0x5a],
    is: "xz-compressed; decompress it first: xz --decompress --keep",
  },
  { offset: 0, magic: [0x28, 0xb5, 0x2f, 0xfd], is: "zstd-compressed; decompress it first: unzstd --keep" },
  { offset: 0, magic: [0x04, 0x22, 0x4d, 0x18], is: "lz4-compressed; decompress it first: unlz4 --keep" },
  { offset: 0, magic: [0x02, 0x21, 0x4c, 0x18], is: "lz4-compressed; decompress it first: unlz4 --keep" },
  { offset: 0, magic: [0x42, 0x5a, 0x68], is: "bzip2-compressed; decompress it first: bunzip2 --keep" },
  { offset: 0, magic: [0x27, 0x05, 0x19, 0x56], is: "a U-Boot image (uImage); boot the Image inside it" },
];

function startsWith(bytes: Uint8Array, offset: number, magic: readonly number[]): boolean {
  return magic.every((value, index) => bytes[offset + index] === value);
}

function refuse(file: KernelFile): never {
  const foreign = FOREIGN_FORMATS.find(({ offset, magic }) => startsWith(file.bytes, offset, magic));
  if (foreign !== undefined) {
    throw new BootError(`can't boot ${file.name}: it is ${foreign.is}`);
  }
  if (file.bytes.length === 0) {
    throw new BootError(`can't boot ${file.name}: the file is empty`);
  }
  const start = decodeUtf8(file.bytes.subarray(0, 2)) === "#!" ? "a script" : "no kernel";
  throw new BootError(
    `can't boot ${file.name}: it is ${start}: neither an arm64 Image (no "ARM\\x64" at byte 56) nor an ELF file`,
  );
}

/** Throws `BootError` when the file can't be booted, saying what it is instead. */
export function loadKernel(file: KernelFile, ram: RamRange): LoadedKernel {
  if (file.format === "flat") {
    return loadFlatBinary(file, ram);
  }
  if (isArm64Image(file.bytes)) {
    return loadArm64Image(file, ram);
  }
  return isElf(file.bytes) ? loadElf(file, ram) : refuse(file);
}
