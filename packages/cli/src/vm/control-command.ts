/** `ctl VM cap | one-reg | smccc-filter ...`: the operator's commands to a running VM, by the one command path. */
import {
  describeControl,
  EventBatch,
  formatPosition,
  isControlKind,
  machinePosition,
  type Refusal,
  type RowEvent,
} from "@hvjournal/core";
import { CliError, UsageError } from "../cli-error.js";
import { ExitStatus } from "../exit-status.js";
import type { Instance } from "./instance.js";

/** One line for each event that came of it. Throws UsageError, and CliError with KVM's errno for a command that is refused. */
export async function carryOutCommand({ session, journal }: Instance, word: string, text: string): Promise<string[]> {
  const { recorder } = session;
  const { architecture } = recorder.machine;
  const command = architecture.control.parse(word, text);
  if (typeof command === "string") throw new UsageError(`ctl ${word} ${text}: ${command}`);
  return session.requestBeside(() => {
    const first = recorder.nextSeq;
    const refused = recorder.control(command);
    if (refused !== undefined) throw refusalError(refused, word);
    const at = formatPosition(machinePosition(recorder.machine));
    return controlEvents(journal, first)
      .filter(({ kind }) => isControlKind(architecture, kind))
      .map((row) => {
        const text = describeControl(architecture, row).replaceAll(/\s+/g, " ");
        return `event:${row.seq} ${row.kind.replace(/^.*\./, "")} ${text} at ${at}`;
      });
  });
}

function controlEvents(journal: Instance["journal"], first: number): RowEvent[] {
  const rows: RowEvent[] = [];
  journal.readBatches(first, new EventBatch(), (batch) => {
    rows.push(...batch.rows.filter(({ seq }) => seq >= first));
    return true;
  });
  return rows;
}

function refusalError({ call, errno, reason, next }: Refusal, word: string): CliError {
  // KVM says so from the first run of a vCPU on, and that ended with the first exit.
  const isLate = errno === "EBUSY" && reason.includes("a vCPU has run");
  const told = isLate
    ? `a vCPU has run (exit:1); set it before the start: record --${word === "one-reg" ? "firmware-reg" : word}`
    : reason;
  return new CliError(`${call}: ${errno}: ${told}`, {
    code: errno,
    status: ExitStatus.no,
    ...(next === undefined || isLate ? {} : { next }),
  });
}
