/** What a loader needs of an ELF executable of either class (System V ABI, chapters 4 and 5). */
import { decodeUtf8 } from "@hvjournal/core";
import { BootError } from "./boot-error.js";
import type { KernelFile } from "./kernel-format.js";

const ELF_MAGIC = [0x7f, 0x45, 0x4c, 0x46] as const;
const Identification = { class: 4, data: 5 } as const;
const CLASS_32 = 1;
const CLASS_64 = 2;
const DATA_LITTLE_ENDIAN = 1;
const HeaderOffset = { type: 16, machine: 18 } as const;
const TYPE_EXECUTABLE = 2;
const TYPE_SHARED = 3;
const SegmentType = { load: 1, note: 4 } as const;
/** PF_X. */
const SEGMENT_EXECUTABLE = 1;
/** SHF_ALLOC and SHF_EXECINSTR, and SHF_WRITE. */
const SectionFlag = { write: 1n, allocated: 2n, code: 4n } as const;

export const ElfMachine = { i386: 3, amd64: 62, arm64: 183 } as const;
const MACHINE_NAMES: ReadonlyMap<number, string> = new Map([
  [ElfMachine.i386, "i386"],
  [40, "32-bit Arm"],
  [ElfMachine.amd64, "x86-64"],
  [ElfMachine.arm64, "arm64"],
  [243, "RISC-V"],
]);

/** Where the fields of one class lie. */
interface ElfLayout {
  readonly bits: 32 | 64;
  readonly headerBytes: number;
  readonly entry: number;
  readonly programHeaders: number;
  readonly programHeaderBytes: number;
  readonly programHeaderCount: number;
  readonly segmentBytes: number;
  readonly segment: {
    readonly fileOffset: number;
    readonly virtual: number;
    readonly physical: number;
    readonly fileBytes: number;
    readonly memoryBytes: number;
    readonly flags: number;
  };
  readonly sectionHeaders: number;
  readonly sectionHeaderBytes: number;
  readonly sectionHeaderCount: number;
  readonly sectionBytes: number;
  readonly section: { readonly flags: number; readonly address: number; readonly bytes: number };
}

const ELF32: ElfLayout = {
  bits: 32,
  headerBytes: 52,
  entry: 24,
  programHeaders: 28,
  programHeaderBytes: 42,
  programHeaderCount: 44,
  segmentBytes: 32,
  segment: { fileOffset: 4, virtual: 8, physical: 12, fileBytes: 16, memoryBytes: 20, flags: 24 },
  sectionHeaders: 32,
  sectionHeaderBytes: 46,
  sectionHeaderCount: 48,
  sectionBytes: 40,
  section: { flags: 8, address: 12, bytes: 20 },
};
const ELF64: ElfLayout = {
  bits: 64,
  headerBytes: 64,
  entry: 24,
  programHeaders: 32,
  programHeaderBytes: 54,
  programHeaderCount: 56,
  segmentBytes: 56,
  segment: { fileOffset: 8, virtual: 16, physical: 24, fileBytes: 32, memoryBytes: 40, flags: 4 },
  sectionHeaders: 40,
  sectionHeaderBytes: 58,
  sectionHeaderCount: 60,
  sectionBytes: 64,
  section: { flags: 8, address: 16, bytes: 32 },
};

export interface ElfSegment {
  readonly isNote: boolean;
  readonly fileOffset: number;
  readonly virtual: bigint;
  readonly physical: bigint;
  readonly fileBytes: number;
  readonly memoryBytes: number;
  readonly isExecutable: boolean;
}

/** By virtual address. */
export interface ElfSection {
  readonly virtual: bigint;
  readonly bytes: number;
}

export interface ElfFile {
  readonly bits: 32 | 64;
  /** As linked: virtual. */
  readonly entry: bigint;
  /** Those that take memory. */
  readonly segments: readonly ElfSegment[];
  /** Sections that hold instructions and are not written; none in a file without section headers. */
  readonly codeSections: readonly ElfSection[];
}

/** What a board's vCPUs run. */
export interface ElfTarget {
  /** "arm64". */
  readonly vcpus: string;
  readonly machines: readonly { readonly machine: number; readonly bits: 32 | 64 }[];
}

export function isElf(bytes: Uint8Array): boolean {
  return ELF_MAGIC.every((value, index) => bytes[index] === value);
}

function layoutOf({ bytes, name }: KernelFile, { machines }: ElfTarget): ElfLayout {
  const layout = bytes[Identification.class] === CLASS_32 && machines.some(({ bits }) => bits === 32) ? ELF32 : ELF64;
  if (bytes.length < layout.headerBytes) {
    throw new BootError(
      `can't boot ${name}: it is truncated: ${bytes.length} of the ${layout.headerBytes} bytes of an ELF header`,
    );
  }
  const isOfLayout = layout.bits === 32 || bytes[Identification.class] === CLASS_64;
  if (!isOfLayout || bytes[Identification.data] !== DATA_LITTLE_ENDIAN) {
    throw new BootError(`can't boot ${name}: it is no 64-bit little-endian ELF file`);
  }
  return layout;
}

