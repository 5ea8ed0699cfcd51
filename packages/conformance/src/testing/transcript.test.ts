import { describe, expect, it } from "@jest/globals";
import { masked, matchesTranscript, transcriptCommands, withOutputs } from "./transcript.js";

const DOCUMENT = "text\n```console\n$ first\nout 1\n$ second\n```\n$ no command\n";

describe("a transcript", () => {
  it("is the commands of fenced blocks with what they print", () => {
    expect(transcriptCommands(DOCUMENT)).toEqual([
      { line: 3, command: "first", output: ["out 1"] },
      { line: 5, command: "second", output: [] },
    ]);
  });

  it("is compared without what differs from host to host", () => {
    const hash = "0123456789abcdef".repeat(4);
    expect(masked(`a sha256:${hash} (1.9 s), 0.7 MiB`)).toBe(masked("a sha256:01234567… (0.1 s), 40.2 MiB"));
    expect(masked("exit:1")).not.toBe(masked("exit:2"));
  });

  it("may leave lines out, and only where it says so", () => {
    expect(matchesTranscript(["a", "…", "d"], ["a", "b", "c", "d"])).toBe(true);
    expect(matchesTranscript(["a", "…"], ["a"])).toBe(true);
    expect(matchesTranscript(["a", "d"], ["a", "b", "d"])).toBe(false);
    expect(matchesTranscript(["a", "…", "d"], ["a", "b"])).toBe(false);
  });

  it("is brought up to date where it is asked for", () => {
    const updated = withOutputs(DOCUMENT, new Map([[3, ["new", "lines"]]]));
    expect(updated).toBe("text\n```console\n$ first\nnew\nlines\n$ second\n```\n$ no command\n");
  });
});
