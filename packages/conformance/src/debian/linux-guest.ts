/** A stock Linux of either architecture, and what is said of it in words of its own. */
import { amd64 } from "@hvjournal/cpu-x86";
import { arm64 } from "@hvjournal/cpu-arm64";
import type { Architecture, GuestStop } from "@hvjournal/core";
import type { ArchitecturePositions } from "./linux-positions.js";
import { AMD64_POSITIONS, ARM64_POSITIONS } from "./linux-positions.js";
import { type GuestArchitecture, type StockGuest, stockGuestForTests } from "./stock-guest.js";

interface LinuxWords {
  readonly architecture: Architecture;
  /** Where its console is: `console=`. */
  readonly serialPort: string;
  /** As `uname -m` says. */
  readonly machineName: string;
  readonly powerOff: GuestStop;
  readonly positions: ArchitecturePositions;
}

export interface LinuxGuest extends LinuxWords {
  readonly guest: StockGuest;
}

const WORDS: Readonly<Record<GuestArchitecture, LinuxWords>> = {
  arm64: {
    architecture: arm64,
    serialPort: "ttyAMA0",
    machineName: "aarch64",
    powerOff: { what: "powered off", by: "PSCI SYSTEM_OFF" },
    positions: ARM64_POSITIONS,
  },
  amd64: {
    architecture: amd64,
    serialPort: "ttyS0",
    machineName: "x86_64",
    powerOff: { what: "powered off", by: "ACPI S5" },
    positions: AMD64_POSITIONS,
  },
};

/** What a healthy kernel never prints, on any architecture. */
export const TROUBLE = /Oops|BUG:|WARNING:|Call [Tt]race|Kernel panic|soft lockup|rcu:.*stall/;

/** As `stockGuestForTests`. */
export async function linuxForTests(architecture: GuestArchitecture): Promise<LinuxGuest | undefined> {
  const guest = await stockGuestForTests(architecture);
  return guest === undefined ? undefined : { guest, ...WORDS[architecture] };
}
