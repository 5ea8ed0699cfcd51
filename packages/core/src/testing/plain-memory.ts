/** Guest RAM as plain bytes, for the fake architecture. */
import { PAGE_BYTES, type DirtyConsumer, type GuestMemory } from "../ports/guest-memory.js";

const CONSUMERS: readonly DirtyConsumer[] = ["snapshot", "digest", "migration"];

function mix(lane: number, word: number): number {
  const mixed = Math.imul(lane ^ word, 0x9e3779b1);
  return mixed ^ (mixed >>> 15);
}

function isZero(content: Uint8Array): boolean {
  for (let at = 0; at < content.length; at++) if (content[at] !== 0) return false;
  return true;
}

export class PlainMemory implements GuestMemory {
  readonly base: number;
  readonly bytes: number;
  readonly pageCount: number;
  readonly #content: Uint8Array;
  readonly #view: DataView;
  readonly #absent = new Set<number>();
  readonly #dirty = new Map<DirtyConsumer, Set<number>>(CONSUMERS.map((consumer) => [consumer, new Set<number>()]));
  #loader: (index: number) => Uint8Array | "zero" = () => "zero";
  /** Pages that were fetched, for tests of laziness. */
  loadCount = 0;
  /** Called for each write by the guest. */
  onGuestWrite: ((physical: number, bytes: number) => void) | undefined;

  constructor(base: number, bytes: number) {
    this.base = base;
    this.bytes = bytes;
    this.pageCount = bytes / PAGE_BYTES;
    this.#content = new Uint8Array(bytes);
    this.#view = new DataView(this.#content.buffer);
  }

  contains(physical: number, bytes: number): boolean {
    return physical >= this.base && physical + bytes <= this.base + this.bytes;
  }

  #offset(physical: number, bytes: number): number {
    if (!this.contains(physical, bytes)) throw new RangeError(`0x${physical.toString(16)}+${bytes} is outside RAM`);
    const offset = physical - this.base;
    for (let page = Math.floor(offset / PAGE_BYTES); page * PAGE_BYTES < offset + bytes; page++) this.#load(page);
    return offset;
  }

  #load(index: number): void {
    if (!this.#absent.delete(index)) return;
    this.loadCount += 1;
    const content = this.#loader(index);
    const page = this.#content.subarray(index * PAGE_BYTES, (index + 1) * PAGE_BYTES);
    if (content === "zero") page.fill(0);
    else page.set(content);
  }

  #mark(offset: number, bytes: number): void {
    for (let page = Math.floor(offset / PAGE_BYTES); page * PAGE_BYTES < offset + bytes; page++)
      for (const pages of this.#dirty.values()) pages.add(page);
  }

  read(physical: number, bytes: number): Uint8Array {
    const offset = this.#offset(physical, bytes);
    return this.#content.slice(offset, offset + bytes);
  }

  write(physical: number, bytes: Uint8Array): void {
    const offset = this.#offset(physical, bytes.length);
    this.#content.set(bytes, offset);
    this.#mark(offset, bytes.length);
  }

  readWord(physical: number): number {
    return this.#view.getUint32(this.#offset(physical, 4), true);
  }

  writeWord(physical: number, value: number): void {
    const offset = this.#offset(physical, 4);
    this.#view.setUint32(offset, value, true);
    this.#mark(offset, 4);
    this.onGuestWrite?.(physical, 4);
  }

  page(index: number): Uint8Array {
    this.#load(index);
    return this.#content.subarray(index * PAGE_BYTES, (index + 1) * PAGE_BYTES);
  }

  hashPage(index: number, into: Uint32Array): void {
    this.hashContent(index, this.page(index), into);
  }

  hashContent(index: number, content: Uint8Array, into: Uint32Array): void {
    into.fill(0);
    if (isZero(content)) return;
    for (let lane = 0; lane < 4; lane++) into[lane] = mix(index + 1, lane * 0x85ebca6b);
    const view = new DataView(content.buffer, content.byteOffset, content.byteLength);
    for (let at = 0; at < PAGE_BYTES; at += 4) {
      const word = view.getUint32(at, true);
      // Most of a page is; its place goes in with each that is not.
      if (word === 0) continue;
      for (let lane = 0; lane < 4; lane++) into[lane] = mix(mix(into[lane] ?? 0, at), word);
    }
  }

  isZeroPage(index: number): boolean {
    return isZero(this.page(index));
  }

  takeDirtyPages(consumer: DirtyConsumer): number[] {
    const dirty = this.#dirty.get(consumer) ?? new Set<number>();
    const pages = [...dirty].sort((a, b) => a - b);
    dirty.clear();
    return pages;
  }

  replacePage(index: number, content: Uint8Array | "zero"): void {
    this.#absent.delete(index);
    const page = this.#content.subarray(index * PAGE_BYTES, (index + 1) * PAGE_BYTES);
    if (content === "zero") page.fill(0);
    else page.set(content);
  }

  setAbsent(index: number): void {
    this.#absent.add(index);
  }

  setLoader(loader: (index: number) => Uint8Array | "zero"): void {
    this.#loader = loader;
  }
}
