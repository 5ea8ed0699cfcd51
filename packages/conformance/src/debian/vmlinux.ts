/** The uncompressed kernel inside a bzImage, as scripts/extract-vmlinux of Linux finds it: an ELF file, which PVH boots. */

/** Of the setup header (Linux, Documentation/arch/x86/boot.rst). */
const SetupOffset = { sectors: 0x1f1, payloadOffset: 0x248, payloadBytes: 0x24c } as const;
const SECTOR_BYTES = 512;

/** The legacy frame format of LZ4: a magic number, then blocks, each with its compressed size in front. */
const LZ4_LEGACY_MAGIC = 0x184c_2102;
const BLOCK_BYTES_MAX = 8 << 20;
const LENGTH_CONTINUES = 15;
const MATCH_BYTES_MIN = 4;
/** Behind the payload stands the size of what it holds. */
const SIZE_BYTES = 4;

/** Appends what a block holds to `into` at `start`; gives where it ends (lz4_Block_format.md). */
function expandBlock(block: Buffer, into: Buffer, start: number): number {
  let [at, end] = [0, start];
  const length = (nibble: number): number => {
    let sum = nibble;
    for (let byte = nibble === LENGTH_CONTINUES ? 255 : 0; byte === 255; sum += byte) byte = block[at++] ?? 0;
    return sum;
  };
  while (at < block.length) {
    const token = block[at++] ?? 0;
    const literals = length(token >> 4);
    block.copy(into, end, at, at + literals);
    at += literals;
    end += literals;
    if (at >= block.length) break;
    const distance = block.readUInt16LE(at);
    at += 2;
    const matched = length(token & LENGTH_CONTINUES) + MATCH_BYTES_MIN;
    // A match may reach into what it writes itself: then the last bytes repeat.
    if (distance >= matched) into.copyWithin(end, end - distance, end - distance + matched);
    else for (let index = end; index < end + matched; index++) into[index] = into[index - distance] ?? 0;
    end += matched;
  }
  return end;
}

function expandLz4(payload: Buffer): Buffer {
  const into = Buffer.alloc(payload.readUInt32LE(payload.length - SIZE_BYTES) + BLOCK_BYTES_MAX);
  let end = 0;
  for (let at = 4; at < payload.length - SIZE_BYTES;) {
    const bytes = payload.readUInt32LE(at);
    end = expandBlock(payload.subarray(at + 4, at + 4 + bytes), into, end);
    at += 4 + bytes;
  }
  return into.subarray(0, end);
}

/** Throws RangeError for a kernel that is compressed otherwise than by LZ4. */
export function vmlinuxOf(bzImage: Buffer): Buffer {
  const setup = (bzImage.readUInt8(SetupOffset.sectors) + 1) * SECTOR_BYTES;
  const start = setup + bzImage.readUInt32LE(SetupOffset.payloadOffset);
  const payload = bzImage.subarray(start, start + bzImage.readUInt32LE(SetupOffset.payloadBytes));
  if (payload.readUInt32LE(0) !== LZ4_LEGACY_MAGIC) throw new RangeError("the kernel is not compressed by LZ4");
  return expandLz4(payload);
}
