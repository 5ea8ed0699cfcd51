/** A virtio driver under test, written from the specification's driver side (sections 2.7 and 3.1). */
import type { VmmHalf } from "@hvjournal/core";
import type { TestGuest } from "./test-guest.js";

export interface TestDescriptor {
  readonly address: number;
  readonly bytes: number;
  readonly write?: boolean;
  readonly indirect?: boolean;
  /** Overrides the link to the next descriptor of the chain; `false`: no link. */
  readonly next?: number | false;
}

export interface UsedEntry {
  readonly head: number;
  readonly bytes: number;
}

const FLAG_NEXT = 1;
const FLAG_WRITE = 2;
const FLAG_INDIRECT = 4;
const QUEUE_AREA_BYTES = 0x4000;

interface DriverQueue {
  readonly size: number;
  readonly descriptors: number;
  readonly available: number;
  readonly used: number;
  nextDescriptor: number;
  availableIndex: number;
  usedIndex: number;
}

export class TestDriver {
  readonly #guest: TestGuest;
  readonly #board: VmmHalf;
  readonly #base: number;
  readonly #queues = new Map<number, DriverQueue>();
  #notifications = 0;

  constructor(guest: TestGuest, board: VmmHalf, slot: number) {
    this.#guest = guest;
    this.#board = board;
    this.#base = 0x0a00_0000 + slot * 0x200;
  }

  get notifications(): number {
    return this.#notifications;
  }

  register(offset: number): number {
    return this.#guest.read(this.#board, this.#base + offset);
  }

  setRegister(offset: number, value: number): void {
    this.#guest.write(this.#board, this.#base + offset, value);
  }

  offeredFeatures(): bigint {
    this.setRegister(0x14, 0);
    const low = BigInt(this.register(0x10));
    this.setRegister(0x14, 1);
    return (BigInt(this.register(0x10)) << 32n) | low;
  }

  /** Steps 1 to 6 of section 3.1.1; true when the device keeps FEATURES_OK. */
  negotiate(features: bigint): boolean {
    this.setRegister(0x70, 0);
    this.setRegister(0x70, 1);
    this.setRegister(0x70, 3);
    this.setRegister(0x24, 0);
    this.setRegister(0x20, Number(features & 0xffff_ffffn));
    this.setRegister(0x24, 1);
    this.setRegister(0x20, Number(features >> 32n));
    this.setRegister(0x70, 11);
    return (this.register(0x70) & 8) !== 0;
  }

  setUpQueue(index: number, size: number): void {
    const area = this.#guest.memoryBase + 0x10_0000 + index * QUEUE_AREA_BYTES;
    const queue: DriverQueue = {
      size,
      descriptors: area,
      available: area + 0x2000,
      used: area + 0x3000,
      nextDescriptor: 0,
      availableIndex: 0,
      usedIndex: 0,
    };
    this.#queues.set(index, queue);
    this.setRegister(0x30, index);
    this.setRegister(0x38, size);
    this.setRegister(0x80, queue.descriptors);
    this.setRegister(0x84, 0);
    this.setRegister(0x90, queue.available);
    this.setRegister(0x94, 0);
    this.setRegister(0xa0, queue.used);
    this.setRegister(0xa4, 0);
    this.setRegister(0x44, 1);
  }

  driverOk(): void {
    this.setRegister(0x70, 15);
  }

  /** Takes a queue to be at `index`, as after that many requests. */
  startAt(queueIndex: number, index: number): void {
    const queue = this.#queue(queueIndex);
    queue.availableIndex = index;
    queue.usedIndex = index;
    this.setU16(queue.available + 2, index);
    this.setU16(queue.used + 2, index);
  }

