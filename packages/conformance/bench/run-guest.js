/**
 * Runs a guest to its power-off: node run-guest.js MODE FILE OPTIONS, which are those of `record`, as JSON
 *
 *     unrecorded   both halves, no journal: what recording is compared with
 *     events       exits, inputs and digests are recorded; a snapshot only at the start, no derived tables
 *     default      as `hvjournal record` does without options
 *
 * All modes load the same modules and prepare the same machine. Prints where the guest ended, and the CPU seconds from
 * the booted machine to the end of its recording.
 */
import { DEFAULT_CADENCE, LiveVm, Machine, Recorder } from "@hvjournal/core";
import { rmSync } from "node:fs";
import { nodeDigester } from "../../cli/dist/host/node-digester.js";
import { newMachine } from "../../cli/dist/vm/machine-options.js";
import { createRecordingFile } from "../../cli/dist/vm/new-recording.js";

const [mode, file, options] = process.argv.slice(2);
/** Between two looks at the host, as in the command. */
const SLICE_UNITS = 2_000_000;
const NEVER = DEFAULT_CADENCE.digestEvery * 2 ** 28;
const CADENCES = {
  events: { ...DEFAULT_CADENCE, seekPointEvery: NEVER, fullSnapshotEvery: NEVER, atEnd: false },
  default: DEFAULT_CADENCE,
};

/** Where the events of an unrecorded VM go. */
const discarded = {
  nextSeq: 1,
  exited() {},
  handled() {},
  completed() {},
  output() {},
  registerSet() {},
  irqLine() {},
  memoryWritten() {},
  row() {},
};

/** CPU used up to the moment at which the guest can run. */
let usedBefore;

function booted() {
  usedBefore = process.cpuUsage();
}

function accept(refused) {
  if (refused !== undefined) throw new Error(`${refused.call}: ${refused.errno}: ${refused.reason}`);
}

/** What the recorder does at a boundary and between two, without recording. */
function runUnrecorded({ architecture, description, vmm, commands }) {
  const machine = new Machine({ architecture, digester: nodeDigester, machine: description });
  const live = new LiveVm(machine, vmm, discarded);
  live.create();
  for (const command of commands) accept(live.operate(command));
  live.boot();
  booted();
  while (live.stop === undefined) {
    if (machine.exitPending) live.answerExit();
    while (live.deadlineDue && live.stop === undefined) live.reachDeadline();
    if (live.stop !== undefined) break;
    const why = live.run(Math.min(machine.icount + SLICE_UNITS, live.deadlineIcount));
    if (why === "stuck") throw new Error(`the guest is stuck: ${machine.kernel.stuckReason}`);
    if (why !== "idle") continue;
    const wakeAtNs = Math.min(machine.kernel.idleDeadlineNs ?? Infinity, vmm.half.deadlineNs ?? Infinity);
    if (wakeAtNs === Infinity) throw new Error("the guest waits for ever");
    live.endIdle(wakeAtNs);
  }
  return machine;
}

async function runRecorded({ architecture, description, vmm, commands }, cadence) {
  rmSync(file, { force: true });
  const writer = createRecordingFile(file, { architecture, description });
  const recorder = Recorder.create({ architecture, digester: nodeDigester, writer, vmm, cadence }, commands);
  booted();
  for (;;) {
    const { why } = await recorder.step({ units: SLICE_UNITS });
    if (why === "stopped") break;
    await new Promise((resolve) => setImmediate(resolve));
  }
  recorder.finish({ index: mode === "default" });
  return recorder.machine;
}

const made = newMachine(JSON.parse(options));
const machine = mode === "unrecorded" ? runUnrecorded(made) : await runRecorded(made, CADENCES[mode]);
const { user, system } = process.cpuUsage(usedBefore);
const end = `exit:${machine.exitNumber} icount:${machine.icount}`;
console.log(JSON.stringify({ end, runCpuSeconds: (user + system) / 1e6 }));
