/** Loads ELF executables: bare-metal guests, firmware, and a vmlinux for x86. */
import { BootError } from "./boot-error.js";
import { type ElfFile, ElfMachine, type ElfSegment, type ElfTarget, readElf } from "./elf-file.js";
import type { KernelFile, LoadedKernel, LoadedSegment, RamRange, TextSpan } from "./kernel-format.js";

export interface LoadedElf {
  readonly segments: readonly LoadedSegment[];
  /** First byte behind the last segment. */
  readonly end: number;
  /** Its sections of code, or without any its executable segments. */
  readonly text: readonly TextSpan[];
}

function checkSegment(file: KernelFile, segment: ElfSegment, ram: RamRange): void {
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

/**
 * Before the MMU is on, an address of the entry point is physical. Most linkers write the virtual one, whose counterpart
 * counts; a file that is linked high may name the physical one itself.
 */
export function physicalEntry(file: KernelFile, { segments, entry }: ElfFile): number {
  const homeBy = (address: "virtual" | "physical"): ElfSegment | undefined =>
    segments.find(
      ({ isNote, memoryBytes, [address]: start }) => !isNote && entry >= start && entry < start + BigInt(memoryBytes),
    );
  const home = homeBy("virtual");
  if (home !== undefined) return Number(home.physical + (entry - home.virtual));
  if (homeBy("physical") !== undefined) return Number(entry);
  throw new BootError(`can't boot ${file.name}: its entry point 0x${entry.toString(16)} lies in none of its segments`);
}

/** PT_LOAD segments by physical address; memory beyond a segment's file bytes is RAM as it is: zero. */
export function loadSegments(file: KernelFile, elf: ElfFile, ram: RamRange): LoadedElf {
  const segments = elf.segments
    .filter(({ isNote }) => !isNote)
    .sort((a, b) => (a.physical < b.physical ? -1 : a.physical > b.physical ? 1 : 0));
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
  return { segments: loaded.filter(({ bytes }) => bytes.length > 0), end, text: textOf(elf, segments) };
}

function textOf({ codeSections }: ElfFile, loaded: readonly ElfSegment[]): TextSpan[] {
  const spans = codeSections.flatMap(({ virtual, bytes }) => {
    const home = loaded.find((each) => virtual >= each.virtual && virtual < each.virtual + BigInt(each.fileBytes));
    return home === undefined ? [] : [{ address: Number(home.physical + virtual - home.virtual), bytes }];
  });
  if (spans.length > 0) return spans;
  return loaded
    .filter(({ isExecutable, fileBytes }) => isExecutable && fileBytes > 0)
    .map(({ physical, fileBytes }) => ({ address: Number(physical), bytes: fileBytes }));
}

const ARM64: ElfTarget = { vcpus: "arm64", machines: [{ machine: ElfMachine.arm64, bits: 64 }] };

/** For arm64. */
export function loadElf(file: KernelFile, ram: RamRange): LoadedKernel {
  const elf = readElf(file, ARM64);
  return { format: "elf", ...loadSegments(file, elf, ram), entry: physicalEntry(file, elf) };
}
