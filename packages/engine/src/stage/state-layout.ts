/** Where the state of a vCPU lies in the linear memory, and under which name. */

/** A field of vCPU state: a name, a byte offset in the linear memory, a width in bits. */
export interface StateField<W extends 32 | 64 | 128 = 32 | 64 | 128> {
  readonly name: string;
  readonly offset: number;
  readonly width: W;
  /** Holds nothing from one instruction to the next: to write it commits an instruction to nothing. */
  readonly scratch?: true;
}

/** Equal fields in a row, such as X0 to X30: element `n` lies at `offset + n * width / 8`. */
export interface StateArray<W extends 32 | 64 | 128 = 32 | 64 | 128> {
  readonly name: string;
  readonly offset: number;
  readonly width: W;
  readonly count: number;
}

/**
 * Hands out offsets for the fields of one vCPU, in declaration order.
 *
 * `field` and `array` are architectural or otherwise part of the future of the
 * guest: they are saved, digested and restored. `cacheField` is derived state
 * that may be lost at any boundary (never saved); `scratchField` is lost at each.
 */
export class StateLayout {
  readonly fields: StateField[] = [];
  readonly arrays: StateArray[] = [];
  readonly cacheFields: StateField[] = [];
  readonly #start: number;
  readonly #limit: number;
  #next: number;

  constructor(start: number, limit: number) {
    this.#start = start;
    this.#limit = limit;
    this.#next = start;
  }

  /** First byte behind the last field. */
  get end(): number {
    return this.#next;
  }

  get start(): number {
    return this.#start;
  }

  field<W extends 32 | 64 | 128>(name: string, width: W): StateField<W> {
    const field = { name, width, offset: this.#allocate(width / 8, width / 8) };
    this.fields.push(field);
    return field;
  }

  array<W extends 32 | 64 | 128>(name: string, width: W, count: number): StateArray<W> {
    const array = { name, width, count, offset: this.#allocate((width / 8) * count, width / 8) };
    this.arrays.push(array);
    return array;
  }

  cacheField<W extends 32 | 64 | 128>(name: string, width: W): StateField<W> {
    const field = { name, width, offset: this.#allocate(width / 8, width / 8) };
    this.cacheFields.push(field);
    return field;
  }

  scratchField<W extends 32 | 64 | 128>(name: string, width: W): StateField<W> {
    const field = { ...this.cacheField(name, width), scratch: true } as const;
    this.cacheFields[this.cacheFields.length - 1] = field;
    return field;
  }

  #allocate(bytes: number, alignment: number): number {
    const offset = Math.ceil(this.#next / alignment) * alignment;
    if (offset + bytes > this.#limit) throw new RangeError(`vCPU state is full: ${offset + bytes} > ${this.#limit}`);
    this.#next = offset + bytes;
    return offset;
  }
}

/** The element of an array as a field. */
export function elementOf<W extends 32 | 64 | 128>(array: StateArray<W>, index: number): StateField<W> {
  if (index < 0 || index >= array.count) throw new RangeError(`${array.name}[${index}] of ${array.count}`);
  return { name: `${array.name}${index}`, width: array.width, offset: array.offset + (index * array.width) / 8 };
}
