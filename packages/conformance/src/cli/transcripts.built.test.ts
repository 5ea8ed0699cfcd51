/**
 * Runs the transcripts of docs/cli.md. `UPDATE_TRANSCRIPTS=1` writes what is printed into the document, for those that
 * do not match any more.
 */
import { afterAll, beforeAll, describe, expect, it, jest } from "@jest/globals";
import { copyFileSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { bareMetalImage } from "../guests/bare-metal.js";
import { commandDirectory, runShell } from "../testing/command-line.js";
import { repositoryRoot } from "../testing/repository.js";
import { masked, matchesTranscript, transcriptCommands, withOutputs } from "../testing/transcript.js";

const path = join(repositoryRoot, "docs", "cli.md");
const document = readFileSync(path, "utf8");
const commands = transcriptCommands(document);
const { UPDATE_TRANSCRIPTS: update = "" } = process.env;

/** What a command that takes long says of how far it is: on a slow host only. */
const PROGRESS = /^\w+ing .*: icount:\d+, \d+ MIPS/;

// Some run a guest several times, and other tests run beside them.
jest.setTimeout(300_000);

describe("docs/cli.md", () => {
  let directory: string;
  let binaries: string;
  let lastStatus = 0;
  const outputs = new Map<number, string[]>();

  beforeAll(() => {
    directory = mkdtempSync(join(tmpdir(), "hvjournal-"));
    binaries = commandDirectory(directory);
    copyFileSync(bareMetalImage, join(directory, "guest.img"));
    const [, machineFile = ""] = /^```yaml\n(.*?)^```$/ms.exec(document) ?? [];
    writeFileSync(join(directory, "vm.yaml"), machineFile);
  });
  afterAll(() => {
    rmSync(directory, { recursive: true });
    if (update !== "") writeFileSync(path, withOutputs(document, outputs));
  });

  it("has transcripts", () => {
    expect(commands.length).toBeGreaterThan(20);
  });

  it.each(commands)("line $line is true: $command", ({ line, command, output }) => {
    const { status, output: printed } = runShell(command.replaceAll("$?", String(lastStatus)), {
      cwd: directory,
      binaries,
    });
    lastStatus = status ?? -1;
    const lines =
      printed === ""
        ? []
        : printed
            .replace(/\n$/, "")
            .split("\n")
            .filter((text) => !PROGRESS.test(text));
    if (matchesTranscript(output, lines)) return;
    if (update !== "") outputs.set(line, lines);
    else expect(lines.map(masked)).toEqual(output.map(masked));
  });
});
