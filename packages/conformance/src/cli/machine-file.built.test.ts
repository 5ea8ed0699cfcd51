/** `record` with a machine file: the machine is the one that options make, and what is wrong is told with its place. */
import { afterAll, beforeAll, describe, expect, it, jest } from "@jest/globals";
import { openRecording } from "@hvjournal/journal";
import { copyFileSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { bareMetalImage } from "../guests/bare-metal.js";
import { commandDirectory, runHvjournal, runShell } from "../testing/command-line.js";
import type { CommandResult } from "../testing/command-request.js";

jest.setTimeout(300_000);

const MACHINE = `kernel: guest.img
append: scenario=main input=none ticks=2
memory: 64M
smp: 1
cap: [ARM_SYSTEM_SUSPEND]
smccc-filter:
  - 0xc6000000+0x100=forward
  - {base: 0xc7000000, count: 0x100, action: deny}
firmware-reg: {STD_HYP_BMAP: 0x0}
drive: {file: disk.img, readonly: true, id: root}
seed: 0xfffffffffffffff1
rtc: base=2026-01-01
headless: true
`;
const OPTIONS = [
  ...[
    "guest.img",
    "--append",
    "scenario=main input=none ticks=2",
    "-m",
    "64M",
    "--smp",
    "1",
    "--cap",
    "ARM_SYSTEM_SUSPEND",
  ],
  ...["--smccc-filter", "0xc6000000+0x100=forward", "--smccc-filter", "0xc7000000+0x100=deny"],
  ...["--firmware-reg", "STD_HYP_BMAP=0", "--drive", "file=disk.img,readonly=on,id=root"],
  ...["--seed", "0xfffffffffffffff1", "--rtc", "base=2026-01-01", "--headless"],
];

let directory: string;
let binaries: string;
const run = (...args: string[]): CommandResult => runHvjournal(args, { cwd: directory });
const runAt = (name: string, ...args: string[]): CommandResult => runHvjournal(args, { cwd: join(directory, name) });

/** Pastes what stands behind `next:` or `to run it again:` into a shell. */
function paste({ stderr }: CommandResult): { readonly status: number | null; readonly output: string } {
  const [, line] = /^(?:next|to run it again): (.*)$/m.exec(stderr) ?? [];
  if (line === undefined) throw new Error(`no command in: ${stderr}`);
  return runShell(line, { cwd: directory, binaries });
}

/** What a recording says of its machine, and its events. */
function contentOf(name: string): unknown {
  const reader = openRecording(join(directory, name));
  try {
    const { id: _, ...header } = reader.header;
    return { header, events: reader.end.firstSeq };
  } finally {
    reader.close();
  }
}

beforeAll(() => {
  directory = mkdtempSync(join(tmpdir(), "hvjournal-machine-"));
  binaries = commandDirectory(directory);
  copyFileSync(bareMetalImage, join(directory, "guest.img"));
  writeFileSync(join(directory, "disk.img"), new Uint8Array(4096));
  writeFileSync(join(directory, "vm.yaml"), MACHINE);
  mkdirSync(join(directory, "sub"));
});
afterAll(() => rmSync(directory, { recursive: true }));

describe("a machine file", () => {
  it("makes the machine that its options make, read by itself or by name", () => {
    expect(run("record", ...OPTIONS, "-o", "options.hvj", "-q")).toMatchObject({ status: 0, stderr: "" });
    expect(run("record", "-q")).toMatchObject({ status: 0, stderr: "" });
    expect(run("record", "-c", "vm.yaml", "-o", "named.hvj", "-q")).toMatchObject({ status: 0, stderr: "" });
    const expected = contentOf("options.hvj");
    expect(contentOf("vm.hvj")).toEqual(expected);
    expect(contentOf("named.hvj")).toEqual(expected);
    for (const name of ["vm.hvj", "named.hvj"]) {
      expect(run("diff", "options.hvj", name)).toMatchObject({ status: 0 });
      expect(run("verify", name)).toMatchObject({ status: 0 });
    }
    expect(run("info", "vm.hvj").stdout).toMatch(/^seed +18446744073709551601$/m);
  });

  it("finds its files beside it, from wherever it is named", () => {
    const result = runAt("sub", "record", "-c", "../vm.yaml", "--until", "exit 20", "-q");
    expect(result).toMatchObject({ status: 0, stderr: "" });
    expect(runAt("sub", "info", "vm.hvj").stdout).toMatch(/^kernel +\.\.\/guest\.img,/m);
    expect(runAt("sub", "verify", "vm.hvj").status).toBe(0);
  });

  it("gives way to the command line, whose lists come behind it", () => {
    const more = ["-m", "128M", "--smccc-filter", "0xc8000000+1=deny", "--until", "exit 20"];
    const result = run("record", "-c", "vm.yaml", ...more, "-o", "more.hvj");
    expect(result.status).toBe(0);
    expect(result.stderr).toContain(", 128M, seed 18446744073709551601,");
    const filters = run("log", "more.hvj", "--control")
      .stdout.split("\n")
      .filter((line) => line.includes("+0x"));
    expect(filters.map((line) => /0xc\d+/.exec(line)?.[0])).toEqual(["0xc6000000", "0xc7000000", "0xc8000000"]);
  });

  it("is named by the command lines that record gives for the next time", () => {
    writeFileSync(
      join(directory, "again.yaml"),
      "kernel: guest.img\nuntil: exit 20\noutput: again.hvj\nheadless: true\n",
    );
    const first = run("record", "-c", "again.yaml");
    expect(first.stderr).toMatch(
      /^to run it again: hvjournal record -c again\.yaml --force --seed \d+ --rtc base=\S+$/m,
    );
    const before = contentOf("again.hvj");
    expect(paste(first).status).toBe(0);
    expect(contentOf("again.hvj")).toEqual(before);
    expect(run("record", "-c", "again.yaml")).toMatchObject({ status: 128 });
    expect(paste(run("record", "-c", "again.yaml")).status).toBe(0);
    const refused = run("record", "-q", "--until", "exit 20", "-o", "next.hvj");
    expect(refused).toMatchObject({ status: 129 });
    expect(refused.stderr).toContain(
      "record needs a kernel: ./vm.yaml is taken by itself only where there are no options",
    );
    expect(paste(refused).status).toBe(0);
  });

  it("is read by the process in the background as well", () => {
    writeFileSync(
      join(directory, "away.yaml"),
      "kernel: guest.img\nappend: scenario=loop\ndetach: true\noutput: away.hvj\n",
    );
    expect(run("record", "-c", "away.yaml")).toMatchObject({ status: 0 });
    expect(run("ctl", "away", "quit")).toMatchObject({ status: 0 });
    expect(run("info", "away.hvj").stdout).toContain("scenario=loop");
  });

  it.each([
    ["smp: 99", "bad.yaml:2:6: smp 99: 1 to 8 vCPUs are possible"],
    ["seed: 0x1ffffffffffffffff", "bad.yaml:2:7: seed 36893488147419103231: more than 64 bits"],
    ["cap: [ARM_SYSTEM_SUSPEND, 'x y']", "bad.yaml:2:27: cap x y: expected NAME or NAME=NUMBER,..."],
    ["firmware-reg: {STD_BMAPP: 1}", "bad.yaml:2:27: firmware-reg STD_BMAPP=1: STD_BMAPP is none of"],
    ["drive: [{file: disk.img}, disk.img]", "bad.yaml:2:27: drive disk.img: expected file=PATH"],
    ["until: $nothing == 1", "bad.yaml:2:8: until: can't read the expression '$nothing == 1': column 1: there is no"],
    ["fail-on: 'exit:0'", "bad.yaml:2:10: fail-on: can't read the position 'exit:0': exits are numbered from 1"],
    ["until: event:5", "bad.yaml:2:8: until event:5: a VM that runs is stopped at"],
    ["smpp: 1", "bad.yaml:2:1: smpp is no key; did you mean smp?"],
  ])("with %j is refused with line and column, and nothing is recorded", (line, message) => {
    writeFileSync(join(directory, "bad.yaml"), `kernel: guest.img\n${line}\noutput: bad.hvj\nheadless: true\n`);
    const result = run("record", "-c", "bad.yaml");
    expect(result.stderr).toContain(`error: ${message}`);
    expect(result).toMatchObject({ status: 129, stdout: "" });
    expect(run("info", "bad.hvj").status).toBe(128);
  });

  it("that is taken for a kernel, or contradicted by the command line, is told of as that", () => {
    const taken = run("record", "vm.yaml", "--headless");
    expect(taken.status).toBe(128);
    expect(taken.stderr).toContain("can't boot vm.yaml: it is no kernel");
    expect(taken.stderr).toContain("\nnext: hvjournal record --config vm.yaml\n");
    writeFileSync(join(directory, "many.yaml"), "kernel: guest.img\nsmp: 99\n");
    expect(run("record", "-c", "many.yaml", "--smp", "99").stderr).toContain("error: --smp 99: ");
    const wrong = run("record", "-c", "bad.yaml", "--json");
    expect(JSON.parse(wrong.stdout)).toMatchObject({
      error: "usage",
      faults: [expect.stringContaining("bad.yaml:2:1: ")],
    });
  });

  it("that is not there is an error of another kind", () => {
    const stderr = "error: can't read machine file none.yaml: no such file\nnext: hvjournal help machine-file\n";
    expect(run("record", "-c", "none.yaml")).toEqual({ status: 128, stdout: "", stderr });
    expect(run("record", "-c", "sub").stderr).toContain("error: can't read machine file sub: it is a directory");
    expect(runAt("sub", "record").stderr).toContain("record needs a kernel, or a machine file that names one");
  });

  it("is explained, with an example that is one, and its schema is printed", () => {
    const { stdout } = run("help", "machine-file");
    const example = stdout.split("\n").filter((line) => /^ {2}(?!hvjournal)/.test(line));
    writeFileSync(join(directory, "example.yaml"), example.map((line) => line.slice(2)).join("\n"));
    expect(run("record", "-c", "example.yaml").stderr).toContain("can't read kernel Image: no such file");
    const schema = JSON.parse(run("help", "machine-file", "--json").stdout) as { readonly properties: object };
    const { stdout: help } = run("record", "--help");
    for (const key of Object.keys(schema.properties)) expect(help).toContain(`--${key}`);
    expect(help).toContain("-c, --config");
    expect(run("completion", "bash").stdout).toMatch(
      /= help \]; then COMPREPLY=\(\$\(compgen -W "[^"]*\bmachine-file\b/,
    );
  });
});
