/**
 * Split virtqueues, the device's side (Virtual I/O Device 1.2, section 2.7).
 *
 * vCPUs stand still while a device works, so rings are read once and need no barriers.
 * Everything that a driver writes is checked before use: `BrokenQueueError` says what is wrong with it.
 */
import type { VmmPort } from "@hvjournal/core";
import type { QueueState } from "./state.js";

/** A driver broke the rules; the transport answers with DEVICE_NEEDS_RESET. Never leaves the device. */
export class BrokenQueueError extends Error {
  override readonly name = "BrokenQueueError";
}

/** The part of guest-physical space that devices may read and write. */
export interface RamWindow {
  readonly base: number;
  readonly bytes: number;
}

/** Physically contiguous bytes of a buffer. */
export interface Segment {
  readonly address: number;
  readonly bytes: number;
}

export interface QueueFeatures {
  readonly indirectDescriptors: boolean;
  readonly eventIndex: boolean;
}

const DESCRIPTOR_BYTES = 16;
const DescriptorFlag = { next: 1, write: 2, indirect: 4 } as const;
/** Longest indirect table: as in QEMU, VIRTQUEUE_MAX_SIZE. */
const INDIRECT_ENTRIES_MAX = 1024;

const AVAILABLE_INDEX = 2;
const AVAILABLE_RING = 4;
const AVAILABLE_ENTRY_BYTES = 2;
const NO_INTERRUPT_FLAG = 1;

const USED_INDEX = 2;
const USED_RING = 4;
const USED_ENTRY_BYTES = 8;

interface Descriptor {
  readonly address: number;
  readonly bytes: number;
  readonly flags: number;
  readonly next: number;
}

interface DescriptorTable {
  readonly address: number;
  readonly entries: number;
  readonly indirect: boolean;
}

/** One request: buffers that the device reads, then buffers that it writes. */
export class DescriptorChain {
  readonly head: number;
  readonly readable: readonly Segment[];
  readonly writable: readonly Segment[];
  readonly readableBytes: number;
  readonly writableBytes: number;

  constructor(head: number, readable: readonly Segment[], writable: readonly Segment[]) {
    this.head = head;
    this.readable = readable;
    this.writable = writable;
    this.readableBytes = sumOfBytes(readable);
    this.writableBytes = sumOfBytes(writable);
  }

  /** Gathers `bytes` bytes from the readable part; the caller stays within `readableBytes`. */
  read(port: VmmPort, offset: number, bytes: number): Uint8Array {
    const gathered = new Uint8Array(bytes);
    eachPiece(this.readable, offset, bytes, (address, at, length) => {
      gathered.set(port.readMemory(address, length), at);
    });
    return gathered;
  }

  /** Scatters `content` over the writable part from `offset` on; the caller stays within `writableBytes`. */
  write(port: VmmPort, offset: number, content: Uint8Array): void {
    eachPiece(this.writable, offset, content.length, (address, at, length) => {
      port.writeMemory(address, content.subarray(at, at + length));
    });
  }
}

function sumOfBytes(segments: readonly Segment[]): number {
  return segments.reduce((sum, segment) => sum + segment.bytes, 0);
}

function eachPiece(
  segments: readonly Segment[],
  offset: number,
  bytes: number,
  visit: (address: number, at: number, length: number) => void,
): void {
  let skip = offset;
  let at = 0;
  for (const segment of segments) {
    const length = Math.min(segment.bytes - skip, bytes - at);
    if (length > 0) {
      visit(segment.address + skip, at, length);
      at += length;
    }
    skip = Math.max(skip - segment.bytes, 0);
  }
  if (at !== bytes) {
    throw new RangeError(`bytes ${offset}..${offset + bytes} lie outside a chain of ${sumOfBytes(segments)} bytes`);
  }
}

function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

/** Above 2^53 the sum is rounded, but then it lies outside RAM anyway. */
function joinAddress(low: number, high: number): number {
  return high * 0x1_0000_0000 + low;
}

/** Appends a segment, joined with the one before where they touch. */
function appendSegment(segments: Segment[], address: number, bytes: number): void {
  const last = segments.at(-1);
  if (last !== undefined && last.address + last.bytes === address) {
    segments[segments.length - 1] = { address: last.address, bytes: last.bytes + bytes };
  } else {
    segments.push({ address, bytes });
  }
}

