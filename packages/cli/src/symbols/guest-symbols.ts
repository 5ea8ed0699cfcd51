/** Names from the guest itself, and where its kernel was loaded. */
import { isPlainMap, type Machine, type MachineDescription, type PlainValue } from "@hvjournal/core";
import { JournalDamagedError } from "@hvjournal/journal";
import { displayOf } from "../architectures.js";
import { createReplayer, type OpenRecording } from "../vm/open-recording.js";
import { Kallsyms, type KallsymsPlace, locateKallsyms } from "./kallsyms.js";
import type { Symbols } from "./symbols.js";

/** A kernel is moved as a whole, by a multiple of this at least (CONFIG_RANDOMIZE_BASE of arm64: 64 KiB). */
const MOVE_ALIGNMENT = 0x1_0000n;
/** No kernel with a symbol table of its own is smaller. */
const KERNEL_BYTES_MIN = 1 << 20;
/** No kernel is larger; the file of one may be, with debugging information. */
const KERNEL_BYTES_MAX = 64 << 20;
const PAGE_BYTES = 4096;

const PLACE_FIELDS = ["count", "names", "markers", "tokens", "tokenIndex", "offsets", "base"] as const;

/** Where the symbols of a kernel lie in the guest: what a recording keeps, so that nobody need search for them. */
interface KernelSymbolsPlace {
  /** Guest-physical, of the kernel's first byte. */
  readonly kernel: number;
  readonly table: KallsymsPlace;
}

/** Makes the names fit the guest as it stands: moved with its kernel, or read from it where no file gave any. */
export function nameByGuest(symbols: Symbols, machine: Machine): void {
  if (symbols.list.size > 0) moveWithKernel(symbols, machine);
  else if (mayHaveSymbols(machine.description)) {
    const table = symbolsAtKnownPlace(machine) ?? symbolsBySearch(machine);
    if (table !== undefined) symbols.use(table);
  }
}

function moveWithKernel(symbols: Symbols, machine: Machine): void {
  const { register, symbols: names } = displayOf(machine.architecture).vectors;
  const vectors = machine.kernel.readRegister(0, register);
  if (vectors === 0n || names.some((name) => symbols.find(name)?.address === vectors)) return;
  const offsets = names.flatMap((name) => {
    const linked = symbols.find(name)?.address;
    return linked === undefined ? [] : [vectors - linked];
  });
  const offset = offsets.find((each) => each % MOVE_ALIGNMENT === 0n);
  if (offset !== undefined) symbols.use(symbols.list.movedBy(offset));
}

/** Of the file that was booted. */
function kernelOf({ boardOptions: { kernel } }: MachineDescription): Readonly<Record<string, PlainValue>> {
  return isPlainMap(kernel) ? kernel : {};
}

/** 0: it is not known. */
function kernelBytes(description: MachineDescription): number {
  const { bytes } = kernelOf(description);
  return typeof bytes === "number" ? bytes : 0;
}

function mayHaveSymbols(description: MachineDescription): boolean {
  return kernelBytes(description) >= KERNEL_BYTES_MIN;
}

/** As a recording keeps it; undefined when it keeps none, or not one. */
function readSymbolsPlace(kept: PlainValue | undefined): KernelSymbolsPlace | undefined {
  if (!isPlainMap(kept)) return undefined;
  const { kernel, ...table } = kept;
  const isNumber = (value: unknown): value is number => Number.isSafeInteger(value) && Number(value) >= 0;
  if (!isNumber(kernel) || !PLACE_FIELDS.every((name) => isNumber(table[name]))) return undefined;
  return { kernel, table: table as unknown as KallsymsPlace };
}

/** The symbols where the kernel was loaded; undefined when nothing says where, or the kernel is no longer there. */
function symbolsAtKnownPlace({ kernel: { memory }, description }: Machine): Kallsyms | undefined {
  const place = readSymbolsPlace(kernelOf(description)["symbols"]);
  if (place === undefined) return undefined;
  const start = place.kernel - memory.base;
  return Kallsyms.open(place.table, (offset, bytes) => {
    const length = Math.max(0, Math.min(bytes, memory.bytes - (start + offset)));
    return length === 0 ? new Uint8Array(0) : memory.read(place.kernel + offset, length);
  });
}

/** The symbols of the kernel in RAM, relocated as it is; none where there is no such kernel. */
function symbolsBySearch(machine: Machine): Kallsyms | undefined {
  const image = kernelFromVectors(machine);
  const place = image === undefined ? undefined : locateKallsyms(image);
  if (image === undefined || place === undefined) return undefined;
  return Kallsyms.open(place, (offset, bytes) => image.subarray(offset, offset + bytes));
}

/**
 * The kernel lies in one piece, and its vectors are in its text, in front of the symbols in .rodata. Its header is no
 * landmark: Linux frees the page before `_stext` once it has booted.
 */
function kernelFromVectors({ kernel, architecture, description }: Machine): Uint8Array | undefined {
  const vectors = kernel.translate(0, kernel.readRegister(0, displayOf(architecture).vectors.register));
  const { memory } = kernel;
  if (vectors === undefined) return undefined;
  const start = vectors - (vectors % PAGE_BYTES);
  const size = displayOf(architecture).isKernelCompressed ? KERNEL_BYTES_MAX : kernelBytes(description);
  const bytes = Math.min(size, KERNEL_BYTES_MAX, memory.base + memory.bytes - start);
  return start < memory.base || bytes <= 0 ? undefined : memory.read(start, bytes);
}

/** As `nameByGuest`, by the guest at the recording's last snapshot: for commands that replay nothing, or not yet. */
export function nameByLastSnapshot(recording: OpenRecording): void {
  const { reader, symbols, description } = recording;
  const last = reader.snapshots().at(-1);
  if (last === undefined || (symbols.list.size === 0 && !mayHaveSymbols(description))) return;
  const replayer = createReplayer(recording);
  try {
    replayer.restore(reader.loadSnapshot(last.number));
    nameByGuest(symbols, replayer.machine);
  } catch (error) {
    // Names are no part of an answer; what of the recording is damaged is told where it is needed.
    if (!(error instanceof JournalDamagedError)) throw error;
  }
}
