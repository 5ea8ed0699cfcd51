/** The instructions that are hardest on the stage and the engine, in every consumer of their programs. */
import { describe, expect, it } from "@jest/globals";
import { EngineExit } from "@hvjournal/engine";
import { Context } from "./context.js";
import { ExitCode } from "./exit-code.js";
import { Vector } from "./exceptions.js";
import { Flag, STATUS_FLAGS } from "./registers.js";
import { SegmentAttribute } from "./segment-attributes.js";
import { InterruptShadow } from "./state.js";
import {
  CODE,
  DATA,
  DEVICE,
  FAULT_STACK,
  frameOf,
  handledVector,
  HANDLERS,
  LEVEL0_STACK,
  machine,
  type Machine,
  PageEntry,
  Selector,
  setGate,
  STACK,
  UNMAPPED,
} from "./testing/machine.js";
import { tiers } from "./testing/tiers.js";

const HLT = 0xf4;
const NOP = 0x90;

/** Runs to the handler of an exception or interrupt, and gives its vector. */
function runToHandler(guest: Machine, budget = 1000): number {
  expect(guest.engine.run(budget)).toBe(ExitCode.halt);
  return handledVector(guest);
}

function bytesAt(guest: Machine, address: number, count: number): number[] {
  return [...guest.engine.memory.read(address, count)];
}

/** xorshift32; the seed is printed with a failure. */
function randomSource(seed: number): () => bigint {
  let state = seed;
  const word = (): bigint => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return BigInt(state >>> 0);
  };
  const corners = [0n, 1n, 0x7fn, 0x80n, 0xffn, 0x7fffn, 0x8000n, 0x7fff_ffffn, 0x8000_0000n, 1n << 63n, -1n];
  return () => {
    const pick = word();
    if (pick % 3n === 0n) return BigInt.asUintN(64, corners[Number(pick % 11n)] ?? 0n);
    return (word() << 32n) | word();
  };
}

interface Outcome {
  readonly result: bigint;
  /** Status flags that are defined. */
  readonly flags: number;
  readonly defined: number;
}

const sizes = [8, 16, 32, 64] as const;

function resultFlags(bits: number, result: bigint): number {
  let ones = 0;
  for (let bit = 0n; bit < 8n; bit++) ones += Number((result >> bit) & 1n);
  return (
    (result === 0n ? Flag.ZF : 0) |
    (((result >> BigInt(bits - 1)) & 1n) === 1n ? Flag.SF : 0) |
    (ones % 2 === 0 ? Flag.PF : 0)
  );
}

/** Sums as integers: CF, AF and OF are what does not fit. */
function addReference(bits: number, left: bigint, right: bigint, carry: bigint): Outcome {
  const wide = left + right + carry;
  const result = BigInt.asUintN(bits, wide);
  const signed = BigInt.asIntN(bits, left) + BigInt.asIntN(bits, right) + carry;
  const flags =
    resultFlags(bits, result) |
    (wide === result ? 0 : Flag.CF) |
    ((left & 15n) + (right & 15n) + carry > 15n ? Flag.AF : 0) |
    (signed === BigInt.asIntN(bits, result) ? 0 : Flag.OF);
  return { result, flags, defined: STATUS_FLAGS };
}

/** One place after the other, as the manual's pseudocode does. */
function shlReference(bits: number, left: bigint, count: number, before: number): Outcome {
  let result = left;
  let carry = (before & Flag.CF) !== 0 ? 1n : 0n;
  for (let place = 0; place < count; place++) {
    carry = (result >> BigInt(bits - 1)) & 1n;
    result = BigInt.asUintN(bits, result << 1n);
  }
  if (count === 0) return { result, flags: before & STATUS_FLAGS, defined: STATUS_FLAGS };
  const sign = (result >> BigInt(bits - 1)) & 1n;
  const flags = resultFlags(bits, result) | (carry === 1n ? Flag.CF : 0) | (sign !== carry ? Flag.OF : 0);
  const carryDefined = count <= bits ? Flag.CF : 0;
  const overflowDefined = count === 1 ? Flag.OF : 0;
  return { result, flags, defined: Flag.ZF | Flag.SF | Flag.PF | carryDefined | overflowDefined };
}

/** Prefixes and opcode of an operation on rAX or [DATA] by operand size: `opcode` is that of bytes. */
function sized(bits: number, opcode: readonly number[], rest: readonly number[]): number[] {
  const first = opcode.map((byte, index) => (index === opcode.length - 1 && bits !== 8 ? byte + 1 : byte));
  return [...(bits === 16 ? [0x66] : []), ...(bits === 64 ? [0x48] : []), ...first, ...rest];
}

/** What a destination register of `bits` holds afterwards. */
function merged(bits: number, before: bigint, result: bigint): bigint {
  if (bits >= 32) return result;
  const mask = (1n << BigInt(bits)) - 1n;
  return (before & ~mask) | result;
}

