/** Names of guest addresses, from files and from the guest itself. */
import { type GuestSymbol, nearestWord, type SymbolTable } from "@hvjournal/core";

/** A symbol without a size ends at the next one, or this far on. */
const REACH_MAX = 1n << 20n;
const ADDRESS_DIGITS = 16;
const GIVE_SYMBOLS = "give --symbols vmlinux or System.map";

/** Labels that a linker sets behind the last function of a section: what follows them is something else. */
const SECTION_END = /^(_etext|_einittext|_edata|_end|__init_end|__\w*text_end)$/;
const ADDRESS = /\b0x([0-9a-f]{8,16})\b/g;

/** Whether an address behind the start of a symbol, in front of the next one, belongs to it. */
export function symbolReaches(symbol: GuestSymbol, address: bigint): boolean {
  if (symbol.bytes === 0 && SECTION_END.test(symbol.name)) return address === symbol.address;
  // A label inside a function has no size of its own: the next symbol ends it anyway.
  return address - symbol.address < (symbol.bytes === 0 ? REACH_MAX : BigInt(symbol.bytes));
}

/** Immutable; symbols sorted by address. */
export class SymbolList implements SymbolTable {
  readonly #sorted: readonly GuestSymbol[];
  readonly #byName: ReadonlyMap<string, GuestSymbol>;

  constructor(symbols: readonly GuestSymbol[]) {
    this.#sorted = symbols.toSorted((a, b) => (a.address < b.address ? -1 : Number(a.address > b.address)));
    this.#byName = new Map(symbols.map((symbol) => [symbol.name, symbol]));
  }

  get size(): number {
    return this.#sorted.length;
  }

  find(name: string): GuestSymbol | undefined {
    return this.#byName.get(name);
  }

  adviceOn(name: string): string {
    const meant = nearestWord(name, [...this.#byName.keys()]);
    return meant === undefined ? GIVE_SYMBOLS : `did you mean ${meant}?`;
  }

  at(address: bigint): GuestSymbol | undefined {
    let low = 0;
    let high = this.#sorted.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if ((this.#sorted[middle]?.address ?? 0n) <= address) low = middle + 1;
      else high = middle;
    }
    const symbol = this.#sorted[low - 1];
    if (symbol === undefined) return undefined;
    return symbolReaches(symbol, address) ? symbol : undefined;
  }

  /** The same names elsewhere: a kernel that was loaded at another address than it was linked for. */
  movedBy(offset: bigint): SymbolList {
    if (offset === 0n) return this;
    return new SymbolList(
      this.#sorted.map((symbol) => ({ ...symbol, address: BigInt.asUintN(64, symbol.address + offset) })),
    );
  }
}

/** What output and expressions name addresses by. */
export class Symbols implements SymbolTable {
  /** From files. */
  readonly list: SymbolList;
  #table: SymbolTable;

  constructor(list: SymbolList = new SymbolList([])) {
    this.list = list;
    this.#table = list;
  }

  /** Names come to be known when the guest can be looked into. */
  use(table: SymbolTable): void {
    this.#table = table;
  }

  find(name: string): GuestSymbol | undefined {
    return this.#table.find(name);
  }

  at(address: bigint): GuestSymbol | undefined {
    return this.#table.at(address);
  }

  adviceOn(name: string): string {
    return this.#table.adviceOn?.(name) ?? GIVE_SYMBOLS;
  }

  /** "vendor_call+0x20"; undefined for an address without a name. */
  name(address: bigint): string | undefined {
    const symbol = this.at(address);
    if (symbol === undefined) return undefined;
    const offset = address - symbol.address;
    return offset === 0n ? symbol.name : `${symbol.name}+0x${offset.toString(16)}`;
  }

  /**
   * Of a return address. It lies behind its call, and where the function called never returns, that is where the next
   * function begins: the name is of the function that the call is in, the distance that of the address itself.
   */
  callerName(address: bigint): string | undefined {
    const symbol = this.at(address - 1n);
    return symbol === undefined ? undefined : `${symbol.name}+0x${(address - symbol.address).toString(16)}`;
  }

  /** An instruction with the addresses in it by name, where they have one. */
  inText(text: string): string {
    return text.replace(ADDRESS, (whole, digits: string) => this.name(BigInt(`0x${digits}`)) ?? whole);
  }

  /** "ffff800008a41c30 vendor_call+0x20", or the address alone. */
  addressText(address: bigint): string {
    const name = this.name(address);
    return name === undefined ? hexAddress(address) : `${hexAddress(address)} ${name}`;
  }
}

/** 16 digits without a prefix, as kernels print addresses. */
export function hexAddress(address: bigint): string {
  return address.toString(16).padStart(ADDRESS_DIGITS, "0");
}
