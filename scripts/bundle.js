/**
 * Joins the compiled packages into the one file that `bin/hvjournal.js` starts: loading some six hundred modules one by
 * one takes a third of a second, and commands are run by the hundred in scripts. better-sqlite3 stays outside: it is native.
 */
import { buildSync } from "esbuild";
import { join } from "node:path";

const cli = join(import.meta.dirname, "..", "packages", "cli");

buildSync({
  entryPoints: [join(cli, "dist", "main.js")],
  outfile: join(cli, "dist", "hvjournal.js"),
  bundle: true,
  platform: "node",
  target: "node20.19",
  format: "esm",
  legalComments: "none",
  external: ["better-sqlite3"],
  // Bundled CommonJS packages ask for Node's own modules through `require`.
  banner: {
    js: 'import { createRequire as requireFrom } from "node:module"; const require = requireFrom(import.meta.url);',
  },
  logLevel: "warning",
});
