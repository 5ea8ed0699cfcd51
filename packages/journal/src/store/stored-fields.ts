/** Typed access to a row as SQLite gives it: a damaged record may hold anything. */

/** A field that is not of the type its column has. */
export class StoredValueError extends Error {
  override readonly name = "StoredValueError";
  constructor(column: string, expected: string, found: unknown) {
    super(`column ${column} holds ${found === null ? "null" : typeof found}, ${expected} was stored`);
  }
}

export class StoredFields {
  readonly #row: Readonly<Record<string, unknown>>;

  constructor(row: unknown) {
    if (typeof row !== "object" || row === null) throw new StoredValueError("*", "a row", row);
    this.#row = row as Readonly<Record<string, unknown>>;
  }

  /** From -2^53 + 1 to 2^53 - 1. */
  integer(column: string): number {
    const value = this.#row[column];
    if (typeof value !== "number" || !Number.isSafeInteger(value))
      throw new StoredValueError(column, "an integer", value);
    return value;
  }

  /** From 0 up. */
  count(column: string): number {
    const value = this.integer(column);
    if (value < 0) throw new StoredValueError(column, "a count", value);
    return value;
  }

  countOrNull(column: string): number | null {
    return this.#row[column] === null ? null : this.count(column);
  }

  text(column: string): string {
    const value = this.#row[column];
    if (typeof value !== "string") throw new StoredValueError(column, "text", value);
    return value;
  }

  /** A view of the row's own memory; exactly `byteCount` bytes if that is given. */
  bytes(column: string, byteCount?: number): Uint8Array {
    const value = this.#row[column];
    if (!ArrayBuffer.isView(value)) throw new StoredValueError(column, "bytes", value);
    if (byteCount !== undefined && value.byteLength !== byteCount) {
      throw new StoredValueError(column, `${byteCount} bytes`, `${value.byteLength} bytes`);
    }
    return new Uint8Array(value.buffer, value.byteOffset, value.byteLength);
  }

  oneOf<const Choice extends string>(column: string, choices: readonly Choice[]): Choice {
    const value = this.text(column);
    for (const choice of choices) if (choice === value) return choice;
    throw new StoredValueError(column, choices.join(" or "), value);
  }
}
