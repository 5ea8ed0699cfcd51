/** The arm64 Linux `Image` (Linux, Documentation/arch/arm64/booting.rst, "Call the kernel image"). */
import { BootError } from "./boot-error.js";
import type { KernelFile, LoadedKernel, RamRange } from "./kernel-format.js";

const HEADER_BYTES = 64;
const HeaderOffset = { textOffset: 8, imageBytes: 16, flags: 24, magic: 56, peHeader: 60 } as const;
/** "ARM\x64", little endian. */
const IMAGE_MAGIC = 0x644d_5241;
const FLAG_BIG_ENDIAN = 1n;
/** What a kernel without an image size (before Linux 3.17) means. */
const LEGACY_TEXT_OFFSET = 0x8_0000;

const PE_SIGNATURE = 0x0000_4550;
const PeOffset = { sectionCount: 6, optionalHeaderBytes: 20, optionalHeader: 24 } as const;
const PE_SECTION_BYTES = 40;
const PeSectionOffset = { rawBytes: 16, rawStart: 20 } as const;

export function isArm64Image(bytes: Uint8Array): boolean {
  return bytes.length >= HEADER_BYTES && viewOf(bytes).getUint32(HeaderOffset.magic, true) === IMAGE_MAGIC;
}

function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

/** How long the file must be by the section table of its EFI header; 0 when it has none. */
function bytesBySectionTable(bytes: Uint8Array): number {
  const view = viewOf(bytes);
  const pe = view.getUint32(HeaderOffset.peHeader, true);
  if (pe === 0 || pe + PeOffset.optionalHeader > bytes.length || view.getUint32(pe, true) !== PE_SIGNATURE) {
    return 0;
  }
  const count = view.getUint16(pe + PeOffset.sectionCount, true);
  const table = pe + PeOffset.optionalHeader + view.getUint16(pe + PeOffset.optionalHeaderBytes, true);
  let end = table + count * PE_SECTION_BYTES;
  for (let section = 0; section < count && table + (section + 1) * PE_SECTION_BYTES <= bytes.length; section += 1) {
    const at = table + section * PE_SECTION_BYTES;
    end = Math.max(
      end,
      view.getUint32(at + PeSectionOffset.rawStart, true) + view.getUint32(at + PeSectionOffset.rawBytes, true),
    );
  }
  return end;
}

/** Throws `BootError` when it is truncated, big endian, or larger than RAM. */
export function loadArm64Image(file: KernelFile, ram: RamRange): LoadedKernel {
  const { bytes, name } = file;
  const view = viewOf(bytes);
  const expected = bytesBySectionTable(bytes);
  if (expected > bytes.length) {
    throw new BootError(`can't boot ${name}: it is truncated: ${bytes.length} of ${expected} bytes`);
  }
  if (view.getBigUint64(HeaderOffset.flags, true) & FLAG_BIG_ENDIAN) {
    throw new BootError(`can't boot ${name}: it is a big-endian kernel, which the vCPU does not run`);
  }
  const imageBytes = view.getBigUint64(HeaderOffset.imageBytes, true);
  const textOffset = imageBytes === 0n ? LEGACY_TEXT_OFFSET : Number(view.getBigUint64(HeaderOffset.textOffset, true));
  const takes = Math.max(Number(imageBytes), bytes.length);
  // RAM starts on a 2 MiB boundary, from which text_offset counts.
  const address = ram.base + textOffset;
  if (address + takes > ram.base + ram.bytes) {
    throw new BootError(
      `can't boot ${name}: it takes ${takes} bytes from byte ${textOffset} of RAM on, which has ${ram.bytes}; give it more memory`,
    );
  }
  return { format: "arm64-image", segments: [{ address, bytes }], entry: address, end: address + takes };
}
