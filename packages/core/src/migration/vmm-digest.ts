/** Over the VMM half's sections: where both ends of a move have loaded the same devices, it is the same. */
import type { Digester } from "../ports/digester.js";
import type { StateSection } from "../ports/state-section.js";
import { ByteWriter } from "../canonical/bytes.js";
import { encodeUtf8 } from "../canonical/utf8.js";

const VMM_DIGEST_ENCODING = "hvjournal VMM digest 1";

/** 32 bytes. */
export function vmmDigest(sections: readonly StateSection[], digester: Digester): Uint8Array {
  const writer = new ByteWriter();
  writer.block(encodeUtf8(VMM_DIGEST_ENCODING));
  writer.u32(sections.length);
  for (const { name, version, bytes } of sections) {
    writer.block(encodeUtf8(name));
    writer.u32(version);
    writer.block(bytes);
  }
  return digester.sha256(writer.finish());
}
