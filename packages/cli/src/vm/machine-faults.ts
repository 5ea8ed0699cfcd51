/** What a machine file says wrongly, by the schema that is shipped. */
import { readFileSync } from "node:fs";
import { Ajv, type AnySchema, type ErrorObject, type ValidateFunction } from "ajv";
import { nearestWord } from "@hvjournal/core";
import { MACHINE_SCHEMA_PATH } from "../machine-schema-path.js";
import { COMMAND_LINE_ONLY } from "./machine-keys.js";
import { isList, type PlainMap, type PlainValue, type ValuePath } from "./machine-document.js";

export interface MachineFault {
  readonly path: ValuePath;
  /** The key itself is wrong. */
  readonly atKey?: "key";
  readonly message: string;
}

/** Of the branches of a choice that all failed: the one that was meant says more than that there is a choice. */
const KEYWORDS_BY_WORTH = ["additionalProperties", "required", "minProperties", "anyOf", "enum"];

let validator: ValidateFunction | undefined;

function compileSchema(): ValidateFunction {
  const schema = JSON.parse(readFileSync(MACHINE_SCHEMA_PATH, "utf8")) as AnySchema;
  return new Ajv({ allErrors: true, verbose: true }).compile(schema);
}

/** Every fault of a document, one a value. */
export function machineFaults(value: PlainMap): MachineFault[] {
  validator ??= compileSchema();
  const validate = validator;
  if (validate(measured(value)) === true) return [];
  const groups = new Map<string, ErrorObject[]>();
  for (const error of validate.errors ?? []) {
    const key = groupOf(error);
    groups.set(key, [...(groups.get(key) ?? []), error]);
  }
  return [...groups]
    .filter(([key]) => ![...groups.keys()].some((other) => other.startsWith(`${key}/`)))
    .map(([, errors]) => faultOf(worthiest(errors), value));
}

/** A key, or an item of its list; what is wrong further in is wrong there. */
function groupOf({ instancePath, params }: ErrorObject): string {
  const { additionalProperty } = params as { readonly additionalProperty?: string };
  return instancePath === "" ? `/${additionalProperty ?? ""}` : instancePath.split("/").slice(0, 3).join("/");
}

/** Whole numbers as the validator knows them; only their kind and sign matter to it. */
function measured(value: PlainValue): unknown {
  if (typeof value === "bigint") return Number(value);
  if (isList(value)) return value.map(measured);
  if (typeof value !== "object" || value === null) return value;
  return Object.fromEntries(Object.entries(value).map(([key, each]) => [key, measured(each)]));
}

function worthiest(errors: readonly ErrorObject[]): ErrorObject {
  const depth = ({ instancePath }: ErrorObject): number => instancePath.split("/").length;
  const worth = ({ keyword }: ErrorObject): number => {
    const at = KEYWORDS_BY_WORTH.indexOf(keyword);
    return at < 0 ? KEYWORDS_BY_WORTH.length : at;
  };
  const [best] = [...errors].sort((one, other) => depth(other) - depth(one) || worth(one) - worth(other));
  if (best === undefined) throw new RangeError("a group of faults is empty");
  return best;
}

function faultOf(error: ErrorObject, root: PlainMap): MachineFault {
  const path = pathOf(error.instancePath);
  const name = nameOf(path);
  const { additionalProperty, missingProperty } = error.params as {
    readonly additionalProperty?: string;
    readonly missingProperty?: string;
  };
  if (additionalProperty !== undefined)
    return { path: [...path, additionalProperty], atKey: "key", message: unknownKey(additionalProperty, name, error) };
  if (missingProperty !== undefined) return { path, message: `${name}: ${missingProperty} is missing` };
  return {
    path,
    message: `${name}: expected ${expectedOf(error)}, not ${described(valueAt(root, path))}${meant(error)}`,
  };
}

/** "smccc-filter[0].action" */
function nameOf(path: readonly string[]): string {
  return path
    .map((step) => (/^\d+$/.test(step) ? `[${step}]` : `.${step}`))
    .join("")
    .slice(1);
}

function unknownKey(key: string, name: string, { parentSchema }: ErrorObject): string {
  if (name === "" && COMMAND_LINE_ONLY.includes(key)) return `${key} is said on the command line only`;
  const keys = Object.keys((parentSchema as { readonly properties?: object }).properties ?? {});
  const near = nearestWord(key, keys);
  const advice =
    near === undefined
      ? `: ${name === "" ? "every option of record is one" : keys.join(", ")}`
      : `; did you mean ${near}?`;
  return `${name === "" ? "" : `${name}: `}${key} is no key${advice}`;
}

function expectedOf({ keyword, params, parentSchema }: ErrorObject): string {
  if (keyword === "enum")
    return `one of ${(params as { readonly allowedValues: readonly string[] }).allowedValues.join(", ")}`;
  return (parentSchema as { readonly title?: string }).title ?? "another value";
}

function meant({ keyword, params, data }: ErrorObject): string {
  if (keyword !== "enum" || typeof data !== "string") return "";
  const near = nearestWord(data, (params as { readonly allowedValues: readonly string[] }).allowedValues);
  return near === undefined ? "" : `; did you mean ${near}?`;
}

function described(value: PlainValue): string {
  if (value === null) return "nothing";
  if (isList(value)) return "a list";
  if (typeof value === "object") return "a map";
  if (typeof value === "string")
    return /[\r\n]/.test(value) ? "text of several lines (>- and |- leave the last break out)" : `the text ${value}`;
  return typeof value === "boolean" ? String(value) : `the number ${value}`;
}

/** A JSON pointer's steps. */
function pathOf(pointer: string): string[] {
  return pointer
    .split("/")
    .slice(1)
    .map((step) => step.replaceAll("~1", "/").replaceAll("~0", "~"));
}

function valueAt(root: PlainMap, path: readonly string[]): PlainValue {
  let value: PlainValue = root;
  for (const step of path) {
    if (typeof value !== "object" || value === null) return value;
    value = (isList(value) ? value[Number(step)] : value[step]) ?? null;
  }
  return value;
}
