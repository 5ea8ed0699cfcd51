/**
 * The kernel's own symbol table, as scripts/kallsyms.c of Linux lays it out in .rodata. No symbol says where it lies, so it is
 * found by its form. Two orders of its parts are known:
 *
 *     up to 6.3:   offsets, relative_base, num_syms, names, markers, seqs_of_names, token_table, token_index
 *     from 6.4 on: num_syms, names, markers, token_table, token_index, offsets, relative_base, seqs_of_names
 *
 * seqs_of_names, three bytes a symbol, is missing in older ones. Each part is aligned to 8 bytes. A name is its length (one byte, or two from 128 on), then so many tokens; the
 * first character is the type that nm gives. Each 256th name has a marker: how far into the names it begins. An address is
 * relative_base plus an unsigned 32-bit offset; symbols stand in the order of their addresses. With
 * CONFIG_KALLSYMS_ABSOLUTE_PERCPU, as on x86, offsets are signed: what is not negative is itself the address of a per-CPU
 * variable, and these come first; all else is relative_base minus 1 minus the offset.
 */
import { type GuestSymbol, nearestWord, type SymbolTable } from "@hvjournal/core";
import { symbolReaches } from "./symbols.js";

const ALIGNMENT = 8;
const TOKEN_COUNT = 256;
const TOKEN_INDEX_BYTES = TOKEN_COUNT * 2;
/** Names between two markers. */
const MARKER_INTERVAL = 256;
const SEQUENCE_BYTES = 3;
const SYMBOLS_MIN = 100;
const SYMBOLS_MAX = 2_000_000;
/** Names and what lies between them and the tokens. */
const NAMES_REACH_MAX = 64 << 20;
const LONG_NAME = 0x80;
const OFFSET_LIMIT = 2 ** 32;
/** The digits stand for themselves, so the token table holds them in a row. */
const FIRST_DIGIT = 0x30;
const DIGITS = Buffer.from(Array.from({ length: 10 }, (_, digit) => `${digit}\0`).join(""), "latin1");

/** Where the parts of a table lie, in bytes from the start of the kernel. */
export interface KallsymsPlace {
  readonly count: number;
  readonly names: number;
  readonly markers: number;
  readonly tokens: number;
  readonly tokenIndex: number;
  readonly offsets: number;
  readonly base: number;
}

/** Bytes of the kernel from an offset on; fewer where they end. */
export type KernelReader = (offset: number, bytes: number) => Uint8Array;

function align(offset: number): number {
  return Math.ceil(offset / ALIGNMENT) * ALIGNMENT;
}

