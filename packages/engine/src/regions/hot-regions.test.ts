/** What regions meet over time: caches that overflow under them, code that goes, vCPUs that alternate. */
import { describe, expect, it } from "@jest/globals";
import { Engine } from "../engine.js";
import { EngineExit } from "../interpreter/status.js";
import { elementOf } from "../stage/state-layout.js";
import { encode, Op, registers, state, tinyCpu, VECTOR } from "../testing/tiny-cpu.js";
import { REGIONS_MAX } from "./hot-regions.js";

const RAM_BASE = 0x4000_0000;
const PAGE_BYTES = 4096;
const TABLE = RAM_BASE + 0x1_0000;

function engineOf(tier: "interpreter" | "regions", ramPages = 256, vcpuCount = 1): Engine {
  return new Engine(tinyCpu, { ramBase: RAM_BASE, ramBytes: ramPages * PAGE_BYTES, vcpuCount, tier });
}

function place(engine: Engine, address: number, words: readonly number[]): void {
  engine.memory.write(address, new Uint8Array(Uint32Array.from(words).buffer));
}

const register = (engine: Engine, index: number): bigint => engine.readField(elementOf(registers, index));
const setRegister = (engine: Engine, index: number, value: number): void =>
  engine.writeField(elementOf(registers, index), BigInt(value));
const setPc = (engine: Engine, address: number): void => engine.writeField(state.pc, BigInt(address));

/** r1 counts turns of two instructions. */
const COUNTING_LOOP = [encode(Op.addi, 1, 1, 0, 1), encode(Op.jump, 0, 0, 0, -1)];

/** Both engines stop alike after each of these runs. */
function expectAlike(engines: readonly [Engine, Engine], budgets: readonly number[]): void {
  const [interpreter, regions] = engines;
  for (const budget of budgets) {
    expect(regions.run(budget)).toBe(interpreter.run(budget));
    expect(regions.unitsLeft).toBe(interpreter.unitsLeft);
    expect(Buffer.compare(regions.vcpuState, interpreter.vcpuState)).toBe(0);
  }
}

