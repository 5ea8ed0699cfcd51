export { contentHash } from "./canonical/hash.js";
export { PayloadValueError } from "./canonical/payload-coding.js";
export { type ExitNames, exitNamesOf, kvmExitName } from "./derived/exit-names.js";
export { INDEX_EXITS_MAX } from "./derived/index-tables.js";
export * from "./errors.js";
export { discardRecording, holdsNothing, moveRecording, removeRecording } from "./recording-files.js";
export { openRecording, RecordingReader } from "./recording-reader.js";
export {
  buildIndex,
  type ContinueOptions,
  continueRecording,
  createRecording,
  dropIndex,
  RecordingWriter,
  type WriterOptions,
} from "./recording-writer.js";
export type { JournalNote } from "./store/connection.js";
export type { OwnershipRow } from "./store/ownership-table.js";
export { leftOversOf } from "./store/new-file.js";
export { isRecordingFile } from "./store/connection.js";
export type { OpenOptions } from "./store/recording-tables.js";
export { FORMAT_VERSION } from "./store/schema.js";
export { snapshotRoot } from "./store/snapshot-tables.js";
export { query, type QueryOptions, type QueryResult, querySchema } from "./derived/query.js";
export { type Steps, type StepPlace } from "./steps.js";
export { damageBesideBatches, fsckSteps, type FsckProblem, type FsckReport } from "./fsck.js";
export { recordingSizes, type RecordingSizes } from "./recording-sizes.js";
