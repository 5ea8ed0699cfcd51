/**
 * Extended hypercalls (from 0x8001), which KVM leaves to the VMM: HvExtCallQueryCapabilities, HvExtCallGetBootZeroedMemory and
 * HvExtCallMemoryHeatHint (TLFS; struct layouts: include/hyperv/hvgdk_ext.h). KVM checks neither addresses nor which of
 * them the guest was offered: both are done here.
 */
import { isPlainMap, PAGE_BYTES } from "@hvjournal/core";
import { HvStatus } from "@hvjournal/cpu-x86";
import { type HandlerState, NOT_HANDLED } from "../answer-forms.js";
import type { HvAnswer } from "./exit-answer.js";
import type { HvCall, X86Call } from "./exit-call.js";
import { blockError, guestBlock } from "./hv-memory.js";
import { zeroedRanges } from "./zeroed-memory.js";

const HvExtCall = { queryCapabilities: 0x8001, getBootZeroedMemory: 0x8002, memoryHeatHint: 0x8003 } as const;

/** Bits of QueryCapabilities' mask. */
export const ExtCapability = { bootZeroedMemory: 1n << 0n, memoryHeatHint: 1n << 1n, coldDiscard: 1n << 8n } as const;
/** All that is answered here. */
export const EXT_CAPABILITIES: bigint =
  ExtCapability.bootZeroedMemory | ExtCapability.memoryHeatHint | ExtCapability.coldDiscard;

const MASK_BYTES = 8;
/** A count, and 255 ranges of 16 bytes. */
const ZEROED_BYTES = 0xff8;
const ZEROED_RANGES_MAX = 255;
const RANGE_BYTES = 16;
const HEAT_HEADER_BYTES = 8;
const HEAT_ENTRY_BYTES = 8;
/** HV_EXTMEM_HEAT_HINT_COLD_DISCARD: what the pages hold is not needed any more. */
const COLD_DISCARD = 2n;
const STATE_KEY = "hv-ext";

/** What of a handler's VM the calls are about. */
interface ExtVm {
  readonly memoryBytes: number;
  readonly state: HandlerState;
  readMemory(physical: number, bytes: number): Uint8Array;
  writeMemory(physical: number | bigint, bytes: Uint8Array): void;
}

/** `capabilities`: the mask that QueryCapabilities gives; a call that it does not offer is unknown. */
export function answerHvExt(call: X86Call, vm: ExtVm, capabilities: bigint): HvAnswer | typeof NOT_HANDLED {
  if (call.type !== "hv-call") return NOT_HANDLED;
  const offers = (bit: bigint): boolean => (capabilities & bit) !== 0n;
  switch (call.code) {
    case HvExtCall.queryCapabilities:
      return isSimple(call) ? queryCapabilities(call, vm, capabilities) : failed(HvStatus.INVALID_HYPERCALL_INPUT);
    case HvExtCall.getBootZeroedMemory:
      if (!offers(ExtCapability.bootZeroedMemory)) return NOT_HANDLED;
      return isSimple(call) ? bootZeroedMemory(call, vm) : failed(HvStatus.INVALID_HYPERCALL_INPUT);
    case HvExtCall.memoryHeatHint:
      return offers(ExtCapability.memoryHeatHint) ? memoryHeatHint(call, vm) : NOT_HANDLED;
    default:
      return NOT_HANDLED;
  }
}

function failed(status: number, repsCompleted = 0): HvAnswer {
  return { status, repsCompleted };
}

function isSimple({ repCount, repStart, variableHeaderSize }: HvCall): boolean {
  return repCount === 0 && repStart === 0 && variableHeaderSize === 0;
}

function queryCapabilities({ output }: HvCall, vm: ExtVm, capabilities: bigint): HvAnswer {
  const error = blockError(vm.memoryBytes, output, MASK_BYTES);
  if (error !== undefined) return failed(error);
  const mask = new DataView(new ArrayBuffer(MASK_BYTES));
  mask.setBigUint64(0, capabilities, true);
  vm.writeMemory(output, new Uint8Array(mask.buffer));
  return { status: HvStatus.SUCCESS };
}

