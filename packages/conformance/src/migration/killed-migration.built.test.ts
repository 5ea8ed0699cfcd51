import { afterAll, beforeAll, describe, expect, it, jest } from "@jest/globals";
import { resolveOwnership, standingOf } from "@hvjournal/core";
import { copyFileSync, existsSync, readFileSync, writeFileSync } from "node:fs";
import { keepOnFailure } from "../testing/keep-recording.js";
import { type Finished, VmSandbox } from "../testing/vm-sandbox.js";

// A busy machine takes many times as long to start a process.
jest.setTimeout(300_000);

const sandbox = new VmSandbox();
afterAll(() => sandbox.close());

/** A line each 10 ms. */
const APPEND = "scenario=loop count=100";
const STANDS_AT = "console:/loop 60 /";
/** Long enough to be met on its way. */
const LONGER = "scenario=loop count=400";
const RANDOM_ROUNDS = 2;
const MIGRATION_MS = 2000;

beforeAll(() => {
  sandbox.recordWhole("whole", APPEND);
  sandbox.recordWhole("longer", LONGER);
  sandbox.recordWhole("half", APPEND, "--until", STANDS_AT);
});

type Side = Parameters<typeof resolveOwnership>[0];

function sideOf(name: string): Side {
  return sandbox.open(name, (reader) => ({ header: reader.header, rows: reader.ownership() }));
}

interface Names {
  readonly source: string;
  readonly destination: string;
}

function ownerOf({ source, destination }: Names): "source" | "destination" {
  const side = sideOf(`${source}.hvj`);
  const isMoved = standingOf(side.header, side.rows).is === "moved";
  if (!existsSync(sandbox.path(`${destination}.hvj`))) {
    expect(isMoved).toBe(false);
    return "source";
  }
  return resolveOwnership(side, sideOf(`${destination}.hvj`)).owner;
}

function nextOf({ stderr, stdout }: Finished): string[] | undefined {
  const [, words] = /^next: hvjournal (.*)$/m.exec(stderr + stdout) ?? [];
  return words?.split(" ");
}

/** Does what it is told to, until it is told to attach, or to look at what has ended meanwhile. Who was killed says nothing: then the two files are asked. */
function followAdvice(killed: Finished, { source, destination }: Names): void {
  let advice = (killed.status === 0 ? undefined : nextOf(killed)) ?? ["migrate", "--resolve", source, destination];
  for (let step = 0; advice[0] === "migrate"; step++) {
    expect(step).toBeLessThan(3);
    const done = sandbox.run(...advice);
    expect([advice.join(" "), done.status, done.stderr]).toEqual([advice.join(" "), 0, expect.any(String)]);
    advice = nextOf(done) ?? [];
  }
  expect(["attach", "replay"]).toContain(advice[0]);
  expect(advice[1]?.replace(/\.hvj$/, "")).toBe(destination);
}

async function expectWhole(names: Names, whole: string): Promise<void> {
  const { source, destination } = names;
  expect(await sandbox.gone(destination)).toBe(true);
  expect(ownerOf(names)).toBe("destination");
  expect(sandbox.open(`${source}.hvj`, ({ end }) => end.state)).toBe("sealed");
  expect(sandbox.joinedConsole(`${source}.hvj`, `${destination}.hvj`)).toBe(sandbox.console(whole));
}

function filesOf({ source, destination }: Names): string[] {
  return [source, destination].map((name) => sandbox.path(`${name}.hvj`));
}

