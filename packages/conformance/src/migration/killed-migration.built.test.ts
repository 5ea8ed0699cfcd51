import { afterAll, describe, expect, it } from "@jest/globals";
import { resolveOwnership, standingOf } from "@hvjournal/core";
import { existsSync } from "node:fs";
import { keepOnFailure } from "../testing/keep-recording.js";
import { VmSandbox } from "../testing/vm-sandbox.js";

const sandbox = new VmSandbox();
afterAll(() => sandbox.close());

const APPEND = "scenario=loop count=800";
const ROUNDS = 4;
const MIGRATION_MS = 2500;

function sideOf(name: string): Parameters<typeof resolveOwnership>[0] {
  return sandbox.open(name, (reader) => ({ header: reader.header, rows: reader.ownership() }));
}

/** Which recording owns the VM, by what the files say. */
function ownerOf(source: string, destination: string): string {
  const side = sideOf(source);
  const moved = standingOf(side.header, side.rows).is === "moved";
  if (!existsSync(sandbox.path(destination))) {
    expect(moved).toBe(false);
    return source;
  }
  return resolveOwnership(side, sideOf(destination)).owner === "source" ? source : destination;
}

/** A move that is cut by killing one side, and what becomes of the VM. */
async function killOnce(round: number, victim: "source" | "destination", afterMs: number): Promise<string> {
  const [source, destination, third] = [`s${round}`, `d${round}`, `t${round}`];
  sandbox.recordInteractive(source, APPEND);
  const sourceId = sandbox.vm(source)?.processId ?? 0;
  const moving = sandbox.start("migrate", source, destination);
  await new Promise((resolve) => setTimeout(resolve, afterMs));
  const id = victim === "source" ? sourceId : sandbox.vm(destination)?.processId;
  if (id !== undefined) process.kill(id, "SIGKILL");
  await moving.finished;
  const owner = ownerOf(`${source}.hvj`, `${destination}.hvj`);
  await goOnToTheEnd(owner, { source, destination, third });
  return owner;
}

interface Names {
  readonly source: string;
  readonly destination: string;
  readonly third: string;
}

async function goOnToTheEnd(owner: string, { source, destination, third }: Names): Promise<void> {
  const name = owner.replace(".hvj", "");
  const whole = sandbox.console("whole.hvj");
  if (sandbox.vm(name) !== undefined) {
    // It runs, and runs alone.
    expect(sandbox.vms().map((vm) => vm.name)).toEqual([name]);
    expect(await sandbox.gone(name)).toBe(true);
  } else if (existsSync(sandbox.path(`${destination}.hvj`))) sandbox.must("migrate", "--resolve", source, destination);
  if (await isOver(owner)) {
    const text = owner === `${source}.hvj` ? sandbox.console(owner) : sandbox.joinedConsole(`${source}.hvj`, owner);
    expect(text).toBe(whole);
    return;
  }
  sandbox.must("migrate", owner, third);
  expect(await sandbox.gone(third)).toBe(true);
  const before = owner === `${source}.hvj` ? sandbox.console(owner) : sandbox.joinedConsole(`${source}.hvj`, owner);
  expect(before + sandbox.console(`${third}.hvj`, sandbox.handOverSeq(`${third}.hvj`))).toBe(whole);
}

async function isOver(owner: string): Promise<boolean> {
  await sandbox.gone(owner.replace(".hvj", ""));
  return sandbox.console(owner).trimEnd().endsWith("power off");
}

describe("a move of which one side is killed", () => {
  it("leaves exactly one owner, which goes on without losing or repeating a byte", async () => {
    const seed = Number(process.env["HVJOURNAL_TEST_SEED"] ?? Math.floor(Math.random() * 2 ** 31));
    process.stderr.write(`seed: ${seed} (HVJOURNAL_TEST_SEED)\n`);
    let state = seed;
    const random = (below: number): number => {
      state = (Math.imul(state, 1103515245) + 12345) >>> 0;
      return (state >>> 8) % below;
    };
    sandbox.recordWhole("whole", APPEND);
    const owners: string[] = [];
    for (let round = 0; round < ROUNDS; round++) {
      const victim = round % 2 === 0 ? "source" : "destination";
      const files = [`s${round}.hvj`, `d${round}.hvj`].map((name) => sandbox.path(name));
      owners.push(await keepOnFailure(files, () => killOnce(round, victim, random(MIGRATION_MS))));
    }
    process.stderr.write(`owners: ${owners.join(", ")}\n`);
  }, 600_000);
});
