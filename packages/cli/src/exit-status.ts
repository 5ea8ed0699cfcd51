/** Exit status of every command: fit for `git bisect run` and CI. */
export const ExitStatus = {
  /** Done; equal; found; reached; the guest ended well. */
  done: 0,
  /** The answer is no: diverged, differs, damaged, not found, not reached, the guest ended badly. */
  no: 1,
  /** Ran out of --timeout. */
  timeout: 124,
  /** Can't be told with this build; git bisect skips. */
  untestable: 125,
  /** Error: damaged or missing file, I/O, peer gone, bug; git bisect stops. */
  error: 128,
  /** Wrong usage. */
  usage: 129,
  interrupted: 130,
} as const;

export type ExitCode = number;