describe("a move of which one side is killed", () => {
  const steps: readonly (readonly [string, "source" | "destination"])[] = [
    ["before created", "source"],
    ["after created", "source"],
    ["before base", "source"],
    ["before prepared", "source"],
    ["after prepared", "source"],
    ["sent prepared", "destination"],
    ["before moved", "source"],
    ["after moved", "destination"],
    ["sent moved", "destination"],
    ["before taken", "destination"],
    ["after taken", "destination"],
    ["sent taken", "destination"],
  ];

  it.each(steps)("%s: the %s owns the VM; what is advised brings it to its end, whole", async (killedAt, owner) => {
    const names = { source: `from-${killedAt.replace(" ", "-")}`, destination: `to-${killedAt.replace(" ", "-")}` };
    copyFileSync(sandbox.path("half.hvj"), sandbox.path(`${names.source}.hvj`));
    await keepOnFailure(filesOf(names), async () => {
      const { source, destination } = names;
      const killed = sandbox.runWith({ HVJOURNAL_TEST_KILL: killedAt }, "migrate", source, destination);
      expect(ownerOf(names)).toBe(owner);
      followAdvice(killed, names);
      await expectWhole(names, "whole.hvj");
    });
  });

  it("which runs, and of which the destination is killed before it owns the VM: it runs on where it is", async () => {
    const names = { source: "runs", destination: "runs-dst" };
    await keepOnFailure(filesOf(names), async () => {
      sandbox.recordInteractive("runs", LONGER);
      const killed = sandbox.runWith({ HVJOURNAL_TEST_KILL: "after prepared" }, "migrate", "runs", "runs-dst");
      expect([killed.status, killed.stderr]).toEqual([128, expect.stringContaining("runs still owns the VM")]);
      expect(sandbox.vms().map(({ name }) => name)).toEqual(["runs"]);
      expect(ownerOf(names)).toBe("source");
      expect(await sandbox.gone("runs")).toBe(true);
      expect(sandbox.console("runs.hvj")).toBe(sandbox.console("longer.hvj"));
    });
  });

  it("which ran, and which is killed once it has moved: the destination goes on by itself or by what is advised", async () => {
    const names = { source: "ran", destination: "ran-dst" };
    await keepOnFailure(filesOf(names), async () => {
      sandbox.recordDoomed("after moved", "ran", LONGER);
      const killed = sandbox.run("migrate", "ran", "ran-dst");
      expect([killed.status, killed.stderr]).toEqual([128, expect.stringContaining("ran has ended")]);
      expect(sandbox.vms()).toEqual([]);
      expect(ownerOf(names)).toBe("destination");
      followAdvice(killed, names);
      await expectWhole(names, "longer.hvj");
      expect(sandbox.must("replay", "ran-dst.hvj")).toContain("equal");
    });
  });
});

describe("a move of which nothing is at the destination", () => {
  it.each([
    ["no file", "nowhere", undefined],
    ["an empty file", "empty", ""],
  ])("but %s: the source owns the VM, and what is advised moves it there", async (_, destination, content) => {
    const names = { source: `from-${destination}`, destination };
    copyFileSync(sandbox.path("half.hvj"), sandbox.path(`${names.source}.hvj`));
    if (content !== undefined) writeFileSync(sandbox.path(`${destination}.hvj`), content);
    const resolved = sandbox.run("migrate", "--resolve", names.source, destination);
    expect(resolved).toEqual({
      status: 0,
      stdout: `${names.source}.hvj owns the VM: the move never reached ${destination}.hvj\n`,
      stderr: `next: hvjournal migrate ${names.source}.hvj ${destination}\n`,
    });
    await keepOnFailure(filesOf(names), async () => {
      sandbox.must(...(nextOf(resolved) ?? []));
      await expectWhole(names, "whole.hvj");
    });
  });

  it("but a file that is no recording: it is told, and neither file is touched", () => {
    const [source, destination] = [sandbox.path("half.hvj"), sandbox.path("letter.hvj")];
    writeFileSync(destination, "Dear reader,\n");
    const before = readFileSync(source);
    for (const [status, ...words] of [[128, "--resolve"], [1]] as const) {
      const told = sandbox.run("migrate", ...words, "half", "letter");
      expect([told.status, told.stderr]).toEqual([status, expect.stringContaining("letter.hvj is not a recording")]);
      expect([readFileSync(source).equals(before), readFileSync(destination, "utf8")]).toEqual([
        true,
        "Dear reader,\n",
      ]);
    }
  });

  it("though the source has moved: which recording it went to is told, and that only force helps", () => {
    copyFileSync(sandbox.path("half.hvj"), sandbox.path("went.hvj"));
    sandbox.must("migrate", "went", "away");
    const { status, stderr } = sandbox.run("migrate", "--resolve", "went", "elsewhere");
    expect([status, stderr.split("\n")]).toEqual([
      128,
      [
        expect.stringMatching(
          /^error: can't resolve the move to elsewhere\.hvj: went\.hvj moved its VM to recording [0-9a-f]{32} \(.*away\.hvj\), and nothing of it is in elsewhere\.hvj$/,
        ),
        "  where that recording is lost for good: hvjournal migrate went.hvj --force-reclaim",
        "next: hvjournal info went.hvj",
        "",
      ],
    ]);
  });
});

