/** The hash that `SnapshotTaken` carries into the chain, so that snapshot rows can stand outside of it. */
import type { Digester } from "../ports/digester.js";
import type { Snapshot } from "../ports/journal-store.js";
import type { StateSection } from "../ports/state-section.js";
import type { PlainValue } from "../event/event-kind.js";
import { ByteWriter } from "../canonical/bytes.js";
import { writeCanonical } from "../canonical/canonical-encoding.js";

function plainSections(sections: readonly StateSection[]): PlainValue {
  return sections.map(({ name, version, bytes }) => ({ name, version, bytes }));
}

/** Reused: the page hashes of one snapshot take a megabyte, and garbage of that size makes the collector run. */
const writer = new ByteWriter();

/** SHA-256 of every field of a snapshot in the canonical encoding: 32 bytes. */
export function snapshotRoot(snapshot: Snapshot, digester: Digester): Uint8Array {
  const { number, kind, seq, exitNumber, icount, guestTimeNs, digest, control, pageHashes } = snapshot;
  writer.clear();
  writeCanonical(writer, {
    number,
    kind,
    seq,
    exitNumber,
    icount,
    guestTimeNs,
    digest,
    control,
    pageHashes,
    guestSections: plainSections(snapshot.guestSections),
    vmmSections: plainSections(snapshot.vmmSections),
  });
  return digester.sha256(writer.view());
}
