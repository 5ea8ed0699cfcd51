/** ELF64 executables for AArch64 (System V ABI; ELF for the Arm 64-bit Architecture): bare-metal guests and firmware. */
import { BootError } from "./boot-error.js";
import type { KernelFile, LoadedKernel, LoadedSegment, RamRange } from "./kernel-format.js";

const ELF_MAGIC = [0x7f, 0x45, 0x4c, 0x46] as const;
const HEADER_BYTES = 64;
const Identification = { class: 4, data: 5 } as const;
const CLASS_64 = 2;
const DATA_LITTLE_ENDIAN = 1;
const HeaderOffset = {
  type: 16,
  machine: 18,
  entry: 24,
  programHeaders: 32,
  programHeaderBytes: 54,
  programHeaderCount: 56,
} as const;
const TYPE_EXECUTABLE = 2;
const TYPE_SHARED = 3;
const MACHINE_AARCH64 = 183;
const MACHINE_NAMES: ReadonlyMap<number, string> = new Map([
  [3, "i386"],
  [40, "32-bit Arm"],
  [62, "x86-64"],
  [243, "RISC-V"],
]);
const SEGMENT_LOAD = 1;
const PROGRAM_HEADER_BYTES = 56;
const SegmentOffset = { type: 0, fileOffset: 8, virtual: 16, physical: 24, fileBytes: 32, memoryBytes: 40 } as const;

interface Segment {
  readonly fileOffset: number;
  readonly virtual: bigint;
  readonly physical: bigint;
  readonly fileBytes: number;
  readonly memoryBytes: number;
}

export function isElf(bytes: Uint8Array): boolean {
  return ELF_MAGIC.every((value, index) => bytes[index] === value);
}

function checkHeader({ bytes, name }: KernelFile, view: DataView): void {
  if (bytes.length < HEADER_BYTES) {
    throw new BootError(
      `can't boot ${name}: it is truncated: ${bytes.length} of the ${HEADER_BYTES} bytes of an ELF header`,
    );
  }
  if (bytes[Identification.class] !== CLASS_64 || bytes[Identification.data] !== DATA_LITTLE_ENDIAN) {
    throw new BootError(`can't boot ${name}: it is no 64-bit little-endian ELF file`);
  }
  const machine = view.getUint16(HeaderOffset.machine, true);
  if (machine !== MACHINE_AARCH64) {
    const built = MACHINE_NAMES.get(machine) ?? `machine ${machine}`;
    throw new BootError(`can't boot ${name}: it is an ELF file for ${built}; this VM has arm64 vCPUs`);
  }
  const type = view.getUint16(HeaderOffset.type, true);
  if (type !== TYPE_EXECUTABLE && type !== TYPE_SHARED) {
    throw new BootError(`can't boot ${name}: it is an ELF file of type ${type}, not an executable`);
  }
}

function readSegments({ bytes, name }: KernelFile, view: DataView): Segment[] {
  const start = Number(view.getBigUint64(HeaderOffset.programHeaders, true));
  const size = view.getUint16(HeaderOffset.programHeaderBytes, true);
  const count = view.getUint16(HeaderOffset.programHeaderCount, true);
  if (count > 0 && size < PROGRAM_HEADER_BYTES) {
    throw new BootError(`can't boot ${name}: its program headers have ${size} bytes, not ${PROGRAM_HEADER_BYTES}`);
  }
  if (start + count * size > bytes.length) {
    throw new BootError(`can't boot ${name}: it is truncated before the end of its program headers`);
  }
  const segments: Segment[] = [];
  for (let at = start; at < start + count * size; at += size) {
    if (view.getUint32(at + SegmentOffset.type, true) !== SEGMENT_LOAD) {
      continue;
    }
    segments.push({
      fileOffset: Number(view.getBigUint64(at + SegmentOffset.fileOffset, true)),
      virtual: view.getBigUint64(at + SegmentOffset.virtual, true),
      physical: view.getBigUint64(at + SegmentOffset.physical, true),
      fileBytes: Number(view.getBigUint64(at + SegmentOffset.fileBytes, true)),
      memoryBytes: Number(view.getBigUint64(at + SegmentOffset.memoryBytes, true)),
    });
  }
  return segments.filter((segment) => segment.memoryBytes > 0);
}

function checkSegment(file: KernelFile, segment: Segment, ram: RamRange): void {
  const { fileOffset, physical, fileBytes, memoryBytes } = segment;
  if (fileBytes > memoryBytes) {
    throw new BootError(
      `can't boot ${file.name}: a segment has ${fileBytes} bytes in the file and ${memoryBytes} in memory`,
    );
  }
  if (fileOffset + fileBytes > file.bytes.length) {
    throw new BootError(
      `can't boot ${file.name}: it is truncated: a segment ends at byte ${fileOffset + fileBytes} of ${file.bytes.length}`,
    );
  }
  const end = physical + BigInt(memoryBytes);
  if (physical < BigInt(ram.base) || end > BigInt(ram.base + ram.bytes)) {
    const vmlinux = physical >> 63n ? " (a vmlinux is linked there; boot arch/arm64/boot/Image)" : "";
    throw new BootError(
      `can't boot ${file.name}: segment 0x${physical.toString(16)}..0x${end.toString(16)} lies outside RAM, ` +
        `0x${ram.base.toString(16)}..0x${(ram.base + ram.bytes).toString(16)}${vmlinux}`,
    );
  }
}

/** The entry point is a virtual address of the file; before the MMU is on, its physical counterpart counts. */
function physicalEntry(file: KernelFile, segments: readonly Segment[], entry: bigint): number {
  const home = segments.find(({ virtual, memoryBytes }) => entry >= virtual && entry < virtual + BigInt(memoryBytes));
  if (home === undefined) {
    throw new BootError(
      `can't boot ${file.name}: its entry point 0x${entry.toString(16)} lies in none of its segments`,
    );
  }
  return Number(home.physical + (entry - home.virtual));
}

/** Loads PT_LOAD segments by physical address; memory beyond a segment's file bytes is RAM as it is: zero. */
export function loadElf(file: KernelFile, ram: RamRange): LoadedKernel {
  const view = new DataView(file.bytes.buffer, file.bytes.byteOffset, file.bytes.byteLength);
  checkHeader(file, view);
  const segments = readSegments(file, view).sort((a, b) =>
    a.physical < b.physical ? -1 : a.physical > b.physical ? 1 : 0,
  );
  if (segments.length === 0) {
    throw new BootError(`can't boot ${file.name}: it has nothing to load`);
  }
  const loaded: LoadedSegment[] = [];
  let end = ram.base;
  for (const segment of segments) {
    checkSegment(file, segment, ram);
    const address = Number(segment.physical);
    if (address < end && loaded.length > 0) {
      throw new BootError(`can't boot ${file.name}: two segments overlap at 0x${address.toString(16)}`);
    }
    loaded.push({ address, bytes: file.bytes.subarray(segment.fileOffset, segment.fileOffset + segment.fileBytes) });
    end = address + segment.memoryBytes;
  }
  const entry = physicalEntry(file, segments, view.getBigUint64(HeaderOffset.entry, true));
  return { format: "elf", segments: loaded.filter(({ bytes }) => bytes.length > 0), entry, end };
}