  /** Puts a chain into the table without making it available; gives its head. */
  writeChain(queueIndex: number, chain: readonly TestDescriptor[]): number {
    const queue = this.#queue(queueIndex);
    const head = queue.nextDescriptor;
    chain.forEach((descriptor, position) => {
      const slot = (head + position) % queue.size;
      this.#writeDescriptor(
        queue.descriptors,
        slot,
        descriptor,
        this.#link(descriptor, chain, position, (slot + 1) % queue.size),
      );
    });
    queue.nextDescriptor = (head + chain.length) % queue.size;
    return head;
  }

  /** An indirect table at `address`, of which `writeChain` gets one descriptor. */
  writeIndirectTable(address: number, chain: readonly TestDescriptor[]): TestDescriptor {
    chain.forEach((descriptor, position) => {
      this.#writeDescriptor(address, position, descriptor, this.#link(descriptor, chain, position, position + 1));
    });
    return { address, bytes: chain.length * 16, indirect: true };
  }

  makeAvailable(queueIndex: number, heads: readonly number[]): void {
    const queue = this.#queue(queueIndex);
    for (const head of heads) {
      this.setU16(queue.available + 4 + (queue.availableIndex % queue.size) * 2, head);
      queue.availableIndex = (queue.availableIndex + 1) & 0xffff;
    }
    this.setU16(queue.available + 2, queue.availableIndex);
  }

  notify(queueIndex: number): void {
    this.#notifications += 1;
    this.setRegister(0x50, queueIndex);
  }

  submit(queueIndex: number, ...chains: (readonly TestDescriptor[])[]): void {
    this.makeAvailable(
      queueIndex,
      chains.map((chain) => this.writeChain(queueIndex, chain)),
    );
    this.notify(queueIndex);
  }

  /** Used entries that have not been collected. */
  collect(queueIndex: number): UsedEntry[] {
    const queue = this.#queue(queueIndex);
    const entries: UsedEntry[] = [];
    for (const index = this.u16(queue.used + 2); queue.usedIndex !== index;) {
      const at = queue.used + 4 + (queue.usedIndex % queue.size) * 8;
      entries.push({ head: this.u32(at), bytes: this.u32(at + 4) });
      queue.usedIndex = (queue.usedIndex + 1) & 0xffff;
    }
    return entries;
  }

  setUsedEvent(queueIndex: number, value: number): void {
    const queue = this.#queue(queueIndex);
    this.setU16(queue.available + 4 + queue.size * 2, value);
  }

  availableEvent(queueIndex: number): number {
    const queue = this.#queue(queueIndex);
    return this.u16(queue.used + 4 + queue.size * 8);
  }

  setAvailableFlags(queueIndex: number, flags: number): void {
    this.setU16(this.#queue(queueIndex).available, flags);
  }

  setAvailableIndex(queueIndex: number, value: number): void {
    this.setU16(this.#queue(queueIndex).available + 2, value);
  }

  u16(address: number): number {
    return this.#view(address).getUint16(0, true);
  }

  u32(address: number): number {
    return this.#view(address).getUint32(0, true);
  }

  setU16(address: number, value: number): void {
    this.#view(address).setUint16(0, value, true);
  }

  #link(
    descriptor: TestDescriptor,
    chain: readonly TestDescriptor[],
    position: number,
    following: number,
  ): number | undefined {
    if (descriptor.next === false) {
      return undefined;
    }
    return descriptor.next ?? (position + 1 < chain.length ? following : undefined);
  }

  #writeDescriptor(table: number, slot: number, descriptor: TestDescriptor, next: number | undefined): void {
    const view = this.#view(table + slot * 16);
    view.setBigUint64(0, BigInt(descriptor.address), true);
    view.setUint32(8, descriptor.bytes, true);
    const flags =
      (next === undefined ? 0 : FLAG_NEXT) |
      (descriptor.write ? FLAG_WRITE : 0) |
      (descriptor.indirect ? FLAG_INDIRECT : 0);
    view.setUint16(12, flags, true);
    view.setUint16(14, next ?? 0, true);
  }

  #view(address: number): DataView {
    return new DataView(this.#guest.memory.buffer, address - this.#guest.memoryBase);
  }

  #queue(index: number): DriverQueue {
    const queue = this.#queues.get(index);
    if (queue === undefined) {
      throw new Error(`queue ${index} was not set up`);
    }
    return queue;
  }
}
