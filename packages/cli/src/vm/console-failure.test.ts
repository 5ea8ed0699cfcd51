import { describe, expect, it } from "@jest/globals";
import type { Machine } from "@hvjournal/core";
import { AFTERWARDS_NS, ConsoleFailure, LINE_END_NS } from "./console-failure.js";

function failing(
  expression: RegExp,
  occurrence = 1,
): { readonly failure: ConsoleFailure; readonly write: (text: string, atNs: number) => boolean } {
  const machine = { exitNumber: 0, guestTimeNs: 0 };
  const failure = new ConsoleFailure(expression, occurrence, machine as Machine);
  const write = (text: string, atNs: number): boolean => {
    machine.exitNumber += 1;
    machine.guestTimeNs = atNs;
    return failure.note(0, new TextEncoder().encode(text));
  };
  return { failure, write };
}

describe("a failure on the console", () => {
  it("lets the run go on to the end of its line, and a while from there", () => {
    const { failure, write } = failing(/Kernel panic/);
    expect(write("[1.0] fine\r\n[1.4] Kernel panic", 1000)).toBe(true);
    expect(failure).toMatchObject({ moment: { exitNumber: 1, guestTimeNs: 1000 }, stopAtNs: 1000 + LINE_END_NS });
    expect(write(" - not syncing: VFS", 2000)).toBe(false);
    expect(write("\r\nCPU: 0", 3000)).toBe(true);
    expect(failure).toMatchObject({ stopAtNs: 3000 + AFTERWARDS_NS, line: "[1.4] Kernel panic - not syncing: VFS" });
    expect(write("\r\nKernel panic again\r\n", 4000)).toBe(false);
    expect(failure.moment).toEqual({ exitNumber: 1, guestTimeNs: 1000 });
  });

  it("has its time when the guest never ends the line", () => {
    const { failure, write } = failing(/BUG/);
    write("BUG", 500);
    expect(failure.stopAtNs).toBe(500 + LINE_END_NS);
  });

  it("may be shown by the very end of a line, and by a later match", () => {
    const { failure, write } = failing(/oops\r?\n/, 2);
    expect(write("oops\n", 1)).toBe(false);
    expect(write("oops\n", 2)).toBe(true);
    expect(failure).toMatchObject({ line: "oops", stopAtNs: 2 + AFTERWARDS_NS });
  });

  it("is not what other ports write", () => {
    const { failure } = failing(/BUG/);
    expect(failure.note(1, new TextEncoder().encode("BUG\n"))).toBe(false);
    expect(failure.moment).toBeUndefined();
  });
});
