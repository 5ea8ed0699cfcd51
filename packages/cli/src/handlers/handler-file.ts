/** A handler from a file: .js, .mjs, .cjs or .ts, whose default export is the function. */
import { existsSync } from "node:fs";
import { createRequire, SourceMap, type SourceMapPayload } from "node:module";
import { dirname, join, resolve } from "node:path";
import { constants, Script } from "node:vm";
import type { NamedHandler } from "@hvjournal/vmm";
import { CliError } from "../cli-error.js";
import { bundleHandler, HANDLER_BANNER, handlerFileError } from "./handler-bundle.js";
import { handlerCodeLoads } from "./handler-process.js";

export interface FileHandler extends NamedHandler {
  /** Hex. */
  readonly sha256: string;
}

let hasLoaded = false;

/** Whether code of others has run in this process: it may have left timers and connections open. */
export function handlerFilesLoaded(): boolean {
  return hasLoaded;
}

/** Throws CliError for a file that is not there, is wrong, fails as it is loaded, or exports no function. */
export function loadHandlerFile(path: string): FileHandler {
  if (!existsSync(path)) throw new CliError(`can't read handler ${path}: no such file`, { code: "no-file" });
  const { text, sourceMap, sha256 } = bundleHandler(path);
  const file = resolve(path);
  const placeOf = placesIn(path, sourceMap);
  let exported: unknown;
  hasLoaded = true;
  handlerCodeLoads();
  try {
    exported = run(file, text);
  } catch (error) {
    const place = placeOf(error);
    const what = error instanceof Error ? `${error.name}: ${error.message}` : String(error);
    throw handlerFileError(`can't load handler ${path}: it threw ${what}${place === undefined ? "" : ` (${place})`}`);
  }
  return { name: path, handle: handlerIn(exported, path), sha256, placeOf };
}

/** Its lines are those of the bundle's text: what stands before it stands in its first line. */
function run(file: string, text: string): unknown {
  const script = new Script(
    `(function (exports, require, module, __filename, __dirname) { ${HANDLER_BANNER} ${text}\n})`,
    {
      filename: file,
      importModuleDynamically: constants.USE_MAIN_CONTEXT_DEFAULT_LOADER,
    },
  );
  const module = { exports: {} };
  const load = script.runInThisContext() as (...words: readonly unknown[]) => void;
  load(module.exports, createRequire(file), module, file, dirname(file));
  return module.exports;
}

function handlerIn(exported: unknown, path: string): NamedHandler["handle"] {
  if (typeof exported === "function") return exported as NamedHandler["handle"];
  const found =
    typeof exported === "object" && exported !== null && "default" in exported ? exported.default : undefined;
  if (typeof found === "function") return found as NamedHandler["handle"];
  const what = found === undefined ? "it has no default export" : `its default export is ${kindOf(found)}`;
  throw handlerFileError(`can't use handler ${path}: ${what}; export default (call, vm) => ... is expected`);
}

function kindOf(value: unknown): string {
  return value === null ? "null" : `of type ${typeof value}`;
}

/** Where in the sources an error was thrown, by the bundle's source map: "demo.ts:12". */
function placesIn(path: string, sourceMap: string): (error: unknown) => string | undefined {
  const file = resolve(path);
  let map: SourceMap | undefined;
  return (error) => {
    const { stack = "" } = error instanceof Error ? error : {};
    for (const line of stack.split("\n")) {
      const at = line.indexOf(`${file}:`);
      const [, row, column] = at < 0 ? [] : (/^(\d+):(\d+)/.exec(line.slice(at + file.length + 1)) ?? []);
      if (row === undefined || column === undefined) continue;
      map ??= new SourceMap(JSON.parse(sourceMap) as SourceMapPayload);
      const entry = map.findEntry(Number(row) - 1, Number(column) - 1);
      if (!("originalSource" in entry)) continue;
      return `${join(dirname(path), entry.originalSource)}:${entry.originalLine + 1}`;
    }
    return undefined;
  };
}
