/** A machine file's text to plain values, each with its place. What YAML has and a machine file does not is an error. */
import {
  isAlias,
  isMap,
  isNode,
  isScalar,
  isSeq,
  LineCounter,
  type Node,
  parseAllDocuments,
  visit,
  YAMLError,
} from "yaml";
import { UsageError } from "../cli-error.js";

const HELP = "hvjournal help machine-file";

/** Keys and indices, from the top. */
export type ValuePath = readonly (string | number)[];

/** A whole number is a bigint, whatever its size. */
export type PlainValue = string | bigint | number | boolean | null | readonly PlainValue[] | PlainMap;
export interface PlainMap {
  readonly [key: string]: PlainValue;
}

export function isList(value: PlainValue): value is readonly PlainValue[] {
  return Array.isArray(value);
}

export interface MachineDocument {
  readonly value: PlainMap;
  /** "vm.yaml:3:7": where a value stands; with `atKey`, its key. */
  place(path: ValuePath, atKey?: "key"): string;
  /** Which of two places comes first in the file. */
  offset(path: ValuePath, atKey?: "key"): number;
}

/** Throws UsageError. */
export function parseMachineDocument(path: string, text: string): MachineDocument {
  const lines = new LineCounter();
  const placeAt = (offset: number): string => {
    const { line, col } = lines.linePos(offset);
    return `${path}:${line}:${col}`;
  };
  const documents = parseAllDocuments(text, {
    intAsBigInt: true,
    lineCounter: lines,
    logLevel: "silent",
    prettyErrors: false,
    stringKeys: true,
    version: "1.2",
  });
  const [document, second] = Array.isArray(documents) ? documents : [];
  if (document === undefined) throw new UsageError(`${path} is empty: it holds no machine`, HELP);
  const [fault] = [...document.errors, ...document.warnings].sort((one, other) => one.pos[0] - other.pos[0]);
  if (fault !== undefined) throw yamlError(fault, placeAt(fault.pos[0]), text.slice(fault.pos[0]));
  const { contents: root, directives } = document;
  if (directives.yaml.version !== "1.2")
    throw new UsageError(`${path}: %YAML ${directives.yaml.version}: a machine file is YAML 1.2`, HELP);
  if (second !== undefined)
    throw new UsageError(`${placeAt(second.range[0])}: a second document: a machine file holds one machine`, HELP);
  if (root === null || (isScalar(root) && root.value === null))
    throw new UsageError(`${path} is empty: it holds no machine`, HELP);
  refuseReferences(root, placeAt);
  if (!isMap(root))
    throw new UsageError(
      `${placeAt(offsetOf(root))}: expected \`key: value\` lines, not ${isSeq(root) ? "a list" : "text"}`,
      HELP,
    );
  const offset = (at: ValuePath, atKey?: "key"): number => offsetOf(nodeAt(root, at, atKey));
  return { value: plainMap(root), offset, place: (at, atKey) => placeAt(offset(at, atKey)) };
}

const REFERENCE_ADVICE = "a machine file has no aliases, and text that begins with * or & must stand between quotes";

/** The library's words, where they would not help a reader, in others. `rest`: the text from the place on. */
function yamlError({ code, message }: YAMLError, place: string, rest: string): UsageError {
  const [word = "a key"] = /^[^\s:]+/.exec(rest) ?? [];
  const told: Partial<Record<typeof code, string>> = {
    DUPLICATE_KEY: `${word} is given a second time`,
    NON_STRING_KEY: "a key is a word: an option of record",
    BLOCK_AS_IMPLICIT_KEY: "a value that holds `: ` must stand between quotes",
    TAG_RESOLVE_FAILED: `${message.replace(/^Unresolved tag:/, "unknown tag")}: a machine file has no tags of its own`,
  };
  const advice = /alias|anchor/i.test(message) ? `: ${REFERENCE_ADVICE}` : "";
  const text = told[code] ?? `${message.charAt(0).toLowerCase()}${message.slice(1)}${advice}`;
  return new UsageError(`${place}: ${text}`, HELP);
}

function refuseReferences(root: Node, placeAt: (offset: number) => string): void {
  const refuse = (node: Node, what: string): never => {
    throw new UsageError(`${placeAt(offsetOf(node))}: ${what} is no value: ${REFERENCE_ADVICE}`, HELP);
  };
  visit(root, {
    Node: (_, node) => {
      if (isAlias(node)) refuse(node, `alias *${node.source}`);
      else if (node.anchor !== undefined) refuse(node, `anchor &${node.anchor}`);
    },
  });
}

function offsetOf(node: unknown): number {
  return isNode(node) ? (node.range?.[0] ?? 0) : 0;
}

/** The node at a path, or the last on the way to it. */
function nodeAt(root: Node, path: ValuePath, atKey?: "key"): unknown {
  let node: unknown = root;
  path.forEach((step, depth) => {
    if (isMap(node)) {
      const pair = node.items.find(({ key }) => keyText(key) === step);
      const wantsKey = atKey === "key" && depth === path.length - 1;
      const found = wantsKey ? pair?.key : pair?.value;
      // `key:` with nothing behind it has no place of its own.
      node = found ?? pair?.key ?? node;
    } else if (isSeq(node)) node = node.items[Number(step)] ?? node;
  });
  return node;
}

function keyText(key: unknown): string {
  return isScalar(key) ? String(key.value) : String(key);
}

function plainMap(map: { readonly items: readonly { readonly key: unknown; readonly value: unknown }[] }): PlainMap {
  return Object.fromEntries(map.items.map(({ key, value }) => [keyText(key), plainValue(value)]));
}

function plainValue(node: unknown): PlainValue {
  if (isMap(node)) return plainMap(node);
  if (isSeq(node)) return node.items.map(plainValue);
  if (!isScalar(node)) return null;
  const { value } = node;
  return ["string", "bigint", "number", "boolean"].includes(typeof value) ? (value as PlainValue) : null;
}
