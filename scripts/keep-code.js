/** Runs what users run most, so that all of it is compiled, and keeps the compiled code beside the bundle. */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { loadBundle } from "../packages/cli/bin/bundle.js";

const guest = join(import.meta.dirname, "..", "guests", "arm64-bare-metal", "guest.img");
const directory = mkdtempSync(join(tmpdir(), "hvjournal-code-"));
const recording = join(directory, "guest.hvj");

const { main, script, codeCachePath } = loadBundle();

async function run(...words) {
  const status = await main([...words, "-q"]);
  if (status !== 0) throw new Error(`hvjournal ${words.join(" ")} ended with status ${status}`);
}

try {
  await run("record", guest, "--append", "scenario=hypercalls", "--headless", "-o", recording);
  await run("replay", recording, "--until", "exit", "20");
  await run("show", recording, "exit", "20");
  await run("log", recording, "-n", "1");
  writeFileSync(codeCachePath, script.createCachedData());
} finally {
  rmSync(directory, { recursive: true, force: true });
}
