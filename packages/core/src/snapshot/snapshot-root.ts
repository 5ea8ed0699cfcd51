/** The hash that `SnapshotTaken` carries into the chain, so that snapshot rows can stand outside of it. */
import type { Digester } from "../ports/digester.js";
import type { Snapshot } from "../ports/journal-store.js";
import type { StateSection } from "../ports/state-section.js";
import type { PlainValue } from "../event/event-kind.js";
import { encodeCanonical } from "../canonical/canonical-encoding.js";

function plainSections(sections: readonly StateSection[]): PlainValue {
  return sections.map(({ name, version, bytes }) => ({ name, version, bytes }));
}

/** Every field of a snapshot in the canonical encoding. */
export function canonicalSnapshotBytes(snapshot: Snapshot): Uint8Array {
  const { number, kind, seq, exitNumber, icount, guestTimeNs, digest, control, pageHashes } = snapshot;
  return encodeCanonical({
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
}

/** 32 bytes. */
export function snapshotRoot(snapshot: Snapshot, digester: Digester): Uint8Array {
  return digester.sha256(canonicalSnapshotBytes(snapshot));
}
