/** A VM that has moved finds itself on the host that it has moved to: an event, since its guest may notice. */
import type { HostReference } from "../ports/host.js";
import { type OwnershipRow, OwnershipState } from "../migration/ownership.js";
import { parseHost } from "../machine/machine-description.js";
import type { Recorder } from "../record/recorder.js";
import { isPlainMap } from "../canonical/canonical-encoding.js";

/** The host of the last move that came here; undefined: none came, or it came from a host of the same kind. */
export function hostOfMove(rows: readonly OwnershipRow[]): HostReference | undefined {
  const host = rows.findLast(({ state }) => state === OwnershipState.prepared)?.detail["host"];
  return isPlainMap(host) ? parseHost(host) : undefined;
}

/** Before the VM runs here. Nothing where it has been done already. */
export function settleHost(recorder: Recorder, rows: readonly OwnershipRow[]): void {
  const host = hostOfMove(rows);
  const { machine } = recorder;
  const { contract } = machine.architecture;
  if (host === undefined || contract === undefined) return;
  const current = contract.hostOf(machine.control.architecture, machine.description);
  if (current.name === host.name && current.version === host.version) return;
  const refused = recorder.control(contract.hostCommand(host, current));
  if (refused !== undefined) throw new RangeError(`${refused.call}: ${refused.errno}: ${refused.reason}`);
}
