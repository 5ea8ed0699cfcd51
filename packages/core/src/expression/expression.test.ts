import { describe, expect, it } from "@jest/globals";
import { EXIT_WORD_COUNT, ExitWord, setFrameU64 } from "../event/exit-frame.js";
import { plainDigester } from "../testing/digester.js";
import { busyProgram, COUNTER_ADDRESS } from "../testing/programs.js";
import { createSmall } from "../testing/recordings.js";
import { smallExitModel } from "../testing/small-cpu.js";
import { Evaluator, type ExpressionEnvironment } from "./evaluate.js";
import { ExpressionError } from "./lexer.js";
import { exitNumberByName, MachineEnvironment } from "./machine-environment.js";
import { parseExpression } from "./parse-expression.js";

const MEMORY = Uint8Array.from({ length: 256 }, (_, index) => index);
const frame = new Uint32Array(EXIT_WORD_COUNT);
frame[ExitWord.reason] = 0;
frame[ExitWord.kvmExit] = 3;
frame[ExitWord.info] = 0x104;
setFrameU64(frame, ExitWord.arg0Low, 0xc6000001n);
setFrameU64(frame, ExitWord.arg1Low, 0x1000n);

function environment(more: Partial<ExpressionEnvironment> = {}): ExpressionEnvironment {
  return {
    vcpu: 1,
    icount: 1000,
    guestTimeNs: 2000,
    exitNumber: 7,
    exit: frame,
    digester: plainDigester,
    register: (name) => ({ x0: 0x10n, x1: 0xffff_ffff_ffff_ffffn, pc: 0x4000n })[name],
    read: (address, bytes) =>
      address + BigInt(bytes) <= 256n ? MEMORY.slice(Number(address), Number(address) + bytes) : undefined,
    symbol: (name) => (name === "jiffies" ? { name, address: 8n, bytes: 4 } : undefined),
    exitName: (space, name) => exitNumberByName(smallExitModel.reasons, space, name),
    config: (what, name) => (what === "smccc" && name === 0xc4000003n ? 2n : undefined),
    ...more,
  };
}

const value = (source: string, more: Partial<ExpressionEnvironment> = {}): bigint | undefined =>
  new Evaluator(parseExpression(source)).evaluate(environment(more));

