import { describe, expect, it } from "@jest/globals";
import { NO_EVENT } from "../event/event-cursor.js";
import { HotKind } from "../event/event-kind.js";
import { toHex } from "../memory/page-hash.js";
import { goOn } from "../record/go-on.js";
import { journalCursor } from "../replay/journal-cursor.js";
import { Replayer } from "../replay/replayer.js";
import { plainDigester } from "../testing/digester.js";
import { Mortal, type MortalJournal } from "../testing/mortal.js";
import { createMoving, DESTINATION_ID, moveVm, type Move, type SmallHost } from "../testing/moves.js";
import { busyProgram, echoProgram, smallVmm, type SmallVmOptions } from "../testing/programs.js";
import { consoleText, recordSmall, rowKinds, runToStop, TEST_CADENCE } from "../testing/recordings.js";
import { smallArchitecture } from "../testing/small-cpu.js";
import { MigrationFailedError, MigrationInDoubtError, MigrationRefusedError } from "./migration-error.js";
import { resolveOwnership, standingOf } from "./ownership.js";

const busy: SmallVmOptions = { program: busyProgram(12, 300) };
/** Nothing of it is recorded while it moves, so that replaying could not follow: it goes by a snapshot. */
const computing: SmallVmOptions = { program: busyProgram(2, 4000) };
const architecture = smallArchitecture();

/** Console output of the events behind `seq`. */
function consoleBehind(journal: MortalJournal, seq: number): string {
  let text = "";
  for (const cursor = journalCursor(journal, seq + 1); cursor.kind !== NO_EVENT; cursor.next())
    if (cursor.kind === HotKind.outputProduced) text += String.fromCharCode(...cursor.outputBytes);
  return text;
}

/** Output of both: a destination's recording begins with a copy of the source's last events. */
function joinedConsole(source: MortalJournal, destination: MortalJournal): string {
  const { seq } = destination.rows.find(({ state }) => state === "prepared")?.detail ?? {};
  return consoleText(source) + consoleBehind(destination, Number(seq));
}

async function startMoving(vm: SmallVmOptions, icount: number, process?: Mortal): Promise<SmallHost> {
  const host = createMoving(vm, process);
  await host.recorder.step({ units: icount });
  return host;
}

async function moveWhileRunning(host: SmallHost, options: Parameters<typeof moveVm>[1]): Promise<Move> {
  const [move] = await Promise.all([moveVm(host, options), host.run()]);
  return move;
}

