/** The exit statuses under a real `git bisect run`: a recording that can't be told is skipped, a damaged one stops the search. */
import { afterAll, beforeAll, expect, it, jest } from "@jest/globals";
import { spawnSync } from "node:child_process";
import { copyFileSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { delimiter, join } from "node:path";
import { bareMetalImage } from "../guests/bare-metal.js";
import { commandDirectory, runHvjournal } from "../testing/command-line.js";
import { describeWhere } from "../testing/describe-where.js";
import { flipBit, forgeAnswer, forgeFormat } from "../testing/forged-recording.js";

jest.setTimeout(300_000);

type Kind = "good" | "bad" | "future" | "damaged";

const hasGit = spawnSync("git", ["--version"]).status === 0;

describeWhere(hasGit)("git bisect run hvjournal replay", () => {
  let directory: string;
  let environment: NodeJS.ProcessEnv;

  function git(cwd: string, ...args: string[]): { readonly status: number | null; readonly output: string } {
    const { status, stdout, stderr } = spawnSync("git", args, { cwd, env: environment, encoding: "utf8" });
    return { status, output: stdout + stderr };
  }

  /** A history in which `vm.hvj` is of one kind after the other; each commit is named by its number, from 1. */
  function repositoryOf(name: string, kinds: readonly Kind[]): string {
    const repository = join(directory, name);
    mkdirSync(repository);
    git(repository, "init", "-q");
    for (const [index, kind] of kinds.entries()) {
      copyFileSync(join(directory, `${kind}.hvj`), join(repository, "vm.hvj"));
      writeFileSync(join(repository, "number"), `${index + 1}\n`);
      git(repository, "add", ".");
      git(repository, "commit", "-q", "-m", `commit ${index + 1}`);
    }
    git(repository, "bisect", "start", "HEAD", `HEAD~${kinds.length - 1}`);
    return repository;
  }

  beforeAll(() => {
    directory = mkdtempSync(join(tmpdir(), "hvjournal-git-"));
    const { PATH: path = "", ...inherited } = process.env;
    environment = {
      ...inherited,
      PATH: `${commandDirectory(directory)}${delimiter}${path}`,
      XDG_RUNTIME_DIR: directory,
      GIT_CONFIG_GLOBAL: "/dev/null",
      GIT_CONFIG_NOSYSTEM: "1",
      ...{ GIT_AUTHOR_NAME: "a", GIT_AUTHOR_EMAIL: "a@b", GIT_COMMITTER_NAME: "a", GIT_COMMITTER_EMAIL: "a@b" },
    };
    const append = ["--append", "scenario=main input=none ticks=1"];
    const fixed = ["--seed", "1", "--rtc", "base=2026-01-01", "--headless", "-q"];
    const args = ["record", bareMetalImage, ...append, ...fixed, "-o", "good.hvj"];
    expect(runHvjournal(args, { cwd: directory }).status).toBe(0);
    const from = join(directory, "good.hvj");
    forgeAnswer(from, join(directory, "bad.hvj"));
    forgeFormat(from, join(directory, "future.hvj"), 99);
    flipBit(from, join(directory, "damaged.hvj"));
  });
  afterAll(() => rmSync(directory, { recursive: true }));

  it("skips a file of a format that this build does not read, and finds the first that diverges", () => {
    const repository = repositoryOf("skips", ["good", "good", "good", "future", "good", "bad", "bad"]);
    const { status, output } = git(repository, "bisect", "run", "hvjournal", "replay", "-q");
    expect(output).toContain("its format is 99");
    expect(output).toMatch(/is the first bad commit[^]*commit 6/);
    expect(status).toBe(0);
    expect(git(repository, "bisect", "log").output).toMatch(/# skip: \[[0-9a-f]+\] commit 4/);
  });

  it("stops at a damaged file, which is neither good nor bad", () => {
    const repository = repositoryOf("stops", ["good", "good", "good", "damaged", "good", "bad", "bad"]);
    const { status, output } = git(repository, "bisect", "run", "hvjournal", "replay", "-q");
    expect(status).not.toBe(0);
    expect(output).toContain("vm.hvj is damaged at batch");
    expect(output).toMatch(/exit code 128/);
    expect(git(repository, "bisect", "log").output).not.toMatch(/# (good|bad|skip): .*commit [2-6]\n/);
  });
});
