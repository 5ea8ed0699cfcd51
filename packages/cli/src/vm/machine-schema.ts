/** Makes `machine.schema.json`, which editors and `record` itself check a machine file by, from the keys and their help. */
import { ARCHITECTURE_WORDS, type KeyForm, MACHINE_KEYS } from "./machine-keys.js";

type Schema = Readonly<Record<string, unknown>>;

const NUMBER = String.raw`\d+|0x[0-9a-fA-F]+`;

const ref = (name: string): Schema => ({ $ref: `#/definitions/${name}` });

/** A text, or a whole number of YAML. `title` is what an error says was expected. */
function orNumber(title: string, pattern: string, minimum: number): Schema {
  return {
    title,
    anyOf: [
      { type: "integer", minimum },
      { type: "string", pattern },
    ],
  };
}

function object(title: string, properties: Schema, required: readonly string[]): Schema {
  return { title, type: "object", properties, required, additionalProperties: false };
}

/** One item, or a list of them. */
function oneOrMore(title: string, item: string): Schema {
  return { title: `${title}, or a list of such`, anyOf: [ref(item), { type: "array", items: ref(item) }] };
}

const FORMS: Readonly<Record<KeyForm, Schema>> = {
  text: { title: "text of one line", type: "string", pattern: String.raw`^[^\r\n]*$` },
  number: orNumber("a whole number such as 7 or 0x7", `^(${NUMBER})$`, 0),
  size: orNumber("a size such as 256M or 1G (a number alone is MiB)", String.raw`^\d+[KMG]?i?B?$`, 0),
  count: orNumber("a count such as 64M or 1G", String.raw`^\d+[KMG]?$`, 0),
  time: { title: "a time such as 60s or 500ms", type: "string", pattern: String.raw`^\d+(\.\d+)?(ns|us|ms|s)$` },
  flag: { title: "true or false", type: "boolean" },
  architecture: { title: "an architecture", enum: ARCHITECTURE_WORDS },
  path: { title: "a path", type: "string", pattern: String.raw`^[^\r\n]+$` },
  moment: { title: "FILE[@POSITION]", type: "string", pattern: String.raw`^[^\r\n]+$` },
  paths: oneOrMore("a path", "path"),
  handlers: oneOrMore("a path, or builtin:NAME", "path"),
  capabilities: oneOrMore("NAME[=ARG,...] or {name: NAME, args: [ARG, ...]}", "capability"),
  ranges: oneOrMore("BASE+COUNT=ACTION or {base: BASE, count: COUNT, action: ACTION}", "range"),
  pairs: oneOrMore("NAME=VALUE or {NAME: VALUE}", "pair"),
  drives: oneOrMore("file=PATH[,readonly=on][,id=ID] or {file: PATH, readonly: true, id: ID}", "drive"),
};

/** Items of the lists: the option's own text, or a map. */
const ITEMS: Readonly<Record<string, Schema>> = {
  capability: {
    title: "NAME[=ARG,...] or {name: NAME, args: [ARG, ...]}",
    anyOf: [
      ref("text"),
      object(
        "a capability",
        { name: ref("text"), args: { title: "a list of numbers", type: "array", items: ref("number") } },
        ["name"],
      ),
    ],
  },
  range: {
    title: "BASE+COUNT=ACTION or {base: BASE, count: COUNT, action: ACTION}",
    anyOf: [
      ref("text"),
      object("a range", { base: ref("number"), count: ref("number"), action: ref("action") }, [
        "base",
        "count",
        "action",
      ]),
    ],
  },
  action: { title: "an action", enum: ["handle", "deny", "forward"] },
  pair: {
    title: "NAME=VALUE or {NAME: VALUE}",
    anyOf: [ref("text"), { type: "object", minProperties: 1, additionalProperties: ref("scalar") }],
  },
  scalar: orNumber("a number, or text of one line", String.raw`^[^\r\n]*$`, 0),
  drive: {
    title: "file=PATH[,readonly=on][,id=ID] or {file: PATH, readonly: true, id: ID}",
    anyOf: [ref("text"), object("a drive", { file: ref("path"), readonly: ref("flag"), id: ref("text") }, ["file"])],
  },
};

/** `describe`: what the help says of an option. */
export function machineSchema(describe: (option: string) => string): Schema {
  const properties = Object.fromEntries(
    Object.entries(MACHINE_KEYS).map(([key, form]) => [key, { ...ref(form), description: describe(key) }]),
  );
  return {
    $schema: "http://json-schema.org/draft-07/schema#",
    title: "hvjournal machine file",
    description: "Options of hvjournal record. Paths are relative to the file.",
    type: "object",
    properties,
    additionalProperties: false,
    definitions: { ...FORMS, ...ITEMS },
  };
}
