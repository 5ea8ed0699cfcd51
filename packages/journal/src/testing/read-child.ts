/** A process that reads a recording and says what it found: node read-child.js PATH. */
import { openRecording } from "../recording-reader.js";
import { batchTexts } from "./recorded-answers.js";

const reader = openRecording(process.argv[2] ?? "");
const { end, notes } = reader;
const snapshots = reader.snapshots().map(({ number }) => reader.loadSnapshot(number).seq);
process.stdout.write(
  JSON.stringify({ lastSeq: end.firstSeq - 1, notes, batches: batchTexts(reader).length, snapshots }),
);
reader.close();
