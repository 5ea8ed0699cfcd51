/** `hvjournal ps`: the VMs that run here. */
import { formatGuestTime } from "@hvjournal/core";
import { ExitStatus } from "../exit-status.js";
import { jsonLine } from "../output/console-output.js";
import { runningVms } from "../vm/control-client.js";
import type { VmStatus } from "../vm/control-protocol.js";
import { withLongAct } from "../vm/long-act.js";
import type { Command } from "./command.js";

const HEADINGS = ["NAME", "PID", "STATE", "AT", "TIME", "RECORDING"] as const;

export const ps: Command = {
  usage: "ps",
  summary: "running VMs",
  options: (yargs) => yargs,
  async run(_args, { output, environment }) {
    const vms = await withLongAct({ act: "asking the VMs", total: 0, output }, (act) =>
      act.wait((left) => runningVms(environment, left)),
    );
    if (output.json) for (const vm of vms) output.line(jsonLine(vm));
    else if (vms.length > 0) printTable([[...HEADINGS], ...vms.map(row)], (line) => output.line(line));
    return ExitStatus.done;
  },
};

function row({ name, processId, state, pausedBy, waitsFor, at, timeNs, recording }: VmStatus): string[] {
  const why = pausedBy ?? (waitsFor === undefined ? undefined : `waits for ${waitsFor}`);
  return [
    name,
    String(processId),
    why === undefined ? state : `${state}: ${why}`,
    at,
    formatGuestTime(timeNs),
    recording,
  ];
}

function printTable(rows: readonly (readonly string[])[], print: (line: string) => void): void {
  const widths = HEADINGS.map((_, column) => Math.max(...rows.map((cells) => cells[column]?.length ?? 0)));
  for (const cells of rows)
    print(
      cells
        .map((cell, column) => cell.padEnd(widths[column] ?? 0))
        .join("  ")
        .trimEnd(),
    );
}
