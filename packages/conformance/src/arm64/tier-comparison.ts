/**
 * Runs random programs on two engines at once, stops both at random boundaries, and compares all that a guest or a journal
 * could tell apart: state, memory, exits, units.
 */
import { systemRegisterFields, vcpuState } from "@hvjournal/cpu-arm64";
import type { EngineOptions, StateField } from "@hvjournal/engine";
import { LoopPrograms, type LoopProgram } from "./loop-programs.js";
import type { RandomSource } from "./random-source.js";
import { RAM_PAGES, type Stop, TierMachine } from "./tier-machine.js";

/** Exit code. */
const HYPERVISOR_CALL = 17;
const SEED_BYTES = 4096;
const SOFTWARE_STEP = 1n | (1n << 13n);
const STOPS_MAX = 60;

/** What a walk or an instruction leaves behind for itself has no future, and depends on what the TLB holds. */
const SCRATCH = ["translatedDescriptor", "zeroSource", "zeroSink"];
export const comparedFields: readonly StateField[] = [
  ...vcpuState.layout.fields,
  ...vcpuState.layout.cacheFields,
].filter(({ name }) => !SCRATCH.includes(name));

function hex(machine: TierMachine, field: StateField): string {
  return machine.engine.readField(field).toString(16);
}

export class TierComparison {
  readonly #random: RandomSource;
  readonly #programs: LoopPrograms;
  readonly #machines: readonly [TierMachine, TierMachine];
  stops = 0;
  units = 0;

  constructor(random: RandomSource, options: readonly [Partial<EngineOptions>, Partial<EngineOptions>]) {
    this.#random = random;
    this.#programs = new LoopPrograms(random);
    this.#machines = [new TierMachine(options[0]), new TierMachine(options[1])];
  }

  /** Regions that the second machine has compiled. */
  get regions(): number {
    return this.#machines[1].engine.compiledRegionCount;
  }

  /** Runs one program; gives the first difference as text. */
  runProgram(): string | undefined {
    const program = this.#programs.next();
    const level = this.#random.oneIn(3) ? 0 : 1;
    const bytes = this.#seedBytes();
    for (const machine of this.#machines) machine.reset(program, level, bytes);
    for (let stops = this.#random.between(8, STOPS_MAX); stops > 0; stops--) {
      const budget = this.#budget();
      const [expected, actual] = this.#machines.map((machine) => machine.run(budget)) as [Stop, Stop];
      this.stops += 1;
      this.units += budget - expected.unitsLeft;
      const difference = this.#difference(expected, actual);
      if (difference !== undefined) return difference;
      this.#disturb(program, level, expected.exit);
    }
    return undefined;
  }

  #budget(): number {
    const random = this.#random;
    switch (random.below(4)) {
      case 0:
        return random.between(1, 5);
      case 1:
        return random.between(1, 100);
      default:
        return random.between(100, 600);
    }
  }

  /** What happens between two runs: to both, or to the caches of one. */
  #disturb(program: LoopProgram, level: 0 | 1, exit: number): void {
    const random = this.#random;
    const [first, second] = this.#machines;
    if (random.oneIn(40)) second.engine.dropCaches();
    if (random.oneIn(40)) first.engine.dropCaches();
    const happens = this.#event(program, level);
    const lowers = exit === HYPERVISOR_CALL || random.oneIn(20);
    for (const machine of this.#machines) {
      if (lowers) machine.setField(vcpuState.irqSignalled, 0n);
      happens(machine);
    }
  }

  #event(program: LoopProgram, level: 0 | 1): (machine: TierMachine) => void {
    const random = this.#random;
    const from = random.below(program.length);
    const to = random.below(program.length);
    const word = program.words[program.start + from] ?? 0;
    const mask = BigInt(random.word());
    switch (random.below(40)) {
      case 0:
      case 1:
      case 2:
        return (machine) => machine.setField(vcpuState.irqSignalled, 1n);
      case 3:
        return (machine) => machine.placeCode(program.start + to, [word]);
      case 4:
        return (machine) => machine.replaceCodePage(program.start < 1024 ? 0 : 1);
      case 5:
      case 15:
      case 16:
      case 17:
      case 18:
        return (machine) => machine.setPc(program.start + to);
      case 6:
      case 7:
        return (machine) => machine.mapPages(level);
      case 8:
        return (machine) => machine.watchData();
      case 9:
        return (machine) => {
          machine.setField(systemRegisterFields.mdscrEl1, SOFTWARE_STEP);
          machine.setField(vcpuState.daif, mask & 0x1c0n);
        };
      case 10:
      case 11:
        return (machine) => machine.setField(systemRegisterFields.mdscrEl1, 0n);
      case 12:
        return (machine) => machine.setField(vcpuState.daif, mask & 0x3c0n);
      case 13:
        return (machine) => machine.engine.memory.takeDirtyPages("digest");
      case 14:
        return (machine) => machine.placeCode(0, program.words);
      default:
        return () => undefined;
    }
  }

  #difference(expected: Stop, actual: Stop): string | undefined {
    if (expected.exit !== actual.exit || expected.unitsLeft !== actual.unitsLeft)
      return `stops: ${JSON.stringify(actual)}, not ${JSON.stringify(expected)}`;
    const [first, second] = this.#machines;
    const differing = comparedFields.filter(
      (field) => first.engine.readField(field) !== second.engine.readField(field),
    );
    if (differing.length > 0)
      return differing.map((field) => `${field.name}: 0x${hex(second, field)}, not 0x${hex(first, field)}`).join("; ");
    for (let page = 0; page < RAM_PAGES; page++)
      if (Buffer.compare(first.engine.memory.page(page), second.engine.memory.page(page)) !== 0)
        return `page ${page} of RAM differs`;
    return undefined;
  }

  #seedBytes(): Uint8Array {
    const words = new Uint32Array(SEED_BYTES / 4);
    for (let index = 0; index < words.length; index++)
      words[index] = this.#random.oneIn(3) ? this.#random.below(64) : this.#random.word();
    return new Uint8Array(words.buffer);
  }
}
