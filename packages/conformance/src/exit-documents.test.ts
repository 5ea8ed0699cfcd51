import { describe, expect, it } from "@jest/globals";
import { exitModelMarkdown } from "@hvjournal/cpu-arm64";
import { exitModelsMarkdown } from "@hvjournal/cpu-x86";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { repositoryRoot } from "./testing/repository.js";

describe("docs/exits-arm64.md", () => {
  it("is what the exit model's table generates (npm run docs:exits)", () => {
    expect(readFileSync(join(repositoryRoot, "docs/exits-arm64.md"), "utf8")).toBe(exitModelMarkdown());
  });
});

describe("docs/exits-amd64.md", () => {
  it("is what the exit models' tables generate (npm run docs:exits)", () => {
    expect(readFileSync(join(repositoryRoot, "docs/exits-amd64.md"), "utf8")).toBe(exitModelsMarkdown());
  });
});
