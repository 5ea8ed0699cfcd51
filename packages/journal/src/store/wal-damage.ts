/**
 * Whether a write-ahead log can be read to its end. SQLite takes the first frame that does not fit for the end of the
 * log, and says nothing of those behind it: right for a write that a kill cut short, a loss where a bit has turned.
 * Layout: SQLite's "WAL-mode File Format".
 */
import { closeSync, openSync, readFileSync, readSync } from "node:fs";

const HEADER_BYTES = 32;
const FRAME_HEADER_BYTES = 24;
/** The lowest bit tells in which order the words are that are summed. */
const MAGIC = 0x377f0682;
const HeaderOffset = { magic: 0, pageBytes: 8, salts: 16, sums: 24 } as const;
const FrameOffset = { salts: 8, sums: 16 } as const;
/** What the sums of a frame's header are over. */
const SUMMED_FRAME_HEADER_BYTES = 8;
/** A writer may have begun the log anew, or be amid a frame, while it is read. */
const READINGS_MAX = 5;

type Sums = readonly [number, number];

function sumOf(bytes: Buffer, [first, second]: Sums, littleEndian: boolean): Sums {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  for (let at = 0; at < bytes.byteLength; at += 8) {
    first = (first + view.getUint32(at, littleEndian) + second) >>> 0;
    second = (second + view.getUint32(at + 4, littleEndian) + first) >>> 0;
  }
  return [first, second];
}

function hasSums(bytes: Buffer, at: number, [first, second]: Sums): boolean {
  return bytes.readUInt32BE(at) === first && bytes.readUInt32BE(at + 4) === second;
}

/** The bytes of a log as they were read at one time. */
class WalBytes {
  readonly #bytes: Buffer;
  readonly #header: Buffer;
  readonly #frameBytes: number;
  readonly #isLittleEndian: boolean;

  constructor(bytes: Buffer) {
    this.#bytes = bytes;
    this.#header = bytes.subarray(0, HEADER_BYTES);
    this.#frameBytes = FRAME_HEADER_BYTES + this.#header.readUInt32BE(HeaderOffset.pageBytes);
    this.#isLittleEndian = (this.#header.readUInt32BE(HeaderOffset.magic) & 1) === 0;
  }

  /** Byte at which the first frame begins that does not fit, though one behind it is of the same log; 0 is the header. */
  findDamage(): number | undefined {
    let sums = sumOf(this.#header.subarray(0, HeaderOffset.sums), [0, 0], this.#isLittleEndian);
    if (!this.#isHeaderWhole(sums)) return 0;
    for (let at = HEADER_BYTES; at + this.#frameBytes <= this.#bytes.byteLength; at += this.#frameBytes) {
      const frame = this.#bytes.subarray(at, at + this.#frameBytes);
      sums = sumOf(frame.subarray(0, SUMMED_FRAME_HEADER_BYTES), sums, this.#isLittleEndian);
      sums = sumOf(frame.subarray(FRAME_HEADER_BYTES), sums, this.#isLittleEndian);
      if (!this.#isOfThisLog(frame) || !hasSums(frame, FrameOffset.sums, sums))
        return this.#goesOnBehind(at) ? at : undefined;
    }
    return undefined;
  }

  #isHeaderWhole(sums: Sums): boolean {
    const magic = this.#header.readUInt32BE(HeaderOffset.magic);
    return (magic & ~1) === MAGIC && hasSums(this.#header, HeaderOffset.sums, sums);
  }

  /** The salts change each time a log begins anew over the frames of the one before. */
  #isOfThisLog(frame: Buffer): boolean {
    const salts = frame.subarray(FrameOffset.salts, FrameOffset.sums);
    return salts.equals(this.#header.subarray(HeaderOffset.salts, HeaderOffset.sums));
  }

  #goesOnBehind(bad: number): boolean {
    for (let at = bad + this.#frameBytes; at + FRAME_HEADER_BYTES <= this.#bytes.byteLength; at += this.#frameBytes) {
      if (this.#isOfThisLog(this.#bytes.subarray(at, at + FRAME_HEADER_BYTES))) return true;
    }
    return false;
  }

  get header(): Buffer {
    return this.#header;
  }
}

function headerNow(path: string): Buffer {
  const header = Buffer.alloc(HEADER_BYTES);
  const file = openSync(path, "r");
  try {
    return header.subarray(0, readSync(file, header, 0, HEADER_BYTES, 0));
  } finally {
    closeSync(file);
  }
}

/**
 * Byte of the write-ahead log `path` behind which SQLite reads nothing, though the log goes on there; undefined for one
 * that can be read to its end, the end being where a write was cut short.
 */
export function findWalDamage(path: string): number | undefined {
  let before: number | undefined;
  for (let reading = 0; reading < READINGS_MAX; reading++) {
    const bytes = readFileSync(path);
    if (bytes.byteLength <= HEADER_BYTES) return undefined;
    const log = new WalBytes(bytes);
    const damage = log.findDamage();
    if (damage === undefined) return undefined;
    if (damage === before && headerNow(path).equals(log.header)) return damage;
    before = damage;
  }
  return undefined;
}
