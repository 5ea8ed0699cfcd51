/**
 * Where tests cut a move: a process that finds HVJOURNAL_TEST_KILL="WHEN STEP" in its environment kills itself there,
 * as the host would.
 *
 *     before, after    created                     the destination's file comes into being
 *     before           base                        the commit of all that the VM's replay begins with there
 *     before, after    prepared | moved | taken    the commit of that step of the hand-over
 *     sent             prepared | moved | taken    the message that says so is with the host's kernel
 */
import type { EventPayload, OwnedJournal } from "@hvjournal/core";

const VARIABLE = "HVJOURNAL_TEST_KILL";

function reach(when: "before" | "after" | "sent", step: unknown): void {
  if (process.env[VARIABLE] === `${when} ${String(step)}`) process.kill(process.pid, "SIGKILL");
}

/** The journal itself; where this process is to be killed, its ownership steps are watched. */
export function withFaultPoints<Journal extends OwnedJournal>(journal: Journal): Journal {
  if (process.env[VARIABLE] === undefined) return journal;
  const append = journal.appendOwnership.bind(journal);
  journal.appendOwnership = (row, batch) => {
    reach("before", row.state);
    append(row, batch);
    reach("after", row.state);
  };
  return journal;
}

/** Makes a destination's journal. */
export function createWithFaultPoints<Journal extends OwnedJournal>(create: () => Journal): Journal {
  reach("before", "created");
  const journal = withFaultPoints(create());
  reach("after", "created");
  if (process.env[VARIABLE] === undefined) return journal;
  const add = journal.addSnapshot.bind(journal);
  journal.addSnapshot = (snapshot, durability) => {
    reach("before", "base");
    add(snapshot, durability);
  };
  return journal;
}

/** Told of each message once the stream has it. */
export function reachSent(message: EventPayload): void {
  if (process.env[VARIABLE] !== undefined) reach("sent", message["kind"]);
}
