/** A kernel file as it comes in, and what a loader makes of it. */

export interface KernelFile {
  readonly bytes: Uint8Array;
  /** As the user named it, for messages. */
  readonly name: string;
  /** `auto`: by its content. `flat`: plain code, placed at `flatOffset` from the start of RAM and entered there. */
  readonly format?: "auto" | "flat";
  readonly flatOffset?: number;
}

/** Content for guest-physical memory. */
export interface LoadedSegment {
  readonly address: number;
  readonly bytes: Uint8Array;
}

/** Guest-physical. */
export interface TextSpan {
  readonly address: number;
  readonly bytes: number;
}

export interface LoadedKernel {
  readonly format: "arm64-image" | "elf" | "flat";
  readonly segments: readonly LoadedSegment[];
  /** What of it is executed and not written, where its file says so. */
  readonly text?: readonly TextSpan[];
  readonly entry: number;
  /** First byte behind all that the kernel takes, memory that it clears itself included. */
  readonly end: number;
}

export interface RamRange {
  readonly base: number;
  readonly bytes: number;
}
