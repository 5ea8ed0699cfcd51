import { parsePosition } from "@hvjournal/core";
import { describe, expect, it } from "@jest/globals";
import { COMMANDS } from "../commands/index.js";
import { commandName } from "../commands/command.js";
import { parseStopCondition } from "../vm/stop-condition.js";
import { commandEpilogue } from "./command-help.js";
import { TOPICS } from "./topics.js";

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
