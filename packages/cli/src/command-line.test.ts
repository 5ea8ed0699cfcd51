import { describe, expect, it } from "@jest/globals";
import { joinPositions } from "./command-line.js";

const joined = (...argv: string[]): string[] => joinPositions(argv).argv;

describe("a position of two words", () => {
  it("becomes one behind an option and as a word of its own", () => {
    expect(joined("replay", "--until", "exit", "4821")).toEqual(["replay", "--until", "exit:4821"]);
    expect(joined("show", "boot.hvj", "exit", "4821+12")).toEqual(["show", "boot.hvj", "exit:4821+12"]);
    expect(joined("show", "--json", "event", "7")).toEqual(["show", "--json", "event:7"]);
    expect(joined("log", "exit", "1..exit:9", "-p")).toEqual(["log", "exit:1..exit:9", "-p"]);
  });

  it("may name a reason or text of the console", () => {
    expect(joined("replay", "--until", "exit", "HVC64#2")).toEqual(["replay", "--until", "exit:HVC64#2"]);
    expect(joined("record", "--until", "console", "/login: $/")).toEqual(["record", "--until", "console:/login: $/"]);
  });

  it("leaves alone what is none", () => {
    const untouched = [
      ["log", "--console", "-n", "5"],
      ["replay", "--until", "time > 5"],
      ["record", "--append", "exit", "4821"],
      ["replay", "exit.hvj", "--until", "exit"],
      ["exit", "4821"],
    ];
    for (const argv of untouched) expect(joined(...argv)).toEqual(argv);
  });
});

describe("what stands behind --run", () => {
  it("is the user's command, word for word", () => {
    const { argv, command } = joinPositions(["bisect", "a.hvj", "--good", "exit", "5", "--run", "sh", "-c", "exit 1"]);
    expect(argv).toEqual(["bisect", "a.hvj", "--good", "exit:5", "--run"]);
    expect(command).toEqual(["sh", "-c", "exit 1"]);
  });
});
