/** The consumers of programs agree, at every boundary and however they are disturbed. */
import { describe, expect, it } from "@jest/globals";
import { elementOf, EngineExit, type Instruction, programOf, programText } from "@hvjournal/engine";
import { refreshDerived } from "./context.js";
import { x86Cpu } from "./cpu.js";
import { eventDelivery } from "./delivery.js";
import { ExitCode } from "./exit-code.js";
import { Flag } from "./registers.js";
import { layout } from "./state.js";
import { CODE, DATA, machine, type Machine, savedState, STACK } from "./testing/machine.js";
import { tiers } from "./testing/tiers.js";

/** Encodings whose operands are registers from RAX to RDI without RSP, or memory at RSI. */
const SNIPPETS: readonly (readonly number[])[] = [
  [0x48, 0x01, 0xd8],
  [0x11, 0x1e],
  [0x66, 0x13, 0x06],
  [0x80, 0x16, 0x7f],
  [0x48, 0xff, 0xc0],
  [0xfe, 0xc4],
  [0xfe, 0x06],
  [0xd3, 0xe3],
  [0x48, 0xd1, 0x26],
  [0xc0, 0xe3, 0x03],
  [0x48, 0x93],
  [0x86, 0xdc],
  [0x48, 0x87, 0x1e],
  [0x50],
  [0xff, 0x36],
  [0x66, 0x6a, 0x81],
  [0xf3, 0xa4],
  [0x48, 0xa5],
  [0xf0, 0x48, 0x0f, 0xc7, 0x0e],
  [0x0f, 0xc7, 0x0e],
  [0xfb],
  [0x8e, 0xd2],
  [0x90],
  [0xdb, 0x2e],
  [0xd8, 0xc1],
  [0xdc, 0xc2],
  [0xde, 0xc1],
  [0xdb, 0x3e],
  [0x0f, 0xae, 0x06],
];

function xorshift(seed: number): () => number {
  let state = seed;
  return () => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return state >>> 0;
  };
}

function prepare(guest: Machine, random: () => number, start = CODE): void {
  const code: number[] = [];
  for (let count = 0; count < 40; count++) code.push(...(SNIPPETS[random() % SNIPPETS.length] ?? []));
  guest.place(start, [...code, 0xf4]);
  guest.place(
    DATA,
    Array.from({ length: 64 }, () => random() & 0xff),
  );
  for (const name of ["rax", "rbx", "rdx"]) guest.set(name, (BigInt(random()) << 32n) | BigInt(random()));
  // SS is loaded from DX, which is in order now and then.
  if (random() % 2 === 0) guest.set("rdx", 0x10);
  guest.set("rcx", random() % 8);
  guest.set("rsi", DATA + 16 * (random() % 3));
  guest.set("rdi", DATA + 0x400);
  guest.set("rsp", STACK);
  guest.set("rip", start);
  guest.set("rflags", Flag.fixed);
}

/** Runs to the HLT of the program or of a handler, and says what the guest is then. */
function outcome(guest: Machine, run: () => number): string {
  const code = run();
  return [`exit ${code}`, savedState(guest), guest.engine.memory.read(DATA, 0x800).join()].join("\n");
}

describe("x86 programs", () => {
  it("end alike in every consumer, stopped at every unit, and with caches dropped there", () => {
    const seed = 20_240_229;
    const guests = tiers.map(([name, options]) => ({ name, guest: machine([], options) }));
    for (let round = 0; round < 12; round++) {
      const outcomes = guests.map(({ name, guest }, index) => {
        prepare(guest, xorshift(seed + round));
        guest.set("fsw", 0);
        guest.set("fpuTags", 0);
        guest.set("exceptionErrorCode", 0);
        guest.set("exceptionVector", 0);
        const stepping = (): number => {
          for (;;) {
            const code = guest.engine.run(index === 1 ? 1 : 1000);
            if (code !== 0) return code;
            if (round % 3 === 0) guest.engine.dropCaches();
          }
        };
        return [name, outcome(guest, stepping)] as const;
      });
      const expected = outcomes[0]?.[1] ?? "";
      expect(expected).toContain(`exit ${ExitCode.halt}`);
      for (const [name, text] of outcomes) expect([seed + round, name, text]).toEqual([seed + round, name, expected]);
    }
  });

  it("stop at each boundary where single steps find a break pc, across pages and at each turn of a repetition", () => {
    const seed = 20_261_126;
    const rip = (guest: Machine): bigint => guest.engine.readField(x86Cpu.pc);
    const guests = tiers.map(([name, options]) => ({ name, guest: machine([], options) }));
    const steps = machine([]);
    let revisits = 0;
    for (let round = 0; round < 30; round++) {
      const random = xorshift(seed + round);
      // Some instructions reach into the next page, and one may begin there.
      const start = CODE + 0xfe0 - (random() % 64);
      const begin = (guest: Machine): void => {
        prepare(guest, xorshift(seed + round), start);
        for (const name of ["fsw", "fpuTags", "exceptionErrorCode", "exceptionVector"]) guest.set(name, 0);
      };
      begin(steps);
      const boundaries = [rip(steps)];
      while (steps.engine.run(1) === 0) boundaries.push(rip(steps));
      const breakPc = boundaries[random() % boundaries.length] ?? 0n;
      const expected = boundaries.flatMap((pc, icount) => (pc === breakPc ? [icount] : []));
      if (expected.length > 1) revisits += 1;
      for (const { name, guest } of guests) {
        begin(guest);
        const visits: number[] = [];
        for (let icount = 0, code = 0; code === 0 || code === EngineExit.breakpoint;) {
          const isThere = rip(guest) === breakPc;
          if (isThere) visits.push(icount);
          const budget = isThere ? 1 : 1 + (random() % 30);
          code = guest.engine.run(budget, isThere ? undefined : breakPc);
          icount += budget - guest.engine.unitsLeft;
        }
        expect([seed + round, name, visits]).toEqual([seed + round, name, expected]);
        expect(savedState(guest)).toBe(savedState(steps));
      }
    }
    expect(revisits).toBeGreaterThan(0);
  });

  it("go on alike after their state was saved and restored", () => {
    const [, options] = tiers[0] ?? ["", {}];
    const first = machine([], options);
    prepare(first, xorshift(5));
    first.engine.run(7);
    const second = machine([], options);
    const saved = savedState(first);
    second.engine.memory.write(0, first.engine.memory.read(0, 0x20_0000));
    for (const field of layout.fields) second.engine.writeField(field, first.engine.readField(field));
    for (const array of layout.arrays) {
      for (let index = 0; index < array.count; index++) {
        const field = elementOf(array, index);
        second.engine.writeField(field, first.engine.readField(field));
      }
    }
    second.engine.callRoutine(refreshDerived);
    expect(savedState(second)).toBe(saved);
    expect([first.engine.run(1000), second.engine.run(1000)]).toEqual([ExitCode.halt, ExitCode.halt]);
    expect(savedState(second)).toBe(savedState(first));
  });
});

