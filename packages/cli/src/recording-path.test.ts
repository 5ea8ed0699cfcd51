import { describe, expect, it } from "@jest/globals";
import type { CommandContext } from "./commands/command.js";
import { processOutput } from "./output/console-output.js";
import { recordingPath, recordingWords } from "./recording-path.js";

function contextOf(environment: CommandContext["environment"]): CommandContext {
  const output = processOutput({ json: false, quiet: true, color: false, colorErrors: false });
  return { output, environment, argv: [], runCommand: undefined };
}

describe("the recording that a command means", () => {
  it("is the one named, else -i, else $HVJOURNAL, else vm.hvj", () => {
    const context = contextOf({ HVJOURNAL: "env.hvj" });
    expect(recordingPath({ recording: "a.hvj", "recording-file": "b.hvj" }, context)).toBe("a.hvj");
    expect(recordingPath({ "recording-file": "b.hvj" }, context)).toBe("b.hvj");
    expect(recordingPath({}, context)).toBe("env.hvj");
    expect(recordingPath({}, contextOf({}))).toBe("vm.hvj");
  });

  it.each([
    [["exit:5"], "vm.hvj", "exit:5"],
    [["end"], "vm.hvj", "end"],
    [["console:/a\\/b/#2"], "vm.hvj", "console:/a\\/b/#2"],
    [["./end"], "./end", undefined],
    [["a.hvj"], "a.hvj", undefined],
    [["a.hvj", "exit:5"], "a.hvj", "exit:5"],
  ])("and the position behind it are told apart in %j", (words, path, place) => {
    expect(recordingWords({ words }, contextOf({}), "position")).toEqual({ path, place });
  });

  it("takes a range where a range may stand", () => {
    expect(recordingWords({ words: ["exit:5..exit:9"] }, contextOf({}), "range").place).toBe("exit:5..exit:9");
    expect(recordingWords({ words: ["..exit:9"] }, contextOf({}), "range").place).toBe("..exit:9");
    expect(recordingWords({ words: ["../a.hvj"] }, contextOf({}), "range").path).toBe("../a.hvj");
  });

  it("stands before at most one place", () => {
    expect(() => recordingWords({ words: ["a", "b", "c"] }, contextOf({}), "range")).toThrow("[RECORDING] [RANGE]");
  });
});
