/** What becomes of a call that had no answer when its VM moved: the destination's handlers are asked at once. */
import { existsSync } from "node:fs";
import { relative } from "node:path";
import { setTimeout as wait } from "node:timers/promises";
import { shellCommand } from "@hvjournal/core";
import { openRecording } from "@hvjournal/journal";
import { CliError } from "../cli-error.js";
import { type ControlClient, findVm } from "../vm/control-client.js";
import type { VmStatus } from "../vm/control-protocol.js";
import { type Environment, freshName, nameOfRecording } from "../vm/vm-directory.js";
import type { Report } from "./migration-report.js";

/** A handler that takes longer, by a `--handler-timeout` of its own, is not waited for. */
const PATIENCE_MS = 15_000;
const POLL_MS = 50;

export type AnswerThere =
  /** There was no call, or it has been answered. */
  | { readonly is: "answered" }
  /** `by`: "late.mjs, HVC 0xc6000001"; undefined: nothing can be seen of it from here. */
  | { readonly is: "open"; readonly by: string | undefined }
  /** `endedAt`: the recording of a VM whose process ended with the call; undefined: it is paused there. */
  | { readonly is: "failed"; readonly why: string; readonly endedAt?: string };

const ANSWERED: AnswerThere = { is: "answered" };

/** Comes back once the call has been answered, or can't be. */
export async function answerThere(report: Report, environment: Environment): Promise<AnswerThere> {
  if (!isOpen(report)) return ANSWERED;
  let last: AnswerThere = { is: "open", by: undefined };
  for (const until = performance.now() + PATIENCE_MS; performance.now() < until; await wait(POLL_MS)) {
    const client = await findVm(environment, report.destination.name);
    if (client === undefined) return answerInFile(report);
    try {
      const status = await statusWithin(client, until - performance.now());
      if (status === undefined) return last;
      // Another one of this name is here; the VM has gone to another machine.
      if (status.processId !== report.destination.processId) return last;
      last = answerIn(status, report);
    } catch {
      // It has ended: its file is looked at.
      continue;
    } finally {
      client.close();
    }
    if (last.is !== "open") return last;
  }
  return last;
}

/** A VM that the operator has paused asks nobody before it is resumed. */
function isOpen({ pending, handOver }: Report): boolean {
  return pending !== undefined && pending !== null && !handOver.paused;
}

/** undefined: a handler keeps the process from answering. */
function statusWithin(client: ControlClient, milliseconds: number): Promise<VmStatus | undefined> {
  const late = new AbortController();
  return Promise.race([
    client.status().finally(() => late.abort()),
    wait(milliseconds, undefined, { signal: late.signal, ref: false }),
  ]);
}

function answerIn(status: VmStatus, { handOver }: Report): AnswerThere {
  const { exit, icount, pausedBy, pausedText = pausedBy, waitsFor } = status;
  if (exit !== handOver.exitNumber || icount !== handOver.icount) return ANSWERED;
  return pausedText === undefined ? { is: "open", by: waitsFor } : { is: "failed", why: pausedText };
}

/** Of a VM that does not run here any more, or never did. */
function answerInFile({ destination, handOver }: Report): AnswerThere {
  const { path, recording } = destination;
  if (!existsSync(path)) return { is: "open", by: undefined };
  const reader = openRecording(path);
  try {
    if (reader.header.id !== recording) return { is: "open", by: undefined };
    const { exitNumber, icount, state } = reader.end;
    if (exitNumber !== handOver.exitNumber || icount !== handOver.icount) return ANSWERED;
    const why = state === "closed" ? "it ended with the call open" : "its process was ended with the call open";
    return { is: "failed", why, endedAt: path };
  } finally {
    reader.close();
  }
}

/** The VM has moved all the same: what is wrong, and how it goes on. */
export function answerError(failed: AnswerThere & { readonly is: "failed" }, source: string, report: Report): CliError {
  const { why, endedAt } = failed;
  const { pending, destination } = report;
  const { what = "", vcpu = 0, exitNumber = 0 } = pending ?? {};
  const call = `call ${what} of vcpu${vcpu}, exit:${exitNumber},`;
  const { name } = destination;
  const from = endedAt === undefined ? name : nearPath(endedAt);
  const again =
    endedAt === undefined
      ? `  ${name} owns the VM and is paused at the call: ${shellCommand("hvjournal", "ctl", name, "resume")} asks the same handler again`
      : `  ${from} owns the VM, at the call`;
  return new CliError(`${source} has moved to ${name}, but ${call} can't be answered there: ${why}`, {
    code: "unanswered",
    details: [again],
    next: shellCommand("hvjournal", "migrate", from, freshName(nameOfRecording(destination.path)), "--handler", "FILE"),
    fields: { moved: true, ...report },
  });
}

function nearPath(path: string): string {
  const near = relative(process.cwd(), path);
  return near.startsWith("..") ? path : near;
}
