/** A VM that runs in this process, as its control socket shows it. */
import { resolve } from "node:path";
import {
  formatPosition,
  isPlainMap,
  machinePosition,
  type MachineDescription,
  type OwnedJournal,
  type PlainValue,
  standingOf,
} from "@hvjournal/core";
import type { VmStatus } from "./control-protocol.js";
import type { LiveSession } from "./live-session.js";

export interface Instance {
  readonly name: string;
  /** As it was named. */
  readonly path: string;
  readonly session: LiveSession;
  readonly journal: OwnedJournal;
  /** Where the drives' images are, by id, where that is not what the machine description says. */
  readonly drivePaths: ReadonlyMap<string, string>;
  /** Goals and time limits that go along when the VM moves. */
  readonly terms: InstanceTerms;
  /** Whether the recording gets derived tables at its end. */
  readonly index: boolean;
}

/** What `record` was told about the run, in its own words, and no recording keeps. */
export interface InstanceTerms {
  readonly until?: string;
  readonly failOn?: string;
  readonly guestTimeoutNs?: number;
  /** `--handler-timeout` */
  readonly handlerTimeout?: string;
}

export function statusOf({ name, path, session, journal }: Instance): VmStatus {
  const { machine, live } = session.recorder;
  const { waitsFor } = live.vmm;
  const standing = standingOf(journal.header, journal.ownership());
  return {
    name,
    processId: process.pid,
    recording: resolve(path),
    state: session.paused ? "paused" : "running",
    ...(session.pausedBy === undefined ? {} : { pausedBy: session.pausedBy.reason, pausedText: session.pausedBy.text }),
    ...(waitsFor === undefined ? {} : { waitsFor }),
    epoch: "epoch" in standing ? standing.epoch : 0,
    exit: machine.exitNumber,
    icount: machine.icount,
    timeNs: machine.guestTimeNs,
    at: formatPosition(machinePosition(machine)),
  };
}

/** Of an instance that has no VM yet. */
export function receivingStatus(name: string, recording: string): VmStatus {
  const nothing = { epoch: 0, exit: 0, icount: 0, timeNs: 0, at: "start" };
  return { name, processId: process.pid, recording: resolve(recording), state: "receiving", ...nothing };
}

/** Images by drive id, as the machine description names them, from this process's directory. */
export function recordedDrivePaths({ boardOptions }: MachineDescription): Map<string, string> {
  const { drives } = boardOptions;
  const paths = new Map<string, string>();
  for (const drive of Array.isArray(drives) ? (drives as readonly PlainValue[]) : []) {
    if (!isPlainMap(drive)) continue;
    const { id, name } = drive;
    if (typeof id === "string" && typeof name === "string") paths.set(id, resolve(name));
  }
  return paths;
}
