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
const PAGE_BYTES = 4096;
/** The header of an arm64 Image (Documentation/arm64/booting.rst): its size at 16, "ARM\x64" at 56. */
const IMAGE_SIZE_OFFSET = 16;
const IMAGE_MAGIC_OFFSET = 56;
const IMAGE_MAGIC = 0x644d_5241;
const IMAGE_HEADER_BYTES = 64;
/** Vectors lie this far behind the start of the image at most. */
const TEXT_BYTES_MAX = 64 << 20;

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

function mayHaveSymbols({ boardOptions: { kernel } }: MachineDescription): boolean {
  const bytes = isPlainMap(kernel) ? kernel["bytes"] : undefined;
  return typeof bytes === "number" && bytes >= KERNEL_BYTES_MIN;
}

/** The symbols of the kernel in RAM, relocated as it is; none where there is no such kernel. */
function kernelSymbols(machine: Machine): GuestSymbol[] {
  const image = kernelImage(machine);
  return (image === undefined ? undefined : findKallsyms(image)) ?? [];
}

/** The image lies in one piece, and its vectors are in it. */
function kernelImage({ kernel, architecture }: Machine): Uint8Array | undefined {
  const vectors = kernel.translate(0, kernel.readRegister(0, displayOf(architecture).vectors.register));
  const { memory } = kernel;
  if (vectors === undefined) return undefined;
  const last = vectors - (vectors % PAGE_BYTES);
  const first = Math.max(memory.base, last - TEXT_BYTES_MAX);
  for (let start = last; start >= first; start -= PAGE_BYTES) {
    if (start + IMAGE_HEADER_BYTES > memory.base + memory.bytes) return undefined;
    const header = Buffer.from(memory.read(start, IMAGE_HEADER_BYTES));
    if (header.readUInt32LE(IMAGE_MAGIC_OFFSET) !== IMAGE_MAGIC) continue;
    const bytes = Number(header.readBigUInt64LE(IMAGE_SIZE_OFFSET));
    return memory.read(start, Math.min(bytes, memory.base + memory.bytes - start));
  }
  return undefined;
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
