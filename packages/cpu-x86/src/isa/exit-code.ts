/** Why the vCPU left guest mode: codes of `exitBefore` and `exitAfter`. Those below 16 are the engine's own. */

/** What stands in the exit's operands, and where pc is. */
export const ExitCode = {
  /** HLT. pc behind. */
  halt: 16,
  /** A third fault while a double fault was delivered: the CPU shuts down. pc at. The vCPU can't go on. */
  shutdown: 17,
  /** Something that this CPU does not simulate: a `NotSimulated`, and its detail. pc at. The vCPU can't go on. */
  notSimulated: 18,
} as const;

/** First operand of `ExitCode.notSimulated`. */
export const NotSimulated = {
  /** An instruction without definition. Detail: its first eight bytes, least significant first; 0 behind those looked at. */
  instruction: 1,
  /** Compatibility mode with a segment that is not flat. Detail: its selector. */
  segmentation: 2,
  /** TF set. */
  singleStep: 3,
  /** Alignment checks at CPL 3. */
  alignmentCheck: 4,
  /** A fetch where there is no RAM. */
  fetchOutsideMemory: 5,
  /** An x87 error reported by FERR# and not by #MF (CR0.NE clear). */
  floatErrorPin: 6,
} as const;