describe("an expression", () => {
  it.each<[string, bigint]>([
    ["1 + 2 * 3", 7n],
    ["(1 + 2) * 3", 9n],
    ["10 - 3 - 2", 5n],
    ["7 & 3 == 3", 1n],
    ["1 << 4 | 1", 17n],
    ["0x10 >> 2 >= 4 && 1", 1n],
    ["-1", 0xffff_ffff_ffff_ffffn],
    ["-1 > 1", 1n],
    ["~0 == -1", 1n],
    ["!5", 0n],
    ["!0 ? 3 : 4", 3n],
    ["1 << 64", 0n],
    ["17 % 5 + 17 / 5", 5n],
    ["0b101", 5n],
    ["$x0 + $X0", 0x20n],
    ["$x1 + 1", 0n],
    ["$vcpu", 1n],
    ["icount + time", 3000n],
    ["*(u8 *)16", 16n],
    ["*(u16*)16", 0x1110n],
    ["*(u32 *)$x0", 0x13121110n],
    ["*$x0", 0x1716151413121110n],
    ["*16 + 1", 0x1716151413121111n],
    ["(s8)0x80 == -128", 1n],
    ["(u8)0x1ff", 0xffn],
    ["*(s8 *)0x80", 0xffff_ffff_ffff_ff80n],
    ["phys(u16, 2)", 0x0302n],
    ["jiffies", 0x0b0a0908n],
    ["&jiffies", 8n],
    ["exit.nr == 0xc6000001 && exit.args[0] == 0x1000", 1n],
    ["exit.reason == HVC64", 1n],
    ["HVC64 == exit.reason", 1n],
    ["exit.reason == dabt_low", 0n],
    ["exit.kvm == HYPERCALL && exit.kvm == KVM_EXIT_HYPERCALL", 1n],
    ["exit.size + exit.write", 5n],
    ["exit.number", 7n],
    ["config.smccc(0xc4000003)", 2n],
    ["config.smccc(0xc4000003) == forward && deny != config.smccc(0xc4000003)", 1n],
    ["*(u8 *)*(u8 *)3", 3n],
    ["hash(0, 4) == hash(phys_page(0), 4) && hash(0, 4) != hash(1, 4)", 1n],
  ])("%s is as in C and gdb", (source, wanted) => {
    expect(value(source)).toBe(wanted);
  });

  it("is unknown where memory is not mapped or there is no exit, and says nothing either way", () => {
    expect(value("*(u64 *)0x9999 != 0")).toBeUndefined();
    expect(value("*(u64 *)0x9999 == 0")).toBeUndefined();
    expect(value("*(u64 *)0x9999 == 0 || 1")).toBe(1n);
    expect(value("0 && *(u64 *)0x9999")).toBe(0n);
    expect(value("exit.reason == HVC64", { exit: undefined })).toBeUndefined();
    expect(value("1 / 0")).toBeUndefined();
  });

  it.each<[string, number, RegExp]>([
    ["", 1, /a value expected, found the end/],
    ["1 +", 4, /a value expected/],
    ["1 2", 3, /unexpected '2'/],
    ["(1", 3, /'\)' expected, found the end/],
    ["0x1g", 1, /'0x1g' is no number/],
    ["99999999999999999999999", 1, /does not fit into 64 bits/],
    ["exit.nonsense", 6, /an exit has no 'nonsense'/],
    ["exit", 5, /'\.' expected/],
    ["console =~ login", 12, /a regular expression between slashes/],
    ["console =~ /(/", 12, /Invalid regular expression|Unterminated/],
    ["frob(1)", 1, /there is no function 'frob'/],
    ["*(u8)4", 6, /a pointer type is expected/],
    ["phys(int, 4)", 6, /'int' is no type/],
    ["phys_page(4)", 1, /only as the first argument/],
    ["config.foo(x)", 8, /cap\(NAME\)/],
    ["1 @ 2", 3, /unexpected '@'/],
    ["((((".repeat(100), 200, /nested deeper/],
  ])("'%s' is refused at column %i", (source, column, reason) => {
    let caught: unknown;
    try {
      parseExpression(source);
    } catch (error) {
      caught = error;
    }
    expect(caught).toBeInstanceOf(ExpressionError);
    if (!(caught instanceof ExpressionError)) return;
    expect(caught.message).toMatch(reason);
    if (column < 200) expect(caught.column).toBe(column);
  });

  it("names registers, symbols and exits that do not exist", () => {
    expect(() => value("1 + $rax")).toThrow(/column 5: there is no register \$rax/);
    expect(() => value("init_task")).toThrow(/there is no symbol init_task/);
    expect(() => value("exit.reason == FOO")).toThrow(/there is no exit FOO/);
    expect(() => value("exit.args[5]")).toThrow(/args\[0\] to args\[2\]/);
    expect(() => value("config.cap(KVM_CAP_X)")).toThrow(/there is no such item/);
  });

  it("remembers earlier moments in changed(), count() and console", () => {
    const evaluator = new Evaluator(
      parseExpression("changed(16, 4) << 8 | (console =~ /login: $/) << 4 | count(exit.size == 4)"),
    );
    expect(evaluator.evaluate(environment())).toBe(1n);
    const other = (address: bigint, bytes: number): Uint8Array => new Uint8Array(bytes).fill(Number(address & 1n) + 9);
    expect(evaluator.evaluate(environment({ exitNumber: 8, read: other }))).toBe(0x102n);
    evaluator.noteOutput(0, new TextEncoder().encode("boot\nlogin: "));
    expect(evaluator.evaluate(environment({ exitNumber: 9 }))).toBe(0x13n);
    // An exit counts once, however often it is asked about, and nothing counts between two.
    expect(evaluator.evaluate(environment({ exitNumber: 9 }))).toBe(0x13n);
    expect(evaluator.evaluate(environment({ exitNumber: 10, exit: undefined }))).toBe(0x13n);
    evaluator.reset();
    expect(evaluator.evaluate(environment())).toBe(1n);
  });

  it("says what it reads, so that a bisection knows what to watch", () => {
    expect(parseExpression("exit.reason == HVC64 && icount > 5")).toMatchObject({ needsState: false, loads: [] });
    expect(parseExpression("exit.reason == HVC64 && $x0")).toMatchObject({
      needsState: true,
      changesWithUnits: true,
      loads: [],
    });
    expect(parseExpression("jiffies + *(u16 *)4 + hash(phys_page(8), 3)").loads).toMatchObject([
      { bytes: 8, isPhysical: false },
      { bytes: 2, isPhysical: false },
      { isPhysical: true },
    ]);
  });

  it("reads a guest that stands still without changing it", async () => {
    const { recorder } = createSmall({ program: busyProgram(4, 100) });
    await recorder.step({ units: 1e9, goal: { exitNumber: 20 } });
    const before = recorder.machine.digest();
    const evaluate = (source: string): bigint | undefined =>
      new Evaluator(parseExpression(source)).evaluate(new MachineEnvironment(recorder.machine));
    expect(evaluate(`*(u32 *)0x${COUNTER_ADDRESS.toString(16)}`)).toBe(200n);
    expect(evaluate("$pc == exit.pc")).toBe(1n);
    expect(evaluate("phys(u32, 0x1)")).toBeUndefined();
    expect(evaluate("exit.number")).toBe(20n);
    expect(recorder.machine.digest()).toEqual(before);
  });
});
