/** Bytes from a stream of 64-bit draws. */
import type { EntropyStream } from "@hvjournal/core";

const BYTES_PER_DRAW = 8;

/** Little endian; what is left of the last draw is thrown away, so the stream's counter is all there is to save. */
export function drawBytes(stream: EntropyStream, bytes: number): Uint8Array {
  const drawn = new Uint8Array(Math.ceil(bytes / BYTES_PER_DRAW) * BYTES_PER_DRAW);
  const view = new DataView(drawn.buffer);
  for (let offset = 0; offset < drawn.length; offset += BYTES_PER_DRAW) {
    view.setBigUint64(offset, stream.next(), true);
  }
  return drawn.subarray(0, bytes);
}