function checkHeader({ name }: KernelFile, view: DataView, layout: ElfLayout, target: ElfTarget): void {
  const machine = view.getUint16(HeaderOffset.machine, true);
  if (!target.machines.some((each) => each.machine === machine && each.bits === layout.bits)) {
    const built = MACHINE_NAMES.get(machine) ?? `machine ${machine}`;
    throw new BootError(`can't boot ${name}: it is an ELF file for ${built}; this VM has ${target.vcpus} vCPUs`);
  }
  const type = view.getUint16(HeaderOffset.type, true);
  if (type !== TYPE_EXECUTABLE && type !== TYPE_SHARED) {
    throw new BootError(`can't boot ${name}: it is an ELF file of type ${type}, not an executable`);
  }
}

/** An address or offset of the class. */
function wordAt(view: DataView, { bits }: ElfLayout, offset: number): bigint {
  return bits === 64 ? view.getBigUint64(offset, true) : BigInt(view.getUint32(offset, true));
}

function readSegments({ bytes, name }: KernelFile, view: DataView, layout: ElfLayout): ElfSegment[] {
  const start = Number(wordAt(view, layout, layout.programHeaders));
  const size = view.getUint16(layout.programHeaderBytes, true);
  const count = view.getUint16(layout.programHeaderCount, true);
  if (count > 0 && size < layout.segmentBytes) {
    throw new BootError(`can't boot ${name}: its program headers have ${size} bytes, not ${layout.segmentBytes}`);
  }
  if (start + count * size > bytes.length) {
    throw new BootError(`can't boot ${name}: it is truncated before the end of its program headers`);
  }
  const segments: ElfSegment[] = [];
  for (let at = start; at < start + count * size; at += size) {
    const type = view.getUint32(at, true);
    if (type !== SegmentType.load && type !== SegmentType.note) continue;
    const field = (offset: number): bigint => wordAt(view, layout, at + offset);
    segments.push({
      isNote: type === SegmentType.note,
      fileOffset: Number(field(layout.segment.fileOffset)),
      virtual: field(layout.segment.virtual),
      physical: field(layout.segment.physical),
      fileBytes: Number(field(layout.segment.fileBytes)),
      memoryBytes: Number(field(layout.segment.memoryBytes)),
      isExecutable: (view.getUint32(at + layout.segment.flags, true) & SEGMENT_EXECUTABLE) !== 0,
    });
  }
  return segments.filter(({ memoryBytes }) => memoryBytes > 0);
}

/** Nothing is loaded by section headers: where they are cut off, or make no sense, there are none. */
function readCodeSections(view: DataView, layout: ElfLayout): ElfSection[] {
  const start = Number(wordAt(view, layout, layout.sectionHeaders));
  const size = view.getUint16(layout.sectionHeaderBytes, true);
  const count = view.getUint16(layout.sectionHeaderCount, true);
  if (size < layout.sectionBytes || start + count * size > view.byteLength) return [];
  const { write, allocated, code } = SectionFlag;
  return Array.from({ length: count }, (_, index) => start + index * size)
    .filter(
      (at) => (wordAt(view, layout, at + layout.section.flags) & (write | allocated | code)) === (allocated | code),
    )
    .map((at) => ({
      virtual: wordAt(view, layout, at + layout.section.address),
      bytes: Number(wordAt(view, layout, at + layout.section.bytes)),
    }));
}

/** Throws `BootError` for what is no executable of the target. */
export function readElf(file: KernelFile, target: ElfTarget): ElfFile {
  const { bytes } = file;
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const layout = layoutOf(file, target);
  checkHeader(file, view, layout, target);
  return {
    bits: layout.bits,
    entry: wordAt(view, layout, layout.entry),
    segments: readSegments(file, view, layout),
    codeSections: readCodeSections(view, layout),
  };
}

const NOTE_HEADER_BYTES = 12;
const NOTE_ALIGNMENT = 4;

function aligned(bytes: number): number {
  return Math.ceil(bytes / NOTE_ALIGNMENT) * NOTE_ALIGNMENT;
}

/** Content of the first note of this owner and type. */
export function findNote(
  { bytes }: KernelFile,
  { segments }: ElfFile,
  wanted: { readonly owner: string; readonly type: number },
): Uint8Array | undefined {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  for (const { fileOffset, fileBytes } of segments.filter(({ isNote }) => isNote)) {
    const end = Math.min(fileOffset + fileBytes, bytes.length);
    for (let at = fileOffset; at + NOTE_HEADER_BYTES <= end;) {
      const [nameBytes, contentBytes] = [view.getUint32(at, true), view.getUint32(at + 4, true)];
      const name = at + NOTE_HEADER_BYTES;
      const content = name + aligned(nameBytes);
      const owner = decodeUtf8(bytes.subarray(name, name + Math.max(nameBytes - 1, 0)));
      if (view.getUint32(at + 8, true) === wanted.type && owner === wanted.owner && content + contentBytes <= end)
        return bytes.subarray(content, content + contentBytes);
      at = content + aligned(contentBytes);
    }
  }
  return undefined;
}
