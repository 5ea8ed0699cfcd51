import { afterEach, beforeEach, describe, expect, it } from "@jest/globals";
import { InputScriptError, PositionError, StateSectionError } from "@hvjournal/core";
import { JournalFormatError, JournalMissingError } from "@hvjournal/journal";
import { CliError, UsageError } from "./cli-error.js";
import { type Output, OutputError } from "./output/console-output.js";
import { reportError } from "./report-error.js";

describe("an error", () => {
  let printed: string[];
  const output = (json: boolean): Output => ({
    json,
    quiet: false,
    line: (text) => void printed.push(text),
    bytes: () => undefined,
    note: () => undefined,
    error: (message, details, next) => void printed.push(message, ...details, next ?? ""),
    isProgressDue: () => false,
    progress: () => undefined,
    flush: () => Promise.resolve(true),
    startPager: () => undefined,
    endPager: () => Promise.resolve(),
    paint: (_, text) => text,
  });

  beforeEach(() => {
    printed = [];
  });
  afterEach(() => {
    expect(printed.length).toBeGreaterThan(0);
  });

  it.each([
    [new UsageError("wrong"), 129],
    [new PositionError("x", "unreadable"), 129],
    [new InputScriptError(1, "unreadable"), 129],
    [new StateSectionError("arm64.vcpu0", "version 9"), 125],
    [new JournalFormatError("a.hvj", "format 9", 9), 125],
    [new JournalFormatError("a.txt", "not a recording", undefined), 128],
    [new JournalMissingError("a.hvj", "no such file"), 128],
    [new Error("surprise"), 128],
  ])("of its kind gives its exit status: %s", (error, status) => {
    expect(reportError(error, output(false))).toBe(status);
  });

  it("names a next step, and is an object for scripts", () => {
    const error = new CliError("it diverged", {
      code: "diverged",
      status: 1,
      position: "exit:5",
      next: "hvjournal show",
    });
    expect(reportError(error, output(true))).toBe(1);
    expect(JSON.parse(printed.join(""))).toEqual({
      error: "diverged",
      message: "it diverged",
      position: "exit:5",
      next: "hvjournal show",
    });
  });

  it("that standard output does not take, as an object, is told as that, in text and with its own status", () => {
    const full: Output = {
      ...output(true),
      line: () => {
        throw new OutputError(new Error("no room"));
      },
    };
    expect(reportError(new CliError("it differs", { code: "differs", status: 1 }), full)).toBe(128);
    expect(printed).toEqual(["can't write to standard output: no room", ""]);
  });

  it("that nobody foresaw says that it is a bug", () => {
    reportError(new TypeError("x is not y"), output(false));
    expect(printed[0]).toContain("this is a bug in hvjournal: TypeError: x is not y");
  });
});
