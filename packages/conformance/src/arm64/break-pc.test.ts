/** Where a run with a break pc stops, against single steps, in random programs that loop. `HVJOURNAL_SEED=n` repeats a run. */
import { vcpuState } from "@hvjournal/cpu-arm64";
import { EngineExit, type EngineOptions } from "@hvjournal/engine";
import { describe, expect, it } from "@jest/globals";
import { LoopPrograms } from "./loop-programs.js";
import { RandomSource, seedOfRun } from "./random-source.js";
import { comparedFields } from "./tier-comparison.js";
import { RAM_PAGES, TierMachine } from "./tier-machine.js";

const PROGRAMS = 60;
const UNITS = 1200;
const HYPERVISOR_CALL = 17;
/** What happens at the break pc: decided by icount alone, so that it does on both machines. */
const INTERRUPT = 1;
const DROPPED_CACHES = 2;

interface Plan {
  readonly breakPc: bigint;
  /** Lengths of runs, in turn. */
  readonly budgets: readonly number[];
  /** By icount: what happens at a visit. */
  readonly happens: readonly number[];
}

const seed = seedOfRun();

/** Runs `UNITS` units, and stands at each boundary with the break pc on the way. */
class Walk {
  readonly visits: number[] = [];
  readonly #machine: TierMachine;
  readonly #plan: Plan;
  #icount = 0;
  #atVisit = -1;
  #runs = 0;

  constructor(machine: TierMachine, plan: Plan) {
    this.#machine = machine;
    this.#plan = plan;
  }

  get #left(): number {
    const { budgets } = this.#plan;
    return Math.min(budgets[this.#runs++ % budgets.length] ?? 1, UNITS - this.#icount);
  }

  /** `steps`: unit by unit, without a break. */
  run({ steps }: { readonly steps: boolean }): void {
    const { breakPc } = this.#plan;
    while (this.#icount < UNITS) {
      const isThere = this.#machine.pc === breakPc;
      if (isThere && this.#atVisit !== this.#icount) this.#visit();
      if (steps || isThere) this.#go(1);
      else this.#go(this.#left, breakPc);
    }
  }

  #visit(): void {
    this.#atVisit = this.#icount;
    this.visits.push(this.#icount);
    const happens = this.#plan.happens[this.#icount] ?? 0;
    if (happens === INTERRUPT) this.#machine.setField(vcpuState.irqSignalled, 1n);
    if (happens === DROPPED_CACHES) this.#machine.engine.dropCaches();
  }

  #go(units: number, breakPc?: bigint): void {
    const { exit, unitsLeft } = this.#machine.run(units, breakPc);
    this.#icount += units - unitsLeft;
    if (exit === EngineExit.breakpoint) {
      expect(this.#machine.pc).toBe(breakPc);
      expect(this.#atVisit).not.toBe(this.#icount);
    }
    if (exit === HYPERVISOR_CALL) this.#machine.setField(vcpuState.irqSignalled, 0n);
  }
}

/** Where a program comes by in its first units. */
function visited(machine: TierMachine): bigint[] {
  const pcs: bigint[] = [];
  for (let unit = 0; unit < 400; unit++) {
    pcs.push(machine.pc);
    machine.run(1);
  }
  return pcs;
}

function difference(expected: TierMachine, actual: TierMachine): string | undefined {
  const differing = comparedFields.filter(
    (field) => expected.engine.readField(field) !== actual.engine.readField(field),
  );
  if (differing.length > 0) return differing.map(({ name }) => name).join();
  for (let page = 0; page < RAM_PAGES; page++)
    if (Buffer.compare(expected.engine.memory.page(page), actual.engine.memory.page(page)) !== 0) return `page ${page}`;
  return undefined;
}

describe.each<readonly [string, Partial<EngineOptions>]>([
  ["the interpreter", { tier: "interpreter" }],
  ["compiled regions", { tier: "regions" }],
  ["compiled blocks", { tier: "blocks" }],
  ["a TLB of two entries", { tier: "regions", tlbEntries: 2 }],
])("a run with a break pc, with %s", (_name, options) => {
  it(`stops at each boundary where single steps find that pc, and nowhere else (seed ${seed})`, () => {
    const random = new RandomSource(seed);
    const programs = new LoopPrograms(random);
    const machines = [new TierMachine({ tier: "interpreter" }), new TierMachine(options)] as const;
    let visits = 0;
    for (let number = 0; number < PROGRAMS; number++) {
      const program = programs.next();
      const level = random.oneIn(3) ? 0 : 1;
      const bytes = new Uint8Array(Uint32Array.from({ length: 1024 }, () => random.word()).buffer);
      machines[0].reset(program, level, bytes);
      const pcs = visited(machines[0]);
      const short = random.oneIn(2);
      const plan: Plan = {
        breakPc: pcs[random.below(pcs.length)] ?? 0n,
        budgets: Array.from({ length: 7 }, () => random.between(1, short ? 6 : 700)),
        happens: Array.from({ length: UNITS }, () => random.below(8)),
      };
      for (const machine of machines) machine.reset(program, level, bytes);
      // What is compiled on the way must stand aside too.
      if (random.oneIn(2)) for (const machine of machines) machine.run(500);
      const [steps, runs] = machines.map((machine) => new Walk(machine, plan)) as [Walk, Walk];
      steps.run({ steps: true });
      runs.run({ steps: false });
      expect([number, runs.visits]).toEqual([number, steps.visits]);
      expect([number, difference(...machines)]).toEqual([number, undefined]);
      visits += steps.visits.length;
    }
    expect(visits).toBeGreaterThan(PROGRAMS);
  });
});