export class SplitQueue {
  readonly #ram: RamWindow;
  readonly #state: QueueState;
  readonly #features: QueueFeatures;
  readonly #used: { readonly head: number; readonly bytes: number }[] = [];
  #taken = 0;

  /** Works on `state`, which the transport keeps and saves. `flush` must be called before it is forgotten. */
  constructor(ram: RamWindow, state: QueueState, features: QueueFeatures) {
    this.#ram = ram;
    this.#state = state;
    this.#features = features;
  }

  hasAvailable(port: VmmPort): boolean {
    return this.#availableCount(port) > 0;
  }

  /** Takes the next request, or undefined. Throws `BrokenQueueError`; the request then counts as not taken. */
  take(port: VmmPort): DescriptorChain | undefined {
    if (this.#availableCount(port) === 0) {
      return undefined;
    }
    const slot = this.#state.nextAvailable & (this.#state.size - 1);
    const entry = this.#driverArea() + AVAILABLE_RING + slot * AVAILABLE_ENTRY_BYTES;
    const chain = this.#walk(this.#readU16(port, entry), port);
    this.#state.nextAvailable = (this.#state.nextAvailable + 1) & 0xffff;
    this.#taken += 1;
    return chain;
  }

  /** Gives a request back. `bytes`: how many the device wrote, from the first writable byte on. */
  giveBack(chain: DescriptorChain, bytes: number): void {
    this.#used.push({ head: chain.head, bytes });
  }

  /** Publishes what was given back. True: the driver wants an interrupt. */
  flush(port: VmmPort): boolean {
    const before = this.#state.nextUsed;
    const published = this.#used.length;
    if (published > 0) {
      this.#writeUsedEntries(port);
      this.#state.nextUsed = (before + published) & 0xffff;
      this.#writeU16(port, this.#deviceArea() + USED_INDEX, this.#state.nextUsed);
    }
    if (this.#taken > 0 && this.#features.eventIndex) {
      const availableEvent = this.#deviceArea() + USED_RING + this.#state.size * USED_ENTRY_BYTES;
      this.#writeU16(port, availableEvent, this.#state.nextAvailable);
    }
    this.#used.length = 0;
    this.#taken = 0;
    return published > 0 && this.#wantsInterrupt(port, before, published);
  }

