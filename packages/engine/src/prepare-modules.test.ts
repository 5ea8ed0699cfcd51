import { describe, expect, it } from "@jest/globals";
import type { CpuDefinition } from "./cpu-definition.js";
import { loadModules, type PreparedModules } from "./emit/kept-modules.js";
import { Engine } from "./engine.js";
import { prepareModules } from "./prepare-modules.js";
import type { Instruction } from "./stage/instruction.js";
import { elementOf } from "./stage/state-layout.js";
import { encode, Op, registers, state, TINY_EXIT, tinyCpu } from "./testing/tiny-cpu.js";

const RAM_BASE = 0x4000_0000;
const entry = (mnemonic: string) => ({ mnemonic, form: {} });
const profile = [entry("ADDI"), entry("BZ")];
const warm = [entry("STORE"), entry("LOAD"), entry("EXIT")];
const options = { ramBase: RAM_BASE, profile, warm };

/** A CPU of its own, so that nothing is kept for it yet, and the mnemonics that were staged since. */
function watchedCpu(): { readonly cpu: CpuDefinition; readonly staged: string[] } {
  const staged: string[] = [];
  const watch = (instruction: Instruction): Instruction => ({
    ...instruction,
    execute(form, operands, stage) {
      staged.push(instruction.mnemonic);
      instruction.execute(form, operands, stage);
    },
  });
  const lists = new Map<number, readonly Instruction[]>();
  const instructionsFor = (context: number): readonly Instruction[] => {
    const list = lists.get(context) ?? tinyCpu.instructionsFor(context).map(watch);
    lists.set(context, list);
    return list;
  };
  return { cpu: { ...tinyCpu, instructionsFor }, staged };
}

/** Stores r1 + 5 at the second page, loads it again and leaves with it. */
function run(cpu: CpuDefinition, ramBytes: number): bigint {
  const engine = new Engine(cpu, { ...options, ramBytes, vcpuCount: 1 });
  const words = [encode(Op.addi, 1, 1, 0, 5), encode(Op.store, 1, 2), encode(Op.load, 3, 2), encode(Op.exit, 3)];
  engine.memory.write(RAM_BASE, new Uint8Array(Uint32Array.from(words).buffer));
  engine.writeField(state.pc, BigInt(RAM_BASE));
  engine.writeField(elementOf(registers, 2), BigInt(RAM_BASE + 0x1000));
  expect(engine.run(10)).toBe(TINY_EXIT);
  return engine.exitOperand(0);
}

function preparedElsewhere(): PreparedModules {
  return structuredClone(prepareModules(watchedCpu().cpu, options));
}

describe("modules that were built before", () => {
  it.each([0x2000, 0x40_0000])("run a VM with %d bytes of RAM without staging a definition", (ramBytes) => {
    const { cpu, staged } = watchedCpu();
    loadModules(cpu, preparedElsewhere);
    expect(run(cpu, ramBytes)).toBe(5n);
    expect(staged).toEqual([]);
  });

  it("are built where there are none", () => {
    const { cpu, staged } = watchedCpu();
    loadModules(cpu, () => undefined);
    expect(run(cpu, 0x2000)).toBe(5n);
    expect(staged).toEqual(expect.arrayContaining(["ADDI", "BZ", "STORE", "LOAD", "EXIT"]));
  });

  it("are left alone by an engine with another TLB", () => {
    const { cpu, staged } = watchedCpu();
    loadModules(cpu, preparedElsewhere);
    const engine = new Engine(cpu, { ...options, ramBytes: 0x2000, vcpuCount: 1, tlbEntries: 16 });
    expect(engine.map.entries).toBe(16);
    expect(staged).toEqual(["ADDI", "BZ"]);
  });

  it("are the same whenever they are built", () => {
    expect(prepareModules(watchedCpu().cpu, options)).toEqual(prepareModules(watchedCpu().cpu, options));
  });
});
