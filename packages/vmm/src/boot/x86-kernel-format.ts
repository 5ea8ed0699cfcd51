/** What a loader makes of an x86 kernel file. */
import type { LoadedSegment, TextSpan } from "./kernel-format.js";

/** How the kernel is entered, and what it is told. */
export type X86BootProtocol =
  /** The header of a bzImage, as it goes into the zero page. */
  | {
      readonly kind: "linux";
      readonly setupHeader: Uint8Array;
      readonly initrdAddressMax: number;
      readonly commandLineBytesMax: number;
    }
  | { readonly kind: "pvh" }
  | { readonly kind: "multiboot" }
  /** Plain code in 64-bit mode, told what PVH tells. */
  | { readonly kind: "bare" };

export interface X86Kernel {
  readonly format: "bzImage" | "elf" | "flat";
  readonly protocol: X86BootProtocol;
  readonly segments: readonly LoadedSegment[];
  /** What of it is executed and not written, where its file says so. */
  readonly text?: readonly TextSpan[];
  readonly entry: number;
  /** First byte behind all that the kernel takes, memory that it clears itself included. */
  readonly end: number;
}