  /** Section 2.7.7. */
  #wantsInterrupt(port: VmmPort, usedBefore: number, published: number): boolean {
    if (!this.#features.eventIndex) {
      return (this.#readU16(port, this.#driverArea()) & NO_INTERRUPT_FLAG) === 0;
    }
    const usedEvent = this.#readU16(
      port,
      this.#driverArea() + AVAILABLE_RING + this.#state.size * AVAILABLE_ENTRY_BYTES,
    );
    return ((usedEvent - usedBefore) & 0xffff) < published;
  }

  /** One write for entries that are contiguous in the ring. */
  #writeUsedEntries(port: VmmPort): void {
    const size = this.#state.size;
    for (let index = 0; index < this.#used.length;) {
      const slot = (this.#state.nextUsed + index) & (size - 1);
      const run = Math.min(this.#used.length - index, size - slot);
      const entries = new Uint8Array(run * USED_ENTRY_BYTES);
      const view = viewOf(entries);
      this.#used.slice(index, index + run).forEach((used, position) => {
        view.setUint32(position * USED_ENTRY_BYTES, used.head, true);
        view.setUint32(position * USED_ENTRY_BYTES + 4, used.bytes, true);
      });
      this.#write(port, this.#deviceArea() + USED_RING + slot * USED_ENTRY_BYTES, entries);
      index += run;
    }
  }

  #availableCount(port: VmmPort): number {
    const index = this.#readU16(port, this.#driverArea() + AVAILABLE_INDEX);
    const available = (index - this.#state.nextAvailable) & 0xffff;
    if (available > this.#state.size) {
      throw new BrokenQueueError(
        `available index ${index} is ${available} ahead of ${this.#state.nextAvailable} in a queue of ${this.#state.size}`,
      );
    }
    return available;
  }

  #walk(head: number, port: VmmPort): DescriptorChain {
    const readable: Segment[] = [];
    const writable: Segment[] = [];
    let table: DescriptorTable = { address: this.#descriptorArea(), entries: this.#state.size, indirect: false };
    let index = head;
    let left = table.entries;
    for (;;) {
      const descriptor = this.#readDescriptor(table, index, port);
      left -= 1;
      if (descriptor.flags & DescriptorFlag.indirect) {
        table = this.#enterIndirect(descriptor, table);
        index = 0;
        left = table.entries;
        continue;
      }
      this.#append(descriptor, readable, writable);
      if ((descriptor.flags & DescriptorFlag.next) === 0) {
        return new DescriptorChain(head, readable, writable);
      }
      if (left === 0) {
        throw new BrokenQueueError(`chain from descriptor ${head} has more entries than its table (${table.entries})`);
      }
      index = descriptor.next;
    }
  }

  #append(descriptor: Descriptor, readable: Segment[], writable: Segment[]): void {
    const { address, bytes, flags } = descriptor;
    if (bytes === 0) {
      throw new BrokenQueueError("descriptor of 0 bytes");
    }
    this.#check(address, bytes, "buffer");
    if (flags & DescriptorFlag.write) {
      appendSegment(writable, address, bytes);
    } else if (writable.length > 0) {
      throw new BrokenQueueError("device-readable descriptor behind a device-writable one");
    } else {
      appendSegment(readable, address, bytes);
    }
  }

  /** Section 2.7.5.3. */
  #enterIndirect(descriptor: Descriptor, table: DescriptorTable): DescriptorTable {
    const { address, bytes, flags } = descriptor;
    if (!this.#features.indirectDescriptors) {
      throw new BrokenQueueError("indirect descriptor without VIRTIO_F_INDIRECT_DESC");
    }
    if (table.indirect) {
      throw new BrokenQueueError("indirect descriptor within an indirect table");
    }
    if (flags & DescriptorFlag.next) {
      throw new BrokenQueueError("indirect descriptor with VIRTQ_DESC_F_NEXT");
    }
    const entries = bytes / DESCRIPTOR_BYTES;
    if (!Number.isInteger(entries) || entries === 0 || entries > INDIRECT_ENTRIES_MAX) {
      throw new BrokenQueueError(`indirect table of ${bytes} bytes`);
    }
    this.#check(address, bytes, "indirect table");
    return { address, entries, indirect: true };
  }

  #readDescriptor(table: DescriptorTable, index: number, port: VmmPort): Descriptor {
    if (index >= table.entries) {
      throw new BrokenQueueError(`descriptor ${index} of a table of ${table.entries}`);
    }
    const view = viewOf(this.#read(port, table.address + index * DESCRIPTOR_BYTES, DESCRIPTOR_BYTES));
    return {
      address: joinAddress(view.getUint32(0, true), view.getUint32(4, true)),
      bytes: view.getUint32(8, true),
      flags: view.getUint16(12, true),
      next: view.getUint16(14, true),
    };
  }

  #descriptorArea(): number {
    return joinAddress(this.#state.descriptorLow, this.#state.descriptorHigh);
  }

  #driverArea(): number {
    return joinAddress(this.#state.driverLow, this.#state.driverHigh);
  }

  #deviceArea(): number {
    return joinAddress(this.#state.deviceLow, this.#state.deviceHigh);
  }

  #readU16(port: VmmPort, address: number): number {
    return viewOf(this.#read(port, address, 2)).getUint16(0, true);
  }

  #writeU16(port: VmmPort, address: number, value: number): void {
    this.#write(port, address, Uint8Array.of(value & 0xff, value >> 8));
  }

  #read(port: VmmPort, address: number, bytes: number): Uint8Array {
    this.#check(address, bytes, "ring");
    return port.readMemory(address, bytes);
  }

  #write(port: VmmPort, address: number, content: Uint8Array): void {
    this.#check(address, content.length, "ring");
    port.writeMemory(address, content);
  }

  #check(address: number, bytes: number, what: string): void {
    const { base, bytes: ramBytes } = this.#ram;
    if (address < base || address + bytes > base + ramBytes) {
      throw new BrokenQueueError(`${what} of ${bytes} bytes at 0x${address.toString(16)} lies outside RAM`);
    }
  }
}
