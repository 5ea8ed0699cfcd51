/**
 * The keys of a machine file are the options of `record`, and the shipped schema says what they say.
 * `UPDATE_SCHEMA=1` writes it.
 */
import { expect, it } from "@jest/globals";
import { readFileSync, writeFileSync } from "node:fs";
import { format, resolveConfig } from "prettier";
import yargs, { type Argv } from "yargs";
import { record } from "../commands/record.js";
import { MACHINE_SCHEMA_PATH } from "../machine-schema-path.js";
import { COMMAND_LINE_ONLY, isListOption, type KeyForm, MACHINE_KEYS } from "./machine-keys.js";
import { machineSchema } from "./machine-schema.js";

/** yargs has them, and its types leave that out. */
type Described = Argv & {
  getOptions(): { readonly key: object; readonly boolean: readonly string[] };
  getInternalMethods(): {
    getUsageInstance(): { getDescriptions(): Readonly<Record<string, string | undefined>> };
  };
};

const parser = record.options(yargs([])) as Described;
const descriptions = parser.getInternalMethods().getUsageInstance().getDescriptions();
const describeOption = (name: string): string => (descriptions[name] ?? "").replace(/^__yargsString__:/, "");
const options = Object.keys(parser.getOptions().key).filter(
  (name) => name.length > 1 && !COMMAND_LINE_ONLY.includes(name),
);
const keys: Readonly<Record<string, KeyForm>> = MACHINE_KEYS;
const where = "packages/cli/src/vm/machine-keys.ts";

it.each(options)("record's --%s is a key of a machine file", (name) => {
  const advice = `add \`"${name}": FORM\` to MACHINE_KEYS in ${where}, then UPDATE_SCHEMA=1 and this test; or name it in COMMAND_LINE_ONLY`;
  expect(keys[name] === undefined ? advice : name).toBe(name);
});

it.each(Object.entries(keys))("the key %s (%s) is an option of record, written in its form", (name, form) => {
  expect(options.includes(name) ? name : `take ${name} out of MACHINE_KEYS in ${where}: record has no --${name}`).toBe(
    name,
  );
  const isFlag = parser.getOptions().boolean.includes(name);
  expect({ name, isFlag }).toEqual({ name, isFlag: form === "flag" });
  const mayRepeat = describeOption(name).includes("repeatable");
  expect({ name, mayRepeat }).toEqual({ name, mayRepeat: isListOption(name) });
});

async function formatted(schema: object): Promise<string> {
  const options = await resolveConfig(MACHINE_SCHEMA_PATH);
  return format(JSON.stringify(schema, undefined, 2), { ...options, filepath: MACHINE_SCHEMA_PATH });
}

it("the shipped schema is made from them", async () => {
  const schema = machineSchema(describeOption);
  if (process.env["UPDATE_SCHEMA"] === "1") writeFileSync(MACHINE_SCHEMA_PATH, await formatted(schema));
  expect(JSON.parse(readFileSync(MACHINE_SCHEMA_PATH, "utf8"))).toEqual(schema);
});
