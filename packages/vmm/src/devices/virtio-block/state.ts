/** Everything a block device's future depends on, beside its transport. */
import { blockMap, count, flag, structure, text, type SectionFormat, type StateOf } from "../../state-coding.js";
import { OVERLAY_BLOCK_BYTES } from "./overlay.js";

/** Which image lies below the overlay: a saved machine goes on only over the same bytes. */
const identityCodec = structure({
  driveId: text,
  imageBytes: count,
  /** SHA-256, hex. */
  fingerprint: text,
  readOnly: flag,
});

const overlayCodec = structure({
  blocks: blockMap(OVERLAY_BLOCK_BYTES),
});

export type BlockIdentity = StateOf<typeof identityCodec>;
export type BlockOverlayState = StateOf<typeof overlayCodec>;

export const blockIdentityFormat: SectionFormat<BlockIdentity> = { version: 1, codec: identityCodec };
export const blockOverlayFormat: SectionFormat<BlockOverlayState> = { version: 1, codec: overlayCodec };
