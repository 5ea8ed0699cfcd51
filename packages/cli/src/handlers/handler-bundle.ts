/**
 * A handler's file with all that it imports, as one text that can be run. Types are taken off, not checked.
 *
 * Its fingerprint is made from what was read, not from the text that came of it: the text is another with each version of
 * the bundler, the handler is not.
 */
import { readFileSync } from "node:fs";
import { basename, dirname, join, resolve } from "node:path";
import { createRequire } from "node:module";
import type { BuildFailure, Metafile } from "esbuild";
import { toHex } from "@hvjournal/core";
import { CliError } from "../cli-error.js";
import { nodeDigester } from "../host/node-digester.js";

const TARGET = "node20.19";
/** In a CommonJS text there is no import.meta. */
const MODULE_URL = "handlerUrl";
/** Goes in front of the text, in its first line. */
export const HANDLER_BANNER = `const ${MODULE_URL} = require("node:url").pathToFileURL(__filename).href;`;

export interface HandlerBundle {
  /** A CommonJS module: loading it needs no turn of the event loop, so a VM that comes in can be put together at once. */
  readonly text: string;
  /** Version 3, with sources as they are named from the handler's directory. */
  readonly sourceMap: string;
  /** Of a file that imports no other: its SHA-256, hex. Else over the SHA-256 of each file, the handler's first. */
  readonly sha256: string;
}

/** For an error in the file itself: the command line is right, so it is an error as of a kernel that is none. */
export function handlerFileError(message: string): CliError {
  return new CliError(message, { code: "handler", next: "hvjournal help handlers" });
}

/** Throws CliError with file, line and column. */
export function bundleHandler(path: string): HandlerBundle {
  const absWorkingDir = dirname(resolve(path));
  const entry = basename(path);
  // Starting it takes a while, and most VMs have no handler.
  const { buildSync } = createRequire(import.meta.url)("esbuild") as typeof import("esbuild");
  try {
    const { outputFiles, metafile } = buildSync({
      absWorkingDir,
      entryPoints: [entry],
      outfile: "handler.cjs",
      write: false,
      bundle: true,
      platform: "node",
      format: "cjs",
      target: TARGET,
      sourcemap: "external",
      sourcesContent: false,
      metafile: true,
      logLevel: "silent",
      // Settings that lie about must not change what a handler is.
      tsconfigRaw: {},
      define: { "import.meta.url": MODULE_URL },
    });
    const text = outputFiles.find((file) => file.path.endsWith(".cjs"))?.text ?? "";
    const sourceMap = outputFiles.find((file) => file.path.endsWith(".map"))?.text ?? "{}";
    return { text, sourceMap, sha256: fingerprint(metafile, { absWorkingDir, entry }) };
  } catch (error) {
    throw isBuildFailure(error) ? sourceError(path, error) : error;
  }
}

function isBuildFailure(error: unknown): error is BuildFailure {
  return error instanceof Error && "errors" in error && Array.isArray(error.errors);
}

function sourceError(path: string, { errors, message }: BuildFailure): CliError {
  const [first] = errors;
  if (first === undefined || first.location === null)
    return handlerFileError(`can't load handler ${path}: ${first?.text ?? message}`);
  const { file, line, column } = first.location;
  return handlerFileError(
    `can't load handler ${path}: ${join(dirname(path), file)}:${line}:${column + 1}: ${lowerFirst(first.text)}`,
  );
}

function lowerFirst(text: string): string {
  return text.slice(0, 1).toLowerCase() + text.slice(1);
}

function fingerprint(
  { inputs }: Metafile,
  { absWorkingDir, entry }: { readonly absWorkingDir: string; readonly entry: string },
): string {
  const sha256 = (name: string): string => toHex(nodeDigester.sha256(readFileSync(resolve(absWorkingDir, name))));
  const own = sha256(entry);
  const others = Object.keys(inputs).filter((name) => name !== entry);
  if (others.length === 0) return own;
  const list = [own, ...others.map(sha256).sort()].join("\n");
  return toHex(nodeDigester.sha256(Buffer.from(list)));
}