function instruction(mnemonic: string): Instruction {
  const found = x86Cpu.instructionsFor(0).find((candidate) => candidate.mnemonic === mnemonic);
  if (found === undefined) throw new RangeError(`no instruction ${mnemonic}`);
  return found;
}

function text(mnemonic: string, form: Readonly<Record<string, number>>): string[] {
  return programText(programOf(instruction(mnemonic), form), { layout });
}

describe("the text stage shows", () => {
  it("INC of a register as a sum that leaves flagCarry alone", () => {
    expect(text("INC (r/m)", { size: 3, memory: 0 })).toEqual([
      "t0 = u64[rm]",
      "t1 = i64.add(t0, 1)",
      "u64[rm] <- t1",
      "flagOverflow <- i64.and(i64.xor(t0, t1), i64.xor(1, t1))",
      "flagAdjust <- i32.wrap_i64(i64.xor(i64.xor(t0, 1), t1))",
      "flagZero <- t1",
      "flagSign <- t1",
      "flagParity <- i32.wrap_i64(t1)",
      "next",
    ]);
  });

  it("PUSH of memory as two checks in front of the first write", () => {
    const lines = text("PUSH (r/m)", { mode: 0, size: 3, memory: 1 });
    const checks = lines.flatMap((line, index) => (/^m\d+ = /.test(line) ? [index] : []));
    const writes = lines.flatMap((line, index) => (line.includes("<-") ? [index] : []));
    expect(checks).toHaveLength(2);
    expect(Math.max(...checks)).toBeLessThan(Math.min(...writes));
    expect(lines.at(checks[1] ?? 0)).toContain("write 8 bytes");
  });

  it("SHL by CL as flags that are written in an arm, and FXSAVE as one check of 512 bytes", () => {
    const shl = text("SHL (r/m, CL)", { size: 2, memory: 0 });
    const arm = shl.findIndex((line) => line.startsWith("if "));
    expect(shl.slice(0, arm).some((line) => line.startsWith("flag"))).toBe(false);
    expect(shl.slice(arm).filter((line) => line.startsWith("  flag"))).toHaveLength(6);
    const fxsave = text("FXSAVE", { mode: 0 });
    expect(fxsave.filter((line) => /^m\d+ = /.test(line))).toEqual([
      expect.stringMatching(/^m0 = write 512 bytes at .*, aligned to 16, detail segment$/),
    ]);
  });

  it("event delivery as checks first, then writes, then a jump that looks at the context again", () => {
    const lines = programText(programOf(eventDelivery, {}), { layout });
    const jumps = lines.filter((line) => /^ *jump /.test(line));
    expect(jumps.length).toBeGreaterThan(0);
    expect(jumps.filter((line) => !line.endsWith(", context changed"))).toEqual([]);
    const longMode = lines.slice(lines.findIndex((line) => /^if .*efer/.test(line)));
    const arm = longMode.slice(0, longMode.indexOf("else"));
    expect(arm.at(-1)).toMatch(/^ {2}jump /);
    const firstWrite = arm.findIndex((line) => /\]? <-/.test(line));
    const lastCheck = arm.findLastIndex((line) => /^ {2,4}raise/.test(line) || /^ {2}m\d+ = read/.test(line));
    expect(lastCheck).toBeGreaterThan(0);
    expect(firstWrite).toBeGreaterThan(lastCheck);
  });
});