/** The largest ranges first, as many as there is room for. */
function bootZeroedMemory({ output }: HvCall, vm: ExtVm): HvAnswer {
  const error = blockError(vm.memoryBytes, output, ZEROED_BYTES);
  if (error !== undefined) return failed(error);
  const ranges = zeroedRanges(vm)
    .sort((a, b) => b.pages - a.pages || a.page - b.page)
    .slice(0, ZEROED_RANGES_MAX);
  const block = new DataView(new ArrayBuffer(8 + RANGE_BYTES * ranges.length));
  block.setBigUint64(0, BigInt(ranges.length), true);
  ranges.forEach(({ page, pages }, index) => {
    block.setBigUint64(8 + RANGE_BYTES * index, BigInt(page), true);
    block.setBigUint64(16 + RANGE_BYTES * index, BigInt(pages), true);
  });
  vm.writeMemory(output, new Uint8Array(block.buffer));
  return { status: HvStatus.SUCCESS };
}

/** A range of `union hv_gpa_page_range`, in pages of 4 KiB. */
interface GpaRange {
  readonly page: bigint;
  readonly pages: bigint;
}

const LARGE = 1n << 11n;
/** Of a large page: 1 GiB where set, else 2 MiB. */
const HUGE = 1n << 12n;
const ADDITIONAL_MASK = 0x7ffn;
const LARGE_PAGES = 512n;
const HUGE_PAGES = LARGE_PAGES * LARGE_PAGES;

function gpaRange(entry: bigint): GpaRange {
  const count = (entry & ADDITIONAL_MASK) + 1n;
  if ((entry & LARGE) === 0n) return { page: entry >> 12n, pages: count };
  const base = (entry >> 21n) * LARGE_PAGES;
  return { page: base, pages: count * ((entry & HUGE) === 0n ? LARGE_PAGES : HUGE_PAGES) };
}

/** A rep call: an element that lies outside RAM ends it, and those before it have been done. */
function memoryHeatHint({ input, repCount, repStart }: HvCall, vm: ExtVm): HvAnswer {
  if (repCount === 0 || repStart >= repCount) return failed(HvStatus.INVALID_HYPERCALL_INPUT);
  const block = guestBlock(vm, input, HEAT_HEADER_BYTES + HEAT_ENTRY_BYTES * repCount);
  if (typeof block === "number") return failed(block, repStart);
  const view = new DataView(block.buffer, block.byteOffset);
  if (view.getBigUint64(0, true) !== COLD_DISCARD) return failed(HvStatus.INVALID_PARAMETER, repStart);
  for (let rep = repStart; rep < repCount; rep++) {
    const range = gpaRange(view.getBigUint64(HEAT_HEADER_BYTES + HEAT_ENTRY_BYTES * rep, true));
    if ((range.page + range.pages) * BigInt(PAGE_BYTES) > BigInt(vm.memoryBytes))
      return failed(HvStatus.INVALID_PARAMETER, rep);
    discard(vm, range);
  }
  return { status: HvStatus.SUCCESS, repsCompleted: repCount };
}

/** As a host that takes the pages back: they read as zeros from now on. What was hinted is counted with the VM. */
function discard(vm: ExtVm, { page, pages }: GpaRange): void {
  const [first, bytes] = [Number(page) * PAGE_BYTES, Number(pages) * PAGE_BYTES];
  for (let at = first; at < first + bytes; at += PIECE_BYTES) {
    const length = Math.min(PIECE_BYTES, first + bytes - at);
    if (vm.readMemory(at, length).some((byte) => byte !== 0)) vm.writeMemory(at, new Uint8Array(length));
  }
  const saved = vm.state[STATE_KEY];
  const { hints = 0, pages: before = 0 } = isPlainMap(saved) ? saved : {};
  vm.state[STATE_KEY] = { hints: Number(hints) + 1, pages: Number(before) + Number(pages) };
}

/** What is zeroed at once. */
const PIECE_BYTES = Number(LARGE_PAGES) * PAGE_BYTES;
