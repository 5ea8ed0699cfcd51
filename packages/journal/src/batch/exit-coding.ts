/**
 * The exits of a batch. Exits of one *site* (equal reason and pc) differ in few words, so they
 * are written together:
 *
 *     exits := nothing                                        if there are none
 *            | site count varint,
 *              site of each exit, in order: column (seed 0)   sites are numbered as they first occur
 *              for each site:
 *                the first exit's EXIT_WORD_COUNT words: column (seed 0) of the differences, modulo
 *                2^32, to the words of the first exit of the site before (of zeros for site 0)
 *                for each word: column over the site's other exits, seeded with the first exit's word
 */
import { EVENTS_PER_BATCH_MAX, EXIT_WORD_COUNT, ExitWord } from "@hvjournal/core";
import { ByteCodingError, type ByteSink, type ByteSource } from "../canonical/byte-coding.js";
import { readColumn, writeColumn, writeConstantColumn } from "./column-coding.js";

const { imul } = Math;

/** Slots of the search for an exit's site: a power of two above `EVENTS_PER_BATCH_MAX`. */
const SLOT_COUNT = 2 * EVENTS_PER_BATCH_MAX;
const HASH_SHIFT = Math.clz32(SLOT_COUNT) + 1;
const HASH_MULTIPLIER = 0x9e37_79b1;
/** Exits whose words are compared in one go: as many as the first-level cache holds well. */
const BLOCK_EXITS = 128;

/** Working memory for one batch; nothing in it lasts from one to the next. */
export class ExitCoder {
  /** Site in each slot, plus one; 0 is free. */
  readonly #slots = new Uint16Array(SLOT_COUNT);
  readonly #siteOf = new Uint32Array(EVENTS_PER_BATCH_MAX);
  /** Index of each site's first exit. */
  readonly #firstExit = new Uint16Array(EVENTS_PER_BATCH_MAX);
  /** Where each site's exits begin in `#order`. */
  readonly #begin = new Uint16Array(EVENTS_PER_BATCH_MAX + 1);
  /** Exits by site, within a site in order. */
  readonly #order = new Uint16Array(EVENTS_PER_BATCH_MAX);
  readonly #words = new Uint32Array(EVENTS_PER_BATCH_MAX);
  readonly #firstWords = new Uint32Array(EXIT_WORD_COUNT);

