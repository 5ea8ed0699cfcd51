import { describe, expect, it } from "@jest/globals";
import { Engine, type EngineOptions } from "./engine.js";
import { GUEST_RAM_BYTES_MAX } from "./memory-map.js";
import { EngineExit } from "./interpreter/status.js";
import { elementOf } from "./stage/state-layout.js";
import { Cause, encode, Op, registers, state, TINY_EXIT, tinyCpu, VECTOR } from "./testing/tiny-cpu.js";

const RAM_BASE = 0x4000_0000;
const RAM_BYTES = 1 << 20;
const CODE = RAM_BASE + 0x1000;

function machine(words: readonly number[], options: Partial<EngineOptions> = {}): Engine {
  const engine = new Engine(tinyCpu, { ramBase: RAM_BASE, ramBytes: RAM_BYTES, vcpuCount: 1, ...options });
  place(engine, CODE, words);
  // The vector: an exit with r15.
  place(engine, Number(VECTOR), [encode(Op.exit, 15)]);
  engine.writeField(state.pc, BigInt(CODE));
  return engine;
}

function place(engine: Engine, address: number, words: readonly number[]): void {
  const bytes = new Uint8Array(words.length * 4);
  const view = new DataView(bytes.buffer);
  words.forEach((word, index) => view.setUint32(index * 4, word, true));
  engine.memory.write(address, bytes);
}

const register = (engine: Engine, index: number): bigint => engine.readField(elementOf(registers, index));
const setRegister = (engine: Engine, index: number, value: bigint): void =>
  engine.writeField(elementOf(registers, index), value);
const pcOf = (engine: Engine): number => Number(engine.readField(state.pc));

const profile = ["ADDI", "ADD", "LOAD", "STORE", "JUMP", "BZ", "LOADPAIR", "STOREW", "SETTABLE", "EXIT", "JR"].map(
  (mnemonic) => ({ mnemonic, form: {} }),
);
const tiers: readonly (readonly [string, Partial<EngineOptions>])[] = [
  ["handlers out of line", {}],
  ["handlers inline", { profile }],
  ["compiled blocks", { tier: "blocks" }],
  ["compiled regions", { tier: "regions" }],
  ["a TLB of two entries", { tlbEntries: 2, profile }],
];

it("refuses a TLB of one entry, which could not tell an access across two pages", () => {
  expect(() => machine([], { tlbEntries: 1 })).toThrow("must be a power of two, and at least 2");
});

