import { describe, expect, it } from "@jest/globals";
import { MigrationFailedError, MigrationRefusedError } from "../migration/migration-error.js";
import { standingOf } from "../migration/ownership.js";
import type { Architecture } from "../ports/architecture.js";
import type { ArchitectureContract, ContractItem } from "../ports/contract.js";
import { createMoving, moveVm, type Move, type SmallHost } from "../testing/moves.js";
import { busyProgram, type SmallVmOptions } from "../testing/programs.js";
import { recordSmall, runToStop } from "../testing/recordings.js";
import { smallArchitecture } from "../testing/small-cpu.js";
import { ExitWord } from "../event/exit-frame.js";
import { compareContracts } from "./compare-contracts.js";
import { observe } from "./observations.js";

/** A contract of one item for each reason of an exit. */
function contracted(contract: Partial<ArchitectureContract> = {}): Architecture {
  const architecture = smallArchitecture();
  return {
    ...architecture,
    contract: {
      hosts: [{ name: "small", version: 1 }],
      hostOf: () => ({ name: "small", version: 1 }),
      unansweredCall: "nothing comes back",
      items: () => [{ name: "reason 0", value: "as it is", isObservable: true }],
      registerItem: (name, value) => ({ name, value: String(value), isObservable: false }),
      asks: (frame) => [`reason ${frame[ExitWord.reason]}`],
      accessedDevice: () => undefined,
      setUp: () => [],
      hostCommand: () => ({ name: "host" }),
      configuration: () => ({}),
      ...contract,
    },
  };
}

const architecture = contracted();
const busy: SmallVmOptions = { program: busyProgram(12, 300), architecture };

async function moveWhileRunning(host: SmallHost, options: Parameters<typeof moveVm>[1]): Promise<Move> {
  const [move] = await Promise.all([moveVm(host, options), host.run()]);
  return move;
}

function item(value: string, more: Partial<ContractItem> = {}): ContractItem {
  return { name: "item", value, isObservable: true, ...more };
}

describe("two contracts", () => {
  it.each([
    ["equal values are equal", item("1"), item("1"), undefined],
    ["what a guest can tell blocks", item("1"), item("2"), "block"],
    ["what it can't tell warns", item("1", { rule: "hidden" }), item("2", { rule: "hidden" }), "warn"],
    [
      "a level as high warns",
      item("1", { rule: "at least", level: 1 }),
      item("2", { rule: "at least", level: 2 }),
      "warn",
    ],
    [
      "a lower level blocks",
      item("2", { rule: "at least", level: 2 }),
      item("1", { rule: "at least", level: 1 }),
      "block",
    ],
    ["what is set first is fixed", item("1"), item("1", { remark: { verdict: "fix", text: "set" } }), "fix"],
    ["what was refused blocks", item("1"), item("2", { remark: { verdict: "block", text: "no" } }), "block"],
  ] as const)("are judged item by item: %s", (_title, source, destination, verdict) => {
    const { equal, differences } = compareContracts([source], [destination]);
    expect(differences.map((difference) => difference.verdict)).toEqual(verdict === undefined ? [] : [verdict]);
    expect(equal).toBe(verdict === undefined ? 1 : 0);
  });

  it("block where one of them lacks an item", () => {
    expect(compareContracts([item("1")], []).differences.map(({ verdict }) => verdict)).toEqual(["block"]);
    expect(compareContracts([], [item("1")]).differences.map(({ verdict }) => verdict)).toEqual(["block"]);
  });
});