/** Executes one instruction with rAX and rBX given; gives rAX and the flags. */
function execute(
  guest: Machine,
  code: readonly number[],
  rax: bigint,
  rbx: bigint,
  flags: number,
): { readonly rax: bigint; readonly flags: number } {
  guest.place(CODE, [...code, HLT]);
  guest.set("rip", CODE);
  guest.set("rax", rax);
  guest.set("rbx", rbx);
  guest.set("rflags", flags | Flag.fixed);
  expect(guest.engine.run(1)).toBe(EngineExit.budget);
  expect(guest.get("rip")).toBe(BigInt(CODE + code.length));
  return { rax: guest.get("rax"), flags: Number(guest.get("rflags")) };
}

describe.each(tiers)("x86 instructions with %s", (_name, options) => {
  it("adds with and without carry and sets all status flags, in registers and memory", () => {
    const seed = 0x1234_5678;
    const random = randomSource(seed);
    const guest = machine([], options);
    for (let round = 0; round < 48; round++) {
      for (const bits of sizes) {
        const [left, right, before] = [random(), random(), Number(random() & 0xffn) & STATUS_FLAGS];
        const mask = (1n << BigInt(bits)) - 1n;
        const withCarry = round % 2 === 1;
        const carry = withCarry && (before & Flag.CF) !== 0 ? 1n : 0n;
        const expected = addReference(bits, left & mask, right & mask, carry);
        const opcode = [withCarry ? 0x10 : 0x00];
        const name = `seed ${seed}, round ${round}, ${bits} bits, ${left} + ${right}`;
        const inRegister = execute(guest, sized(bits, opcode, [0xd8]), left, right, before);
        expect([name, inRegister.rax]).toEqual([name, merged(bits, left, expected.result)]);
        expect([name, inRegister.flags & STATUS_FLAGS]).toEqual([name, expected.flags]);
        guest.setWord64(DATA, left);
        // op [DATA], rBX
        const absolute = [0x1c, 0x25, ...littleEndian(DATA)];
        const inMemory = execute(guest, sized(bits, opcode, absolute), 0n, right, before);
        expect([name, guest.word64(DATA) & mask]).toEqual([name, expected.result]);
        expect([name, guest.word64(DATA) & ~mask]).toEqual([name, left & ~mask & ((1n << 64n) - 1n)]);
        expect([name, inMemory.flags & STATUS_FLAGS]).toEqual([name, expected.flags]);
      }
    }
  });

  it("keeps CF in INC and sets the other status flags", () => {
    const seed = 77;
    const random = randomSource(seed);
    const guest = machine([], options);
    for (let round = 0; round < 32; round++) {
      for (const bits of sizes) {
        const [left, before] = [random(), Number(random() & 0xfffn) & STATUS_FLAGS];
        const value = BigInt.asUintN(bits, left);
        const expected = addReference(bits, value, 1n, 0n);
        const { rax, flags } = execute(guest, sized(bits, [0xfe], [0xc0]), left, 0n, before);
        const name = `seed ${seed}, round ${round}, ${bits} bits, ${left}`;
        expect([name, rax]).toEqual([name, merged(bits, left, expected.result)]);
        expect([name, flags & STATUS_FLAGS]).toEqual([name, (expected.flags & ~Flag.CF) | (before & Flag.CF)]);
      }
    }
  });

  it("shifts left by CL, and by 0 leaves every flag alone but clears the upper half of a doubleword register", () => {
    const seed = 99;
    const random = randomSource(seed);
    const guest = machine([], options);
    for (let round = 0; round < 64; round++) {
      for (const bits of sizes) {
        const [left, count, before] = [random(), random(), Number(random() & 0xfffn) & STATUS_FLAGS];
        const cl = round % 4 === 0 ? count & ~0x3fn : count;
        guest.set("rcx", cl);
        const effective = Number(cl & (bits === 64 ? 63n : 31n));
        const expected = shlReference(bits, BigInt.asUintN(bits, left), effective, before);
        const { rax, flags } = execute(guest, sized(bits, [0xd2], [0xe0]), left, 0n, before);
        const name = `seed ${seed}, round ${round}, ${bits} bits, ${left} << ${effective}`;
        expect([name, rax]).toEqual([name, merged(bits, left, expected.result)]);
        expect([name, flags & expected.defined]).toEqual([name, expected.flags & expected.defined]);
      }
    }
  });

  it("exchanges registers and memory, high bytes and numbered registers too", () => {
    // xchg ah,bl; xchg [rip+DATA],r9; xchg rax,r8
    const guest = machine([0x86, 0xdc, 0x4c, 0x87, 0x0d, ...littleEndian(DATA - CODE - 9), 0x49, 0x90, HLT], options);
    guest.set("rax", 0x1122n);
    guest.set("rbx", 0x3344n);
    guest.set("r8", 0x88n);
    guest.set("r9", 0x99n);
    guest.setWord64(DATA, 0x7777n);
    expect(guest.engine.run(10)).toBe(ExitCode.halt);
    expect(["rax", "rbx", "r8", "r9"].map(guest.get)).toEqual([0x88n, 0x3311n, 0x4422n, 0x7777n]);
    expect(guest.word64(DATA)).toBe(0x99n);
    expect(guest.engine.unitsLeft).toBe(6);
  });

  it("pushes from memory with the stack pointer of before", () => {
    // push qword [rsp]; push word [rsp]
    const guest = machine([0xff, 0x34, 0x24, 0x66, 0xff, 0x34, 0x24, HLT], options);
    guest.setWord64(STACK, 0x1111_2222_3333_4444n);
    expect(guest.engine.run(10)).toBe(ExitCode.halt);
    expect(guest.get("rsp")).toBe(BigInt(STACK - 10));
    expect(guest.word64(STACK - 8)).toBe(0x1111_2222_3333_4444n);
    expect(bytesAt(guest, STACK - 10, 2)).toEqual([0x44, 0x44]);
  });

  it("leaves everything as it was when the page that PUSH writes is not present", () => {
    const guest = machine([0xff, 0x35, ...littleEndian(DATA - CODE - 6), HLT], options);
    guest.map(UNMAPPED);
    guest.set("rsp", UNMAPPED + 0x1000);
    expect(runToHandler(guest)).toBe(Vector.pageFault);
    const frame = frameOf(guest, true);
    expect(frame).toEqual({
      error: 2n,
      rip: BigInt(CODE),
      cs: BigInt(Selector.code),
      rflags: BigInt(Flag.RF | Flag.fixed),
      rsp: BigInt(UNMAPPED + 0x1000),
      ss: BigInt(Selector.data),
    });
    expect(guest.get("cr2")).toBe(BigInt(UNMAPPED + 0xff8));
    expect(guest.get("rsp")).toBe(BigInt(FAULT_STACK - 48));
    // One unit for the exception, one for the handler's HLT.
    expect(guest.engine.unitsLeft).toBe(998);
  });

  it("makes a double fault of a page fault that can't be delivered, and shuts down at the third", () => {
    const guest = machine([0x50], options);
    guest.set("rsp", UNMAPPED + 0x800);
    setGate(guest, Vector.pageFault, HANDLERS + 16 * Vector.pageFault);
    expect(runToHandler(guest)).toBe(Vector.doubleFault);
    expect([frameOf(guest, true)["error"], frameOf(guest, true)["rip"]]).toEqual([0n, BigInt(CODE)]);
    const hopeless = machine([0x50], options);
    hopeless.set("rsp", UNMAPPED + 0x800);
    for (const vector of [Vector.pageFault, Vector.doubleFault]) setGate(hopeless, vector, HANDLERS);
    expect(hopeless.engine.run(100)).toBe(ExitCode.shutdown);
    expect([hopeless.get("rip"), hopeless.engine.unitsLeft]).toEqual([BigInt(CODE), 100]);
  });

  it("compares and exchanges 16 bytes, writing memory in both cases and only ZF", () => {
    const code = [0xf0, 0x48, 0x0f, 0xc7, 0x0f, HLT];
    const guest = machine(code, options);
    const prepare = (low: bigint): void => {
      guest.set("rip", CODE);
      guest.setWord64(DATA, 5n);
      guest.setWord64(DATA + 8, 6n);
      guest.set("rdi", DATA);
      for (const [name, value] of [
        ["rax", low],
        ["rdx", 6n],
        ["rbx", 0xbn],
        ["rcx", 0xcn],
      ] as const)
        guest.set(name, value);
      guest.set("rflags", Flag.fixed | (STATUS_FLAGS & ~Flag.ZF));
    };
    prepare(5n);
    guest.engine.run(10);
    expect([guest.word64(DATA), guest.word64(DATA + 8), guest.get("rflags")]).toEqual([
      0xbn,
      0xcn,
      BigInt(STATUS_FLAGS | Flag.fixed),
    ]);
    prepare(4n);
    guest.set("rflags", STATUS_FLAGS | Flag.fixed);
    guest.engine.run(10);
    expect([guest.get("rax"), guest.get("rdx"), guest.word64(DATA)]).toEqual([5n, 6n, 5n]);
    expect(guest.get("rflags")).toBe(BigInt((STATUS_FLAGS & ~Flag.ZF) | Flag.fixed));
    prepare(4n);
    guest.map(DATA, DATA, PageEntry.P);
    expect(runToHandler(guest)).toBe(Vector.pageFault);
    expect(frameOf(guest, true)["error"]).toBe(3n);
  });

  it("compares and exchanges 8 bytes, aligned or not, in halves of four registers", () => {
    const guest = machine([0x0f, 0xc7, 0x0f, 0x0f, 0xc7, 0x0f, HLT], options);
    guest.set("rdi", DATA + 3);
    guest.setWord64(DATA + 3, 0x6_0000_0005n);
    const wide = 1n << 40n;
    for (const [name, value] of [
      ["rax", wide | 5n],
      ["rdx", wide | 6n],
      ["rbx", wide | 0xbn],
      ["rcx", wide | 0xcn],
    ] as const)
      guest.set(name, value);
    guest.set("rflags", Flag.fixed);
    guest.engine.run(1);
    expect([guest.word64(DATA + 3), guest.get("rax"), guest.get("rflags")]).toEqual([
      0xc_0000_000bn,
      wide | 5n,
      BigInt(Flag.fixed | Flag.ZF),
    ]);
    guest.engine.run(10);
    expect([guest.get("rax"), guest.get("rdx"), guest.get("rflags")]).toEqual([0xbn, 0xcn, BigInt(Flag.fixed)]);
  });

  it("pushes registers and immediates, with their sign", () => {
    // push rsp; push -2; pushw 0x1234; push -3 (imm32)
    const guest = machine([0x54, 0x6a, 0xfe, 0x66, 0x68, 0x34, 0x12, 0x68, 0xfd, 0xff, 0xff, 0xff, HLT], options);
    expect(guest.engine.run(10)).toBe(ExitCode.halt);
    expect(guest.get("rsp")).toBe(BigInt(STACK - 26));
    expect([guest.word64(STACK - 8), guest.word64(STACK - 16)]).toEqual([BigInt(STACK), (1n << 64n) - 2n]);
    expect([...bytesAt(guest, STACK - 18, 2), guest.word64(STACK - 26)]).toEqual([0x34, 0x12, (1n << 64n) - 3n]);
  });

  it("raises #GP for a CMPXCHG16B that is not aligned, before its page is looked at", () => {
    const guest = machine([0x48, 0x0f, 0xc7, 0x0f], options);
    guest.set("rdi", UNMAPPED + 8);
    expect(runToHandler(guest)).toBe(Vector.generalProtection);
    expect(frameOf(guest, true)["error"]).toBe(0n);
  });

  it("moves bytes up to a page that is not present, with registers exact, and goes on where it stopped", () => {
    // rep movsb; hlt. The handler maps the page and returns: mov is not here, so the test does it.
    const guest = machine([0xf3, 0xa4, HLT], options);
    const text = Array.from({ length: 32 }, (_, index) => index + 1);
    guest.place(DATA, text);
    const destination = UNMAPPED - 13;
    guest.map(UNMAPPED - 0x1000, 0x2_8000);
    guest.set("rsi", DATA);
    guest.set("rdi", destination);
    guest.set("rcx", 32);
    expect(runToHandler(guest)).toBe(Vector.pageFault);
    expect(["rsi", "rdi", "rcx", "cr2"].map(guest.get)).toEqual([
      BigInt(DATA + 13),
      BigInt(UNMAPPED),
      19n,
      BigInt(UNMAPPED),
    ]);
    const frame = frameOf(guest, true);
    expect([frame["rip"], frame["error"], frame["rflags"]]).toEqual([BigInt(CODE), 2n, BigInt(Flag.RF | Flag.fixed)]);
    expect(guest.engine.unitsLeft).toBe(1000 - 13 - 1 - 1);
    guest.map(UNMAPPED, 0x2_9000);
    guest.set("rsp", guest.get("rsp") + 8n);
    guest.place(HANDLERS + 16 * Vector.pageFault + 1, [0x48, 0xcf]);
    expect(guest.engine.run(1000)).toBe(ExitCode.halt);
    expect(["rsi", "rdi", "rcx", "rip"].map(guest.get)).toEqual([
      BigInt(DATA + 32),
      BigInt(destination + 32),
      0n,
      BigInt(CODE + 3),
    ]);
    expect([...bytesAt(guest, 0x2_8ff3, 13), ...bytesAt(guest, 0x2_9000, 19)]).toEqual(text);
    expect(guest.engine.unitsLeft).toBe(1000 - 1 - 19 - 1);
    // The RF that IRETQ restored is gone.
    expect(guest.get("rflags")).toBe(BigInt(Flag.fixed));
  });

  it("ends a budget between iterations, and counts a repetition of none as one unit", () => {
    const guest = machine([0xf3, 0x48, 0xa5, 0xf3, 0xa4, HLT], options);
    guest.set("rsi", DATA);
    guest.set("rdi", DATA + 0x800);
    guest.set("rcx", 3);
    expect(guest.engine.run(2)).toBe(EngineExit.budget);
    expect([guest.get("rcx"), guest.get("rip")]).toEqual([1n, BigInt(CODE)]);
    expect(guest.engine.run(10)).toBe(ExitCode.halt);
    expect([guest.get("rcx"), guest.get("rsi")]).toEqual([0n, BigInt(DATA + 24)]);
    expect(guest.engine.unitsLeft).toBe(10 - 1 - 1 - 1);
  });

  it("moves downwards with DF, and cuts registers to the address size", () => {
    // addr32 rep movsw
    const guest = machine([0x67, 0xf3, 0x66, 0xa5, HLT], options);
    guest.place(DATA, [1, 2, 3, 4]);
    guest.set("rsi", (0xffffn << 32n) | BigInt(DATA + 2));
    guest.set("rdi", (0xffffn << 32n) | BigInt(DATA + 0x102));
    guest.set("rcx", (1n << 32n) | 2n);
    guest.set("rflags", Flag.DF | Flag.fixed);
    expect(guest.engine.run(10)).toBe(ExitCode.halt);
    expect(bytesAt(guest, DATA + 0x100, 4)).toEqual([1, 2, 3, 4]);
    expect(["rsi", "rdi", "rcx"].map(guest.get)).toEqual([BigInt(DATA - 2), BigInt(DATA + 0xfe), 0n]);
  });

  it("takes an interrupt between iterations with RF in the pushed flags", () => {
    const guest = machine([0xf3, 0xa4, HLT], options);
    guest.set("rflags", Flag.IF | Flag.fixed);
    guest.set("rsi", DATA);
    guest.set("rdi", DATA + 0x800);
    guest.set("rcx", 9);
    guest.engine.run(4);
    guest.set("interruptVector", 0x40);
    guest.set("interruptPending", 1);
    expect(runToHandler(guest)).toBe(0x40);
    expect([guest.get("rcx"), guest.get("interruptPending")]).toEqual([5n, 0n]);
    const frame = frameOf(guest, false);
    expect([frame["rip"], frame["rflags"]]).toEqual([BigInt(CODE), BigInt(Flag.RF | Flag.IF | Flag.fixed)]);
    expect(guest.get("rflags")).toBe(BigInt(Flag.fixed));
  });

  it("adds to a device: one read, then one write, then flags and retirement once", () => {
    const guest = machine([0x01, 0x07, HLT], options);
    guest.map(UNMAPPED, DEVICE);
    guest.set("rdi", UNMAPPED + 4);
    guest.set("rax", 0x8000_0001n);
    guest.set("rflags", Flag.fixed | Flag.AF);
    expect(guest.engine.run(10)).toBe(EngineExit.mmioRead);
    expect([guest.engine.mmioAddress, guest.engine.mmioBytes, guest.get("rip"), guest.engine.unitsLeft]).toEqual([
      DEVICE + 4,
      4,
      BigInt(CODE),
      10,
    ]);
    expect(guest.get("rflags")).toBe(BigInt(Flag.fixed | Flag.AF));
    guest.engine.completeMmioRead(0x8000_0002, 0);
    expect(guest.engine.run(10)).toBe(EngineExit.mmioWrite);
    expect([guest.engine.mmioAddress, guest.engine.mmioBytes, guest.engine.mmioDataLow]).toEqual([DEVICE + 4, 4, 3]);
    expect([guest.get("rip"), guest.engine.unitsLeft]).toEqual([BigInt(CODE), 10]);
    expect(guest.engine.completeMmioWrite()).toBe(true);
    expect([guest.get("rip"), guest.get("rflags")]).toEqual([
      BigInt(CODE + 2),
      BigInt(Flag.fixed | Flag.CF | Flag.OF | Flag.PF),
    ]);
    expect(guest.engine.run(10)).toBe(ExitCode.halt);
  });

  it("reads each of two devices once, however often the instruction starts again", () => {
    // push qword [rdi], twice: the second finds nothing left of the first.
    const guest = machine([0xff, 0x37, 0xff, 0x37, HLT], options);
    guest.map(UNMAPPED, DEVICE);
    guest.set("rdi", UNMAPPED);
    for (const data of [7, 8]) {
      expect(guest.engine.run(10)).toBe(EngineExit.mmioRead);
      guest.engine.completeMmioRead(data, 0);
    }
    expect(guest.engine.run(10)).toBe(ExitCode.halt);
    expect([guest.word64(STACK - 8), guest.word64(STACK - 16)]).toEqual([7n, 8n]);
    expect(guest.engine.restartPending).toBe(false);
  });

  it("raises the fault that an instruction has after its device read, and reads again the next time", () => {
    // movsb from a device to a page that is not present
    const guest = machine([0xa4, HLT], options);
    guest.map(UNMAPPED, DEVICE);
    guest.set("rsi", UNMAPPED);
    guest.set("rdi", UNMAPPED + 0x1000);
    expect(guest.engine.run(10)).toBe(EngineExit.mmioRead);
    guest.engine.completeMmioRead(0x55, 0);
    expect(runToHandler(guest)).toBe(Vector.pageFault);
    expect([guest.get("cr2"), guest.engine.restartPending, guest.engine.unitsLeft]).toEqual([
      BigInt(UNMAPPED + 0x1000),
      false,
      998,
    ]);
    guest.map(UNMAPPED + 0x1000, 0x2_8000);
    guest.set("rip", CODE);
    expect(guest.engine.run(10)).toBe(EngineExit.mmioRead);
    guest.engine.completeMmioRead(0x66, 0);
    expect(guest.engine.run(10)).toBe(ExitCode.halt);
    expect(bytesAt(guest, 0x2_8000, 1)).toEqual([0x66]);
  });

  it("leaves guest mode where the delivery of an event would read a device", () => {
    const guest = machine([0x0f, 0x0b], options);
    guest.set("idtBase", UNMAPPED);
    guest.map(UNMAPPED, DEVICE);
    expect(guest.engine.run(10)).toBe(EngineExit.deliveryFailed);
    expect([guest.get("rip"), guest.engine.unitsLeft, guest.get("exceptionVector")]).toEqual([
      BigInt(CODE),
      10,
      BigInt(Vector.invalidOpcode),
    ]);
  });

  it("stops between an instruction and the exception in its place nowhere: the delivery is the unit", () => {
    const guest = machine([NOP, 0x0f, 0x0b], options);
    expect(guest.engine.run(1)).toBe(EngineExit.budget);
    expect(guest.engine.run(1)).toBe(EngineExit.budget);
    expect([guest.get("rip"), guest.get("exceptionPending")]).toEqual([
      BigInt(HANDLERS + 16 * Vector.invalidOpcode),
      0n,
    ]);
  });

  it("waits one instruction after STI before it takes a pending interrupt", () => {
    const guest = machine([0xfb, NOP, NOP, HLT], options);
    guest.set("interruptVector", 0x41);
    guest.set("interruptPending", 1);
    expect(guest.engine.run(1)).toBe(EngineExit.budget);
    expect([guest.get("interruptShadow"), guest.get("rip")]).toEqual([BigInt(InterruptShadow.sti), BigInt(CODE + 1)]);
    expect(runToHandler(guest)).toBe(0x41);
    expect(frameOf(guest, false)["rip"]).toBe(BigInt(CODE + 2));
    // NOP, the interrupt, HLT of the handler.
    expect([guest.engine.unitsLeft, guest.get("interruptShadow")]).toEqual([997, 0n]);
  });

  it("lets STI; HLT halt before the interrupt comes", () => {
    const guest = machine([0xfb, HLT, NOP], options);
    guest.set("interruptVector", 0x41);
    guest.set("interruptPending", 1);
    expect(guest.engine.run(10)).toBe(ExitCode.halt);
    expect([guest.get("rip"), guest.get("interruptShadow")]).toEqual([BigInt(CODE + 2), 0n]);
    expect(runToHandler(guest)).toBe(0x41);
    expect(frameOf(guest, false)["rip"]).toBe(BigInt(CODE + 2));
  });

  it("keeps the shadow of STI when the next instruction waits for a device, and drops it with a fault", () => {
    // sti; inc byte [rdi]
    const guest = machine([0xfb, 0xfe, 0x07, NOP, HLT], options);
    guest.map(UNMAPPED, DEVICE);
    guest.set("rdi", UNMAPPED);
    guest.set("interruptVector", 0x41);
    guest.set("interruptPending", 1);
    expect(guest.engine.run(10)).toBe(EngineExit.mmioRead);
    expect(guest.get("interruptShadow")).toBe(BigInt(InterruptShadow.sti));
    guest.engine.completeMmioRead(1, 0);
    expect(guest.engine.run(10)).toBe(EngineExit.mmioWrite);
    guest.engine.completeMmioWrite();
    expect(runToHandler(guest)).toBe(0x41);
    expect(frameOf(guest, false)["rip"]).toBe(BigInt(CODE + 3));
    const faulting = machine([0xfb, 0xfe, 0x07], options);
    faulting.set("rdi", UNMAPPED);
    faulting.set("interruptVector", 0x41);
    faulting.set("interruptPending", 1);
    expect(runToHandler(faulting)).toBe(Vector.pageFault);
    expect([faulting.get("interruptShadow"), faulting.get("interruptPending")]).toEqual([0n, 1n]);
  });

  it("waits one instruction after a load of SS, and only after the first of two", () => {
    // mov ss,eax; mov ss,eax; nop
    const guest = machine([0x8e, 0xd0, 0x8e, 0xd0, NOP, HLT], options);
    guest.set("rax", Selector.data);
    guest.set("rflags", Flag.IF | Flag.fixed);
    guest.engine.run(1);
    guest.set("interruptVector", 0x41);
    guest.set("interruptPending", 1);
    expect(guest.get("interruptShadow")).toBe(BigInt(InterruptShadow.movSs));
    expect(runToHandler(guest)).toBe(0x41);
    expect(frameOf(guest, false)["rip"]).toBe(BigInt(CODE + 4));
  });

  it("pops SS in compatibility mode, with the shadow, and refuses it in 64-bit mode", () => {
    // pop ss; nop; hlt
    const guest = machine([0x17, NOP, NOP, HLT], options);
    enterCompatibilityMode(guest);
    guest.set("rsp", STACK - 4);
    guest.place(STACK - 4, [Selector.data, 0, 0, 0]);
    guest.set("rflags", Flag.IF | Flag.fixed);
    guest.engine.run(1);
    expect([guest.get("rsp"), guest.get("interruptShadow")]).toEqual([BigInt(STACK), BigInt(InterruptShadow.movSs)]);
    // The descriptor is marked as accessed.
    expect(bytesAt(guest, guest.gdtBase + Selector.data + 5, 1)).toEqual([0x93]);
    guest.set("interruptVector", 0x41);
    guest.set("interruptPending", 1);
    expect(runToHandler(guest)).toBe(0x41);
    const frame = frameOf(guest, false);
    expect([frame["rip"], frame["cs"]]).toEqual([BigInt(CODE + 2), BigInt(Selector.compatibilityCode)]);
    expect(runToHandler(machine([0x17], options))).toBe(Vector.invalidOpcode);
  });

  it("refuses what is no stack segment, and takes one with a limit", () => {
    const load = (selector: number): Machine => {
      const guest = machine([0x8e, 0xd0], options);
      guest.set("rax", selector);
      return guest;
    };
    for (const [selector, vector, error] of [
      [Selector.code, Vector.generalProtection, Selector.code],
      [Selector.userData, Vector.generalProtection, Selector.userData & ~3],
      [Selector.absentData, Vector.stackFault, Selector.absentData],
      [0x58, Vector.generalProtection, 0x58],
    ] as const) {
      const guest = load(selector);
      expect(runToHandler(guest)).toBe(vector);
      expect(frameOf(guest, true)["error"]).toBe(BigInt(error));
    }
    const small = load(Selector.smallData);
    enterCompatibilityMode(small);
    small.engine.run(1);
    expect([small.get("segmentLimit2"), small.get("contextWord")]).toEqual([
      0xffffn,
      BigInt(Context.legacy | Context.segmented | Context.oneShot),
    ]);
  });

  it("returns with IRETQ to another stack, flags and privilege level", () => {
    const guest = machine([0x48, 0xcf], options);
    const target = CODE + 0x100;
    guest.place(target, [NOP, HLT]);
    pushFrame(guest, {
      rip: target,
      cs: Selector.userCode,
      flags: 0xffff_ffff,
      rsp: DATA + 0x100,
      ss: Selector.userData,
    });
    const flags = Number(STATUS_FLAGS | Flag.DF | Flag.IF | Flag.ID);
    guest.setWord64(Number(guest.get("rsp")) + 16, BigInt(flags));
    expect(guest.engine.run(2)).toBe(EngineExit.budget);
    expect(["rip", "rsp", "cpl", "segmentSelector1", "segmentSelector2", "privilege"].map(guest.get)).toEqual([
      BigInt(target + 1),
      BigInt(DATA + 0x100),
      3n,
      BigInt(Selector.userCode),
      BigInt(Selector.userData),
      0n,
    ]);
    expect(guest.get("rflags")).toBe(BigInt(flags | Flag.fixed));
    // A data segment of the inner level is null now.
    expect(guest.get("segmentAttributes3")).toBe(BigInt(SegmentAttribute.unusable));
    // HLT at CPL 3: #GP, on the stack of the TSS, with tables that only the system may read.
    expect(runToHandler(guest)).toBe(Vector.generalProtection);
    expect(frameOf(guest, true)).toEqual({
      error: 0n,
      rip: BigInt(target + 1),
      cs: BigInt(Selector.userCode),
      rflags: BigInt(flags | Flag.fixed | Flag.RF),
      rsp: BigInt(DATA + 0x100),
      ss: BigInt(Selector.userData),
    });
    expect([guest.get("rsp"), guest.get("cpl"), guest.get("segmentSelector2")]).toEqual([
      BigInt(LEVEL0_STACK - 48),
      0n,
      0n,
    ]);
  });

  it("refuses in IRETQ what may not be returned to, and changes nothing", () => {
    const good = { rip: CODE, cs: Selector.code, flags: 2, rsp: STACK, ss: Selector.data };
    for (const [frame, vector, error] of [
      [{ ...good, rip: 0x8000_0000_0000n }, Vector.generalProtection, 0],
      [{ ...good, cs: 0 }, Vector.generalProtection, 0],
      [{ ...good, cs: Selector.data }, Vector.generalProtection, Selector.data],
      [{ ...good, cs: 0x1000 }, Vector.generalProtection, 0x1000],
      [{ ...good, ss: Selector.userData }, Vector.generalProtection, Selector.userData & ~3],
      [{ ...good, ss: Selector.absentData }, Vector.stackFault, Selector.absentData],
      [{ ...good, cs: Selector.userCode, ss: 3 }, Vector.generalProtection, 0],
    ] as const) {
      const guest = machine([0x48, 0xcf], options);
      pushFrame(guest, frame);
      const pointer = guest.get("rsp");
      expect(runToHandler(guest)).toBe(vector);
      const pushed = frameOf(guest, true);
      expect([pushed["error"], pushed["rip"], pushed["rsp"]]).toEqual([BigInt(error), BigInt(CODE), pointer]);
      // Even the segment that was in order has not been touched.
      expect(bytesAt(guest, guest.gdtBase + Selector.userCode - 3 + 5, 1)).toEqual([0xfa]);
    }
  });

  it("returns with IRETQ to compatibility mode, within the limit of the code segment", () => {
    const enter = (cs: number): Machine => {
      const guest = machine([0x48, 0xcf], options);
      // In compatibility mode 40 is INC EAX, and 66 FF C0 INC AX.
      guest.place(CODE + 0x100, [0x40, 0x66, 0xff, 0xc0, HLT]);
      guest.set("rax", 0x1_0000_fffen);
      pushFrame(guest, { rip: CODE + 0x100, cs, flags: 2, rsp: STACK, ss: Selector.data });
      return guest;
    };
    const guest = enter(Selector.compatibilityCode);
    expect(guest.engine.run(10)).toBe(ExitCode.halt);
    expect([guest.get("rax"), guest.get("rip"), guest.get("contextWord")]).toEqual([0n, BigInt(CODE + 0x105), 1n]);
    const small = enter(Selector.smallCompatibilityCode);
    expect(runToHandler(small)).toBe(Vector.generalProtection);
    expect([frameOf(small, true)["error"], frameOf(small, true)["rip"]]).toEqual([0n, BigInt(CODE)]);
  });

  it("saves the x87 and SSE state with FXSAVE, in stack order, and leaves what is reserved", () => {
    const guest = machine([0x48, 0x0f, 0xae, 0x07, HLT], options);
    guest.set("rdi", DATA);
    guest.place(
      DATA,
      Array.from({ length: 512 }, () => 0xee),
    );
    guest.set("fsw", (6 << 11) | 1);
    guest.set("fpuTags", 0xc0);
    guest.set("fpr6", (0xc001n << 64n) | 0x8765_4321_0000_0001n);
    guest.set("fpr5", 0x55n);
    guest.set("xmm15", 0x1111_2222_3333_4444_5555_6666_7777_8888n);
    guest.set("fip", 0x1234_5678_9abcn);
    guest.set("fop", 0x7ffn);
    expect(guest.engine.run(10)).toBe(ExitCode.halt);
    expect(guest.word64(DATA)).toBe((0x7ffn << 48n) | (0xc0n << 32n) | (BigInt((6 << 11) | 1) << 16n) | 0x37fn);
    expect([guest.word64(DATA + 8), guest.word64(DATA + 24)]).toEqual([0x1234_5678_9abcn, 0xffff_0000_1f80n]);
    // R6 is ST(0), R5 is ST(7).
    expect([guest.word64(DATA + 32), guest.word64(DATA + 40)]).toEqual([0x8765_4321_0000_0001n, 0xc001n]);
    expect(guest.word64(DATA + 32 + 7 * 16)).toBe(0x55n);
    expect([guest.word64(DATA + 400), guest.word64(DATA + 408)]).toEqual([
      0x5555_6666_7777_8888n,
      0x1111_2222_3333_4444n,
    ]);
    expect(bytesAt(guest, DATA + 416, 96)).toEqual(Array.from({ length: 96 }, () => 0xee));
  });

  it("writes nothing with FXSAVE when its last byte has a fault, is misaligned, or the unit is off", () => {
    const at = (address: number): Machine => {
      const guest = machine([0x0f, 0xae, 0x07], options);
      guest.set("rdi", address);
      guest.map(UNMAPPED - 0x1000, 0x2_8000);
      guest.place(
        0x2_8000,
        Array.from({ length: 4096 }, () => 0xee),
      );
      return guest;
    };
    const crossing = at(UNMAPPED - 496);
    expect(runToHandler(crossing)).toBe(Vector.pageFault);
    expect(crossing.get("cr2")).toBe(BigInt(UNMAPPED));
    expect(bytesAt(crossing, 0x2_8e00, 512).every((byte) => byte === 0xee)).toBe(true);
    expect(runToHandler(at(UNMAPPED - 504))).toBe(Vector.generalProtection);
    const off = at(UNMAPPED - 1024);
    off.set("cr0", off.get("cr0") | 8n);
    expect(runToHandler(off)).toBe(Vector.deviceNotAvailable);
  });

  it("saves across a page boundary where both pages are there", () => {
    const guest = machine([0x0f, 0xae, 0x07, HLT], options);
    guest.map(UNMAPPED, 0x2_8000);
    guest.map(UNMAPPED - 0x1000, 0x2_a000);
    guest.set("rdi", UNMAPPED - 496);
    guest.set("xmm15", 7n);
    expect(guest.engine.run(10)).toBe(ExitCode.halt);
    expect(guest.word64(0x2_a000 + 4096 - 496) & 0xffffn).toBe(0x37fn);
    expect(guest.word64(0x2_8000 + 400 - 496 + 0)).toBe(0n);
    expect(guest.word64(0x2_a000 + 4096 - 496 + 400)).toBe(7n);
  });
});

function littleEndian(value: number): number[] {
  return [value & 0xff, (value >> 8) & 0xff, (value >> 16) & 0xff, (value >> 24) & 0xff];
}

function enterCompatibilityMode(guest: Machine): void {
  const { P, S, code, writable, DB, G } = SegmentAttribute;
  guest.set("segmentAttributes1", P | S | code | writable | DB | G);
  guest.set("segmentSelector1", Selector.compatibilityCode);
}

function pushFrame(
  guest: Machine,
  frame: {
    readonly rip: number | bigint;
    readonly cs: number;
    readonly flags: number;
    readonly rsp: number;
    readonly ss: number;
  },
): void {
  const pointer = STACK - 40;
  [frame.rip, frame.cs, frame.flags, frame.rsp, frame.ss].forEach((word, index) =>
    guest.setWord64(pointer + 8 * index, BigInt(word)),
  );
  guest.set("rsp", pointer);
}
