/** Names of guest addresses: a vmlinux, a System.map, or the kernel's own kallsyms. */

export interface GuestSymbol {
  readonly name: string;
  readonly address: bigint;
  /** 0 where it is unknown. */
  readonly bytes: number;
  /** It names a variable; absent: code, or nobody knows. */
  readonly isData?: true;
}

export interface SymbolTable {
  find(name: string): GuestSymbol | undefined;
  /** The symbol that an address lies in. */
  at(address: bigint): GuestSymbol | undefined;
  /** What to do about a name that is not among them. */
  adviceOn?(name: string): string;
}
