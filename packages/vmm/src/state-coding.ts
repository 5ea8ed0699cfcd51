/**
 * Device state as bytes: little endian, no padding, fields in the order in which the codec
 * lists them. One state has one encoding, so save after restore is byte-equal.
 */
import { StateSectionError, decodeUtf8, encodeUtf8, type StateSection } from "@hvjournal/core";

const SINK_BYTES_AT_START = 256;

/** Bytes being written, in a buffer that grows. */
export class ByteSink {
  #bytes = new Uint8Array(SINK_BYTES_AT_START);
  #view = new DataView(this.#bytes.buffer);
  #length = 0;

  u8(value: number): void {
    const offset = this.#reserve(1);
    this.#view.setUint8(offset, value);
  }

  u16(value: number): void {
    const offset = this.#reserve(2);
    this.#view.setUint16(offset, value, true);
  }

  u32(value: number): void {
    const offset = this.#reserve(4);
    this.#view.setUint32(offset, value, true);
  }

  u64(value: bigint): void {
    const offset = this.#reserve(8);
    this.#view.setBigUint64(offset, value, true);
  }

  bytes(value: Uint8Array): void {
    const offset = this.#reserve(value.length);
    this.#bytes.set(value, offset);
  }

  finish(): Uint8Array {
    return this.#bytes.slice(0, this.#length);
  }