function asBuffer(bytes: Uint8Array): Buffer {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

/** `image`: the kernel from its first byte, which is aligned. undefined: there is no table of a known form. */
export function locateKallsyms(image: Uint8Array): KallsymsPlace | undefined {
  const bytes = asBuffer(image);
  for (let at = bytes.indexOf(DIGITS); at >= 0; at = bytes.indexOf(DIGITS, at + 1)) {
    const tokens = locateTokens(bytes, at);
    const names = tokens === undefined ? undefined : locateNames(bytes, tokens.tokens);
    if (tokens === undefined || names === undefined) continue;
    const addresses = locateAddresses(bytes, names.names - ALIGNMENT, names.count, tokens.tokenIndex);
    if (addresses !== undefined) return { ...names, ...tokens, ...addresses };
  }
  return undefined;
}

/** The table around the digits, confirmed by its index. */
function locateTokens(bytes: Buffer, digitsAt: number): Pick<KallsymsPlace, "tokens" | "tokenIndex"> | undefined {
  let end = digitsAt;
  for (let token = FIRST_DIGIT; token < TOKEN_COUNT; token++) {
    end = bytes.indexOf(0, end) + 1;
    if (end === 0) return undefined;
  }
  const tokenIndex = align(end);
  if (tokenIndex + TOKEN_INDEX_BYTES > bytes.length) return undefined;
  const tokens = digitsAt - bytes.readUInt16LE(tokenIndex + FIRST_DIGIT * 2);
  if (tokens < 0 || tokens % ALIGNMENT !== 0) return undefined;
  return readTokens(bytes.subarray(tokens), tokenIndex - tokens) === undefined ? undefined : { tokens, tokenIndex };
}

/** The texts of a token table whose index lies `indexAt` behind its start; undefined when the two do not agree. */
function readTokens(table: Buffer, indexAt: number): string[] | undefined {
  const texts: string[] = [];
  for (let token = 0, at = 0; token < TOKEN_COUNT; token++) {
    if (table.readUInt16LE(indexAt + token * 2) !== at) return undefined;
    const stop = table.indexOf(0, at);
    if (stop < 0 || stop >= indexAt) return undefined;
    texts.push(table.toString("latin1", at, stop));
    at = stop + 1;
  }
  return texts;
}

/** Going back from the tokens: a count, behind which so many names and their markers lead right up to them. */
function locateNames(bytes: Buffer, tokens: number): Pick<KallsymsPlace, "count" | "names" | "markers"> | undefined {
  const last = Math.max(0, tokens - NAMES_REACH_MAX);
  for (let countAt = tokens - ALIGNMENT; countAt >= last; countAt -= ALIGNMENT) {
    const count = bytes.readUInt32LE(countAt);
    if (count < SYMBOLS_MIN || count > SYMBOLS_MAX || bytes.readUInt32LE(countAt + 4) !== 0) continue;
    const names = countAt + ALIGNMENT;
    const markers = namesEnd(bytes, names, count, tokens);
    if (markers === undefined) continue;
    const markersEnd = markers + align(Math.ceil(count / MARKER_INTERVAL) * 4);
    if (markersEnd === tokens || markersEnd + align(count * SEQUENCE_BYTES) === tokens)
      return { count, names, markers };
  }
  return undefined;
}

/** Length and first token of the name at `at`. */
function nameAt(bytes: Buffer, at: number): { readonly length: number; readonly tokensAt: number } {
  const first = bytes[at] ?? 0;
  return first < LONG_NAME
    ? { length: first, tokensAt: at + 1 }
    : { length: (first & (LONG_NAME - 1)) | ((bytes[at + 1] ?? 0) << 7), tokensAt: at + 2 };
}

/** Where the part behind `count` names begins; undefined when they are none, or too many for the place. */
function namesEnd(bytes: Buffer, from: number, count: number, to: number): number | undefined {
  let at = from;
  for (let index = 0; index < count; index++) {
    const { length, tokensAt } = nameAt(bytes, at);
    at = tokensAt + length;
    if (length === 0 || at > to) return undefined;
  }
  return align(at);
}

function locateAddresses(
  bytes: Buffer,
  countAt: number,
  count: number,
  tokenIndex: number,
): Pick<KallsymsPlace, "offsets" | "base"> | undefined {
  const offsetBytes = align(count * 4);
  const tokensEnd = align(tokenIndex + TOKEN_INDEX_BYTES);
  const before = { base: countAt - ALIGNMENT, offsets: countAt - ALIGNMENT - offsetBytes };
  const behind = { base: tokensEnd + offsetBytes, offsets: tokensEnd };
  return [before, behind].find(
    ({ base, offsets }) => offsets >= 0 && base + ALIGNMENT <= bytes.length && isSorted(bytes, offsets, count),
  );
}

function isSorted(bytes: Buffer, at: number, count: number): boolean {
  let before = 0;
  for (let index = 0; index < count; index++) {
    const offset = bytes.readUInt32LE(at + index * 4);
    const rank = isNegative(offset) ? OFFSET_LIMIT + distanceOf(offset) : offset;
    if (rank < before) return false;
    before = rank;
  }
  return before > 0;
}

function isNegative(offset: number): boolean {
  return offset >= OFFSET_LIMIT / 2;
}

/** From relative_base on. */
function distanceOf(negative: number): number {
  return OFFSET_LIMIT - 1 - negative;
}

/** The table at a known place. It is read as far as it is asked: a kernel has a hundred thousand symbols. */
export class Kallsyms implements SymbolTable {
  readonly #place: KallsymsPlace;
  readonly #read: KernelReader;
  readonly #tokens: readonly string[];
  readonly #base: bigint;
  readonly #isSigned: boolean;
  /** Index by name, made when first asked for. */
  #byName: Map<string, number> | undefined;
  /** By index, as far as they have been asked for: an expression asks for the same one again and again. */
  readonly #symbols = new Map<number, GuestSymbol>();

  private constructor(place: KallsymsPlace, read: KernelReader, tokens: readonly string[]) {
    this.#place = place;
    this.#read = read;
    this.#tokens = tokens;
    this.#base = this.#bytes(place.base, 8).readBigUInt64LE();
    this.#isSigned = isNegative(this.#offset(place.count - 1));
  }

  /** undefined when there is no such table at the place: the kernel is not there, or no longer. */
  static open(place: KallsymsPlace, read: KernelReader): Kallsyms | undefined {
    const indexAt = place.tokenIndex - place.tokens;
    const table = asBuffer(read(place.tokens, indexAt + TOKEN_INDEX_BYTES));
    const tokens = table.length < indexAt + TOKEN_INDEX_BYTES ? undefined : readTokens(table, indexAt);
    const count = asBuffer(read(place.names - ALIGNMENT, 4));
    const isThere = tokens !== undefined && count.length === 4 && count.readUInt32LE() === place.count;
    return isThere ? new Kallsyms(place, read, tokens) : undefined;
  }

  get size(): number {
    return this.#place.count;
  }

  at(address: bigint): GuestSymbol | undefined {
    let low = 0;
    let high = this.#place.count;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (this.#address(middle) <= address) low = middle + 1;
      else high = middle;
    }
    if (low === 0) return undefined;
    const symbol = this.#symbol(low - 1);
    return symbolReaches(symbol, address) ? symbol : undefined;
  }

  find(name: string): GuestSymbol | undefined {
    this.#byName ??= new Map(this.#namesFrom(0).map((each, index) => [each, index]));
    const index = this.#byName.get(name);
    return index === undefined ? undefined : (this.#symbols.get(index) ?? this.#keep(index, name));
  }

  /** Without CONFIG_KALLSYMS_ALL, as most distributions build it, data has no names. */
  adviceOn(name: string): string {
    const meant = nearestWord(name, this.#namesFrom(0));
    if (meant !== undefined) return `did you mean ${meant}?`;
    const what =
      this.find("init_task") === undefined
        ? "the kernel's own table names functions only"
        : "the kernel's own table lacks it";
    return `${what}; --symbols takes a System.map or vmlinux (package linux-image-...-dbg)`;
  }

  #symbol(index: number): GuestSymbol {
    const known = this.#symbols.get(index);
    if (known !== undefined) return known;
    const first = index - (index % MARKER_INTERVAL);
    return this.#keep(index, this.#namesFrom(first, index + 1).at(-1) ?? "");
  }

  #keep(index: number, name: string): GuestSymbol {
    const symbol: GuestSymbol = { name, address: this.#address(index), bytes: 0 };
    this.#symbols.set(index, symbol);
    return symbol;
  }

  #address(index: number): bigint {
    const offset = this.#offset(index);
    if (!this.#isSigned) return this.#base + BigInt(offset);
    return isNegative(offset) ? this.#base + BigInt(distanceOf(offset)) : BigInt(offset);
  }

  #offset(index: number): number {
    return this.#bytes(this.#place.offsets + index * 4, 4).readUInt32LE();
  }

  /** Names from one with a marker on, without their types. */
  #namesFrom(first: number, end = this.#place.count): string[] {
    const { names, markers, count } = this.#place;
    const marker = (index: number): number => this.#bytes(markers + (index / MARKER_INTERVAL) * 4, 4).readUInt32LE();
    const start = names + marker(first);
    const nextMarked = Math.ceil(end / MARKER_INTERVAL) * MARKER_INTERVAL;
    const stop = nextMarked < count ? names + marker(nextMarked) : markers;
    const bytes = this.#bytes(start, Math.max(0, stop - start));
    const texts: string[] = [];
    for (let at = 0, index = first; index < end; index++) {
      const { length, tokensAt } = nameAt(bytes, at);
      at = tokensAt + length;
      let name = "";
      for (let token = tokensAt; token < at; token++) name += this.#tokens[bytes[token] ?? 0] ?? "";
      texts.push(name.slice(1));
    }
    return texts;
  }

  #bytes(offset: number, length: number): Buffer {
    return asBuffer(this.#read(offset, length));
  }
}
