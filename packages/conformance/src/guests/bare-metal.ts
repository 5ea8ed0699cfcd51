/** The bare-metal guests that ship with the source. Their scenarios and options are listed in `guests/README.md`. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { repositoryRoot } from "../testing/repository.js";

const directory = join(repositoryRoot, "guests", "arm64-bare-metal");

/** Absolute paths: with symbols, and as a boot loader of Linux images takes it. */
export const bareMetalElf = join(directory, "guest.elf");
export const bareMetalImage = join(directory, "guest.img");

/** Absolute: for amd64. */
export const bareMetalAmd64 = join(repositoryRoot, "guests", "amd64-bare-metal", "guest.elf");

export function readBareMetalImage(): Uint8Array {
  return new Uint8Array(readFileSync(bareMetalImage));
}
