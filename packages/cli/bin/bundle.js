/** Loads the bundle that `npm run build` makes, with V8's compiled code of it where that fits this Node. */
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname } from "node:path";
import { fileURLToPath } from "node:url";
import { setFlagsFromString } from "node:v8";
import { constants, Script } from "node:vm";

/**
 * A VM's time goes by in WebAssembly; of the JavaScript around it most runs a few thousand times and is not worth
 * optimizing. By default V8 spends half a second of a boot on that, on its other threads. (A flag that a later version
 * lacks is ignored.)
 */
setFlagsFromString("--interrupt-budget=500000");

const path = fileURLToPath(new URL("../dist/hvjournal.cjs", import.meta.url));

/** V8 tells sources apart by their length only, so the name of the file holds the hash that stands in the first line. */
function codeCachePath(source) {
  return `${path}.${source.slice(2, source.indexOf("\n"))}.cache`;
}

function readCodeCache(source) {
  try {
    return readFileSync(codeCachePath(source));
  } catch {
    return undefined;
  }
}

/** `main` of the command line with `endProcess` for behind it, and what is needed to keep its compiled code. */
export function loadBundle() {
  const source = readFileSync(path, "utf8");
  const cachedData = readCodeCache(source);
  const script = new Script(`(function (exports, require, module, __filename, __dirname) { ${source}\n})`, {
    filename: path,
    importModuleDynamically: constants.USE_MAIN_CONTEXT_DEFAULT_LOADER,
    ...(cachedData && { cachedData }),
  });
  const module = { exports: {} };
  script.runInThisContext()(module.exports, createRequire(path), module, path, dirname(path));
  const { main, endProcess } = module.exports;
  return { main, endProcess, script, codeCachePath: codeCachePath(source) };
}
