/** Values of a machine file as the texts that the command line takes. They have been checked against the schema. */
import { dirname, isAbsolute, join } from "node:path";
import { isList, type PlainMap, type PlainValue, type ValuePath } from "./machine-document.js";
import type { KeyForm } from "./machine-keys.js";

/** One use of an option. */
export interface OptionText {
  readonly path: ValuePath;
  readonly value: string | boolean;
}

type PlaceFile = (path: string) => string;

/** The uses of one key's option, in the order of the file. `file`: the machine file, which paths are relative to. */
export function optionTexts(key: string, form: KeyForm, value: PlainValue, file: string): OptionText[] {
  const place: PlaceFile = (path) => besideFile(path, file);
  const items = itemsOf(form, value, [key]);
  return items.map((item) => ({ path: item.path, value: itemText(form, item.value, place) }));
}

/** A file that lies beside the machine file is named as one would name it there: recordings hold the name. */
function besideFile(path: string, file: string): string {
  const directory = dirname(file);
  return directory === "." || isAbsolute(path) ? path : join(directory, path);
}

interface Item {
  readonly path: ValuePath;
  readonly value: PlainValue;
}

function itemsOf(form: KeyForm, value: PlainValue, path: ValuePath): Item[] {
  if (isList(value)) return value.flatMap((each, index) => itemsOf(form, each, [...path, index]));
  if (form !== "pairs" || !isMap(value)) return [{ path, value }];
  return Object.entries(value).map(([name, each]) => ({ path: [...path, name], value: `${name}=${scalar(each)}` }));
}

function itemText(form: KeyForm, value: PlainValue, place: PlaceFile): string | boolean {
  switch (form) {
    case "flag":
      return value === true;
    case "path":
    case "paths":
    case "moment":
      return place(scalar(value));
    case "handlers":
      return scalar(value).startsWith("builtin:") ? scalar(value) : place(scalar(value));
    case "capabilities":
      return isMap(value) ? capabilityText(value) : scalar(value);
    case "ranges":
      return isMap(value) ? rangeText(value) : scalar(value);
    case "drives":
      return isMap(value) ? driveText(value, place) : placedDrive(scalar(value), place);
    default:
      return scalar(value);
  }
}

function capabilityText({ name = "", args = [] }: PlainMap): string {
  const numbers = isList(args) ? args.map(scalar) : [];
  return [scalar(name), ...(numbers.length > 0 ? [numbers.join(",")] : [])].join("=");
}

function rangeText({ base = "", count = "", action = "" }: PlainMap): string {
  return `${hexadecimal(base)}+${hexadecimal(count)}=${scalar(action)}`;
}

function driveText({ file = "", readonly: readOnly, id }: PlainMap, place: PlaceFile): string {
  const parts = [`file=${place(scalar(file))}`];
  if (readOnly === true) parts.push("readonly=on");
  if (id !== undefined) parts.push(`id=${scalar(id)}`);
  return parts.join(",");
}

function placedDrive(text: string, place: PlaceFile): string {
  return text
    .split(",")
    .map((part) => (part.startsWith("file=") ? `file=${place(part.slice("file=".length))}` : part))
    .join(",");
}

function hexadecimal(value: PlainValue): string {
  return typeof value === "bigint" ? `0x${value.toString(16)}` : scalar(value);
}

function scalar(value: PlainValue): string {
  return typeof value === "object" ? "" : String(value);
}

function isMap(value: PlainValue): value is PlainMap {
  return typeof value === "object" && value !== null && !isList(value);
}
