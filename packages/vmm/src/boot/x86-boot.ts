/** Puts an x86 kernel and all that it is told into memory, and says in which state its first vCPU enters it. */
import { encodeUtf8 } from "@hvjournal/core";
import { acpiTables, type AcpiOptions } from "./acpi-tables.js";
import { BootError } from "./boot-error.js";
import type { KernelFile, LoadedSegment, RamRange } from "./kernel-format.js";
import {
  commandLineBytes,
  COMMAND_LINE_BYTES_MAX,
  descriptorTable,
  identityPageTables,
  LOW_MEMORY,
  SELECTOR,
} from "./low-memory.js";
import { pcMemoryMap } from "./memory-map.js";
import { MULTIBOOT_LOADER_MAGIC, multibootInformation } from "./multiboot.js";
import { type BootInformation, type BootModule, pvhStartInfo } from "./pvh-start-info.js";
import { longModeEntry, protectedModeEntry, type RegisterValue } from "./x86-entry-state.js";
import { loadX86Kernel } from "./x86-kernel.js";
import type { X86BootProtocol, X86Kernel } from "./x86-kernel-format.js";
import { seedSetupData, zeroPage } from "./zero-page.js";

export interface X86BootOptions {
  readonly kernel: KernelFile;
  readonly initrd: { readonly bytes: Uint8Array; readonly name: string } | undefined;
  readonly append: string;
  readonly ram: RamRange;
  readonly acpi: AcpiOptions;
  /** For the guest's random number generator. */
  readonly rngSeed: Uint8Array;
}

export interface X86Boot {
  readonly segments: readonly LoadedSegment[];
  /** Of the first vCPU. */
  readonly registers: readonly RegisterValue[];
}

const INITRD_ALIGNMENT = 4096;
/** What other protocols than Linux's can say. */
const ADDRESS_32_MAX = 0xffff_ffff;

/** As high as it may lie, as QEMU and boot loaders do, so that the kernel has room to grow. */
function placeInitrd(
  initrd: { readonly bytes: Uint8Array; readonly name: string },
  kernel: X86Kernel,
  ram: RamRange,
): BootModule {
  const { protocol } = kernel;
  const addressMax = protocol.kind === "linux" ? protocol.initrdAddressMax : ADDRESS_32_MAX;
  const end = Math.min(ram.base + ram.bytes, addressMax + 1);
  const address = Math.floor((end - initrd.bytes.length) / INITRD_ALIGNMENT) * INITRD_ALIGNMENT;
  if (address < kernel.end) {
    throw new BootError(
      `can't boot: initrd ${initrd.name} of ${initrd.bytes.length} bytes does not fit into the ${Math.max(end - kernel.end, 0)} ` +
        "bytes of RAM behind the kernel; give it more memory",
    );
  }
  return { address, bytes: initrd.bytes.length };
}

interface Told {
  readonly segments: readonly LoadedSegment[];
  readonly registers: readonly RegisterValue[];
}

const TABLE = { base: LOW_MEMORY.descriptorTable, bytes: descriptorTable().length } as const;
const TABLE_64 = { ...TABLE, codeSelector: SELECTOR.code64, dataSelector: SELECTOR.data };
const TABLE_32 = { ...TABLE, codeSelector: SELECTOR.code32, dataSelector: SELECTOR.data };

function longMode(entry: number): Told {
  return {
    segments: [{ address: LOW_MEMORY.pageTables, bytes: identityPageTables() }],
    registers: longModeEntry(entry, LOW_MEMORY.pageTables, TABLE_64),
  };
}

const INFORMATION_ADDRESS = BigInt(LOW_MEMORY.bootInformation);

function tellLinux(
  protocol: X86BootProtocol & { readonly kind: "linux" },
  entry: number,
  information: BootInformation,
  rngSeed: Uint8Array,
): Told {
  const { segments, registers } = longMode(entry);
  const page = zeroPage({
    ...information,
    setupHeader: protocol.setupHeader,
    initrd: information.modules[0],
    setupDataAddress: LOW_MEMORY.setupData,
  });
  return {
    segments: [
      ...segments,
      { address: LOW_MEMORY.bootInformation, bytes: page },
      { address: LOW_MEMORY.setupData, bytes: seedSetupData(rngSeed) },
    ],
    registers: [...registers, { name: "rsi", value: INFORMATION_ADDRESS }],
  };
}

function tell({ protocol, entry }: X86Kernel, information: BootInformation, rngSeed: Uint8Array): Told {
  const { address } = information;
  switch (protocol.kind) {
    case "linux":
      return tellLinux(protocol, entry, information, rngSeed);
    case "pvh":
      return {
        segments: [{ address, bytes: pvhStartInfo(information) }],
        registers: [...protectedModeEntry(entry, TABLE_32), { name: "rbx", value: INFORMATION_ADDRESS }],
      };
    case "multiboot":
      return {
        segments: [{ address, bytes: multibootInformation(information) }],
        registers: [
          ...protectedModeEntry(entry, TABLE_32),
          { name: "rax", value: BigInt(MULTIBOOT_LOADER_MAGIC) },
          { name: "rbx", value: INFORMATION_ADDRESS },
        ],
      };
    default: {
      const { segments, registers } = longMode(entry);
      return {
        segments: [...segments, { address, bytes: pvhStartInfo(information) }],
        registers: [...registers, { name: "rdi", value: INFORMATION_ADDRESS }],
      };
    }
  }
}

/** A kernel may lie below 1 MiB, but not where it is told things. */
function checkRoom({ name }: KernelFile, kernel: X86Kernel, told: readonly LoadedSegment[]): void {
  for (const { address, bytes } of kernel.segments) {
    const taken = told.find(
      (other) => address < other.address + other.bytes.length && other.address < address + bytes.length,
    );
    if (taken === undefined) continue;
    throw new BootError(
      `can't boot ${name}: it wants 0x${address.toString(16)}..0x${(address + bytes.length).toString(16)}, ` +
        `but a table of the loader lies at 0x${taken.address.toString(16)}; link it at 1 MiB or above`,
    );
  }
}

/** Throws `BootError`. */
export function bootX86(options: X86BootOptions): X86Boot {
  const { kernel: file, initrd, append, ram, acpi, rngSeed } = options;
  const kernel = loadX86Kernel(file, ram);
  const commandLineMax =
    kernel.protocol.kind === "linux" ? kernel.protocol.commandLineBytesMax : COMMAND_LINE_BYTES_MAX;
  const commandLine = commandLineBytes(file.name, encodeUtf8(append), commandLineMax);
  const module = initrd && placeInitrd(initrd, kernel, ram);
  const tables = acpiTables(acpi);
  const told = tell(
    kernel,
    {
      address: LOW_MEMORY.bootInformation,
      commandLineAddress: LOW_MEMORY.commandLine,
      modules: module === undefined ? [] : [module],
      rsdpAddress: tables.rsdpAddress,
      memoryMap: pcMemoryMap(ram.bytes),
    },
    rngSeed,
  );
  const tableSegments = [
    { address: tables.rsdpAddress, bytes: tables.bytes },
    { address: LOW_MEMORY.descriptorTable, bytes: descriptorTable() },
    { address: LOW_MEMORY.commandLine, bytes: commandLine },
    ...told.segments,
  ];
  checkRoom(file, kernel, tableSegments);
  return {
    segments: [
      ...tableSegments,
      ...kernel.segments,
      ...(initrd && module ? [{ address: module.address, bytes: initrd.bytes }] : []),
    ],
    registers: told.registers,
  };
}