describe.each(tiers)("engine with %s", (_name, options) => {
  it("counts one unit an instruction and stops exactly at the budget", () => {
    const engine = machine([encode(Op.addi, 1, 1, 0, 1), encode(Op.jump, 0, 0, 0, -1)], options);
    expect(engine.run(7)).toBe(EngineExit.budget);
    expect(register(engine, 1)).toBe(4n);
    expect(pcOf(engine)).toBe(CODE + 4);
  });

  it("leaves behind the instruction with the operands of an exit, and tells the rest of the budget", () => {
    const engine = machine([encode(Op.addi, 2, 0, 0, 77), encode(Op.exit, 2)], options);
    expect(engine.run(100)).toBe(TINY_EXIT);
    expect(engine.exitOperand(0)).toBe(77n);
    expect(engine.unitsLeft).toBe(98);
    expect(pcOf(engine)).toBe(CODE + 8);
  });

  it("falls from the last instruction of a page into the next page", () => {
    const engine = machine([], options);
    place(engine, CODE + 0xffc, [encode(Op.addi, 1, 0, 0, 5), encode(Op.exit, 1)]);
    engine.writeField(state.pc, BigInt(CODE + 0xffc));
    expect(engine.run(10)).toBe(TINY_EXIT);
    expect(engine.exitOperand(0)).toBe(5n);
    expect(engine.unitsLeft).toBe(8);
  });

  it("stops exactly behind the last instruction of an odd page", () => {
    const engine = machine([], options);
    place(engine, CODE + 0xffc, [encode(Op.addi, 1, 0, 0, 5), encode(Op.exit, 1)]);
    engine.writeField(state.pc, BigInt(CODE + 0xffc));
    expect(engine.run(1)).toBe(EngineExit.budget);
    expect(pcOf(engine)).toBe(CODE + 0x1000);
    expect(engine.run(1)).toBe(TINY_EXIT);
  });

  it("raises an exception for an encoding that nobody defines, counting one unit", () => {
    const engine = machine([0xff00_0000], options);
    expect(engine.run(1)).toBe(EngineExit.budget);
    expect(engine.readField(state.cause)).toBe(BigInt(Cause.undefined));
    expect(pcOf(engine)).toBe(Number(VECTOR));
    expect(Number(engine.readField(state.link))).toBe(CODE);
  });

  it("reads and writes across a page boundary", () => {
    const engine = machine([encode(Op.store, 1, 2), encode(Op.load, 3, 2), encode(Op.exit, 3)], options);
    setRegister(engine, 1, 0x1122_3344_5566_7788n);
    setRegister(engine, 2, BigInt(RAM_BASE + 0x5ffd));
    expect(engine.run(10)).toBe(TINY_EXIT);
    expect(engine.exitOperand(0)).toBe(0x1122_3344_5566_7788n);
    expect([...engine.memory.read(RAM_BASE + 0x5ffd, 8)]).toEqual([0x88, 0x77, 0x66, 0x55, 0x44, 0x33, 0x22, 0x11]);
  });

  it("reads and writes across two pages that lie apart, whichever was used last", () => {
    const engine = machine(
      [
        encode(Op.setTable, 1),
        encode(Op.load, 3, 4),
        encode(Op.store, 5, 4),
        encode(Op.store, 5, 2),
        encode(Op.load, 3, 2),
        encode(Op.exit, 3),
      ],
      options,
    );
    identityTable(engine, [0, 1]);
    setEntry(engine, 5, 9);
    setEntry(engine, 6, 7);
    const values = [BigInt(TABLE), 0x4000_5ffdn, 0n, 0x4000_6010n, 0x1122_3344_5566_7788n];
    values.forEach((value, index) => setRegister(engine, index + 1, value));
    expect(engine.run(10)).toBe(TINY_EXIT);
    expect(engine.exitOperand(0)).toBe(0x1122_3344_5566_7788n);
    expect([...engine.memory.read(RAM_BASE + 0x9ffd, 3)]).toEqual([0x88, 0x77, 0x66]);
    expect([...engine.memory.read(RAM_BASE + 0x7000, 5)]).toEqual([0x55, 0x44, 0x33, 0x22, 0x11]);
  });

  it("leaves at a device read, starts the instruction again with the data, and retires it once", () => {
    const engine = machine([encode(Op.loadPair, 1, 2, 3), encode(Op.exit, 3)], options);
    setRegister(engine, 2, 0x0900_0000n);
    expect(engine.run(10)).toBe(EngineExit.mmioRead);
    expect([engine.mmioAddress, engine.mmioBytes, pcOf(engine), engine.unitsLeft]).toEqual([0x0900_0000, 8, CODE, 10]);
    engine.completeMmioRead(11, 0);
    expect(engine.run(10)).toBe(EngineExit.mmioRead);
    expect(engine.mmioAddress).toBe(0x0900_0008);
    engine.completeMmioRead(22, 1);
    expect(engine.run(10)).toBe(TINY_EXIT);
    expect([register(engine, 1), register(engine, 3)]).toEqual([11n, 0x1_0000_0016n]);
    expect(engine.unitsLeft).toBe(8);
    expect(engine.restartPending).toBe(false);
  });

  it("takes a pending interrupt only behind an instruction whose device read is complete", () => {
    const engine = machine([encode(Op.load, 1, 2), encode(Op.exit, 1)], options);
    setRegister(engine, 2, 0x0900_0000n);
    expect(engine.run(10)).toBe(EngineExit.mmioRead);
    engine.completeMmioRead(5, 0);
    engine.writeField(state.irqLine, 1n);
    expect(engine.run(2)).toBe(EngineExit.budget);
    expect(register(engine, 1)).toBe(5n);
    expect(engine.readField(state.cause)).toBe(BigInt(Cause.interrupt));
    expect(Number(engine.readField(state.link))).toBe(CODE + 4);
  });

  it("sends a device write out last and retires when it is done", () => {
    const engine = machine([encode(Op.store, 1, 2), encode(Op.exit, 1)], options);
    setRegister(engine, 1, 0xabcdn);
    setRegister(engine, 2, 0x0900_0010n);
    expect(engine.run(10)).toBe(EngineExit.mmioWrite);
    expect([engine.mmioAddress, engine.mmioBytes, engine.mmioDataLow, pcOf(engine), engine.unitsLeft]).toEqual([
      0x0900_0010,
      8,
      0xabcd,
      CODE,
      10,
    ]);
    expect(engine.completeMmioWrite()).toBe(true);
    expect(pcOf(engine)).toBe(CODE + 4);
    expect(engine.run(10)).toBe(TINY_EXIT);
  });

  it("reads each device once for instructions whose first access needs no device", () => {
    const engine = machine(
      [encode(Op.load, 4, 2), encode(Op.loadTwo, 1, 2, 3), encode(Op.loadTwo, 5, 2, 3), encode(Op.exit, 5)],
      options,
    );
    setRegister(engine, 2, BigInt(RAM_BASE + 0x3000));
    setRegister(engine, 3, 0x0900_0000n);
    for (const data of [7, 8]) {
      expect(engine.run(10)).toBe(EngineExit.mmioRead);
      engine.completeMmioRead(data, 0);
    }
    expect(engine.run(10)).toBe(TINY_EXIT);
    expect([register(engine, 1), register(engine, 5)]).toEqual([7n, 8n]);
  });

  it("writes nothing of an instruction whose second access has a fault, then or later", () => {
    // Both first writes cross a page, so that they wait for the end of their instruction.
    const engine = machine([encode(Op.setTable, 1), encode(Op.store, 4, 5), encode(Op.storeTwo, 4, 2, 3)], options);
    place(engine, Number(VECTOR), [encode(Op.storeTwo, 6, 5, 7), encode(Op.exit, 6)]);
    identityTable(engine, [0, 1, 2, 3, 4, 5, 6, 7, 8]);
    setEntry(engine, Number(VECTOR >> 12n) & 511, 0);
    engine.memory.write(RAM_BASE + 0x800, engine.memory.read(Number(VECTOR), 8));
    const at = (page: number): bigint => BigInt(RAM_BASE + page * 4096);
    for (const [index, value] of [
      [1, BigInt(TABLE)],
      [2, at(4) - 4n],
      [3, at(9)],
      [4, -1n],
      [5, at(2)],
      [6, 0x66n],
      [7, at(6) - 4n],
    ] as const)
      setRegister(engine, index, value);
    expect(engine.run(10)).toBe(TINY_EXIT);
    expect(engine.readField(state.cause)).toBe(BigInt(Cause.memory));
    expect([...engine.memory.read(Number(at(4)) - 4, 8)]).toEqual(Array.from({ length: 8 }, () => 0));
    expect([...engine.memory.read(Number(at(6)) - 4, 8)]).toEqual([0x66, 0, 0, 0, 0, 0, 0, 0]);
  });

  it("carries a device write in flight over a save and restore", () => {
    const engine = machine([encode(Op.store, 1, 2), encode(Op.exit, 1)], options);
    setRegister(engine, 1, 0xabcdn);
    setRegister(engine, 2, 0x0900_0010n);
    engine.run(10);
    const other = machine([encode(Op.store, 1, 2), encode(Op.exit, 1)], options);
    other.vcpuState.set(engine.vcpuState);
    other.restoreInFlight(engine.saveInFlight());
    other.stateWritten();
    expect(other.completeMmioWrite()).toBe(true);
    expect(other.run(10)).toBe(TINY_EXIT);
    const idle = other.saveInFlight();
    expect(idle.pending).toEqual([]);
    expect(idle.bytes.every((byte) => byte === 0)).toBe(true);
  });

  it("raises the memory fault of a page that is not mapped and leaves registers alone", () => {
    const engine = machine([encode(Op.setTable, 1), encode(Op.load, 3, 2)], options);
    identityTable(engine, [1, 2, 0]);
    setRegister(engine, 1, BigInt(TABLE));
    setRegister(engine, 2, 0x4000_9008n);
    setRegister(engine, 3, 42n);
    expect(engine.run(2)).toBe(EngineExit.budget);
    expect(engine.readField(state.cause)).toBe(BigInt(Cause.memory));
    expect(engine.readField(state.faultAddress)).toBe(0x4000_9008n);
    expect(register(engine, 3)).toBe(42n);
  });

  it("sees a page-table entry change before the next instruction, without any flush", () => {
    // r1 = page of the entry; the guest remaps virtual page 5 from physical 6 to 7 between two loads.
    const engine = machine(
      [
        encode(Op.setTable, 1),
        encode(Op.load, 3, 2),
        encode(Op.store, 4, 5),
        encode(Op.load, 6, 2),
        encode(Op.exit, 6),
      ],
      options,
    );
    identityTable(engine, [0, 1, 2, 6, 7, 0x10]);
    setEntry(engine, 5, 6);
    engine.memory.write(RAM_BASE + 0x6000, Uint8Array.of(0x66));
    engine.memory.write(RAM_BASE + 0x7000, Uint8Array.of(0x77));
    setRegister(engine, 1, BigInt(TABLE));
    setRegister(engine, 2, 0x4000_5000n);
    setRegister(engine, 4, BigInt(RAM_BASE + 0x7000) | 3n);
    setRegister(engine, 5, BigInt(TABLE + 5 * 8));
    expect(engine.run(10)).toBe(TINY_EXIT);
    expect([register(engine, 3), register(engine, 6)]).toEqual([0x66n, 0x77n]);
    expect(engine.unitsLeft).toBe(5);
  });

  it("executes what the previous instruction wrote over the next one", () => {
    const engine = machine([encode(Op.storeByte, 1, 2), encode(Op.addi, 3, 0, 0, 1), encode(Op.exit, 3)], options);
    setRegister(engine, 1, BigInt(encode(Op.addi, 3, 0, 0, 99)));
    setRegister(engine, 2, BigInt(CODE + 4));
    expect(engine.run(10)).toBe(TINY_EXIT);
    expect(engine.exitOperand(0)).toBe(99n);
    expect(engine.unitsLeft).toBe(7);
  });

  it("executes what a device has written over decoded code", () => {
    const engine = machine([encode(Op.addi, 3, 3, 0, 1), encode(Op.jump, 0, 0, 0, -1)], options);
    engine.run(4);
    place(engine, CODE, [encode(Op.addi, 3, 3, 0, 100)]);
    engine.run(2);
    expect(register(engine, 3)).toBe(102n);
  });

  it("executes what is written at the end of the largest RAM", () => {
    const engine = machine([], { ...options, ramBytes: GUEST_RAM_BYTES_MAX });
    const start = RAM_BASE + GUEST_RAM_BYTES_MAX - 4096;
    place(engine, start, [encode(Op.addi, 3, 3, 0, 1), encode(Op.jump, 0, 0, 0, -1)]);
    engine.writeField(state.pc, BigInt(start));
    for (let turn = 1; turn <= 100; turn++) engine.run(turn);
    expect([register(engine, 3), pcOf(engine)]).toEqual([2525n, start]);
    place(engine, start, [encode(Op.addi, 3, 3, 0, 100)]);
    engine.run(2);
    expect(register(engine, 3)).toBe(2625n);
  });

  it("raises the alignment fault where the definition asks for alignment", () => {
    const engine = machine([encode(Op.storeByte, 1, 2)], options);
    setRegister(engine, 2, BigInt(RAM_BASE + 0x2002));
    engine.run(1);
    expect(engine.readField(state.cause)).toBe(BigInt(Cause.alignment));
  });

  it("stops behind the instruction that writes a watched range", () => {
    const engine = machine([encode(Op.addi, 1, 0, 0, 9), encode(Op.store, 1, 2), encode(Op.exit, 1)], options);
    setRegister(engine, 2, BigInt(RAM_BASE + 0x3000));
    engine.memory.watch(RAM_BASE + 0x3000, 8);
    expect(engine.run(10)).toBe(EngineExit.watch);
    expect([pcOf(engine), engine.unitsLeft]).toEqual([CODE + 8, 8]);
    expect(engine.watchReport).toEqual({ pc: BigInt(CODE + 4), physical: RAM_BASE + 0x3000, bytes: 8 });
    engine.memory.unwatchAll();
    expect(engine.run(10)).toBe(TINY_EXIT);
  });

  describe("with a break pc", () => {
    const at = (index: number): bigint => BigInt(CODE + 4 * index);
    const loop = [encode(Op.addi, 1, 1, 0, 1), encode(Op.addi, 2, 2, 0, 1), encode(Op.jump, 0, 0, 0, -2)];

    it("leaves in front of the instruction each time, and where it stands already", () => {
      const engine = machine(loop, options);
      for (const turn of [1n, 2n, 3n, 40n, 41n]) {
        if (turn === 40n) engine.run(3 * 36);
        expect([engine.run(100, at(1)), pcOf(engine), engine.unitsLeft]).toEqual([
          EngineExit.breakpoint,
          CODE + 4,
          turn === 1n ? 99 : 98,
        ]);
        expect([register(engine, 1), register(engine, 2)]).toEqual([turn, turn - 1n]);
        expect([engine.run(100, at(1)), engine.unitsLeft]).toEqual([EngineExit.breakpoint, 100]);
        engine.run(1);
      }
    });

    it("stops at it out of a loop that has run for long, and only there", () => {
      const engine = machine([...loop.slice(0, 2), encode(Op.branchIfZero, 3, 0, 0, -2), encode(Op.exit, 1)], options);
      expect(engine.run(3000)).toBe(EngineExit.budget);
      expect([engine.run(300, at(3)), engine.unitsLeft]).toEqual([EngineExit.budget, 0]);
      setRegister(engine, 3, 1n);
      expect([engine.run(300, at(3)), engine.unitsLeft]).toEqual([EngineExit.breakpoint, 297]);
      expect(engine.run(1, at(2))).toBe(TINY_EXIT);
    });

    it("tells that it came there with the last unit of its budget", () => {
      const engine = machine(loop, options);
      expect([engine.run(2, at(2)), engine.unitsLeft]).toEqual([EngineExit.breakpoint, 0]);
      expect([engine.run(2, at(2) + 4n), engine.unitsLeft]).toEqual([EngineExit.budget, 0]);
    });

    it("leaves before an interrupt that is taken there, and at its vector", () => {
      const engine = machine([encode(Op.addi, 1, 1, 0, 1), encode(Op.load, 1, 2), encode(Op.addi)], options);
      setRegister(engine, 2, 0x0900_0000n);
      engine.run(10);
      // The line rises while the load waits for its device: the interrupt comes right behind the load.
      engine.completeMmioRead(5, 0);
      engine.writeField(state.irqLine, 1n);
      expect([engine.run(10, at(2)), pcOf(engine), engine.unitsLeft]).toEqual([EngineExit.breakpoint, CODE + 8, 9]);
      expect(engine.readField(state.irqLine)).toBe(1n);
      expect([engine.run(10, VECTOR), engine.unitsLeft]).toEqual([EngineExit.breakpoint, 9]);
      expect(Number(engine.readField(state.link))).toBe(CODE + 8);
    });

    it("does not stop at an instruction that starts again with the data of its device", () => {
      const engine = machine([encode(Op.load, 1, 2), encode(Op.exit, 1)], options);
      setRegister(engine, 2, 0x0900_0000n);
      engine.run(10);
      engine.completeMmioRead(5, 0);
      expect(engine.run(10, at(0))).toBe(TINY_EXIT);
      expect(engine.exitOperand(0)).toBe(5n);
    });

    it.each([
      ["that is not mapped", 0x4000_9008n, Cause.fetch],
      ["that is misaligned", 0x4000_1002n, Cause.misaligned],
    ])("leaves before the fault of a pc %s", (_what, target, cause) => {
      const engine = machine([encode(Op.setTable, 1), encode(Op.jumpRegister, 2)], options);
      identityTable(engine, [0, 1]);
      setRegister(engine, 1, BigInt(TABLE));
      setRegister(engine, 2, target);
      expect([engine.run(10, target), engine.unitsLeft]).toEqual([EngineExit.breakpoint, 8]);
      expect(engine.readField(state.cause)).toBe(0n);
      expect([engine.run(10, VECTOR), engine.unitsLeft]).toEqual([EngineExit.breakpoint, 9]);
      expect(engine.readField(state.cause)).toBe(BigInt(cause));
    });

    it("stops at the first instruction of the next page, by falling into it", () => {
      const engine = machine([], options);
      place(engine, CODE + 0xffc, [encode(Op.addi, 1, 0, 0, 5), encode(Op.exit, 1)]);
      engine.writeField(state.pc, BigInt(CODE + 0xffc));
      expect([engine.run(10, BigInt(CODE + 0x1000)), engine.unitsLeft]).toEqual([EngineExit.breakpoint, 9]);
      expect(engine.run(10)).toBe(TINY_EXIT);
    });

    it("stops at one of two addresses of the same code only", () => {
      const engine = machine([encode(Op.setTable, 1), encode(Op.jumpRegister, 2), encode(Op.exit, 3)], options);
      identityTable(engine, [0, 1]);
      setEntry(engine, 5, 1);
      setRegister(engine, 1, BigInt(TABLE));
      setRegister(engine, 2, 0x4000_5000n + 8n);
      expect(engine.run(10, at(2))).toBe(TINY_EXIT);
      engine.writeField(state.pc, at(0));
      expect([engine.run(10, 0x4000_5008n), engine.unitsLeft]).toEqual([EngineExit.breakpoint, 8]);
    });
  });

  it("is the same at every boundary when caches are dropped there", () => {
    const words = [
      encode(Op.addi, 1, 1, 0, 3),
      encode(Op.store, 1, 2),
      encode(Op.load, 3, 2),
      encode(Op.add, 4, 4, 3),
      encode(Op.jump, 0, 0, 0, -4),
    ];
    const plain = machine(words, options);
    const dropping = machine(words, options);
    for (const engine of [plain, dropping]) setRegister(engine, 2, BigInt(RAM_BASE + 0x3000));
    plain.run(997);
    for (let left = 997; left > 0; left -= Math.min(left, 13)) {
      dropping.run(Math.min(left, 13));
      dropping.dropCaches();
    }
    expect([...dropping.vcpuState]).toEqual([...plain.vcpuState]);
  });

  it("marks the pages that the guest wrote, once for each consumer", () => {
    const engine = machine([encode(Op.store, 1, 2), encode(Op.jump, 0, 0, 0, -1)], options);
    setRegister(engine, 2, BigInt(RAM_BASE + 0x3000));
    engine.memory.takeDirtyPages("snapshot");
    engine.run(10);
    expect(engine.memory.takeDirtyPages("snapshot")).toEqual([3]);
    expect(engine.memory.takeDirtyPages("snapshot")).toEqual([]);
    engine.run(10);
    expect(engine.memory.takeDirtyPages("snapshot")).toEqual([3]);
    expect(engine.memory.takeDirtyPages("digest")).toEqual([0, 1, 3]);
  });

  it("executes the content that a page of decoded code is restored to", () => {
    const engine = machine([encode(Op.addi, 3, 3, 0, 1), encode(Op.jump, 0, 0, 0, -1)], options);
    engine.run(4);
    const page = engine.memory.page(1).slice();
    new DataView(page.buffer).setUint32(0, encode(Op.addi, 3, 3, 0, 50), true);
    engine.memory.setAbsent(1);
    engine.memory.setLoader(() => page);
    engine.run(2);
    expect(register(engine, 3)).toBe(52n);
  });

  it("hashes pages by index and content, zero pages to zero", () => {
    const engine = machine([encode(Op.addi)], options);
    const hash = (index: number): string => {
      const words = new Uint32Array(4);
      engine.memory.hashPage(index, words);
      return words.join();
    };
    expect(hash(9)).toBe("0,0,0,0");
    engine.memory.write(RAM_BASE + 0x9007, Uint8Array.of(1));
    engine.memory.write(RAM_BASE + 0xa007, Uint8Array.of(1));
    const [nine, ten] = [hash(9), hash(10)];
    expect(nine).not.toBe(ten);
    const words = new Uint32Array(4);
    engine.memory.hashContent(10, engine.memory.page(9), words);
    expect(words.join()).toBe(ten);
    engine.memory.write(RAM_BASE + 0x9007, Uint8Array.of(0, 1));
    expect(hash(9)).not.toBe(nine);
  });

  it("loads an absent page when something first touches it", () => {
    const engine = machine([encode(Op.load, 3, 2), encode(Op.exit, 3)], options);
    engine.memory.setAbsent(3);
    const asked: number[] = [];
    engine.memory.setLoader((index) => {
      asked.push(index);
      return new Uint8Array(4096).fill(1);
    });
    setRegister(engine, 2, BigInt(RAM_BASE + 0x3008));
    expect(engine.run(10)).toBe(TINY_EXIT);
    expect(engine.exitOperand(0)).toBe(0x0101_0101_0101_0101n);
    expect(asked).toEqual([3]);
  });
});

const TABLE = RAM_BASE + 0x1_0000;

/** Maps these pages of RAM to themselves, read and write; the virtual page number is taken modulo 512. */
function identityTable(engine: Engine, pages: readonly number[]): void {
  for (const page of pages) setEntry(engine, page, page);
}

function setEntry(engine: Engine, virtualPage: number, physicalPage: number): void {
  const bytes = new Uint8Array(8);
  new DataView(bytes.buffer).setBigUint64(0, BigInt(RAM_BASE + physicalPage * 4096) | 3n, true);
  engine.memory.write(TABLE + virtualPage * 8, bytes);
}