/** A move that is cut by killing one side at some time, and what becomes of the VM. */
async function killOnce(names: Names, victim: "source" | "destination", afterMs: number): Promise<void> {
  const { source, destination } = names;
  sandbox.recordInteractive(source, LONGER);
  const sourceId = sandbox.vm(source)?.processId ?? 0;
  const moving = sandbox.start("migrate", source, destination);
  await new Promise((resolve) => setTimeout(resolve, afterMs));
  const id = victim === "source" ? sourceId : sandbox.vm(destination)?.processId;
  if (id !== undefined) killIfAlive(id);
  await moving.finished;
  await goOnToTheEnd(names, ownerOf(names));
}

function killIfAlive(processId: number): void {
  try {
    process.kill(processId, "SIGKILL");
  } catch {
    // It has come to its end.
  }
}

async function goOnToTheEnd(names: Names, owner: "source" | "destination"): Promise<void> {
  const { source, destination } = names;
  const file = `${names[owner]}.hvj`;
  if (sandbox.vm(names[owner]) !== undefined) {
    // It runs, and runs alone.
    expect(sandbox.vms().map((vm) => vm.name)).toEqual([names[owner]]);
    expect(await sandbox.gone(names[owner])).toBe(true);
  } else if (existsSync(sandbox.path(`${destination}.hvj`))) {
    sandbox.must("migrate", "--resolve", source, destination);
    await sandbox.gone(destination);
  }
  const shown = (): string =>
    owner === "source" ? sandbox.console(file) : sandbox.joinedConsole(`${source}.hvj`, file);
  const whole = sandbox.console("longer.hvj");
  if (shown().trimEnd().endsWith("power off")) {
    expect(shown()).toBe(whole);
    return;
  }
  const third = `${destination}-on`;
  sandbox.must("migrate", file, third);
  expect(await sandbox.gone(third)).toBe(true);
  // What the exit did at which the recording broke off has been added to it before the move.
  expect(shown() + sandbox.console(`${third}.hvj`, sandbox.handOverSeq(`${third}.hvj`))).toBe(whole);
}

const SEED = Number(process.env["HVJOURNAL_TEST_SEED"] ?? Math.floor(Math.random() * 2 ** 31));

describe(`a move of which one side is killed at any time (seed ${SEED}, HVJOURNAL_TEST_SEED)`, () => {
  it("leaves exactly one owner, which goes on without losing or repeating a byte", async () => {
    let state = SEED;
    const random = (below: number): number => {
      state = (Math.imul(state, 1103515245) + 12345) >>> 0;
      return (state >>> 8) % below;
    };
    for (let round = 0; round < RANDOM_ROUNDS; round++) {
      const victim = round % 2 === 0 ? "source" : "destination";
      const names = { source: `s${round}`, destination: `d${round}` };
      await keepOnFailure(filesOf(names), () => killOnce(names, victim, random(MIGRATION_MS)));
    }
  });
});

