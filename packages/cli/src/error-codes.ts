/** The words by which `--json` tells errors apart: a closed list, which `hvjournal help errors` and docs/cli.md print. */
import type { Errno } from "@hvjournal/core";

/** Each with its cause. One cause has one word, whichever command meets it. */
export const ERROR_CAUSES = {
  usage: "the command line, a machine file, a position or an expression is not as it should be",
  "no-file": "a file can't be read: a recording, a kernel, a drive, a handler, symbols ...",
  exists: "there is a file where one was to be made",
  "file-changed": "a file that the machine was made from is another by now",
  "machine-changed": "a change of the recorded machine that this command does not make",
  "not-known-here":
    "this build lacks an architecture, a board, a CPU model, a host, or what an event or a saved state is of",
  machine: "nobody can make such a machine",
  boot: "the kernel can't be loaded",
  drive: "a drive's image is no whole number of sectors, or became shorter",
  symbols: "a file of symbols can't be understood",

  "journal-damaged": "the recording holds something else than was written",
  "journal-format": "a file is no recording, or one of a format that this build does not read",
  "journal-busy": "another process has the recording open",
  "journal-write": "the host did not take what was recorded; what was committed stays",
  "journal-query": "SQLite refuses a query",
  "wal-missing": "a recorder was killed, and the file with what came last is not beside its recording",
  replay: "the recording can't be run from here: it lacks a snapshot, or an event that it should hold",

  "not-found": "the recording has no such moment or snapshot, or an expression holds nowhere in it",
  "not-reached": "the run ended before it came to --until",
  diverged: "a replay did something else than is recorded",
  differs: "a run again gave other exits than are recorded",
  "not-held": "what verify --expect says does not hold",
  "no-difference": "bisect has two ends that do not differ",
  "bisect-end": "an end is not as bisect wants it: the good one is bad, or the bad one good",
  "bisect-skipped": "the command of bisect could not tell, so that more than one answer is left",
  "bisect-stopped": "the command of bisect said to stop, or was ended by a signal",
  "no-text": "attest knows of no pages that hold the kernel's text",
  "not-mapped": "the kernel's text is not mapped at this moment",
  "no-snapshot": "a branch needs a full snapshot before its moment",
  "not-a-boundary": "a branch can't begin in the middle of an answer",

  timeout: "ran out of --timeout or --host-timeout",
  interrupted: "SIGINT, SIGTERM or SIGHUP",
  spawn: "a program can't be started",

  "no-vm": "no VM of that name runs",
  "vm-ended": "the VM has ended, or its process has gone",
  "vm-moved": "the VM has moved away; its recording is sealed",
  "guest-ended": "the guest has ended, so there is nothing to go on with",
  "name-taken": "a VM of that name runs already",
  receiving: "the VM has not come here yet",
  passed: "the VM is behind that moment already",
  control: "the other side of a connection does not speak as it should",
  "control-version": "the VM is of a build that speaks another version of the control protocol",
  socket: "a control socket can't be made, or can't be connected to",
  "vm-directory": "the directory of control sockets is not this user's",

  handler: "a handler can't be loaded",
  "handler-failed": "a handler threw",
  "handler-answer": "a handler's answer makes no sense",
  "handler-timeout": "a handler gave no answer in time",
  "handler-withdrawn": "a handler's answer was not waited for any more",
  "unknown-exit": "neither a handler nor the board knows an exit",

  "migration-refused": "the destination can't run the VM; nothing was touched",
  "migration-failed": "a move broke off; the source still owns the VM",
  "migration-in-doubt": "it is not known which side owns the VM: migrate --resolve decides",
  unanswered: "the VM has moved, and waits at a call that can't be answered there",
  connect: "the other side of a move can't be reached",
  listen: "receive can't listen at an address",
  busy: "the VM is being moved already",
  same: "source and destination of a move are the same",
  "not-closed": "the recording was not closed, so its last units have to run again first",
  "not-owner": "the recording does not own its VM",
  "not-moved": "the VM has not moved, so there is nothing to reclaim",
  "other-recording": "the VM moved to another recording than the one that is named",
  "goes-on": "the VM has gone on at the destination, and that would be lost",
  runs: "the VM runs at the destination",
  lost: "the recording that owns the VM is not there",
  "not-possible": "what was asked is not possible for this VM as it stands",

  output: "standard output takes no more; told as text, with --json too",
  bug: "a fault of hvjournal's own",
} as const;

/** An errno is KVM's own refusal: "EBUSY". */
export type ErrorCode = keyof typeof ERROR_CAUSES | Errno;

const ERRNO = /^E[A-Z0-9]+$/;

export function isErrorCode(word: unknown): word is ErrorCode {
  return typeof word === "string" && (Object.hasOwn(ERROR_CAUSES, word) || ERRNO.test(word));
}