describe("a VM that moves while it runs", () => {
  it.each([1, 700, 5000, 9000])(
    "goes on at the destination from the very unit, started at icount:%d",
    async (icount) => {
      const whole = await recordSmall(busy);
      const host = await startMoving(busy, icount);
      const { report, received, file } = await moveWhileRunning(host, { vm: busy });
      if (received === undefined || file === undefined) throw new Error("nothing arrived");
      expect(report?.handOver.epoch).toBe(2);
      expect(host.journal.end.state).toBe("sealed");
      expect(rowKinds(host.journal).at(-1)).toBe("OwnershipMoved");
      expect(received.session.host).toEqual({ until: "never" });
      await runToStop(received.recorder);
      received.recorder.finish({ index: false });
      expect(joinedConsole(host.journal, file)).toBe(consoleText(whole));
      const end = file.snapshots().at(-1);
      const wanted = whole.snapshots().at(-1);
      expect([end?.exitNumber, end?.icount, toHex(end?.digest ?? new Uint8Array(0))]).toEqual([
        wanted?.exitNumber,
        wanted?.icount,
        toHex(wanted?.digest ?? new Uint8Array(0)),
      ]);
      for (const reader of [host.journal, file])
        expect(new Replayer({ architecture, digester: plainDigester, reader }).advance()).toBe("end");
    },
  );

  it("goes by a snapshot where few pages stand for much work, and goes on from the very unit as well", async () => {
    const whole = await recordSmall(computing);
    const host = await startMoving(computing, 1250);
    const { report, received, file } = await moveWhileRunning(host, { vm: computing });
    if (received === undefined || file === undefined) throw new Error("nothing arrived");
    expect(report?.handOver.by).toBe("snapshot");
    expect(received.recorder.machine.icount).toBe(report?.handOver.icount);
    await runToStop(received.recorder);
    received.recorder.finish({ index: false });
    expect(joinedConsole(host.journal, file)).toBe(consoleText(whole));
    expect(file.snapshots().at(-1)?.digest).toEqual(whole.snapshots().at(-1)?.digest);
    for (const reader of [host.journal, file])
      expect(new Replayer({ architecture, digester: plainDigester, reader }).advance()).toBe("end");
  });

  it("loses nothing of an exit that waits for its answer", async () => {
    const whole = await recordSmall(busy);
    for (const exitNumber of [3, 17, 29, 41]) {
      const host = createMoving(busy);
      await host.recorder.step({ units: 1e9, goal: { exitNumber } });
      host.recorder.pause();
      host.isOperatorPaused = true;
      const { received, file } = await moveWhileRunning(host, { vm: busy });
      if (received === undefined || file === undefined) throw new Error("nothing arrived");
      expect([received.paused, received.recorder.machine.exitPending]).toEqual([true, true]);
      expect(received.recorder.machine.exitNumber).toBe(exitNumber);
      await runToStop(received.recorder);
      received.recorder.finish({ index: false });
      expect(joinedConsole(host.journal, file)).toBe(consoleText(whole));
      for (const reader of [host.journal, file])
        expect(new Replayer({ architecture, digester: plainDigester, reader }).advance()).toBe("end");
    }
  });

  it("takes bytes with it that no device had room for", async () => {
    const echo: SmallVmOptions = { program: echoProgram() };
    const host = createMoving(echo);
    await host.recorder.step({ units: 10 });
    host.isOperatorPaused = true;
    host.recorder.enqueue({ port: 0, bytes: Uint8Array.from("abcdefghq", (letter) => letter.charCodeAt(0)) });
    const { received, file } = await moveWhileRunning(host, { vm: echo });
    if (received === undefined || file === undefined) throw new Error("nothing arrived");
    await runToStop(received.recorder);
    received.recorder.finish({ index: false });
    expect(joinedConsole(host.journal, file)).toBe("login: abcdefghqbye\n");
  });

  it("stays where it is when the destination is another CPU, and says which register differs", async () => {
    const host = await startMoving(busy, 700);
    const other = { ...architecture, revision: architecture.revision + 1 };
    const { received, sourceError, destinationError, file } = await moveWhileRunning(host, {
      vm: busy,
      architecture: other,
    });
    expect([received, file]).toEqual([undefined, undefined]);
    expect(sourceError).toBeInstanceOf(MigrationRefusedError);
    expect(String(sourceError)).toContain("architecture revision is 1 at the source and 2 here");
    expect(destinationError).toBeInstanceOf(MigrationRefusedError);
    expect(standingOf(host.journal.header, host.journal.rows)).toEqual({ is: "owner", epoch: 1 });
    expect(rowKinds(host.journal).filter((kind) => /Ownership|Migration/.test(kind))).toEqual([]);
  });

  it("can't be moved a second time", async () => {
    const host = await startMoving(busy, 700);
    await moveWhileRunning(host, { vm: busy });
    const again = await moveVm(host, { vm: busy });
    expect(String(again.sourceError)).toContain("the source does not own the VM: its recording says moved");
  });

  it("that ends before it has moved stays where it ended", async () => {
    const host = await startMoving(busy, 30000);
    const { received, file } = await moveWhileRunning(host, { vm: busy });
    expect([received, file]).toEqual([undefined, undefined]);
    expect(host.recorder.stopped?.what).toBe("powered off");
  });
});

/** Kills one side at its n-th step, then lets the two files decide. */
async function killAt(
  side: "source" | "destination",
  step: number,
  { vm, whole }: { readonly vm: SmallVmOptions; readonly whole: string },
): Promise<boolean> {
  const source = new Mortal(side === "source" ? step : Infinity);
  const destination = new Mortal(side === "destination" ? step : Infinity);
  const host = await startMoving(vm, 1250, source);
  const move = await moveWhileRunning(host, { vm, destination });
  const { journal } = host;
  const { file, received } = move;
  const place = `${side} killed at step ${step}`;
  // Neither has been told anything yet: no two may run.
  const sourceRuns = !source.isDead && !journal.rows.some(({ state }) => state === "moved");
  const destinationRuns = !destination.isDead && received !== undefined;
  expect([place, sourceRuns && destinationRuns]).toEqual([place, false]);
  if (!source.isDead && !sourceRuns && !destinationRuns) expect(move.sourceError ?? move.report).toBeDefined();
  const owner = await decide(journal, file);
  journal.process = new Mortal();
  if (file !== undefined) file.process = new Mortal();
  const going = owner === "source" ? journal : file;
  if (going === undefined) throw new Error(`${place}: nobody owns the VM`);
  const recorder =
    (destinationRuns ? received.recorder : undefined) ?? (await restart(going, sourceRuns, { host, vm }));
  if (recorder.stopped === undefined) await runToStop(recorder);
  recorder.flush();
  const text = owner === "source" ? consoleText(journal) : joinedConsole(journal, going);
  expect([place, owner, text]).toEqual([place, owner, whole]);
  return source.isDead || destination.isDead;
}