describe("what a guest has asked for", () => {
  it("is counted with its first and its last exit, up to any event", async () => {
    const journal = await recordSmall(busy);
    const control = journal.loadSnapshot(0).control;
    const { observations, unknownUpTo } = observe(journal, { architecture, control });
    expect(unknownUpTo).toBe(0);
    const byReason = [...observations].filter(([name]) => name.startsWith("reason"));
    const total = byReason.reduce((sum, [, { count }]) => sum + count, 0);
    expect(total).toBe(journal.end.exitNumber);
    expect(Math.min(...[...observations.values()].map(({ firstExit }) => firstExit))).toBe(1);
    expect(Math.max(...[...observations.values()].map(({ lastExit }) => lastExit))).toBe(journal.end.exitNumber);
    const half = observe(journal, { architecture, control }, Math.floor(journal.end.firstSeq / 2)).observations;
    for (const [name, { count, firstExit, lastExit }] of half) {
      const whole = observations.get(name);
      expect(whole?.firstExit).toBe(firstExit);
      expect(whole?.lastExit).toBeGreaterThanOrEqual(lastExit);
      expect(whole?.count).toBeGreaterThanOrEqual(count);
    }
  });

  it("comes along with a move: nothing is forgotten, and nothing is counted twice", async () => {
    const whole = await recordSmall(busy);
    const control = whole.loadSnapshot(0).control;
    for (const icount of [1, 700, 5000]) {
      const host = createMoving(busy);
      await host.recorder.step({ units: icount });
      const { received, file } = await moveWhileRunning(host, { vm: busy, architecture });
      if (received === undefined || file === undefined) throw new Error("nothing arrived");
      await runToStop(received.recorder);
      received.recorder.finish({ index: false });
      expect(observe(file, { architecture, control })).toEqual(observe(whole, { architecture, control }));
    }
  });

  it("is not known of what a branch's parent holds", async () => {
    const journal = await recordSmall(busy);
    const parent = { id: "p", path: "p.hvj", chain: "", seq: 0, exitNumber: 17, icount: 1, why: "branch" as const };
    const branch = Object.assign(Object.create(journal) as typeof journal, { header: { ...journal.header, parent } });
    expect(observe(branch, { architecture, control: journal.loadSnapshot(0).control }, 0).unknownUpTo).toBe(17);
  });
});

describe("a destination that can't set the VM up", () => {
  it("refuses it by name before anything moves; the source runs on", async () => {
    const host = createMoving(busy);
    await host.recorder.step({ units: 700 });
    const other = contracted({ items: () => [{ name: "reason 0", value: "another", isObservable: true }] });
    const { received, file, sourceError } = await moveWhileRunning(host, { vm: busy, architecture: other });
    expect([received, file]).toEqual([undefined, undefined]);
    expect(sourceError).toBeInstanceOf(MigrationRefusedError);
    expect(String(sourceError)).toContain("reason 0 is as it is at the source and another here");
    expect(standingOf(host.journal.header, host.journal.rows)).toEqual({ is: "owner", epoch: 1 });
    expect(host.recorder.stopped?.what).toBe("powered off");
  });

  it("refuses a command that its rules refuse, and says which item it was for", async () => {
    const host = createMoving(busy);
    await host.recorder.step({ units: 700 });
    const refusing = contracted({ setUp: () => [{ items: ["filter 0x10"], command: { name: "take" } }] });
    const { received, sourceError } = await moveWhileRunning(host, { vm: busy, architecture: refusing });
    expect(received).toBeUndefined();
    expect(sourceError).toBeInstanceOf(MigrationRefusedError);
    expect(String(sourceError)).toContain(
      "filter 0x10 is absent at the source and absent here: SMALL_SET_FORWARD: EINVAL: no command take",
    );
  });

  it("gives up where the configuration has changed meanwhile; nothing is prepared, and the source owns the VM", async () => {
    const host = createMoving(busy);
    await host.recorder.step({ units: 700 });
    let asked = 0;
    const changing = contracted({ configuration: () => ({ changed: (asked += 1) > 2 ? asked : 0 }) });
    const { received, file, sourceError } = await moveWhileRunning(host, { vm: busy, architecture: changing });
    expect([received, file]).toEqual([undefined, undefined]);
    expect(sourceError).toBeInstanceOf(MigrationFailedError);
    expect(String(sourceError)).toMatch(/the destination gave up: architecture\.changed: 3, here 4/);
    expect(standingOf(host.journal.header, host.journal.rows)).toEqual({ is: "owner", epoch: 1 });
  });
});
