/** Says what a file is that can't be booted. */
import { decodeUtf8 } from "@hvjournal/core";
import { BootError } from "./boot-error.js";
import type { KernelFile } from "./kernel-format.js";

interface ForeignFormat {
  readonly offset: number;
  readonly magic: readonly number[];
  /** What the file is, and what to do. */
  readonly is: string;
  /** A kernel of another architecture: what the VM has is said too. */
  readonly isKernel?: boolean;
}

/** More specific first: an x86 kernel is also an EFI program. */
const FOREIGN_FORMATS: readonly ForeignFormat[] = [
  { offset: 0x202, magic: [0x48, 0x64, 0x72, 0x53], is: "an x86 kernel (bzImage)", isKernel: true },
  { offset: 56, magic: [0x41, 0x52, 0x4d, 0x64], is: "an arm64 kernel (Image)", isKernel: true },
  { offset: 56, magic: [0x52, 0x53, 0x43, 0x05], is: "a RISC-V kernel", isKernel: true },
  { offset: 36, magic: [0x18, 0x28, 0x6f, 0x01], is: "a 32-bit Arm kernel (zImage)", isKernel: true },
  { offset: 4, magic: [0x7a, 0x69, 0x6d, 0x67], is: "an EFI zboot image (vmlinuz.efi); boot the Image inside it" },
  { offset: 0, magic: [0x4d, 0x5a], is: "an EFI program without a Linux header, which only firmware can start" },
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

/** Throws `BootError`. `vcpus`: "arm64"; `expected`: what would have been taken. */
export function refuseKernel(file: KernelFile, vcpus: string, expected: string): never {
  const foreign = FOREIGN_FORMATS.find(({ offset, magic }) => startsWith(file.bytes, offset, magic));
  if (foreign !== undefined) {
    const has = foreign.isKernel === true ? `; this VM has ${vcpus} vCPUs` : "";
    throw new BootError(`can't boot ${file.name}: it is ${foreign.is}${has}`);
  }
  if (file.bytes.length === 0) {
    throw new BootError(`can't boot ${file.name}: the file is empty`);
  }
  const start = decodeUtf8(file.bytes.subarray(0, 2)) === "#!" ? "a script" : "no kernel";
  throw new BootError(`can't boot ${file.name}: it is ${start}: ${expected}`);
}
