/**
 * Joins the compiled packages into the one file that `bin/hvjournal.js` starts, and keeps V8's compiled code of it:
 * loading some six hundred modules one by one takes a third of a second, and commands are run by the hundred in scripts.
 * The binary of better-sqlite3 stays outside.
 */
import { buildSync } from "esbuild";
import { spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";

const cli = join(import.meta.dirname, "..", "packages", "cli");
const dist = join(cli, "dist");

const BANNER = `const bundleUrl = require("node:url").pathToFileURL(__filename).href;
class LazySegmenter { segment(text) { return (this.made ??= new Intl.Segmenter()).segment(text); } }`;

/**
 * What measures the width of help texts parses an expression over all emoji as it is loaded: an eighth of what a command
 * takes to start. It is made when it is first asked.
 */
const EMOJI = String.raw`new RegExp("^\\p{RGI_Emoji}$", "v")`;

function withLazyEmoji(text) {
  const parts = text.split(EMOJI);
  if (parts.length !== 2) throw new Error(`the bundle has ${parts.length - 1} times ${EMOJI}, and not once`);
  return parts.join(`{ test(text) { return (this.made ??= ${EMOJI}).test(text); } }`);
}

/** The hash in the first line names the bundle; see `bin/bundle.js`. */
function bundle() {
  const { outputFiles } = buildSync({
    entryPoints: [join(dist, "main.js")],
    bundle: true,
    platform: "node",
    target: "node20.19",
    format: "cjs",
    legalComments: "none",
    external: ["better-sqlite3/build/*", "koffi"],
    alias: { bindings: join(import.meta.dirname, "native-sqlite.cjs") },
    define: {
      "import.meta.url": "bundleUrl",
      // Which binary to load for strings takes longer to find out than the strings of a recording.
      "process.env.MSGPACKR_NATIVE_ACCELERATION_DISABLED": '"true"',
      // What measures the width of help texts makes one as it is loaded, for ten milliseconds.
      "Intl.Segmenter": "LazySegmenter",
    },
    banner: { js: BANNER },
    logLevel: "warning",
    write: false,
  });
  const text = withLazyEmoji(outputFiles[0].text);
  const hash = createHash("sha256").update(text).update(process.version).digest("hex").slice(0, 16);
  return { text: `//${hash}\n${text}`, hash };
}

function isCurrent({ text, hash }) {
  try {
    readFileSync(join(dist, `hvjournal.cjs.${hash}.cache`));
    return readFileSync(join(dist, "hvjournal.cjs"), "utf8") === text;
  } catch {
    return false;
  }
}

const made = bundle();
if (!isCurrent(made)) {
  for (const name of readdirSync(dist)) if (name.startsWith("hvjournal.cjs")) rmSync(join(dist, name));
  writeFileSync(join(dist, "hvjournal.cjs"), made.text);
  const { status } = spawnSync(process.execPath, [join(import.meta.dirname, "keep-code.js")], {
    stdio: ["ignore", "ignore", "inherit"],
  });
  process.exitCode = status ?? 1;
}