describe("compiled regions", () => {
  it("are made of what runs often, and are left exactly where the budget ends", () => {
    const engine = engineOf("regions");
    place(engine, RAM_BASE, COUNTING_LOOP);
    setPc(engine, RAM_BASE);
    for (let budget = 1; budget < 60; budget++) engine.run(budget);
    expect(engine.compiledRegionCount).toBe(1);
    expect(register(engine, 1)).toBe(BigInt((59 * 60) / 2 / 2));
  });

  it("are not looked for where a vCPU can't fetch, though it stands in the page that ran last", () => {
    const engine = engineOf("regions");
    place(engine, RAM_BASE, COUNTING_LOOP);
    const entry = (page: number): void =>
      engine.memory.write(
        TABLE + (Number(BigInt(RAM_BASE) >> 12n) % 512) * 8,
        new Uint8Array(BigUint64Array.of(BigInt(page)).buffer),
      );
    entry(RAM_BASE | 3);
    setPc(engine, RAM_BASE);
    engine.writeField(state.tableBase, BigInt(TABLE));
    engine.stateWritten();
    engine.run(100);
    entry(0);
    engine.dropCaches();
    expect(engine.run(100)).toBe(EngineExit.budget);
    expect(engine.readField(state.pc)).toBe(VECTOR);
  });

  it("are dropped when there are as many as may be, and made again", () => {
    const engines = [engineOf("interpreter"), engineOf("regions")] as const;
    const loops = Array.from({ length: REGIONS_MAX + 100 }, (_, index) => RAM_BASE + 0x1000 + index * 1024);
    for (const address of loops) for (const engine of engines) place(engine, address, COUNTING_LOOP);
    for (const address of [...loops, ...loops.slice(0, 20)]) {
      for (const engine of engines) setPc(engine, address);
      expectAlike(engines, [29, 3, 1]);
    }
    expect(engines[1].compiledRegionCount).toBeGreaterThan(REGIONS_MAX + 100);
  });

  it("are made where code that was no loop has become one, and again where it has become another", () => {
    const engine = engineOf("regions");
    place(engine, RAM_BASE, [...Array.from({ length: 30 }, () => encode(Op.addi, 1, 1, 0, 1)), encode(Op.exit, 1)]);
    setPc(engine, RAM_BASE);
    engine.run(1000);
    expect(engine.compiledRegionCount).toBe(0);
    place(engine, RAM_BASE, COUNTING_LOOP);
    setPc(engine, RAM_BASE);
    engine.run(1000);
    expect(engine.compiledRegionCount).toBe(1);
    place(engine, RAM_BASE, [encode(Op.addi, 1, 1, 0, 2)]);
    engine.run(1000);
    expect(engine.compiledRegionCount).toBe(2);
  });

  it("go when decoded pages run out behind them", () => {
    const ramPages = 2300;
    const engines = [engineOf("interpreter", ramPages), engineOf("regions", ramPages)] as const;
    for (const engine of engines) {
      // An inner loop of three turns, then one instruction in the next page of RAM, and back.
      place(engine, RAM_BASE, [
        encode(Op.addi, 6, 0, 0, 3),
        encode(Op.addi, 6, 6, 0, -1),
        encode(Op.branchIfZero, 6, 0, 0, 2),
        encode(Op.jump, 0, 0, 0, -2),
        encode(Op.add, 2, 2, 4),
        encode(Op.jumpRegister, 2),
      ]);
      for (let page = 1; page < ramPages; page++)
        place(engine, RAM_BASE + page * PAGE_BYTES, [encode(Op.addi, 1, 1, 0, 1), encode(Op.jumpRegister, 3)]);
      setRegister(engine, 2, RAM_BASE);
      setRegister(engine, 3, RAM_BASE);
      setRegister(engine, 4, PAGE_BYTES);
      setPc(engine, RAM_BASE);
    }
    expectAlike(
      engines,
      Array.from({ length: 600 }, (_, index) => 1 + ((index * 37) % 97)),
    );
    expect(register(engines[1], 1)).toBeGreaterThan(2048n);
    expect(engines[1].compiledRegionCount).toBeGreaterThan(1);
  });

  it("serve two vCPUs in turn", () => {
    const engines = [engineOf("interpreter", 256, 2), engineOf("regions", 256, 2)] as const;
    for (const engine of engines) {
      place(engine, RAM_BASE, COUNTING_LOOP);
      for (const vcpu of [0, 1]) {
        engine.selectVcpu(vcpu);
        setRegister(engine, 1, 1000 * vcpu);
        setPc(engine, RAM_BASE + 4 * vcpu);
      }
    }
    for (let turn = 0; turn < 40; turn++) {
      for (const engine of engines) engine.selectVcpu(turn % 2);
      expectAlike(engines, [1 + (turn % 3), 50]);
    }
    expect(engines[1].compiledRegionCount).toBe(1);
  });

  it.each([0, 1, 14, 15])("end at their own store into their code, by instruction %d of 17", (at) => {
    const engines = [engineOf("interpreter"), engineOf("regions")] as const;
    const code = RAM_BASE + PAGE_BYTES;
    for (const engine of engines) {
      const words = Array.from({ length: 16 }, () => encode(Op.addi, 9, 9, 0, 1));
      words[at] = encode(Op.store, 5, 4);
      words[7] = encode(Op.addi, 4, 4, 0, 8);
      place(engine, code, [...words, encode(Op.jump, 0, 0, 0, -16)]);
      setPc(engine, code);
      // The pointer walks through the page in front, into the loop and behind it.
      setRegister(engine, 4, code - 128 * 8);
      engine.writeField(elementOf(registers, 5), BigInt(encode(Op.addi, 1, 1, 0, 1)) * 0x1_0000_0001n);
    }
    // The store meets the code after 128 turns of 17: far in the third run.
    expectAlike(engines, [1000, 1000, 1000, 1000]);
    expect(engines[1].compiledRegionCount).toBeGreaterThan(0);
    expect(register(engines[1], 1)).toBeGreaterThan(0n);
  });
});
