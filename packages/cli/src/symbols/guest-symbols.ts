/** Names from the guest itself, and where its kernel was loaded. */
import { type GuestSymbol, isPlainMap, type Machine, type MachineDescription } from "@hvjournal/core";
import { displayOf } from "../architectures.js";
import { createReplayer, type OpenRecording } from "../vm/open-recording.js";
import { findKallsyms } from "./kallsyms.js";
import { SymbolList, type Symbols } from "./symbols.js";

/** A kernel is moved as a whole, by a multiple of this at least (CONFIG_RANDOMIZE_BASE of arm64: 64 KiB). */
const MOVE_ALIGNMENT = 0x1_0000n;
/** No kernel with a symbol table of its own is smaller. */
const KERNEL_BYTES_MIN = 1 << 20;
/** No kernel is larger; the file of one may be, with debugging information. */
const KERNEL_BYTES_MAX = 64 << 20;
const PAGE_BYTES = 4096;

/** Makes the names fit the guest as it stands: moved with its kernel, or read from it where no file gave any. */
export function nameByGuest(symbols: Symbols, machine: Machine): void {
  if (symbols.list.size > 0) moveWithKernel(symbols, machine);
  else if (mayHaveSymbols(machine.description)) symbols.use(new SymbolList(kernelSymbols(machine)));
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

/** Of the file that was booted; 0: it is not known. */
function kernelBytes({ boardOptions: { kernel } }: MachineDescription): number {
  const bytes = isPlainMap(kernel) ? kernel["bytes"] : undefined;
  return typeof bytes === "number" ? bytes : 0;
}

function mayHaveSymbols(description: MachineDescription): boolean {
  return kernelBytes(description) >= KERNEL_BYTES_MIN;
}

/** The symbols of the kernel in RAM, relocated as it is; none where there is no such kernel. */
function kernelSymbols(machine: Machine): GuestSymbol[] {
  const image = kernelFromVectors(machine);
  return (image === undefined ? undefined : findKallsyms(image)) ?? [];
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
  const bytes = Math.min(kernelBytes(description), KERNEL_BYTES_MAX, memory.base + memory.bytes - start);
  return start < memory.base || bytes <= 0 ? undefined : memory.read(start, bytes);
}

/** As `nameByGuest`, by the guest at the recording's last snapshot: for commands that replay nothing, or not yet. */
export function nameByLastSnapshot(recording: OpenRecording): void {
  const { reader, symbols, description } = recording;
  const last = reader.snapshots().at(-1);
  if (last === undefined || (symbols.list.size === 0 && !mayHaveSymbols(description))) return;
  const replayer = createReplayer(recording);
  replayer.restore(reader.loadSnapshot(last.number));
  nameByGuest(symbols, replayer.machine);
}
