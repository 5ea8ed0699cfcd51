/** What the guest has written, block by block, over an image that never changes. */
import type { BlockBackend } from "@hvjournal/core";

export const OVERLAY_BLOCK_BYTES = 4096;

export type OverlayBlocks = Map<number, Uint8Array>;

/** Bytes of the image itself; zeros behind its end. */
function readImage(image: BlockBackend, offset: number, bytes: number): Uint8Array {
  const within = Math.max(Math.min(bytes, image.bytes - offset), 0);
  const content = within > 0 ? image.read(offset, within) : new Uint8Array(0);
  if (content.length !== within) {
    throw new Error(`drive ${image.id}: ${content.length} bytes read at ${offset}, ${within} were asked for`);
  }
  if (within === bytes) {
    return content;
  }
  const padded = new Uint8Array(bytes);
  padded.set(content);
  return padded;
}

/** Reads through the overlay; stretches between written blocks are one read of the image. */
export function readThrough(image: BlockBackend, blocks: OverlayBlocks, offset: number, bytes: number): Uint8Array {
  if (blocks.size === 0) {
    return readImage(image, offset, bytes);
  }
  const content = new Uint8Array(bytes);
  const end = offset + bytes;
  let imageFrom = offset;
  const copyImage = (to: number): void => {
    if (to > imageFrom) {
      content.set(readImage(image, imageFrom, to - imageFrom), imageFrom - offset);
    }
  };
  for (let index = Math.floor(offset / OVERLAY_BLOCK_BYTES); index * OVERLAY_BLOCK_BYTES < end; index += 1) {
    const block = blocks.get(index);
    if (block === undefined) {
      continue;
    }
    const start = Math.max(index * OVERLAY_BLOCK_BYTES, offset);
    const stop = Math.min((index + 1) * OVERLAY_BLOCK_BYTES, end);
    copyImage(start);
    content.set(
      block.subarray(start - index * OVERLAY_BLOCK_BYTES, stop - index * OVERLAY_BLOCK_BYTES),
      start - offset,
    );
    imageFrom = stop;
  }
  copyImage(end);
  return content;
}

/** Writes into the overlay; a block that is written in part first takes over the image's content. */
export function writeOver(image: BlockBackend, blocks: OverlayBlocks, offset: number, content: Uint8Array): void {
  const end = offset + content.length;
  for (let index = Math.floor(offset / OVERLAY_BLOCK_BYTES); index * OVERLAY_BLOCK_BYTES < end; index += 1) {
    const blockStart = index * OVERLAY_BLOCK_BYTES;
    const start = Math.max(blockStart, offset);
    const stop = Math.min(blockStart + OVERLAY_BLOCK_BYTES, end);
    const block = blocks.get(index) ?? readImage(image, blockStart, OVERLAY_BLOCK_BYTES).slice();
    block.set(content.subarray(start - offset, stop - offset), start - blockStart);
    blocks.set(index, block);
  }
}
