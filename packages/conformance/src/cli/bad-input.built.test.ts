/** What is wrong with a file, a host or a guest is said once, with the place, the status that scripts go by, and a next step that works. */
import { afterAll, beforeAll, describe, expect, it, jest } from "@jest/globals";
import { spawn } from "node:child_process";
import { once } from "node:events";
import {
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
  statSync,
} from "node:fs";
import { openRecording } from "@hvjournal/journal";
import { type AddressInfo, createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { bareMetalImage } from "../guests/bare-metal.js";
import { commandDirectory, runHvjournal, runShell } from "../testing/command-line.js";
import type { CommandResult } from "../testing/command-request.js";
import { flipBit, flipLastPage, forgeIndexedLine, forgeFormat, forgeRecording } from "../testing/forged-recording.js";
import { hvjournalCommand } from "../testing/repository.js";

jest.setTimeout(300_000);

const fixed = ["--seed", "1", "--rtc", "base=2026-01-01", "--headless", "-q"];
let directory: string;
let binaries: string;
const pathOf = (name: string): string => join(directory, name);

function run(...args: string[]): CommandResult {
  return runHvjournal(args, { cwd: directory });
}

/** Pastes what stands behind `next:` into a shell. */
function runNext({ stderr }: CommandResult): { readonly status: number | null; readonly output: string } {
  const [, line] = /^next: (.*)$/m.exec(stderr) ?? [];
  if (line === undefined) throw new Error(`no next step in: ${stderr}`);
  return runShell(line, { cwd: directory, binaries });
}

beforeAll(() => {
  directory = mkdtempSync(join(tmpdir(), "hvjournal-bad-"));
  binaries = commandDirectory(directory);
  const append = ["--append", "scenario=main input=none ticks=2"];
  expect(run("record", bareMetalImage, ...append, ...fixed, "-o", "good.hvj").status).toBe(0);
});
afterAll(() => rmSync(directory, { recursive: true }));

describe("a recording that is damaged", () => {
  it("when it was cut off says how much of it is there", () => {
    const bytes = readFileSync(pathOf("good.hvj"));
    writeFileSync(pathOf("cut.hvj"), bytes.subarray(0, bytes.length / 2));
    const what = `it is cut off: it has ${bytes.length / 2} of ${bytes.length} bytes`;
    for (const command of ["replay", "log", "info", "verify"]) {
      const result = run(command, "cut.hvj");
      expect(result).toMatchObject({
        status: 128,
        stdout: "",
        stderr: `error: cut.hvj is damaged at byte ${bytes.length / 2}: ${what}\nnext: hvjournal fsck cut.hvj\n`,
      });
    }
    const checked = runNext(run("replay", "cut.hvj"));
    expect(checked.status).toBe(1);
    expect(checked.output).toContain(what);
  });

  it("when only its end was cut off replays up to where fsck says, and no further without a word", () => {
    const bytes = readFileSync(pathOf("good.hvj"));
    writeFileSync(pathOf("short.hvj"), bytes.subarray(0, bytes.length - 3 * 8192));
    const checked = run("fsck", "short.hvj");
    expect(checked.status).toBe(1);
    const [, exit] = /^short\.hvj: replays up to event:\d+ \(exit:(\d+), /m.exec(checked.stdout) ?? [];
    const replayed = runNext(checked);
    expect(replayed.status).toBe(0);
    expect(replayed.output).toContain("note: short.hvj is damaged at byte");
    expect(replayed.output).toContain(`compared ${exit} exits`);
    expect(run("replay", "short.hvj")).toMatchObject({ status: 128, stdout: "" });
    // What lies in front of the damage is shown as well.
    const whole = [
      ["show", `exit:${exit}`, "--stack"],
      ["log", `exit:3..exit:${exit}`],
    ] as const;
    for (const [command, ...words] of whole) {
      const [good, short] = [run(command, "good.hvj", ...words), run(command, "short.hvj", ...words)];
      expect(short).toMatchObject({ status: 0, stdout: good.stdout });
      expect(short.stderr).toContain("note: short.hvj is damaged at byte");
    }
    for (const words of [["show", "end"], ["log"], ["log", "exit:3.."], ["show", "exit:HVC64#-1"]]) {
      const [command = "", ...rest] = words;
      expect(run(command, "short.hvj", ...rest)).toMatchObject({ status: 128, stdout: "" });
    }
  });

  it("by a flipped bit names the events that are lost, and replays up to them", () => {
    flipBit(pathOf("good.hvj"), pathOf("flipped.hvj"));
    const result = run("replay", "flipped.hvj");
    expect(result.status).toBe(128);
    const [, last, exit] =
      /^error: flipped\.hvj is damaged at batch \d+, event:\d+\.\.\d+, .*; it replays up to event:(\d+) \(exit:(\d+)\)$/m.exec(
        result.stderr,
      ) ?? [];
    expect(Number(last)).toBeGreaterThan(0);
    const checked = runNext(result);
    expect(checked.status).toBe(1);
    expect(checked.output).toContain(`event:${last}`);
    for (const position of [`event:${last}`, `exit:${exit}`]) {
      const [standing] = run("replay", "flipped.hvj", "--until", position, "--json").stdout.split("\n");
      expect(JSON.parse(standing ?? "")).toMatchObject({ exit: Number(exit), compared: { exits: Number(exit) } });
    }
    expect(run("fsck", "good.hvj").status).toBe(0);
  });

  it("where a run to its end had nothing to read is told behind the answer, and stops a search", () => {
    flipLastPage(pathOf("good.hvj"), pathOf("page.hvj"));
    for (const command of ["replay", "verify"]) {
      const [whole, damaged] = [run(command, "good.hvj"), run(command, "page.hvj")];
      const next = command === "replay" ? "next: hvjournal show good.hvj exit:6447 --stack --disas 8\n" : "";
      expect(whole).toMatchObject({ status: 0, stderr: next });
      expect(damaged.status).toBe(128);
      expect(damaged.stdout).toBe(whole.stdout.replaceAll("good.hvj", "page.hvj"));
      expect(damaged.stderr).toMatch(
        /^error: page\.hvj is damaged where this run had nothing to read, at page [0-9a-f]+ \(bytes \d+\.\.\d+\): .*\n {2}and at snapshot 1.*\nnext: hvjournal fsck page\.hvj\n$/,
      );
      expect(run(command, "page.hvj", "-q")).toMatchObject({ status: 128, stdout: "" });
      // One object, with the answer in it.
      const [wholeJson, damagedJson] = [run(command, "good.hvj", "--json"), run(command, "page.hvj", "--json")];
      expect(JSON.parse(damagedJson.stdout)).toEqual({
        error: "journal-damaged",
        message: expect.stringMatching(/^page\.hvj is damaged where this run had nothing to read, at page /),
        next: "hvjournal fsck page.hvj",
        answer: JSON.parse(wholeJson.stdout.replaceAll("good.hvj", "page.hvj")) as unknown,
      });
      expect(damagedJson.status).toBe(128);
    }
    expect(run("replay", "page.hvj", "--until", "exit:100").status).toBe(0);
  });

  it("is told by a verification that is over long before it too", () => {
    flipLastPage(pathOf("good.hvj"), pathOf("page.hvj"));
    const { status, stdout, stderr } = run("verify", "page.hvj", "--expect", "exit.nr > 0");
    expect(stdout).toMatch(/^page\.hvj: 'exit\.nr > 0' holds at exit:\d+ /);
    expect(stderr).toMatch(/^error: page\.hvj is damaged where this run had nothing to read, at page /m);
    expect(status).toBe(128);
    const asJson = run("verify", "page.hvj", "--expect", "exit.nr > 0", "--json");
    expect(JSON.parse(asJson.stdout)).toMatchObject({ error: "journal-damaged", answer: { holds: true } });
  });

  it("in the tables for sqlite3 alone has lost nothing, and the next step makes them anew", () => {
    forgeIndexedLine(pathOf("good.hvj"), pathOf("edited.hvj"), "bare-metal guest: EL1");
    const checked = run("fsck", "edited.hvj");
    expect(checked.stdout).toMatch(
      /^damaged: derived table console: .*\nedited\.hvj: the tables for sqlite3 alone are damaged, nothing is lost: \d+ events in /,
    );
    expect(checked).toMatchObject({ status: 1, stderr: "next: hvjournal index edited.hvj\n" });
    expect(JSON.parse(run("fsck", "edited.hvj", "--json").stdout)).toMatchObject({ isWhole: false, onlyDerived: true });
    expect(runNext(checked).status).toBe(0);
    expect(run("fsck", "edited.hvj").status).toBe(0);
  });

  it("is no recording at all when it is something else", () => {
    writeFileSync(pathOf("text.hvj"), "no recording");
    writeFileSync(pathOf("empty.hvj"), "");
    for (const name of ["text.hvj", "empty.hvj", "nowhere.hvj"]) {
      const result = run("replay", name);
      expect(result.status).toBe(128);
      expect(result.stderr).toMatch(new RegExp(`^error: .*${name}`));
    }
  });
});

describe("a recording that is not for this build", () => {
  it("of a later format says which, and can't be told", () => {
    forgeFormat(pathOf("good.hvj"), pathOf("future.hvj"), 99);
    for (const command of ["replay", "verify", "info"]) {
      expect(run(command, "future.hvj")).toMatchObject({
        status: 125,
        stderr: "error: can't tell what future.hvj holds with this build: its format is 99, this build reads 1\n",
      });
    }
  });

  it("of an architecture that it has not says which, and can't be told", () => {
    forgeRecording(pathOf("good.hvj"), pathOf("other.hvj"), () => undefined, { architecture: "riscv64" });
    for (const command of ["replay", "verify", "log"]) {
      const result = run(command, "other.hvj");
      expect(result.status).toBe(125);
      expect(result.stderr).toMatch(/^error: .*riscv64/);
    }
  });

  it.each([
    ["CPU model", { cpuModel: "hvj-v9" }],
    ["host", { host: { name: "newest", version: 1 } }],
  ])("info tells of a machine with a %s that only another build has", (_what, fields) => {
    const reader = openRecording(pathOf("good.hvj"));
    const { machine } = reader.header;
    reader.close();
    forgeRecording(pathOf("good.hvj"), pathOf("foreign.hvj"), () => undefined, { machine: { ...machine, ...fields } });
    expect(run("info", "foreign.hvj")).toMatchObject({ status: 0, stderr: "" });
    rmSync(pathOf("foreign.hvj"));
  });
});

describe("verify of a recording whose kernel", () => {
  beforeAll(() => {
    mkdirSync(pathOf("away"));
    mkdirSync(pathOf("kernels"));
    copyFileSync(bareMetalImage, pathOf("kernels/a guest.img"));
    const args = ["--append", "scenario=psci rounds=1", ...fixed, "-o", "away/psci.hvj"];
    expect(run("record", "kernels/a guest.img", ...args).status).toBe(0);
    renameSync(pathOf("kernels/a guest.img"), pathOf("away/a guest.img"));
    writeFileSync(pathOf("other.img"), "another kernel");
  });

  it("has gone from where it was stops a search, and is found beside the recording", () => {
    const result = run("verify", "away/psci.hvj");
    const said =
      "can't read the kernel that was recorded, kernels/a guest.img: no such file; --kernel says where it is now";
    const next = "hvjournal verify away/psci.hvj --kernel 'away/a guest.img'";
    expect(result).toMatchObject({ status: 128, stderr: `error: ${said}\nnext: ${next}\n` });
    expect(runNext(result).status).toBe(0);
    expect(run("verify", "away/psci.hvj", "--kernel", "nowhere.img").status).toBe(128);
  });

  it("has become another stops a search too; one that is asked to be another needs an EXPR", () => {
    copyFileSync(pathOf("other.img"), pathOf("kernels/a guest.img"));
    const result = run("verify", "away/psci.hvj");
    expect(result.status).toBe(128);
    expect(result.stderr).toContain("kernel kernels/a guest.img is not the one that was recorded");
    expect(runNext(result).status).toBe(0);
    rmSync(pathOf("kernels/a guest.img"));
    const other = run("verify", "away/psci.hvj", "--kernel", "other.img");
    expect(other.status).toBe(129);
    expect(other.stderr).toContain("--expect EXPR says what must hold");
  });
});

describe("record", () => {
  it("refuses what can't boot, and leaves no file", () => {
    writeFileSync(pathOf("text.img"), "hello\n");
    for (const [args, message] of [
      [["text.img"], "can't boot text.img: it is no kernel"],
      [[bareMetalImage, "-m", "64K"], "which has 65536; give it more memory"],
      [[bareMetalImage, "-m", "1M"], "do not fit into the"],
    ] as const) {
      const result = run("record", ...args, ...fixed, "-o", "unbooted.hvj");
      expect(result.status).toBe(128);
      expect(result.stderr).toContain(message);
      expect(existsSync(pathOf("unbooted.hvj"))).toBe(false);
    }
  });

  it("on a full disk says up to where it kept the run, and that replays", () => {
    const options = `--append 'scenario=main input=none rounds=200 ticks=3' ${fixed.join(" ")}`;
    // Units of 512 bytes: the first snapshot fits, the run does not.
    const line = `ulimit -f 400; exec hvjournal record '${bareMetalImage}' ${options} -o full.hvj`;
    const { status, output } = runShell(line, { cwd: directory, binaries });
    expect(status).toBe(128);
    const [, event, exit] =
      /^error: can't write full\.hvj: there is no room left; it keeps everything up to event:(\d+) \(exit:(\d+)\); free space/.exec(
        output,
      ) ?? [];
    expect(run("fsck", "full.hvj")).toMatchObject({ status: 0 });
    const [standing] = run("replay", "full.hvj", "--json").stdout.split("\n");
    expect(JSON.parse(standing ?? "")).toMatchObject({ event: Number(event), exit: Number(exit) });
    expect(Number(exit)).toBeGreaterThan(100);
  });

  it("on a disk that is full before the guest runs leaves no file, and promises none", () => {
    const line = `ulimit -f 100; exec hvjournal record '${bareMetalImage}' ${fixed.join(" ")} -o none.hvj`;
    const { status, output } = runShell(line, { cwd: directory, binaries });
    expect([status, existsSync(pathOf("none.hvj"))]).toEqual([128, false]);
    expect(output).toMatch(/^error: can't write none\.hvj: there is no room left; free space/);
  });

  it.each(["1", "2", "3"])("of a guest that executes garbage (seed %s) ends, and replays", (seed) => {
    const append = `scenario=garbage seed=${seed}`;
    const result = run(
      "record",
      bareMetalImage,
      "--append",
      append,
      ...fixed,
      "--timeout",
      "1s",
      "--force",
      "-o",
      "g.hvj",
    );
    expect([0, 1, 124]).toContain(result.status);
    expect(result.stderr).not.toContain("bug");
    expect(run("replay", "g.hvj", "-q").status).toBe(0);
  });

  it("of a guest that faults in its own vectors for ever says where, and its next step shows that", () => {
    const result = run("record", bareMetalImage, "--append", "scenario=vectors", "--headless", "-o", "vectors.hvj");
    expect(result.status).toBe(1);
    const [, address] = /vcpu0 takes the same exception for ever: .* vector (0x[0-9a-f]+)/.exec(result.stderr) ?? [];
    const shown = runNext(result);
    expect(shown.status).toBe(0);
    expect(shown.output).toContain("vbar_el1");
    expect(run("show", "vectors.hvj", "end").stdout).toContain(address?.slice(2));
  });
});

describe("an expression", () => {
  it("that held before the guest had done anything is told, in text and JSON, to record and verify", () => {
    const recorded = (text: string): unknown => {
      const words = ["--append", "scenario=loop", "--timeout", "1ms", "--seed", "1", "--headless", "-o", "start.hvj"];
      const { stdout } = run("record", bareMetalImage, ...words, "--force", "-q", "--json", "--until", text);
      return JSON.parse(stdout.trim().split("\n").at(-1) ?? "");
    };
    const held = { heldFromStart: true };
    for (const text of ["1", "!(console =~ /FAIL/)", "time > 1"]) expect(recorded(text)).toMatchObject(held);
    for (const text of ["exit.nr >= 0", "console =~ /./"])
      expect(recorded(text)).toEqual(expect.not.objectContaining(held));
    expect(
      run(
        "record",
        bareMetalImage,
        "--append",
        "scenario=loop",
        "--headless",
        "-o",
        "start.hvj",
        "--force",
        "--until",
        "1",
      ).stderr,
    ).toContain("note: --until '1' held from the start, at the first exit already\n");
    const verified = run("verify", "good.hvj", "--expect", "time > 1");
    expect(verified).toMatchObject({
      status: 0,
      stderr: expect.stringContaining("'time > 1' held from the start, at the first exit already"),
    });
    expect(JSON.parse(run("verify", "good.hvj", "--expect", "time > 1", "--json").stdout)).toMatchObject(held);
    expect(run("verify", "good.hvj", "--expect", "!(console =~ /FAIL/)").stderr).not.toContain("held from the start");
  });

  it("over registers is said to be asked at exits only while a guest is recorded", () => {
    const options = ["--append", "scenario=loop", "--timeout", "1ms", "--seed", "1", "--headless", "-o", "asked.hvj"];
    const told = (text: string): boolean =>
      run("record", bareMetalImage, ...options, "--force", "--fail-on", text).stderr.includes("is asked at exits only");
    expect([told("$pc == 5"), told("exit.nr == 1 && $pc == 5"), told("time > 5s")]).toEqual([true, false, false]);
    const unknown = run("record", bareMetalImage, ...options, "--force", "--fail-on", "$pc == &panic");
    expect(unknown.status).toBe(129);
    expect(unknown.stderr).toContain("a kernel's own names are not known before it runs");
  });

  it("whose address is never mapped is told from one that never holds", () => {
    const { status, stderr } = run("bisect", "good.hvj", "--when", "*(u8 *)0x7777000000000000 == 1");
    expect(status).toBe(1);
    expect(stderr).toMatch(/^note: 0x7777000000000000 was not mapped at any moment/m);
    expect(run("bisect", "good.hvj", "--when", "*(u8 *)0x40000000 == 0x100").stderr).not.toContain("was not mapped");
  });

  it("is not looked for between two ends in the wrong order", () => {
    const { status, stderr } = run("bisect", "good.hvj", "--good", "exit:20", "--bad", "exit:10", "--when", "$pc == 0");
    expect(status).toBe(129);
    expect(stderr).toContain("the range exit:20..exit:10 is reversed");
  });

  it("that holds at the good end already is followed by a search that works", () => {
    const result = run("bisect", "good.hvj", "--good", "exit:20", "--when", "icount > 5");
    expect(result.status).toBe(128);
    expect(runNext(result).output).toContain("icount:6 ");
  });
});

describe("receive", () => {
  it("on a port that another has says so", async () => {
    const server = createServer().listen(0, "127.0.0.1");
    await once(server, "listening");
    try {
      const { port } = server.address() as AddressInfo;
      const result = run("receive", "--listen", `tcp:127.0.0.1:${port}`, "-o", "received.hvj");
      expect(result.status).toBe(128);
      expect(result.stderr).toMatch(new RegExp(`^error: .*${port}.*(in use|taken)`));
      expect(existsSync(pathOf("received.hvj"))).toBe(false);
    } finally {
      server.close();
    }
  });
});

describe("a recorder that is killed", () => {
  /** Kills it in the midst of its work, once the first events have come out of the -wal into the file itself. */
  async function recordAndKill(name: string): Promise<void> {
    const args = ["record", bareMetalImage, "--append", "scenario=loop period=10", "--headless", "-o", name];
    const child = spawn(process.execPath, [hvjournalCommand, ...args], {
      cwd: directory,
      stdio: ["ignore", "pipe", "ignore"],
      env: { ...process.env, XDG_RUNTIME_DIR: directory },
    });
    let lines = 0;
    let bytesAtFirst: number | undefined;
    child.stdout.on("data", (bytes: Buffer) => {
      lines += bytes.toString("latin1").split("\n").length - 1;
      const { size } = statSync(pathOf(name));
      bytesAtFirst ??= size;
      if (lines > 400 && size > bytesAtFirst) child.kill("SIGKILL");
    });
    await once(child, "close");
    expect(child.signalCode).toBe("SIGKILL");
  }

  it("leaves a file that replays up to its last batch, also when it is copied without its -wal", async () => {
    await recordAndKill("killed.hvj");
    expect(existsSync(pathOf("killed.hvj-wal"))).toBe(true);
    copyFileSync(pathOf("killed.hvj"), pathOf("alone.hvj"));
    const lastOf = (name: string): { readonly event: number; readonly stderr: string } => {
      const { status, stdout, stderr } = run("replay", name, "--json");
      expect({ status, stderr: stderr.replace(/^note: .*\n/, "") }).toEqual({ status: 0, stderr: "" });
      const { event, compared, end, notes } = JSON.parse(stdout) as {
        event: number;
        compared: { exits: number };
        end: string;
        notes: unknown[];
      };
      expect(notes).toMatchObject([{ code: name === "alone.hvj" ? "wal-missing" : "unfinished" }]);
      expect(compared.exits).toBeGreaterThan(0);
      expect(end).toBe("open");
      return { event, stderr };
    };
    const whole = lastOf("killed.hvj");
    const alone = lastOf("alone.hvj");
    expect(alone.event).toBeLessThanOrEqual(whole.event);
    expect(alone.stderr).toMatch(/^note: .*-wal/);
    const unfinished =
      /^note: killed\.hvj has no end mark, because its recorder was killed, or still runs \(hvjournal ps\): all that it holds, up to exit:\d+ /;
    expect(whole.stderr).toMatch(unfinished);
    const verified = run("verify", "killed.hvj", "--json");
    expect(verified.status).toBe(0);
    expect(verified.stderr).toMatch(unfinished);
    expect(JSON.parse(verified.stdout)).toMatchObject({ equal: true, end: "open" });
    const judged = run("verify", "alone.hvj");
    expect(judged).toMatchObject({ status: 128, stdout: "" });
    expect(judged.stderr).toMatch(
      /^error: alone\.hvj was copied without its alone\.hvj-wal: what came after event:\d+ \(exit:\d+\) is not in it; copy alone\.hvj-wal to it /,
    );
    expect(runNext(judged).status).toBe(0);
    const judgedJson = run("verify", "alone.hvj", "--json");
    expect(judgedJson.status).toBe(128);
    expect(JSON.parse(judgedJson.stdout)).toMatchObject({ error: "wal-missing", recording: "alone.hvj" });
    const checked = run("fsck", "killed.hvj");
    expect(checked.status).toBe(0);
    expect(checked.stdout).toMatch(/^killed\.hvj: not finished, whole up to exit:\d+: /);
    expect(checked.stderr).toMatch(/^note: no end mark stands behind batch \d+: /);
    const lone = run("fsck", "alone.hvj");
    expect(lone.status).toBe(1);
    expect(lone.stdout).toMatch(
      /^damaged: end: no end mark stands behind batch \d+, and alone\.hvj-wal, which held what came later, is missing\n/,
    );
    expect(runNext(lone).status).toBe(0);
  });

  it("is told of as not finished by fsck's JSON, as by its text", () => {
    const report = (name: string): unknown => JSON.parse(run("fsck", name, "--json").stdout);
    expect(report("killed.hvj")).toMatchObject({
      isWhole: true,
      isFinished: false,
      notes: [{ code: "unfinished", text: expect.stringMatching(/^no end mark stands behind batch \d+: /) }],
    });
    expect(report("alone.hvj")).toMatchObject({ isWhole: false, isFinished: false, notes: [{ code: "wal-missing" }] });
    expect(report("good.hvj")).toMatchObject({ isWhole: true, isFinished: true, notes: [] });
  });

  it("is told of as not finished by diff where it is compared up to its end, and nowhere else", () => {
    const ends = run("diff", "killed.hvj", "killed.hvj@end");
    expect(ends.status).toBe(0);
    expect(
      ends.stderr.match(/^note: killed\.hvj has no end mark.*, up to exit:\d+ icount:\d+, was compared$/gm),
    ).toHaveLength(2);
    const early = run("diff", "killed.hvj@exit:3", "killed.hvj@exit:3");
    expect(early).toMatchObject({ status: 0, stderr: "" });
    const differing = run("diff", "killed.hvj", "good.hvj", "--json");
    expect(JSON.parse(differing.stdout)).toMatchObject({ equal: false, ends: { a: "open", b: "closed" } });
    const states = run("diff", "killed.hvj@exit:3", "good.hvj@exit:3", "--state", "--json");
    expect(JSON.parse(states.stdout)).toMatchObject({ ends: { a: "open", b: "closed" } });
  });
});

describe("standard output that takes no more", () => {
  it.each([
    ["an answer", "info good.hvj --json"],
    ["an error", "verify nosuch.hvj --json"],
    ["wrong usage", "verify --nosuch --json"],
    ["that time is up", "verify good.hvj --timeout 1us --json"],
    ["that something is not there", "show good.hvj exit:999999 --json"],
    ["an answer that is no", "diff good.hvj good.hvj@exit:3 --json"],
  ])("is told in one line, with status 128, where it was to take %s", (_, words) => {
    const { status, output } = runShell(`exec hvjournal ${words} >/dev/full`, { cwd: directory, binaries });
    expect(output).toMatch(/^error: can't write to standard output: .*\n$/);
    expect(status).toBe(128);
  });
});

describe("Debian's placeholder for a System.map", () => {
  const placeholder = "ffffffffffffffff B The real System.map is in the linux-image-<version>-dbg package\n";

  it("is told as that, with the package that has the real one, and what does without", () => {
    writeFileSync(pathOf("System.map-6.1.0-56-cloud-amd64"), placeholder);
    const { status, stderr } = run("show", "good.hvj", "end", "--symbols", "System.map-6.1.0-56-cloud-amd64");
    expect(status).toBe(128);
    expect(stderr).toMatch(/^error: can't read symbols System.map-\S+: it is Debian's placeholder for a System.map;/);
    expect(stderr).toContain("package linux-image-6.1.0-56-cloud-amd64-dbg, below /usr/lib/debug/boot\n");
    expect(stderr).toMatch(/^note: .* without --symbols too, by its own kallsyms/m);
  });
});

describe("where a replay or a search stops", () => {
  it("the next step shows who called, and can be pasted", () => {
    for (const words of [
      ["replay", "good.hvj", "--until", "exit:50"],
      ["bisect", "good.hvj", "--when", "$pc != 0 && exit.reason == HVC64"],
      ["bisect", "good.hvj", "--good", "exit:3", "--bad", "exit:5", "--run", "sh", "-c", "test $HVJ_POSITION = exit:3"],
    ]) {
      const result = run(...words);
      expect(result.stderr).toMatch(/^next: hvjournal show good\.hvj exit:\S+ --stack --disas 8$/m);
      expect(runNext(result)).toMatchObject({ status: 0, output: expect.stringMatching(/^ {2}stack {6}\S/m) });
    }
  });
});
