/** The host under a VM at the end of its recording: it changes by a move alone, and a move begins a recording. */
import { initialControlState, restoreControlState } from "../control/control-plane.js";
import { parseMachine } from "../machine/machine-description.js";
import type { OwnedRecording } from "../migration/ownership.js";
import type { Architecture } from "../ports/architecture.js";
import type { HostReference } from "../ports/host.js";
import { hostOfMove } from "./settle-host.js";

export interface Hosts {
  /** That the machine was made on. */
  readonly first: HostReference;
  /** That its VM is on, or was last. */
  readonly last: HostReference;
}

/**
 * undefined: the architecture knows no hosts. Throws RangeError for a host that this build has no row of, and what
 * the reader throws where the recording is damaged.
 */
export function hostsOf(architecture: Architecture, reader: OwnedRecording): Hosts | undefined {
  const { contract } = architecture;
  if (contract === undefined) return undefined;
  const machine = parseMachine(reader.header.machine);
  const first = contract.hostOf(initialControlState(architecture, machine.host).architecture, machine);
  const [base] = reader.header.parent === undefined ? [] : reader.snapshots();
  if (base === undefined) return { first, last: first };
  const came = restoreControlState(reader.loadSnapshot(base.number).control);
  return { first, last: hostOfMove(reader.ownership()) ?? contract.hostOf(came.architecture, machine) };
}
