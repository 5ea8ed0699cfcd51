/** Names from the guest itself, and where its kernel was loaded. */
import type { Machine } from "@hvjournal/core";
import { displayOf } from "../architectures.js";
import { createReplayer, type OpenRecording } from "../vm/open-recording.js";
import type { Symbols } from "./symbols.js";

/** A kernel is moved as a whole, by a multiple of this at least (CONFIG_RANDOMIZE_BASE of arm64: 64 KiB). */
const MOVE_ALIGNMENT = 0x1_0000n;

/** Makes the names fit the guest as it stands: moved with its kernel, or read from it where no file gave any. */
export function nameByGuest(symbols: Symbols, machine: Machine): void {
  if (symbols.list.size === 0) return;
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

/** As `nameByGuest`, by the guest at the recording's last snapshot: for commands that replay nothing. */
export function nameByLastSnapshot(recording: OpenRecording): void {
  const { reader, symbols } = recording;
  const last = reader.snapshots().at(-1);
  if (last === undefined || symbols.list.size === 0) return;
  const replayer = createReplayer(recording);
  replayer.restore(reader.loadSnapshot(last.number));
  nameByGuest(symbols, replayer.machine);
}
