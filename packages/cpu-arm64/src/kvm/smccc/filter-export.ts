/**
 * The filter as one blob, which a VMM may read from a VM and write into a fresh one, as it does with registers. Upstream has
 * no such thing: the attribute can't be read there.
 *
 *     0   "SMCF"
 *     4   u32  version of the format, 1
 *     8   u64  FNV-1a of all that follows: finds damage on the way, and keeps nobody from writing another blob
 *     16  u32  count of ranges
 *     20  count times: u32 base, u32 count, u8 action, u8 conduits (0 both, 1 HVC, 2 SMC), u16 zero, u64 number of its event
 */
import type { Refusal } from "@hvjournal/core";
import { type Conduit, FILTER_ACTIONS, FILTER_CALL, type FilterRange } from "./smccc-filter.js";

export const FILTER_EXPORT_VERSION = 1;

const MAGIC = [0x53, 0x4d, 0x43, 0x46] as const;
const VERSION_AT = 4;
const HASH_AT = 8;
const COUNT_AT = 16;
const RANGES_AT = 20;
const RANGE_BYTES = 20;
const CONDUITS: readonly (Conduit | undefined)[] = [undefined, "hvc", "smc"];

const FNV_OFFSET_BASIS = 0xcbf2_9ce4_8422_2325n;
const FNV_PRIME = 0x100_0000_01b3n;

function fnv1a(bytes: Uint8Array): bigint {
  let hash = FNV_OFFSET_BASIS;
  for (const byte of bytes) hash = BigInt.asUintN(64, (hash ^ BigInt(byte)) * FNV_PRIME);
  return hash;
}

export function filterExport(ranges: readonly FilterRange[]): Uint8Array {
  const bytes = new Uint8Array(RANGES_AT + ranges.length * RANGE_BYTES);
  const view = new DataView(bytes.buffer);
  bytes.set(MAGIC);
  view.setUint32(VERSION_AT, FILTER_EXPORT_VERSION, true);
  view.setUint32(COUNT_AT, ranges.length, true);
  ranges.forEach(({ base, count, action, conduits, seq }, index) => {
    const at = RANGES_AT + index * RANGE_BYTES;
    view.setUint32(at, base, true);
    view.setUint32(at + 4, count, true);
    view.setUint8(at + 8, FILTER_ACTIONS.indexOf(action));
    view.setUint8(at + 9, CONDUITS.indexOf(conduits));
    view.setBigUint64(at + 12, BigInt(seq), true);
  });
  view.setBigUint64(HASH_AT, fnv1a(bytes.subarray(COUNT_AT)), true);
  return bytes;
}

function invalid(reason: string): { readonly refused: Refusal } {
  return { refused: { errno: "EINVAL", call: FILTER_CALL, reason: `export of a filter: ${reason}` } };
}

/** Refuses a blob that is none, of another version, or damaged. Whether its ranges may be set is asked elsewhere. */
export function readFilterExport(
  bytes: Uint8Array,
): { readonly ranges: readonly FilterRange[] } | { readonly refused: Refusal } {
  if (bytes.length < RANGES_AT || MAGIC.some((byte, index) => bytes[index] !== byte))
    return invalid(`${bytes.length} bytes that do not begin with "SMCF"`);
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  const version = view.getUint32(VERSION_AT, true);
  if (version !== FILTER_EXPORT_VERSION)
    return invalid(`version ${version}, this build knows ${FILTER_EXPORT_VERSION}`);
  const [told, found] = [view.getBigUint64(HASH_AT, true), fnv1a(bytes.subarray(COUNT_AT))];
  if (told !== found) return invalid(`its hash is 0x${found.toString(16)}, it says 0x${told.toString(16)}`);
  const count = view.getUint32(COUNT_AT, true);
  if (bytes.length !== RANGES_AT + count * RANGE_BYTES) return invalid(`${count} ranges in ${bytes.length} bytes`);
  const ranges: FilterRange[] = [];
  for (let index = 0; index < count; index++) {
    const range = readRange(view, RANGES_AT + index * RANGE_BYTES);
    if (typeof range === "string") return invalid(`range ${index}: ${range}`);
    ranges.push(range);
  }
  return { ranges };
}

function readRange(view: DataView, at: number): FilterRange | string {
  const action = FILTER_ACTIONS[view.getUint8(at + 8)];
  const conduitCode = view.getUint8(at + 9);
  const conduits = CONDUITS[conduitCode];
  const seq = Number(view.getBigUint64(at + 12, true));
  if (action === undefined) return `${view.getUint8(at + 8)} is no action`;
  if (conduitCode >= CONDUITS.length || view.getUint16(at + 10, true) !== 0) return `${conduitCode} is no conduit`;
  if (!Number.isSafeInteger(seq)) return `${seq} is no number of an event`;
  const range = { base: view.getUint32(at, true), count: view.getUint32(at + 4, true), action, seq };
  return conduits === undefined ? range : { ...range, conduits };
}
