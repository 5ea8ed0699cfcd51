/** The bare-metal guests as VMs to record, for what holds on either architecture. */
import { readFileSync } from "node:fs";
import { amd64 } from "@hvjournal/cpu-x86";
import type { GuestSetup } from "../testing/guest-recording.js";
import { bareMetalAmd64 } from "./bare-metal.js";

export interface BareMetalGuest {
  readonly name: "arm64" | "amd64";
  readonly setup: Partial<GuestSetup>;
}

export const BARE_METAL_GUESTS: readonly BareMetalGuest[] = [
  { name: "arm64", setup: {} },
  {
    name: "amd64",
    setup: { architecture: amd64, kernel: { name: "guest.elf", bytes: new Uint8Array(readFileSync(bareMetalAmd64)) } },
  },
];
