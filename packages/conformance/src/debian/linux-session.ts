/** A stock kernel of either architecture booted to a shell, with a session typed by a script: a disk is read, numbers are computed, power off. */
import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { DEFAULT_CADENCE } from "@hvjournal/core";
import type { GuestSetup } from "../testing/guest-recording.js";
import { MIB } from "../testing/guest-recording.js";
import { memoryDrive, type MemoryDrive, randomSectors } from "../testing/memory-drive.js";
import { buildInitrd } from "./initrd.js";
import type { LinuxGuest } from "./linux-guest.js";

/** Each line waits for the answer to the one before. */
const script = String.raw`
at console /init: shell[^]*# $/ send "uname -m; sha256sum /dev/vda\n"
at console / \/dev\/vda[^]*# $/ send "awk 'BEGIN{printf \"%.17g %.17g %s\\n\", 3.14*2, 2/3, 1e300*1e10}'\n"
at console /\binf\r[^]*# $/ send "echo written > /dev/vda; sync; head -c 8 /dev/vda\n"
at console /\nwritten[^]*# $/ send "poweroff -f\n"
`;

const DISK_SECTORS = 2048;
/** A boot with all its messages and this session. */
export const SESSION_UNITS_MAX = 3_000_000_000;

export interface LinuxSession {
  readonly setup: GuestSetup;
  readonly drive: MemoryDrive;
  /** What `sha256sum` prints of the disk. */
  readonly diskHash: string;
  /** Kernel, initrd and disk are gone: whoever needs them fails. */
  removeFiles(): void;
}

/** Equal each time, but for the files, which are its own. */
export function linuxSession(
  { guest, architecture, serialPort }: LinuxGuest,
  changes: Partial<GuestSetup> = {},
): LinuxSession {
  const disk = randomSectors(DISK_SECTORS, 11);
  const drive = memoryDrive("disk0", disk);
  const kernel = new Uint8Array(readFileSync(guest.image));
  const initrd = buildInitrd(guest, { modules: ["virtio_mmio", "virtio_blk"] });
  return {
    setup: {
      architecture,
      kernel: { name: guest.image, bytes: kernel },
      initrd: { name: "initrd", bytes: initrd },
      append: `console=${serialPort}`,
      memoryBytes: 256 * MIB,
      drives: [drive],
      cadence: DEFAULT_CADENCE,
      script,
      ...changes,
    },
    drive,
    diskHash: createHash("sha256").update(disk).digest("hex"),
    removeFiles() {
      kernel.fill(0);
      initrd.fill(0);
      drive.remove();
    },
  };
}
