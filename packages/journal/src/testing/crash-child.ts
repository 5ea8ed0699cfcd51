/**
 * A process that records until it is killed: node crash-child.js PATH SEED. After each commit it
 * writes the last event that is in the file, a line each.
 */
import { writeSync } from "node:fs";
import { createRecording } from "../recording-writer.js";
import { sampleHeader, sampleMemory, SampleRun } from "./sample-run.js";
import { takeSampleSnapshot } from "./small-recording.js";

const [path, seed] = process.argv.slice(2);
if (path === undefined || seed === undefined) throw new RangeError("usage: crash-child.js PATH SEED");

const writer = createRecording(path, sampleHeader());
const run = new SampleRun(Number(seed), { firstSeq: 1, exitNumber: 0, icount: 0 }, (batch) => {
  writer.append(batch, "normal");
  writeSync(1, `${batch.nextSeq - 1}\n`);
});
for (let number = 0; ; number++) {
  takeSampleSnapshot(writer, run, number, sampleMemory(number, 256, 8));
  run.run(run.exitNumber + 400);
}
