/** The command line as users and scripts meet it: processes, files, exit statuses. */
import { afterAll, beforeAll, describe, expect, it, jest } from "@jest/globals";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { copyFileSync, existsSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { bareMetalAmd64, bareMetalElf, bareMetalImage } from "../guests/bare-metal.js";
import { runHvjournal } from "../testing/command-line.js";
import type { CommandResult } from "../testing/command-request.js";
import { forgeAnswer } from "../testing/forged-recording.js";
import { hvjournalCommand } from "../testing/repository.js";

const WATCHED_WORD = "0xffffff8000007008";
const fixed = ["--seed", "1", "--rtc", "base=2026-01-01", "--headless"];

// Each test runs several processes, and other tests run beside it.
jest.setTimeout(300_000);

let directory: string;

function run(...args: string[]): CommandResult {
  return runHvjournal(args, { cwd: directory });
}

function json(result: CommandResult): Record<string, unknown>[] {
  return result.stdout
    .split("\n")
    .filter((line) => line !== "")
    .map((line) => JSON.parse(line) as Record<string, unknown>);
}

beforeAll(() => {
  directory = mkdtempSync(join(tmpdir(), "hvjournal-"));
  const main = ["--append", "scenario=main input=none ticks=3", "--smccc-filter", "0xc6000000+0x100=forward"];
  expect(run("record", bareMetalImage, ...main, ...fixed, "-q", "-o", "main.hvj").status).toBe(0);
  const fault = ["--append", "scenario=fault-memory"];
  expect(run("record", bareMetalImage, ...fault, ...fixed, "-q", "-o", "fault.hvj").status).toBe(0);
});
afterAll(() => rmSync(directory, { recursive: true }));

/** Writes "k" to the UART, then calls PSCI SYSTEM_OFF. */
const plainCode = Uint32Array.of(0xd2a1_2001, 0x5280_0d60, 0xb900_0020, 0x5280_0100, 0x72b0_8000, 0xd400_0002);

describe("record", () => {
  it("runs plain code where it is told to place it, and verifies it", () => {
    writeFileSync(join(directory, "plain.bin"), plainCode);
    const place = ["--flat", "0x80000"];
    expect(run("record", "plain.bin", ...place, ...fixed, "-o", "plain.hvj")).toMatchObject({ status: 0, stdout: "k" });
    expect(run("verify", "plain.hvj").stdout).toBe(
      "plain.hvj: 2 exits, 2 digests and all that the VMM half did, equal\n",
    );
    expect(run("record", "plain.bin", ...fixed, "-o", "none.hvj").stderr).toContain("it is no kernel");
    expect(run("record", "plain.bin", "--flat", "3", ...fixed, "-o", "none.hvj").stderr).toContain("no multiple of 4");
  });

  it("says why it fails where it is quiet too, and nothing where all is well", () => {
    const quiet = (...words: string[]): CommandResult =>
      run(
        "record",
        bareMetalImage,
        "--append",
        "scenario=loop count=3",
        ...fixed,
        "-q",
        "--force",
        "-o",
        "q.hvj",
        ...words,
      );
    expect(quiet()).toMatchObject({ status: 0, stdout: "", stderr: "" });
    expect(quiet("--fail-on", "console:/power off/")).toMatchObject({
      status: 1,
      stderr: expect.stringMatching(/^error: guest failed at exit:\d+ time:\S+: power off\n$/),
    });
  });

  it("overwrites no file that is no recording, and checks --memory and --arch", () => {
    writeFileSync(join(directory, "kept.img"), plainCode);
    const forced = run("record", "kept.img", "--flat", "0", ...fixed, "--force", "-o", "kept.img");
    expect(forced).toMatchObject({ status: 128, stderr: expect.stringContaining("it is no recording") });
    expect(forced.stderr).toMatch(/\nnext: hvjournal record kept\.img --flat 0 .* -o kept\.img\.hvj\n$/);
    expect(run("verify", "kept.img").stderr).toContain("kept.img is not a recording");
    expect(run("record", bareMetalImage, "-m", "1K").status).toBe(129);
    expect(run("record", bareMetalImage, "--arch", "amr64").status).toBe(129);
  });

  it("does not overwrite what -o names, and moves an older vm.hvj aside", () => {
    const refused = run("record", bareMetalImage, ...fixed, "-o", "main.hvj");
    const next = `hvjournal record --force ${bareMetalImage} ${fixed.join(" ")} -o main.hvj`;
    expect(refused).toMatchObject({
      status: 128,
      stderr: `error: can't record to main.hvj: the file exists\nnext: ${next}\n`,
    });
    const append = ["--append", "scenario=psci rounds=1"];
    for (let i = 0; i < 2; i++) expect(run("record", bareMetalImage, ...append, ...fixed, "-q").status).toBe(0);
    expect(existsSync(join(directory, "vm.hvj.old"))).toBe(true);
  });

  it.each([
    [["record"], 129, "record needs a kernel"],
    [["record", "nowhere.img"], 128, "can't read kernel nowhere.img: no such file"],
    [["record", bareMetalImage, "--kernel", bareMetalElf], 129, "two kernels are given"],
    [["record", bareMetalImage, "--seed", "1", "--seed", "2"], 129, "--seed is given 2 times: 1, 2"],
    [["record", bareMetalImage, "--until", "exit:0"], 129, "exits are numbered from 1"],
    [["record", bareMetalImage, "--until", "event:5"], 129, "a VM that runs is stopped at"],
    [["record", bareMetalImage, "--fail-on", "end"], 129, "every run ends"],
    [["record", bareMetalImage, "--until", "$nothing == 1"], 129, "there is no register $nothing"],
    [["record", bareMetalImage, "--smccc-filter", "0xc6000000+1=maybe"], 129, "expected BASE+COUNT="],
    [["record", bareMetalImage, "--smccc-filter", "0+1=deny", "--smccc-filter", "0+1=deny"], 129, "EEXIST"],
    [["record", bareMetalImage, "--arch", "amd64"], 128, "it is an arm64 kernel (Image); this VM has x86-64 vCPUs"],
    [["record", bareMetalAmd64, "--arch", "arm64"], 128, "it is an ELF file for x86-64; this VM has arm64 vCPUs"],
    [["record", bareMetalAmd64, "--machine", "virt"], 129, "--machine virt: amd64 has pc"],
    [["record", bareMetalAmd64, "--machine", "q35"], 125, "this build has no board q35: it has virt, pc"],
    [["record", bareMetalAmd64, "--cpu", "z80"], 129, "--cpu z80: amd64 has hvj-v1"],
    [["record", bareMetalAmd64, "--exit-model", "kvm-arm64"], 129, "amd64 has kvm-intel, kvm-amd"],
    [["record", bareMetalAmd64, "--hv", "relaxed,warp"], 129, "--hv relaxed,warp: 'warp' is none of"],
    [["record", "--from", "main.hvj", "-m", "1G"], 129, "--memory can't change it"],
    [["record", bareMetalImage, "--nothing"], 129, "Unknown argument: nothing"],
    [["nothing"], 129, "Unknown command: nothing"],
    [["nothing", "--help"], 129, "Unknown command: nothing"],
    [["info", "main.hvj", "5"], 129, "unexpected word: 5"],
  ])("refuses %j", (args, status, message) => {
    const before = existsSync(join(directory, "refused.hvj"));
    const result = run(...args, ...(args[0] === "record" ? ["--headless", "-o", "refused.hvj"] : []));
    expect(result.status).toBe(status);
    expect(result.stderr).toContain(message);
    expect(existsSync(join(directory, "refused.hvj"))).toBe(before);
  });

  it.each([
    [["replya"], "Unknown command: replya; did you mean replay?", "hvjournal --help"],
    [["bisct", "main.hvj"], "error: Unknown command: bisct; did you mean bisect?", "hvjournal --help"],
    [["log", "main.hvj", "--kind", "Exitted"], "; did you mean Exited?", "hvjournal log --help"],
    [["replay", "--untill", "end"], "Unknown argument: untill; did you mean --until?", "hvjournal replay --help"],
    [["record", "x", "--snapshot", "5"], "did you mean --snapshot-every?", "hvjournal record --help"],
    [["replay", "--until"], "Not enough arguments following: until", "hvjournal replay --help"],
    [["verify", "--level", "x"], "--level x: bits, exits, outcome", "hvjournal verify --help"],
    [["replay", "main.hvj", "--until", "exit:"], "exit:REASON is expected", "hvjournal help positions"],
    [["replay", "main.hvj", "--until", " == 0x40"], "between single quotes: '$pc", "hvjournal help expressions"],
    [["show", "main.hvj", "$pc == 0x40"], "is an EXPR", "hvjournal replay main.hvj --until '$pc == 0x40'"],
    [["show", "-i", "main.hvj", "$pc == 0x40"], "is an EXPR", "hvjournal replay main.hvj --until '$pc == 0x40'"],
    [["help", "positon"], "there is no help for positon", "hvjournal help positions"],
    [["migrate", "main.hvj"], "migrate needs a destination", "hvjournal migrate main.hvj main-2"],
    [["sql", "-i", "main.hvj"], "sql [RECORDING] QUERY", "hvjournal sql main.hvj 'select reason, count("],
  ])("of what is misspelt, as in %j, says what was meant and where it is explained", (args, message, next) => {
    const { status, stderr } = run(...args);
    expect(status).toBe(129);
    expect(stderr).toContain(message);
    expect(stderr).toContain(`\nnext: ${next}`);
  });

  it("types what comes through a pipe, and what a script says when the guest asks", () => {
    const options = ["--append", "scenario=main ticks=2 period=100", "--seed", "1", "--rtc", "base=2026-01-01"];
    const piped = runHvjournal(["record", bareMetalImage, ...options, "-o", "piped.hvj"], {
      cwd: directory,
      input: "hello\nquit\n",
    });
    expect(piped.stdout).toContain("echo: hello");
    writeFileSync(join(directory, "typed.txt"), 'at console /quit ends/ send "hi\\n"\nat time 1s send "quit\\n"\n');
    const scripted = run("record", bareMetalImage, ...options, "--headless", "--input", "typed.txt", "-o", "typed.hvj");
    expect(scripted.stdout).toContain("echo: hi");
    for (const name of ["piped.hvj", "typed.hvj"]) expect(run("verify", name)).toMatchObject({ status: 0 });
    expect(run("log", "typed.hvj", "--inputs").stdout.split("\n")).toHaveLength(3);
  });

  it("stops where it is told, with the status that scripts go by", () => {
    const goal = (...args: string[]): CommandResult =>
      run(
        "record",
        bareMetalImage,
        "--append",
        "scenario=fault-memory",
        ...fixed,
        ...args,
        "-o",
        "goal.hvj",
        "--force",
        "--json",
      );
    expect(goal("--until", "console:/step 2/")).toMatchObject({ status: 0 });
    const failed = goal("--fail-on", "console:/step 2/", "--until", "console:/step 2/");
    expect(failed.stderr).toMatch(/guest failed at exit:\d+ time:\S+: step 2 sum 0x[0-9a-f]{16}$/m);
    // What the guest wrote behind it is in the recording, as far as it had time to.
    expect(run("replay", "goal.hvj", "--console").stdout).toMatch(/step 3 sum/);
    expect(goal("--fail-on", "exit 300", "--until", "exit 300").status).toBe(1);
    goal("--fail-on", "console:/step 2/", "--timeout", "2ms");
    expect(run("info", "goal.hvj").stdout).toMatch(/^ended +failed: --fail-on console:\/step 2\/: step 2 sum 0x/m);
    // The guest powers off in the time that it has left: it has failed all the same, and the recording says both.
    expect(goal("--fail-on", "console:/power off/").status).toBe(1);
    expect(run("info", "goal.hvj").stdout).toMatch(
      /^ended +failed: --fail-on console:\/power off\/: power off; then guest powered off \(PSCI SYSTEM_OFF\)$/m,
    );
    expect(json(run("info", "goal.hvj", "--json"))[0]).toMatchObject({
      ended: { what: "powered off", failure: { by: "--fail-on console:/power off/: power off" } },
    });
    for (const command of ["replay", "verify", "fsck"]) expect(run(command, "goal.hvj")).toMatchObject({ status: 0 });
    goal("--until", "exit 300");
    expect(run("info", "goal.hvj").stdout).toMatch(/^ended +reached: --until exit 300$/m);
    goal("--timeout", "1ms");
    expect(run("info", "goal.hvj").stdout).toMatch(/^ended +ran out of --timeout$/m);
    expect(run("info", "main.hvj").stdout).toMatch(/^ended +guest powered off \(PSCI SYSTEM_OFF\)$/m);
    const missed = goal("--until", "console:/never/", "-q");
    expect(json(missed)[0]).toMatchObject({ status: 1, error: "not-reached" });
    expect(missed.status).toBe(1);
    expect(goal("--fail-on", "exit.reason == HVC64 && exit.kvm == SYSTEM_EVENT").status).toBe(1);
    expect(goal("--timeout", "1ms")).toMatchObject({ status: 124 });
    expect(json(goal("--until", "exit 300"))[0]).toMatchObject({ exit: 300 });
    const behind = json(goal("--until", "exit 300+5"))[0];
    expect(run("show", "goal.hvj", "end").stdout).toMatch(/^exit:300\+5 vcpu0/);
    expect(behind).toMatchObject({ exit: 300, status: 0 });
  });

  it("ends well on SIGINT, with a whole recording", async () => {
    const args = [
      hvjournalCommand,
      "record",
      bareMetalImage,
      "--append",
      "scenario=loop",
      "--headless",
      "-o",
      "loop.hvj",
    ];
    const child = spawn(process.execPath, args, {
      cwd: directory,
      stdio: ["ignore", "pipe", "ignore"],
      env: { ...process.env, XDG_RUNTIME_DIR: directory },
    });
    await once(child.stdout, "data");
    child.stdout.resume();
    child.kill("SIGINT");
    const [status] = (await once(child, "close")) as [number | null];
    expect(status).toBe(130);
    expect(run("fsck", "loop.hvj").status).toBe(0);
    expect(run("replay", "loop.hvj", "-q").status).toBe(0);
  });

  it("makes no tables for sqlite3 once --host-timeout is up, and says what makes them", () => {
    const words = [
      "--append",
      "scenario=loop count=0",
      "--headless",
      "--host-timeout",
      "1ms",
      "-o",
      "late.hvj",
      "--force",
    ];
    const asText = run("record", bareMetalImage, ...words);
    expect(asText.status).toBe(124);
    const next =
      /^note: there was no time for the tables for the stock sqlite3; hvjournal index late\.hvj makes them$/m;
    expect(asText.stderr).toMatch(next);
    const asJson = run("record", bareMetalImage, ...words, "--json");
    expect(JSON.parse(asJson.stdout)).toMatchObject({ ended: { why: "timeout", of: "host" }, indexed: false });
    expect(run("record", bareMetalImage, ...words, "--no-index").stderr).not.toMatch(next);
  });

  it("takes a --host-timeout beyond what the host's timers know", () => {
    const words = [
      "--append",
      "scenario=hypercalls",
      "--headless",
      "--host-timeout",
      "9000000s",
      "-q",
      "-o",
      "patient.hvj",
    ];
    expect(run("record", bareMetalImage, ...words)).toMatchObject({ status: 0, stderr: "" });
  });

  it("goes live from a moment of a recording, and comes to the same end", () => {
    expect(run("record", "--from", "fault.hvj@exit:710+1000", "--headless", "-q", "-o", "branch.hvj").status).toBe(0);
    expect(json(run("info", "branch.hvj", "--json"))[0]).toMatchObject({
      header: { parent: { exitNumber: 710, why: "branch" } },
    });
    for (const command of ["replay", "verify", "fsck"]) expect(run(command, "branch.hvj").status).toBe(0);
    const states = run("diff", "fault.hvj@exit:1000", "branch.hvj@exit:1000", "--state", "--json");
    expect(json(states)[0]).toMatchObject({ equal: true });
    const earlier = run("replay", "branch.hvj", "--until", "exit:5");
    expect(earlier).toMatchObject({ status: 1 });
    expect(earlier.stderr).toContain("next: hvjournal replay fault.hvj --until exit:5");
  });
});

describe("replay and show", () => {
  it("stand at every position that log prints", () => {
    const lines = json(run("log", "main.hvj", "--exits", "--json", "-n", "1200"));
    const chosen = lines.filter((_, index) => index % 400 === 7).map(({ position }) => String(position));
    for (const position of chosen) {
      const [replayed] = json(run("replay", "main.hvj", "--until", position, "--json"));
      const [shown] = json(run("show", "main.hvj", position, "--json"));
      expect(replayed).toMatchObject({ position, compared: { exits: Number(position.slice("exit:".length)) } });
      expect(shown).toMatchObject({ position, digest: replayed?.["digest"], registers: replayed?.["registers"] });
    }
  });

  it("say where a recording ends that does not go so far", () => {
    for (const command of [
      ["replay", "main.hvj", "--until", "exit", "900000"],
      ["show", "main.hvj", "exit", "900000"],
    ]) {
      const result = run(...command);
      expect(result.status).toBe(1);
      expect(result.stderr).toMatch(
        /^error: main\.hvj ends at exit:\d+ \(guest powered off\)\nnext: hvjournal replay main\.hvj --until end\n$/,
      );
    }
    expect(run("replay", "main.hvj", "--until", "console:/no such text/").status).toBe(1);
    expect(run("replay", "main.hvj", "--until", "time:1000s").status).toBe(1);
    expect(run("replay", "main.hvj", "--until", "$x0 == 0x123456789abc").status).toBe(1);
    expect(run("replay", "main.hvj", "--until", "exit:0").status).toBe(129);
  });

  it("name code by the symbols that they are given", () => {
    const shown = run("show", "main.hvj", "hypercall:0xc6000001", "--stack", "--disas", "2", "--symbols", bareMetalElf);
    expect(shown.stdout).toMatch(/stack +smccc_hvc\+0x24 < .*scenario_main\+0x/);
    expect(shown.stdout).toMatch(/> ldr x8, \[sp, #16\]/);
    expect(run("show", "main.hvj", "end", "--symbols", bareMetalImage).status).toBe(128);
  });

  it("say that an exit needs no answer", () => {
    const [write] = json(run("log", "main.hvj", "--where", "exit.gpa == 0x09000000", "-n", "1", "--json"));
    const position = String(write?.["position"]);
    expect(run("show", "main.hvj", position).stdout).toMatch(/^ {2}answer {5}no answer needed$/m);
    expect(run("replay", "main.hvj", "--until", position).stdout).toMatch(/^ {2}no answer needed$/m);
  });

  it("print memory by the guest's own translation", () => {
    const { stdout } = run("show", "fault.hvj", "exit:700", "--mem", `${WATCHED_WORD}, 2 + 6`);
    expect(stdout).toContain("ffffff8000007008  a7 51 00 00 00 00 00 00");
    expect(run("show", "fault.hvj", "exit:700", "--mem", "0x10,8")).toMatchObject({ status: 129 });
  });
});

describe("a recording that is not what happened", () => {
  it("diverges, and the report says where, how, and what to do", () => {
    forgeAnswer(join(directory, "main.hvj"), join(directory, "forged.hvj"));
    const result = run("replay", "forged.hvj");
    expect(result.status).toBe(1);
    const [head, recorded, replayed, since, builds, next] = result.stderr.split("\n");
    expect(head).toMatch(/^error: replay diverged at exit:\d+ \(vcpu0, icount:\d+, pc [0-9a-f]{16}\)$/);
    expect([recorded, replayed].map((line) => line?.slice(0, 13))).toEqual(["  recorded   ", "  replayed   "]);
    expect(since).toMatch(/^ {2}last equal digest icount:\d+; since then differ: /);
    expect(builds).toMatch(/^ {2}recorded by \S+ \(cpu-arm64 \d+\), replayed by \S+ \(cpu-arm64 \d+\)$/);
    expect(next).toMatch(/^next: hvjournal show forged\.hvj exit:\d+/);
    expect(json(run("replay", "forged.hvj", "--json"))[0]).toMatchObject({ error: "diverged" });
    expect(run("verify", "forged.hvj").status).toBe(1);
  });
});

describe("bisect", () => {
  it("finds the instruction that overwrote a word, and names it", () => {
    const result = run("bisect", "fault.hvj", "--when", `*(u64 *)${WATCHED_WORD} != 0x51a7`, "--symbols", bareMetalElf);
    expect(result).toMatchObject({ status: 0 });
    const [first, code, caller] = result.stdout.split("\n");
    expect(first).toMatch(/^first: exit:\d+\+\d+ {2}icount:\d+ time:\d\.\d+s$/);
    expect(code).toMatch(/copy_bytes\+0x[0-9a-f]+ {2}strb .* 0xffffff8000007008: 0x51a7 -> 0x51[0-9a-f]{2}$/);
    expect(caller).toContain("called from  scenario_fault_memory+0x");
    const position = /exit:\d+\+\d+/.exec(first ?? "")?.[0] ?? "";
    const shown = run("show", "fault.hvj", position, "--mem", `${WATCHED_WORD},1`);
    expect(shown.stdout).not.toContain("ffffff8000007008  a7");
  });

  it("finds the first call of a function between two exits, and a replay stops there", () => {
    const symbols = ["--symbols", bareMetalElf];
    const found = run("bisect", "main.hvj", "--when", "$pc == &set_exception_hook", ...symbols);
    const [line, code, caller] = found.stdout.split("\n");
    expect(code).toMatch(/^ {2}[0-9a-f]{16} {2}\w+\+0x[0-9a-f]+ {2}bl set_exception_hook$/);
    // The function that the call is in was called by another one.
    expect(caller).toMatch(/^ {2}called from {2}\w+\+0x/);
    expect(caller).not.toContain(/(\w+)\+0x/.exec(code ?? "")?.[1]);
    const position = /^first: (exit:\d+\+\d+|icount:\d+) /.exec(line ?? "")?.[1];
    const { stdout } = run("replay", "main.hvj", "--until", "$pc == &set_exception_hook", ...symbols);
    expect(stdout).toMatch(/^ {2}pc {2}[0-9a-f]{16} {2}set_exception_hook /m);
    expect(stdout.split(" ")[0]).toBe(position);
  });

  it("asks a command of the user's, and wants both ends to have their answers", () => {
    const check = ["--run", "sh", "-c", "! hvjournal log $HVJ_RECORDING ..$HVJ_POSITION --reason WFx | grep -q WFx"];
    const hvjournal = `hvjournal() { '${process.execPath}' '${hvjournalCommand}' "$@"; }; `;
    const command = check.map((word) => word.replace("! hvjournal", `${hvjournal}! hvjournal`));
    const [exit] = json(run("log", "main.hvj", "--reason", "WFx", "-n", "1", "--json"));
    const wanted = String(exit?.["position"]);
    const number = Number(wanted.slice("exit:".length));
    const result = run("bisect", "main.hvj", "--good", `exit:${number - 4}`, "--bad", `exit:${number + 4}`, ...command);
    expect(result).toMatchObject({ status: 0 });
    expect(result.stdout).toContain(`first bad: ${wanted} `);
    expect(run("bisect", "main.hvj", "--run", "true")).toMatchObject({ status: 128 });
    expect(run("bisect", "main.hvj", "--run", "sh", "-c", "exit 125")).toMatchObject({ status: 125 });
    const test = `case $HVJ_POSITION in exit:300*) exit 0;; exit:304*) exit 1;; *) exit 125;; esac`;
    const unknown = run("bisect", "main.hvj", "--good", "exit:300", "--bad", "exit:304", "--run", "sh", "-c", test);
    expect(unknown.stdout).toContain("first bad is one of exit:300..exit:304: 3 in between could not be tested");
    expect(unknown.status).toBe(125);
    expect(run("bisect", "main.hvj", "--run", "sh", "-c", "exit 128").stderr).toContain("status 128");
  });

  it("says no when it never becomes so, and what is wrong with a question", () => {
    expect(run("bisect", "main.hvj", "--when", "exit.nr == 0x12345").status).toBe(1);
    const part = run("bisect", "main.hvj", "--when", "$pc == 0x1234", "--good", "exit:10", "--bad", "exit:20");
    expect(part.stderr).toContain(
      "error: '$pc == 0x1234' holds nowhere between exit:10 and exit:20 of main.hvj\nnext: ",
    );
    expect(part.status).toBe(1);
    expect(run("bisect", "main.hvj", "--when", "icount >= 0").status).toBe(128);
    expect(run("bisect", "main.hvj", "--when", "$x0 +").status).toBe(129);
    expect(run("bisect", "main.hvj").status).toBe(129);
    expect(run("bisect", "main.hvj", "fault.hvj", "--when", "1")).toMatchObject({ status: 129 });
  });
});

describe("diff", () => {
  it("is equal with itself, and finds the first exit that is handled otherwise", () => {
    expect(run("diff", "main.hvj", "main.hvj").status).toBe(0);
    const moments = ["main.hvj@exit:300", "main.hvj@exit:301"];
    const state = run("diff", ...moments, "--state", "--symbols", bareMetalElf);
    expect(state.status).toBe(1);
    expect(state.stdout).toMatch(/^ +pc +0x[0-9a-f]{16} \w+\S* -> 0x[0-9a-f]{16} \w+/m);
    expect(Object.keys(json(run("diff", ...moments, "--state", "--json"))[0] ?? {})).toEqual([
      "equal",
      "ends",
      "state",
    ]);
    expect(state.stdout).toMatch(/^state at exit:300 and exit:301:\n/);
    const append = ["--append", "scenario=main input=none ticks=3"];
    expect(run("record", bareMetalImage, ...append, ...fixed, "-q", "-o", "unfiltered.hvj").status).toBe(0);
    const { status, stdout } = run("diff", "main.hvj", "unfiltered.hvj");
    expect(status).toBe(1);
    expect(stdout).toContain("-SmcccFilterSet 0xc6000000+0x100 forward");
    expect(stdout).toMatch(
      /@@ exit:\d+ vcpu0 HVC64 0xc6000000 icount:\d+ @@\n- {2}handled: VMM half, filter event:5 .*\n\+ {2}handled: kernel half, default rule/,
    );
  });

  it("says where it has compared the state: at the first difference of the exits, unless moments are named", () => {
    const places = (...words: string[]): unknown => {
      const [{ state }] = json(run("diff", ...words, "--json")) as [{ state: { at: unknown } }];
      return state.at;
    };
    const { stdout } = run("diff", "main.hvj", "unfiltered.hvj");
    const [, exit = ""] = /@@ (exit:\d+) /.exec(stdout) ?? [];
    expect(stdout).toMatch(new RegExp(`^state at ${exit}\\+0: x1, x2, x3$`, "m"));
    expect(run("diff", "main.hvj", "unfiltered.hvj", "--stat").stdout).toContain(
      `state at ${exit}+0: 3 registers, 0 pages\n`,
    );
    expect(places("main.hvj", "unfiltered.hvj")).toEqual({ a: `${exit}+0`, b: `${exit}+0` });
    expect(places("main.hvj@exit:5", "unfiltered.hvj", "--state")).toEqual({ a: "exit:5", b: "end" });
    expect(run("diff", "main.hvj@exit:5", "unfiltered.hvj@exit:5").stdout).toContain("state at exit:5: equal\n");
    expect(run("diff", "main.hvj", "main.hvj", "--state").stdout).toBe("equal: registers and memory at end\n");
  });

  it("compares machines of two sizes as far as both go", () => {
    const append = ["--append", "scenario=hypercalls", ...fixed, "-q"];
    expect(run("record", bareMetalImage, ...append, "--smp", "4", "-o", "four.hvj").status).toBe(0);
    expect(run("record", bareMetalImage, ...append, "--memory", "128M", "-o", "small.hvj").status).toBe(0);
    const shapes =
      "           4 and 1 vCPUs: only registers of vcpu0 are compared\n           256M and 128M of RAM: only pages of the first 128M are compared\n";
    const moments = run("diff", "four.hvj@exit:100", "small.hvj@exit:100");
    expect(moments).toMatchObject({ status: 1, stdout: expect.stringContaining("smp  4 -> 1\n") });
    expect(moments.stdout).toMatch(/memory {2}256M -> 128M\n[^]*exits {6}\d+ equal/);
    for (const words of [[], ["--stat"], ["--state"]])
      expect(run("diff", "four.hvj@exit:100", "small.hvj@exit:100", ...words)).toMatchObject({
        status: 1,
        stdout: expect.stringContaining(shapes),
      });
  });
});

describe("the other commands", () => {
  it("count the same exits", () => {
    const [info] = json(run("info", "main.hvj", "--json"));
    const { exitNumber } = (info ?? {})["end"] as { exitNumber: number };
    const rows = json(run("stat", "main.hvj", "--json"));
    expect(rows.at(-1)).toMatchObject({ total: exitNumber });
    expect(rows.slice(0, -1).reduce((sum, row) => sum + Number(row["samples"]), 0)).toBe(exitNumber);
    expect(json(run("sql", "main.hvj", "select count(*) as n from exits", "--json"))).toEqual([{ n: exitNumber }]);
    expect(json(run("log", "main.hvj", "--kind", "Exited", "--json"))).toHaveLength(exitNumber);
  });

  it("answer queries without the tables as with them", () => {
    const query = "select reason, count(*) from exits group by 1 order by 1";
    copyFileSync(join(directory, "main.hvj"), join(directory, "plain.hvj"));
    const before = run("sql", "plain.hvj", query).stdout;
    expect(run("index", "plain.hvj", "--drop").status).toBe(0);
    expect(run("sql", "plain.hvj", query).stdout).toBe(before);
    expect(run("index", "plain.hvj").status).toBe(0);
    expect(run("sql", "plain.hvj", "select nothing").status).toBe(128);
  });

  it("take the recording of $HVJOURNAL or -i", () => {
    const environment = { HVJOURNAL: "fault.hvj" };
    expect(runHvjournal(["info"], { cwd: directory, environment }).stdout).toContain("scenario=fault-memory");
    expect(run("info", "-i", "fault.hvj").stdout).toContain("scenario=fault-memory");
  });

  it("are completed by name, and explained", () => {
    const { stdout: help } = run("--help");
    const { stdout: bash } = run("completion", "bash");
    for (const name of [
      "record",
      "replay",
      "verify",
      "bisect",
      "diff",
      "log",
      "show",
      "stat",
      "info",
      "fsck",
      "sql",
      "index",
    ]) {
      expect(help).toContain(`hvjournal ${name}`);
      expect(bash).toMatch(new RegExp(`compgen -W "[^"]*\\b${name}\\b`));
    }
    expect(run("completion", "fish").status).toBe(129);
    expect(run("record", "--help").stdout).toContain("--from FILE[@POSITION]");
    expect(run("help", "record").stdout).toBe(run("record", "--help").stdout);
    expect(run("help").stdout).toBe(help);
    for (const [, topic = ""] of help.matchAll(/(positions|expressions|errors|statuses)/g))
      expect(run("help", topic)).toMatchObject({ status: 0, stderr: "" });
    const { stdout: replayHelp } = run("replay", "--help");
    for (const text of ["help positions", "help expressions", "help statuses", ": 0 equal, and there;"])
      expect(replayHelp).toContain(text);
  });
});
