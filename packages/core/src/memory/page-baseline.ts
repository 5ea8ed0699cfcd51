/**
 * Which contents the pages of guest RAM had at a base snapshot, and which have changed since: what the next
 * snapshot must store, and what a restore must replace.
 */
import type { Digester } from "../ports/digester.js";
import type { GuestMemory } from "../ports/guest-memory.js";
import type { PageHash } from "../ports/journal-store.js";
import { contentHash, hashAt, isAllZero, PAGE_HASH_BYTES, toHex } from "./page-hash.js";

/** The part of a journal that keeps pages. */
export interface PageStore {
  hasPage(hash: PageHash): boolean;
  storePage(hash: PageHash, content: Uint8Array): void;
}

export type PageLoader = (hash: PageHash) => Uint8Array;

export class PageBaseline {
  readonly #memory: GuestMemory;
  #hashes: Uint8Array;
  /** Pages whose content may differ from the base. */
  readonly #changed = new Set<number>();
  /** Hashes of changed pages that nobody has written since. */
  readonly #written = new Map<number, Uint8Array>();

  /** Of memory that is all zeros. */
  constructor(memory: GuestMemory) {
    this.#memory = memory;
    this.#hashes = new Uint8Array(memory.pageCount * PAGE_HASH_BYTES);
  }

  #collect(): ReadonlySet<number> {
    for (const index of this.#memory.takeDirtyPages("snapshot")) {
      this.#changed.add(index);
      this.#written.delete(index);
    }
    return this.#changed;
  }

  /**
   * Whole pages have just been written whose hashes (16 bytes each) are known already: a kernel image need not be hashed
   * again for the snapshot behind its loading.
   */
  noteHashes(firstIndex: number, hashes: Uint8Array): void {
    this.#collect();
    for (let page = 0; page * PAGE_HASH_BYTES < hashes.length; page++)
      this.#written.set(firstIndex + page, hashAt(hashes, page));
  }

  /** Pages that may differ from the base, ascending. */
  changedPages(): number[] {
    return [...this.#collect()].sort((a, b) => a - b);
  }

  /** Stores what has changed and makes the present the base. Gives 16 bytes for each page. */
  advance(digester: Digester, store: PageStore): Uint8Array {
    const hashes = this.#hashes.slice();
    for (const index of this.#collect()) {
      const content = this.#memory.page(index);
      const hash = this.#written.get(index) ?? contentHash(content, digester);
      hashes.set(hash, index * PAGE_HASH_BYTES);
      const name = toHex(hash);
      if (!isAllZero(hash) && !store.hasPage(name)) store.storePage(name, content);
    }
    this.#changed.clear();
    this.#written.clear();
    this.#hashes = hashes;
    return hashes;
  }

  /** Content of a page at the base. */
  baseContent(index: number, load: PageLoader): Uint8Array | "zero" {
    const hash = hashAt(this.#hashes, index);
    return isAllZero(hash) ? "zero" : load(toHex(hash));
  }

  /** 16 bytes for each page of the base. */
  get hashes(): Uint8Array {
    return this.#hashes;
  }

  /**
   * Makes memory, and the base, what `target` says: pages that differ become absent, or zero. Gives those pages.
   * Throws RangeError when the table is of another size.
   */
  restore(target: Uint8Array): number[] {
    if (target.length !== this.#hashes.length)
      throw new RangeError(
        `a table of ${target.length / PAGE_HASH_BYTES} page hashes does not fit ${this.#memory.pageCount} pages`,
      );
    const changed = this.#collect();
    const hashes = new Uint8Array(target);
    const replaced = differingPages(this.#hashes, hashes, changed);
    this.#hashes = hashes;
    for (const index of replaced) {
      if (isAllZero(hashAt(hashes, index))) this.#memory.replacePage(index, "zero");
      else this.#memory.setAbsent(index);
    }
    this.#changed.clear();
    this.#written.clear();
    this.#memory.takeDirtyPages("snapshot");
    return replaced;
  }

  /** Pages whose content is replaced from elsewhere now differ from the base. */
  noteChanged(index: number): void {
    this.#changed.add(index);
    this.#written.delete(index);
  }
}

/** Ascending: pages whose hashes differ, and those of `changed`. Most are equal, so they are compared by words. */
function differingPages(before: Uint8Array, after: Uint8Array, changed: ReadonlySet<number>): number[] {
  const [old, wanted] = [wordsOf(before), wordsOf(after)];
  const words = PAGE_HASH_BYTES / 4;
  const pages: number[] = [];
  for (let page = 0, at = 0; at < wanted.length; page++, at += words) {
    let isSame = true;
    for (let word = at; word < at + words; word++) if (old[word] !== wanted[word]) isSame = false;
    if (!isSame || changed.has(page)) pages.push(page);
  }
  return pages;
}

/** Tables of hashes are buffers of their own, hence aligned. */
function wordsOf(table: Uint8Array): Int32Array {
  return new Int32Array(table.buffer, table.byteOffset, table.length / 4);
}
