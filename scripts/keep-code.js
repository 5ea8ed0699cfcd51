/**
 * Keeps beside the bundle what a command would otherwise make when it starts: the engine's code for VMs, and V8's code of the
 * bundle, after what users run most has run, so that all of it is compiled.
 */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { loadBundle } from "../packages/cli/bin/bundle.js";

const guests = join(import.meta.dirname, "..", "guests");
const arm64Guest = join(guests, "arm64-bare-metal", "guest.img");
const amd64Guest = join(guests, "amd64-bare-metal", "guest.elf");
const directory = mkdtempSync(join(tmpdir(), "hvjournal-code-"));

const { main, prepareCode, script, fileFor } = loadBundle();
for (const [architecture, code] of Object.entries(prepareCode())) writeFileSync(fileFor(`${architecture}.code`), code);

async function run(...words) {
  const status = await main([...words, "-q"]);
  if (status !== 0) throw new Error(`hvjournal ${words.join(" ")} ended with status ${status}`);
}

async function useAll(guest, recording) {
  await run("record", guest, "--append", "scenario=hypercalls", "--headless", "-o", recording);
  await run("replay", recording, "--until", "exit", "20");
  await run("show", recording, "exit", "20");
  await run("log", recording, "-n", "1");
}

try {
  await useAll(arm64Guest, join(directory, "arm64.hvj"));
  await useAll(amd64Guest, join(directory, "amd64.hvj"));
  writeFileSync(fileFor("cache"), script.createCachedData());
} finally {
  rmSync(directory, { recursive: true, force: true });
}
