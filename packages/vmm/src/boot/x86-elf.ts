/** ELF kernels for x86: by PVH, by Multiboot, or as plain 64-bit code. */
import { BootError } from "./boot-error.js";
import { loadSegments, physicalEntry } from "./elf.js";
import { type ElfFile, ElfMachine, type ElfTarget, findNote, readElf } from "./elf-file.js";
import type { KernelFile, RamRange } from "./kernel-format.js";
import { checkMultiboot, findMultibootHeader, hasLoadAddresses, loadByAddresses } from "./multiboot.js";
import type { X86BootProtocol, X86Kernel } from "./x86-kernel-format.js";

const TARGET: ElfTarget = {
  vcpus: "x86-64",
  machines: [
    { machine: ElfMachine.amd64, bits: 64 },
    { machine: ElfMachine.i386, bits: 32 },
  ],
};

/** XEN_ELFNOTE_PHYS32_ENTRY (Xen, public/elfnote.h). */
const PVH_ENTRY_NOTE = { owner: "Xen", type: 18 } as const;
const ENTRY_BYTES_MIN = 4;

function pvhEntry(file: KernelFile, elf: ElfFile): number | undefined {
  const note = findNote(file, elf, PVH_ENTRY_NOTE);
  if (note === undefined || note.length < ENTRY_BYTES_MIN) return undefined;
  return new DataView(note.buffer, note.byteOffset, note.byteLength).getUint32(0, true);
}

function kernelOf(
  file: KernelFile,
  elf: ElfFile,
  ram: RamRange,
  at: { protocol: X86BootProtocol; entry: number },
): X86Kernel {
  return { format: "elf", ...at, ...loadSegments(file, elf, ram) };
}

/** Multiboot before PVH, as QEMU's -kernel has it for a file with both. Throws `BootError`. */
export function loadX86Elf(file: KernelFile, ram: RamRange): X86Kernel {
  const elf = readElf(file, TARGET);
  const header = findMultibootHeader(file.bytes);
  if (header !== undefined) {
    checkMultiboot(file, header);
    const protocol = { kind: "multiboot" } as const;
    if (hasLoadAddresses(header)) return { format: "elf", protocol, ...loadByAddresses(file, header, ram) };
    return kernelOf(file, elf, ram, { protocol, entry: physicalEntry(file, elf) });
  }
  const pvh = pvhEntry(file, elf);
  if (pvh !== undefined) return kernelOf(file, elf, ram, { protocol: { kind: "pvh" }, entry: pvh });
  if (elf.bits === 32) {
    throw new BootError(
      `can't boot ${file.name}: it is a 32-bit ELF file with neither a Multiboot header nor a PVH note, so nothing says how to enter it`,
    );
  }
  return kernelOf(file, elf, ram, { protocol: { kind: "bare" }, entry: physicalEntry(file, elf) });
}
