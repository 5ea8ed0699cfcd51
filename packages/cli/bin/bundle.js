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
/**
 * V8 forgets code that has not run for a while. Of what `keep-code.js` runs, that would be the half that ran first; and V8
 * takes a cache only where its flags are those that it was made with.
 */
setFlagsFromString("--no-flush-bytecode");

const path = fileURLToPath(new URL("../dist/hvjournal.cjs", import.meta.url));

/**
 * What was made of the bundle when it was built stands beside it. The hash in the bundle's first line names the files: V8
 * tells sources apart by their length only.
 */
function madeOf(source, kind) {
  return `${path}.${source.slice(2, source.indexOf("\n"))}.${kind}`;
}

function readIfThere(file) {
  try {
    return readFileSync(file);
  } catch {
    return undefined;
  }
}

/** What the bundle exports, ready to run; its script, and the names of the files for what is made of it. */
export function loadBundle() {
  // The bundler escapes what is not ASCII; to decode four megabytes of UTF-8 would take 40 ms.
  const source = readFileSync(path, "latin1");
  const fileFor = (kind) => madeOf(source, kind);
  const cachedData = readIfThere(fileFor("cache"));
  const script = new Script(`(function (exports, require, module, __filename, __dirname) { ${source}\n})`, {
    filename: path,
    importModuleDynamically: constants.USE_MAIN_CONTEXT_DEFAULT_LOADER,
    ...(cachedData && { cachedData }),
  });
  const module = { exports: {} };
  script.runInThisContext()(module.exports, createRequire(path), module, path, dirname(path));
  module.exports.usePreparedCode((architecture) => readIfThere(fileFor(`${architecture}.code`)));
  return { ...module.exports, script, fileFor };
}