async function decide(journal: MortalJournal, file: MortalJournal | undefined): Promise<"source" | "destination"> {
  const standing = standingOf(journal.header, journal.rows);
  if (file === undefined) {
    expect(standing.is).toBe("owner");
    return "source";
  }
  return resolveOwnership({ header: journal.header, rows: journal.rows }, { header: file.header, rows: file.rows })
    .owner;
}

async function restart(
  journal: MortalJournal,
  stillRuns: boolean,
  { host, vm }: { readonly host: SmallHost; readonly vm: SmallVmOptions },
) {
  if (stillRuns && journal === host.journal) return host.recorder;
  return goOn({
    architecture,
    digester: plainDigester,
    writer: journal,
    createVmm: () => smallVmm(vm),
    cadence: TEST_CADENCE,
  });
}

describe("a move that is cut", () => {
  const moves = { "by replay": busy, "by a snapshot": computing };
  it.each([
    ["source", "by replay"],
    ["destination", "by replay"],
    ["source", "by a snapshot"],
    ["destination", "by a snapshot"],
  ] as const)("by killing the %s at any step, %s, leaves exactly one owner, and nothing is lost", async (side, way) => {
    const vm = moves[way];
    const whole = consoleText(await recordSmall(vm));
    let step = 1;
    while (await killAt(side, step, { vm, whole })) step += 1;
    expect(step).toBeGreaterThan(20);
  });

  it("leaves the ends in doubt only between their own step and the other's", async () => {
    const seen = new Set<string>();
    for (const side of ["source", "destination"] as const) {
      for (let step = 1; ; step++) {
        const process = new Mortal(step);
        const host = await startMoving(busy, 700, side === "source" ? process : undefined);
        const more = side === "destination" ? { destination: process } : {};
        const { sourceError, destinationError, file } = await moveWhileRunning(host, { vm: busy, ...more });
        if (!process.isDead) break;
        const survivor = side === "source" ? destinationError : sourceError;
        const isMoved = host.journal.rows.some(({ state }) => state === "moved");
        if (survivor instanceof MigrationInDoubtError) {
          seen.add(side);
          expect(isMoved || side === "source").toBe(true);
          if (side === "source") expect(file?.rows.map(({ state }) => state)).toEqual(["prepared"]);
        } else if (survivor !== undefined) {
          expect(survivor).toBeInstanceOf(MigrationFailedError);
          if (side === "destination") expect(isMoved).toBe(false);
        }
      }
    }
    expect([...seen].sort()).toEqual(["destination", "source"]);
  });
});

describe("who owns a VM", () => {
  const header = createMoving(busy).journal.header;
  const child = {
    ...header,
    id: DESTINATION_ID,
    parent: { id: header.id, path: "src.hvj", chain: "", seq: 1, exitNumber: 0, icount: 0, why: "migration" as const },
  };
  const row = (state: string, epoch: number, owner: string) => ({ recording: "", epoch, owner, state, detail: {} });

  it("is the source until it says that it moved, whatever the destination has prepared", () => {
    const source = { header, rows: [] };
    expect(resolveOwnership(source, { header: child, rows: [] })).toEqual({ owner: "source", abandon: false });
    const prepared = { header: child, rows: [row("prepared", 2, header.id)] };
    expect(resolveOwnership(source, prepared)).toEqual({ owner: "source", abandon: true });
  });

  it("is the destination from then on, whether or not it has taken it", () => {
    const source = { header, rows: [row("moved", 2, DESTINATION_ID)] };
    const prepared = [row("prepared", 2, header.id)];
    const taken = [...prepared, row("taken", 2, DESTINATION_ID)];
    expect(resolveOwnership(source, { header: child, rows: prepared })).toEqual({
      owner: "destination",
      epoch: 2,
      take: true,
    });
    expect(resolveOwnership(source, { header: child, rows: taken })).toEqual({
      owner: "destination",
      epoch: 2,
      take: false,
    });
  });

  it("is not told by files that do not belong together", () => {
    const moved = { header, rows: [row("moved", 2, "cc")] };
    expect(() => resolveOwnership(moved, { header: child, rows: [] })).toThrow(/was moved to recording cc/);
    expect(() => resolveOwnership({ header, rows: [] }, { header, rows: [] })).toThrow(/did not grow from/);
    const lost = { header, rows: [row("moved", 2, DESTINATION_ID)] };
    expect(() => resolveOwnership(lost, { header: child, rows: [] })).toThrow(/has lost what it had prepared/);
  });
});