describe("a recorder that is killed while a handler's call waits", () => {
  const isPending = (): boolean => /0xc6000000.*pending/.test(sandbox.must("log", "waits.hvj", "--hypercalls"));

  it("leaves a recording that moves: the call is the destination's handler's, and the source's is not waited for", async () => {
    writeFileSync(sandbox.path("waits.mjs"), "export default () => new Promise((kept) => setTimeout(kept, 600_000));");
    writeFileSync(sandbox.path("answers.mjs"), "export default () => 7n;");
    sandbox.recordDetached(
      ...(["waits", "scenario=hypercalls", "--smccc-filter", "0xc6000000+0x100=forward"] as const),
      ...["--handler", sandbox.path("waits.mjs"), "--handler-timeout", "600s"],
    );
    while (!isPending()) await new Promise((resolve) => setTimeout(resolve, 50));
    await sandbox.kill("waits");
    await sandbox.gone("waits");
    const words = ["waits", "answered", "--handler", sandbox.path("answers.mjs")];
    const explained = sandbox.run("migrate", "--explain", ...words);
    expect([explained.status, explained.stderr]).toEqual([
      1,
      expect.stringMatching(/it was not closed, so its last units/),
    ]);
    expect(sandbox.must("migrate", ...words)).toMatch(/^moved: answered runs/m);
    await sandbox.gone("answered");
    const [first] = sandbox.must("log", "answered.hvj", "--hypercalls").split("\n");
    expect(first).toMatch(/ answer +x0 <- 7 .* to HVC64 HYPERCALL 0xc6000000 /);
    expect(sandbox.must("replay", "answered.hvj", "--from", "start")).toContain("equal");
  });

  it("asks about the open call once more, at the destination, also where the source's handler would answer it now", async () => {
    const noting = (name: string, answer: string): string[] => {
      const note = `appendFileSync(${JSON.stringify(sandbox.path(`${name}.asked`))}, call.nr.toString(16) + "\\n");`;
      const code = `import { appendFileSync, existsSync } from "node:fs"; export default (call) => { ${note} ${answer} };`;
      writeFileSync(sandbox.path(`${name}.mjs`), code);
      return ["--handler", sandbox.path(`${name}.mjs`)];
    };
    const asked = (name: string): string[] => readFileSync(sandbox.path(`${name}.asked`), "utf8").split("\n");
    const open = (name: string): number => asked(name).filter((nr) => nr === "c6000001").length;
    // It answers all calls but this one, until somebody looks for a file.
    const later = sandbox.path("later");
    const wait = `if (call.nr === 0xc6000001 && !existsSync(${JSON.stringify(later)})) return new Promise(() => {}); return 1n;`;
    const filter = ["--smccc-filter", "0xc6000000+0x100=forward"];
    const handler = [...noting("first", wait), "--handler-timeout", "600s"];
    sandbox.recordDetached("breaks", "scenario=hypercalls", ...filter, ...handler);
    const isOpen = (): boolean => /0xc6000001.*pending/.test(sandbox.must("log", "breaks.hvj", "--hypercalls"));
    while (!isOpen()) await new Promise((resolve) => setTimeout(resolve, 50));
    await sandbox.kill("breaks");
    await sandbox.gone("breaks");
    writeFileSync(later, "");
    expect(open("first")).toBe(1);
    sandbox.must("migrate", "breaks", "mended", ...noting("second", "return 7n;"));
    await sandbox.gone("mended");
    expect(open("first")).toBe(1);
    // By HVC, which waited, then by SMC.
    expect(open("second")).toBe(2);
    expect(asked("second")).not.toContain("c6000000");
    const [first] = sandbox.must("log", "mended.hvj", "--hypercalls").split("\n");
    expect(first).toMatch(/ answer +x0 <- 7 .* to HVC64 HYPERCALL 0xc6000001 /);
    expect(sandbox.must("replay", "mended.hvj", "--from", "start")).toContain("equal");
  });
});
