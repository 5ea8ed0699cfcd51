/**
 * The kernel's own symbol table, as scripts/kallsyms.c of Linux lays it out in .rodata. No symbol says where it lies, so it is
 * found by its form. Two orders of its parts are known:
 *
 *     up to 6.3:   offsets, relative_base, num_syms, names, markers, seqs_of_names, token_table, token_index
 *     from 6.4 on: num_syms, names, markers, token_table, token_index, offsets, relative_base, seqs_of_names
 *
 * seqs_of_names, three bytes a symbol, is missing in older ones. Each part is aligned to 8 bytes. A name is its length (one byte, or two from 128 on), then so many tokens; the
 * first character is the type that nm gives. An address is relative_base plus an unsigned 32-bit offset.
 */
import type { GuestSymbol } from "@hvjournal/core";

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
/** The digits stand for themselves, so the token table holds them in a row. */
const FIRST_DIGIT = 0x30;
const DIGITS = Buffer.from(Array.from({ length: 10 }, (_, digit) => `${digit}\0`).join(""), "latin1");

interface Tokens {
  /** Where the table begins. */
  readonly start: number;
  readonly texts: readonly string[];
  /** Behind the index. */
  readonly end: number;
}

interface Names {
  /** Where num_syms lies. */
  readonly countAt: number;
  readonly names: readonly string[];
}

function align(offset: number): number {
  return Math.ceil(offset / ALIGNMENT) * ALIGNMENT;
}

/** `image`: the kernel from its first byte, which is aligned. undefined: there is no table of a known form. */
export function findKallsyms(image: Uint8Array): GuestSymbol[] | undefined {
  const bytes = Buffer.from(image.buffer, image.byteOffset, image.byteLength);
  for (let at = bytes.indexOf(DIGITS); at >= 0; at = bytes.indexOf(DIGITS, at + 1)) {
    const tokens = readTokens(bytes, at);
    const names = tokens === undefined ? undefined : readNames(bytes, tokens);
    if (tokens === undefined || names === undefined) continue;
    const symbols = readAddresses(bytes, names, tokens);
    if (symbols !== undefined) return symbols;
  }
  return undefined;
}

/** The table around the digits, confirmed by its index. */
function readTokens(bytes: Buffer, digitsAt: number): Tokens | undefined {
  let end = digitsAt;
  for (let token = FIRST_DIGIT; token < TOKEN_COUNT; token++) {
    end = bytes.indexOf(0, end) + 1;
    if (end === 0) return undefined;
  }
  const indexAt = align(end);
  if (indexAt + TOKEN_INDEX_BYTES > bytes.length) return undefined;
  const start = digitsAt - bytes.readUInt16LE(indexAt + FIRST_DIGIT * 2);
  if (start < 0 || start % ALIGNMENT !== 0) return undefined;
  const texts: string[] = [];
  for (let token = 0, at = start; token < TOKEN_COUNT; token++) {
    if (bytes.readUInt16LE(indexAt + token * 2) !== at - start) return undefined;
    const stop = bytes.indexOf(0, at);
    texts.push(bytes.toString("latin1", at, stop));
    at = stop + 1;
  }
  return { start, texts, end: indexAt + TOKEN_INDEX_BYTES };
}

/** Going back from the tokens: a count, behind which so many names and their markers lead right up to them. */
function readNames(bytes: Buffer, tokens: Tokens): Names | undefined {
  const last = Math.max(0, tokens.start - NAMES_REACH_MAX);
  for (let countAt = tokens.start - ALIGNMENT; countAt >= last; countAt -= ALIGNMENT) {
    const count = bytes.readUInt32LE(countAt);
    if (count < SYMBOLS_MIN || count > SYMBOLS_MAX || bytes.readUInt32LE(countAt + 4) !== 0) continue;
    const markersAt = namesEnd(bytes, countAt + ALIGNMENT, count, tokens.start);
    if (markersAt === undefined) continue;
    const markersEnd = markersAt + align(Math.ceil(count / MARKER_INTERVAL) * 4);
    const isWhole = markersEnd === tokens.start || markersEnd + align(count * SEQUENCE_BYTES) === tokens.start;
    if (isWhole) return { countAt, names: expandNames(bytes, countAt + ALIGNMENT, count, tokens.texts) };
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

function expandNames(bytes: Buffer, from: number, count: number, tokens: readonly string[]): string[] {
  const names: string[] = [];
  for (let at = from; names.length < count;) {
    const { length, tokensAt } = nameAt(bytes, at);
    at = tokensAt + length;
    let name = "";
    for (let token = tokensAt; token < at; token++) name += tokens[bytes[token] ?? 0] ?? "";
    names.push(name);
  }
  return names;
}

function readAddresses(bytes: Buffer, { countAt, names }: Names, tokens: Tokens): GuestSymbol[] | undefined {
  const offsetBytes = align(names.length * 4);
  const before = { base: countAt - ALIGNMENT, offsets: countAt - ALIGNMENT - offsetBytes };
  const behind = { base: align(tokens.end) + offsetBytes, offsets: align(tokens.end) };
  for (const { base, offsets } of [before, behind]) {
    if (offsets < 0 || base + ALIGNMENT > bytes.length || !isSorted(bytes, offsets, names.length)) continue;
    const relativeBase = bytes.readBigUInt64LE(base);
    return names.map((name, index) => ({
      name: name.slice(1),
      address: relativeBase + BigInt(bytes.readUInt32LE(offsets + index * 4)),
      bytes: 0,
    }));
  }
  return undefined;
}

/** Symbols stand in the order of their addresses. */
function isSorted(bytes: Buffer, at: number, count: number): boolean {
  let before = 0;
  for (let index = 0; index < count; index++) {
    const offset = bytes.readUInt32LE(at + index * 4);
    if (offset < before) return false;
    before = offset;
  }
  return before > 0;
}
