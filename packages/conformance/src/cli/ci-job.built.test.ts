/** The job of "In CI" in docs/cli.md, as it stands there: each status that it tells apart, and what it leaves. */
import { afterAll, beforeAll, expect, it, jest } from "@jest/globals";
import {
  chmodSync,
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { bareMetalImage } from "../guests/bare-metal.js";
import { commandDirectory, runShell } from "../testing/command-line.js";
import { repositoryRoot } from "../testing/repository.js";

jest.setTimeout(300_000);

let directory: string;
let binaries: string;

beforeAll(() => {
  directory = mkdtempSync(join(tmpdir(), "hvjournal-ci-"));
  binaries = commandDirectory(directory);
  copyFileSync(bareMetalImage, join(directory, "guest.img"));
  const manual = readFileSync(join(repositoryRoot, "docs", "cli.md"), "utf8");
  const [, job] = /^## In CI\n[^]*?```sh\n([^]*?)```/m.exec(manual) ?? [];
  writeFileSync(join(directory, "job.sh"), job ?? "exit 99");
});
afterAll(() => rmSync(directory, { recursive: true }));

interface JobEnd {
  readonly status: number | null;
  readonly output: string;
  readonly artefact: boolean;
}

function runJob(append: string, { kernel = "guest.img", commands = binaries } = {}): JobEnd {
  const artifacts = join(directory, "artifacts");
  rmSync(artifacts, { recursive: true, force: true });
  mkdirSync(artifacts);
  const line = `KERNEL=${kernel} APPEND='${append}' ARTIFACTS=artifacts sh job.sh`;
  const { status, output } = runShell(line, { cwd: directory, binaries: commands });
  return { status, output, artefact: existsSync(join(artifacts, "vm.hvj")) };
}

it("a good run is verified and kept", () => {
  const { output, ...ended } = runJob("scenario=main input=none ticks=2");
  expect(ended).toEqual({ status: 0, artefact: true });
  expect(output).toMatch(/^good: [^]*^vm\.hvj: \d+ exits, .* equal$/m);
});

it("a panic is status 1, with the line, the next step, and the recording of it", () => {
  const { output, ...ended } = runJob("scenario=loop Kernel panic - not syncing: no init");
  expect(ended).toEqual({ status: 1, artefact: true });
  expect(output).toMatch(/^guest panicked at exit:\d+ .*Kernel panic - not syncing: no init$/m);
  expect(output).toMatch(/^next: hvjournal show vm\.hvj exit:\d+ --stack --disas 8$/m);
});

it("a guest that ends before it is there is status 1, too", () => {
  expect(runJob("scenario=psci rounds=0 end=reset")).toMatchObject({ status: 1, artefact: true });
});

it("what says nothing of the guest keeps its own status, and leaves no artefact of an earlier run", () => {
  const { output, ...ended } = runJob("", { kernel: "gone.img" });
  expect(ended).toEqual({ status: 128, artefact: false });
  expect(output).toContain("not told: the job is at fault");
});

it("a recorder that was killed leaves two files, and both are kept", () => {
  const killed = join(directory, "killed");
  mkdirSync(killed);
  writeFileSync(join(killed, "hvjournal"), "#!/bin/sh\necho file >vm.hvj; echo wal >vm.hvj-wal; kill -KILL $$\n");
  chmodSync(join(killed, "hvjournal"), 0o755);
  const { output, ...ended } = runJob("", { commands: killed });
  rmSync(join(directory, "vm.hvj-wal"));
  expect(ended).toEqual({ status: 137, artefact: true });
  expect(output).toContain("cut off: ");
  expect(readdirSync(join(directory, "artifacts")).sort()).toEqual(["console.log", "vm.hvj", "vm.hvj-wal"]);
});