  write(sink: ByteSink, exits: Uint32Array, count: number): void {
    if (count === 0) return;
    const siteCount = this.#findSites(exits, count);
    sink.varint(siteCount);
    writeColumn(sink, this.#siteOf, count, 0);
    this.#sortBySite(siteCount, count);
    this.#firstWords.fill(0);
    for (let site = 0; site < siteCount; site++) this.#writeSite(sink, exits, count, site);
  }

  read(source: ByteSource, exits: Uint32Array, count: number): void {
    if (count === 0) return;
    const siteCount = source.varint(count);
    readColumn(source, this.#siteOf, count, 0);
    this.#checkSites(siteCount, count);
    this.#sortBySite(siteCount, count);
    this.#firstWords.fill(0);
    for (let site = 0; site < siteCount; site++) this.#readSite(source, exits, site);
  }

  #findSites(exits: Uint32Array, count: number): number {
    this.#slots.fill(0);
    let siteCount = 0;
    for (let exit = 0; exit < count; exit++) {
      const row = exit * EXIT_WORD_COUNT;
      const reason = exits[row + ExitWord.reason];
      const pcLow = exits[row + ExitWord.pcLow] ?? 0;
      const pcHigh = exits[row + ExitWord.pcHigh];
      let slot = imul(pcLow, HASH_MULTIPLIER) >>> HASH_SHIFT;
      for (;;) {
        const site = (this.#slots[slot] ?? 0) - 1;
        if (site < 0) {
          this.#slots[slot] = siteCount + 1;
          this.#firstExit[siteCount] = exit;
          this.#siteOf[exit] = siteCount;
          siteCount += 1;
          break;
        }
        const other = (this.#firstExit[site] ?? 0) * EXIT_WORD_COUNT;
        if (
          exits[other + ExitWord.pcLow] === pcLow &&
          exits[other + ExitWord.pcHigh] === pcHigh &&
          exits[other + ExitWord.reason] === reason
        ) {
          this.#siteOf[exit] = site;
          break;
        }
        slot = (slot + 1) % SLOT_COUNT;
      }
    }
    return siteCount;
  }

  #checkSites(siteCount: number, count: number): void {
    let next = 0;
    for (let exit = 0; exit < count; exit++) {
      const site = this.#siteOf[exit] ?? 0;
      if (site > next || site >= siteCount)
        throw new ByteCodingError(`exit ${exit} of the batch names site ${site} of ${siteCount}`);
      if (site === next) next += 1;
    }
    if (next !== siteCount) throw new ByteCodingError(`${siteCount} sites are announced, ${next} occur`);
  }

  #sortBySite(siteCount: number, count: number): void {
    const begin = this.#begin;
    begin.fill(0, 0, siteCount + 1);
    for (let exit = 0; exit < count; exit++) {
      const after = (this.#siteOf[exit] ?? 0) + 1;
      begin[after] = (begin[after] ?? 0) + 1;
    }
    for (let site = 1; site <= siteCount; site++) begin[site] = (begin[site] ?? 0) + (begin[site - 1] ?? 0);
    for (let exit = count - 1; exit >= 0; exit--) {
      const after = (this.#siteOf[exit] ?? 0) + 1;
      const place = (begin[after] ?? 0) - 1;
      begin[after] = place;
      this.#order[place] = exit;
    }
    // Filling from the back has moved each site's end to its begin.
    for (let site = 0; site < siteCount; site++) begin[site] = begin[site + 1] ?? 0;
    begin[siteCount] = count;
  }

  #writeSite(sink: ByteSink, exits: Uint32Array, count: number, site: number): void {
    const from = this.#begin[site] ?? 0;
    const others = (this.#begin[site + 1] ?? 0) - from - 1;
    const first = (this.#order[from] ?? 0) * EXIT_WORD_COUNT;
    for (let word = 0; word < EXIT_WORD_COUNT; word++) {
      const value = exits[first + word] ?? 0;
      this.#words[word] = value - (this.#firstWords[word] ?? 0);
      this.#firstWords[word] = value;
    }
    writeColumn(sink, this.#words, EXIT_WORD_COUNT, 0);
    if (others === 0) return;
    const changing = others + 1 === count ? changingInAll(exits, count) : this.#changing(exits, from, others);
    for (let word = 0; word < EXIT_WORD_COUNT; word++) {
      if (((changing >>> word) & 1) === 0) {
        writeConstantColumn(sink);
        continue;
      }
      for (let index = 0; index < others; index++) {
        this.#words[index] = exits[(this.#order[from + 1 + index] ?? 0) * EXIT_WORD_COUNT + word] ?? 0;
      }
      writeColumn(sink, this.#words, others, this.#firstWords[word] ?? 0);
    }
  }

  /** A bit for each word that is not equal in all exits of a site. Few are, and to find them is most of the work. */
  #changing(exits: Uint32Array, from: number, others: number): number {
    const order = this.#order;
    const end = from + others + 1;
    const first = (order[from] ?? 0) * EXIT_WORD_COUNT;
    let changing = 0;
    for (let start = from + 1; start < end; start += BLOCK_EXITS) {
      const blockEnd = Math.min(end, start + BLOCK_EXITS);
      for (let word = 0; word < EXIT_WORD_COUNT; word++) {
        const value = exits[first + word] ?? 0;
        let bits = 0;
        for (let index = start; index < blockEnd; index++)
          bits |= (exits[(order[index] ?? 0) * EXIT_WORD_COUNT + word] ?? 0) ^ value;
        if (bits !== 0) changing |= 1 << word;
      }
    }
    return changing;
  }

  #readSite(source: ByteSource, exits: Uint32Array, site: number): void {
    const from = this.#begin[site] ?? 0;
    const others = (this.#begin[site + 1] ?? 0) - from - 1;
    const first = (this.#order[from] ?? 0) * EXIT_WORD_COUNT;
    readColumn(source, this.#words, EXIT_WORD_COUNT, 0);
    for (let word = 0; word < EXIT_WORD_COUNT; word++) {
      const value = (this.#words[word] ?? 0) + (this.#firstWords[word] ?? 0);
      this.#firstWords[word] = value;
      exits[first + word] = value;
    }
    for (let word = 0; word < EXIT_WORD_COUNT; word++) {
      readColumn(source, this.#words, others, this.#firstWords[word] ?? 0);
      for (let index = 0; index < others; index++) {
        exits[(this.#order[from + 1 + index] ?? 0) * EXIT_WORD_COUNT + word] = this.#words[index] ?? 0;
      }
    }
  }
}

/** As `#changing`, where all exits are of one site. */
function changingInAll(exits: Uint32Array, count: number): number {
  const end = count * EXIT_WORD_COUNT;
  let changing = 0;
  for (let start = 0; start < end; start += BLOCK_EXITS * EXIT_WORD_COUNT) {
    const blockEnd = Math.min(end, start + BLOCK_EXITS * EXIT_WORD_COUNT);
    for (let word = 0; word < EXIT_WORD_COUNT; word++) {
      const value = exits[word] ?? 0;
      let bits = 0;
      for (let at = start + word; at < blockEnd; at += EXIT_WORD_COUNT) bits |= (exits[at] ?? 0) ^ value;
      if (bits !== 0) changing |= 1 << word;
    }
  }
  return changing;
}
