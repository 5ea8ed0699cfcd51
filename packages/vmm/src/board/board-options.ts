/** What every board is made from. */
import { type BlockBackend, type Entropy, PAGE_BYTES } from "@hvjournal/core";
import type { KernelFile } from "../boot/kernel-format.js";
import type { NamedHandler } from "../hypercalls/hypercall-handler.js";

export interface BoardOptions {
  /** A multiple of 4 KiB, up to 3 GiB. */
  readonly memoryBytes: number;
  readonly vcpuCount: number;
  /** Not needed where a saved machine is restored instead of booted. */
  readonly kernel?: KernelFile;
  readonly initrd?: { readonly bytes: Uint8Array; readonly name: string };
  /** The kernel's command line. */
  readonly append?: string;
  readonly drives: readonly BlockBackend[];
  /** Wall clock at guest time 0, nanoseconds since 1970-01-01T00:00Z. */
  readonly rtcBaseNs: bigint;
  readonly entropy: Entropy;
  /** Who answers the calls that the kernel half leaves to the VMM, in turn, the board last. */
  readonly handlers?: readonly NamedHandler[];
}

export interface BoardLimits {
  readonly board: string;
  readonly memoryBytesMin: number;
  readonly memoryBytesMax: number;
  readonly vcpusMax: number;
  readonly drivesMax: number;
}

/** Throws RangeError for a machine that can't be built. */
export function checkBoardOptions(options: BoardOptions, limits: BoardLimits): void {
  const { memoryBytes, vcpuCount, drives, append = "" } = options;
  const { board, memoryBytesMin, memoryBytesMax, vcpusMax, drivesMax } = limits;
  const isWhole = Number.isInteger(memoryBytes) && memoryBytes % PAGE_BYTES === 0;
  if (!isWhole || memoryBytes < memoryBytesMin || memoryBytes > memoryBytesMax) {
    const from = memoryBytesMin > PAGE_BYTES ? ` from ${memoryBytesMin}` : "";
    throw new RangeError(
      `${board} board with ${memoryBytes} bytes of memory: a multiple of ${PAGE_BYTES}${from} up to ${memoryBytesMax} is possible`,
    );
  }
  if (!Number.isInteger(vcpuCount) || vcpuCount < 1 || vcpuCount > vcpusMax) {
    throw new RangeError(`${board} board with ${vcpuCount} vCPUs: 1 to ${vcpusMax} are possible`);
  }
  if (drives.length > drivesMax) {
    throw new RangeError(`${board} board with ${drives.length} drives: there are slots for ${drivesMax}`);
  }
  const repeated = drives.find(({ id }, index) => drives.findIndex((drive) => drive.id === id) !== index);
  if (repeated !== undefined) {
    throw new RangeError(`two drives have the id ${repeated.id}`);
  }
  if (append.includes("\0")) {
    throw new RangeError("the kernel's command line holds a zero byte");
  }
}
