import { parsePosition } from "@hvjournal/core";
import { beforeAll, describe, expect, it } from "@jest/globals";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import yargs from "yargs";
import { ERROR_CAUSES } from "../error-codes.js";
import { COMMANDS } from "../commands/index.js";
import { commandName } from "../commands/command.js";
import { parseStopCondition } from "../vm/stop-condition.js";
import { commandEpilogue } from "./command-help.js";
import { optionNames } from "./option-names.js";
import { TOPICS } from "./topics.js";

const manual = readFileSync(join(import.meta.dirname, "../../../../docs/cli.md"), "utf8");
const texts = [...Object.values(TOPICS), ...COMMANDS.map((command) => commandEpilogue(commandName(command)))].join(
  "\n",
);

describe("what the help shows", () => {
  const conditions = [...texts.matchAll(/--(?:until|fail-on|when|where|at) (?:'([^']+)'|([a-z]+:\S+))/g)];
  it.each(conditions.map(([, quoted, bare]) => quoted ?? bare ?? ""))("%s can be read", (text) => {
    expect(["position", "expression"]).toContain(parseStopCondition(text).form);
  });

  it("finds its conditions, quoted where a shell would change them", () => {
    expect(conditions.length).toBeGreaterThan(8);
    for (const [, , bare = ""] of conditions) expect(bare).toMatch(/^[\w.:+-]*$/);
  });

  it.each(["start", "exit:4821+12", "time:1.65s", "console:/login:/#2", "exit:MMIO#-1", "hypercall:0xc4000003"])(
    "%s stands in the help, and is a position",
    (text) => {
      expect(TOPICS.positions).toContain(text);
      expect(parsePosition(text)).toBeDefined();
    },
  );
});

describe("the word of an error", () => {
  const words = Object.entries(ERROR_CAUSES);

  it("stands with its cause in the manual, and no other word does", () => {
    const rows = manual.slice(manual.indexOf("| `error` ")).split("\n\n")[0]?.split("\n").slice(2) ?? [];
    const told = rows.map((row) =>
      row
        .split("|")
        .slice(1, 3)
        .map((cell) => cell.trim()),
    );
    expect(told.slice(0, -1)).toEqual(words.map(([word, cause]) => [`\`${word}\``, cause]));
    expect(told.at(-1)?.[1]).toContain("errno");
  });

  it("stands in hvjournal help errors", () => {
    for (const [word, cause] of words) expect(TOPICS.errors).toContain(`\n  ${word.padEnd(20)}${cause}\n`);
  });
});

describe("an option that a help text or the manual promises", () => {
  const COMMON = ["json", "quiet", "color", "help", "version"];
  const known = new Map<string, ReadonlySet<string>>();
  const texts = new Map<string, string>();
  beforeAll(async () => {
    for (const command of COMMANDS) {
      const name = commandName(command);
      const parser = command.options(yargs([]).scriptName("hvjournal").help().wrap(null));
      known.set(name, new Set([...COMMON, ...optionNames(parser)]));
      texts.set(name, `${await parser.getHelp()}\n${commandEpilogue(name)}`);
    }
  });
  /** Options in `text`, each with the command whose it is: the one that a command line in it names, else `own`. */
  function promised(text: string, own: string): [command: string, option: string][] {
    return text.split("\n").flatMap((line) => {
      let command = own;
      return [...line.matchAll(/(?:hvjournal |\b(?=\w+ --))([a-z]+)\b|--([a-z][a-z-]+)/g)].flatMap(
        ([, named, option]): [string, string][] => {
          // What stands behind the name of a topic is said of the command itself.
          if (named !== undefined && named !== "help" && known.has(named)) command = named;
          return option === undefined ? [] : [[command, option.replace(/^no-/, "")]];
        },
      );
    });
  }

  const isOf = ([command, option]: readonly [string, string]): boolean => known.get(command)?.has(option) === true;

  it("is one of that command's, in its --help", () => {
    for (const [name, text] of texts) expect(promised(text, name).filter((each) => !isOf(each))).toEqual([]);
    expect(promised(texts.get("verify") ?? "", "verify").length).toBeGreaterThan(20);
  });

  it("is one of that command's, in the manual's synopses", () => {
    const lines = [...manual.matchAll(/^ {4}hvjournal .*$/gm)].map(([line]) =>
      line.replace(/#.*/, "").replace(/ --run .*/, " --run"),
    );
    const all = lines.flatMap((line) => promised(line, ""));
    expect(all.length).toBeGreaterThan(50);
    expect(all.filter((each) => !isOf(each))).toEqual([]);
  });
});