  /** The offset of `bytes` new bytes. May replace the buffer and its view, so it comes before they are used. */
  #reserve(bytes: number): number {
    const offset = this.#length;
    this.#length += bytes;
    if (this.#length > this.#bytes.length) {
      const grown = new Uint8Array(Math.max(this.#length, this.#bytes.length * 2));
      grown.set(this.#bytes);
      this.#bytes = grown;
      this.#view = new DataView(grown.buffer);
    }
    return offset;
  }
}

/** Bytes being read. Every read past the end throws `StateSectionError`. */
export class ByteSource {
  readonly #section: string;
  readonly #bytes: Uint8Array;
  readonly #view: DataView;
  #offset = 0;

  constructor(section: string, bytes: Uint8Array) {
    this.#section = section;
    this.#bytes = bytes;
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  }

  u8(): number {
    return this.#view.getUint8(this.#advance(1));
  }

  u16(): number {
    return this.#view.getUint16(this.#advance(2), true);
  }

  u32(): number {
    return this.#view.getUint32(this.#advance(4), true);
  }

  u64(): bigint {
    return this.#view.getBigUint64(this.#advance(8), true);
  }

  /** A copy. */
  bytes(count: number): Uint8Array {
    const offset = this.#advance(count);
    return this.#bytes.slice(offset, offset + count);
  }

  fail(reason: string): never {
    throw new StateSectionError(this.#section, `${reason} at byte ${this.#offset}`);
  }

  expectEnd(): void {
    if (this.#offset !== this.#bytes.length) {
      this.fail(`${this.#bytes.length - this.#offset} bytes too many`);
    }
  }

  #advance(bytes: number): number {
    const offset = this.#offset;
    if (offset + bytes > this.#bytes.length) {
      this.fail(`needs ${bytes} more bytes, ${this.#bytes.length - offset} are left`);
    }
    this.#offset += bytes;
    return offset;
  }
}

export interface StateCodec<Value> {
  write(sink: ByteSink, value: Value): void;
  read(source: ByteSource): Value;
}

/** The type that a codec carries. */
export type StateOf<Codec> = Codec extends StateCodec<infer Value> ? Value : never;

function checkUnsigned(value: number, max: number, form: string): void {
  if (!Number.isInteger(value) || value < 0 || value > max) {
    throw new RangeError(`can't save state: ${value} is no ${form}`);
  }
}

export const u16: StateCodec<number> = {
  write(sink, value) {
    checkUnsigned(value, 0xffff, "u16");
    sink.u16(value);
  },
  read: (source) => source.u16(),
};

export const u32: StateCodec<number> = {
  write(sink, value) {
    checkUnsigned(value, 0xffff_ffff, "u32");
    sink.u32(value);
  },
  read: (source) => source.u32(),
};

export const u64: StateCodec<bigint> = {
  write(sink, value) {
    if (value !== BigInt.asUintN(64, value)) {
      throw new RangeError(`can't save state: ${value} is no u64`);
    }
    sink.u64(value);
  },
  read: (source) => source.u64(),
};

/** A whole number from 0 to 2^53 - 1: counts, guest nanoseconds, byte sizes. */
export const count: StateCodec<number> = {
  write(sink, value) {
    checkUnsigned(value, Number.MAX_SAFE_INTEGER, "count up to 2^53 - 1");
    sink.u64(BigInt(value));
  },
  read(source) {
    const value = source.u64();
    return value > BigInt(Number.MAX_SAFE_INTEGER) ? source.fail(`count ${value} is above 2^53 - 1`) : Number(value);
  },
};

export const flag: StateCodec<boolean> = {
  write(sink, value) {
    sink.u8(value ? 1 : 0);
  },
  read(source) {
    const value = source.u8();
    return value > 1 ? source.fail(`flag holds ${value}`) : value === 1;
  },
};

export const byteArray: StateCodec<Uint8Array> = {
  write(sink, value) {
    sink.u32(value.length);
    sink.bytes(value);
  },
  read: (source) => source.bytes(source.u32()),
};

export const text: StateCodec<string> = {
  write(sink, value) {
    byteArray.write(sink, encodeUtf8(value));
  },
  read: (source) => decodeUtf8(byteArray.read(source)),
};

export function list<Value>(element: StateCodec<Value>): StateCodec<Value[]> {
  return {
    write(sink, values) {
      sink.u32(values.length);
      for (const value of values) {
        element.write(sink, value);
      }
    },
    read(source) {
      const values: Value[] = [];
      for (let left = source.u32(); left > 0; left -= 1) {
        values.push(element.read(source));
      }
      return values;
    },
  };
}

/** Content by block number; written in rising order, whatever the order of insertion. */
export function blockMap(blockBytes: number): StateCodec<Map<number, Uint8Array>> {
  return {
    write(sink, blocks) {
      sink.u32(blocks.size);
      for (const number of [...blocks.keys()].sort((a, b) => a - b)) {
        count.write(sink, number);
        sink.bytes(blocks.get(number) ?? new Uint8Array(blockBytes));
      }
    },
    read(source) {
      const blocks = new Map<number, Uint8Array>();
      let previous = -1;
      for (let left = source.u32(); left > 0; left -= 1) {
        const number = count.read(source);
        if (number <= previous) {
          source.fail(`block ${number} follows block ${previous}`);
        }
        previous = number;
        blocks.set(number, source.bytes(blockBytes));
      }
      return blocks;
    },
  };
}

/** A record of named fields, in the order of the literal. */
export function structure<Values extends object>(fields: {
  readonly [Name in keyof Values]: StateCodec<Values[Name]>;
}): StateCodec<Values> {
  const names = Object.keys(fields) as (keyof Values)[];
  return {
    write(sink, value) {
      for (const name of names) {
        fields[name].write(sink, value[name]);
      }
    },
    read(source) {
      const value: Partial<Values> = {};
      for (const name of names) {
        value[name] = fields[name].read(source);
      }
      return value as Values;
    },
  };
}

/** How one kind of state stands in a section: the version goes up with every change of the codec. */
export interface SectionFormat<Value> {
  readonly version: number;
  readonly codec: StateCodec<Value>;
}

export function saveSection<Value>(format: SectionFormat<Value>, name: string, value: Value): StateSection {
  const sink = new ByteSink();
  format.codec.write(sink, value);
  return { name, version: format.version, bytes: sink.finish() };
}

/** Throws `StateSectionError` when the version, the length or a value is not one that `saveSection` writes. */
export function restoreSection<Value>(format: SectionFormat<Value>, section: StateSection): Value {
  if (section.version !== format.version) {
    throw new StateSectionError(section.name, `version ${section.version}, this build reads ${format.version}`);
  }
  const source = new ByteSource(section.name, section.bytes);
  const value = format.codec.read(source);
  source.expectEnd();
  return value;
}
