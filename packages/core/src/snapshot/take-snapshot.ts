/** Taking a snapshot of a machine into a journal's page store. */
import type { Machine } from "../machine/machine.js";
import type { PageStore } from "../memory/page-baseline.js";
import type { Snapshot } from "../ports/journal-store.js";
import type { StateSection } from "../ports/state-section.js";

export interface SnapshotRequest {
  readonly number: number;
  /** The last event that has taken effect. */
  readonly seq: number;
  /** The VMM half's sections make it a full one. */
  readonly vmmSections: readonly StateSection[] | undefined;
}

/** Stores the pages that changed since the last one and gives the rest. */
export function takeSnapshot(machine: Machine, store: PageStore, request: SnapshotRequest): Snapshot {
  const guestSections = machine.saveSections();
  return {
    number: request.number,
    kind: request.vmmSections === undefined ? "seek" : "full",
    seq: request.seq,
    exitNumber: machine.exitNumber,
    icount: machine.icount,
    guestTimeNs: machine.guestTimeNs,
    digest: machine.digest(guestSections),
    guestSections,
    vmmSections: request.vmmSections ?? [],
    control: machine.plainControl(),
    pageHashes: machine.pages.advance(machine.digester, store),
  };
}
