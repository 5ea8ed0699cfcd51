import { type Policy, policyValuesText } from "@hvjournal/core";
import { arm64Policies } from "@hvjournal/cpu-arm64";
import { amd64Policies } from "@hvjournal/cpu-x86";
import { describe, expect, it } from "@jest/globals";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { repositoryRoot } from "./testing/repository.js";

/** Rows of the table below a heading, by cell. */
function tableBelow(document: string, heading: string): string[][] {
  const [, section = ""] = document.split(`\n### ${heading}\n`);
  const [text = ""] = section.split("\n### ");
  const rows = text.split("\n").filter((line) => line.startsWith("| `"));
  return rows.map((row) =>
    row
      .split("|")
      .slice(1, -1)
      .map((cell) => cell.trim()),
  );
}

describe("docs/cli.md", () => {
  it("lists every policy of both architectures with its values, upstream's first", () => {
    const policies: readonly Policy[] = [...arm64Policies.policies, ...amd64Policies.policies];
    const document = readFileSync(join(repositoryRoot, "docs/cli.md"), "utf8");
    expect(tableBelow(document, "Policies")).toEqual(
      policies.map((policy) => [`\`${policy.name}\``, policyValuesText(policy), policy.about]),
    );
  });
});
