/**
 * `npm run profile`: writes the lists of variants that an interpreter is built with, from a stock boot with a typed
 * session: `hotVariants` by samples of pc, `warmVariants` by what was decoded beside. `npm run profile amd64` for x86.
 */
import { Engine, programOf, programText } from "@hvjournal/engine";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { amd64 } from "@hvjournal/cpu-x86";
import * as armState from "../../cpu-arm64/dist/isa/state.js";
import * as x86State from "../../cpu-x86/dist/isa/state.js";
import { fetchStockGuest } from "../dist/debian/stock-guest.js";
import { linuxSession } from "../dist/debian/linux-session.js";
import { recordGuest } from "../dist/testing/guest-recording.js";

const CPUS = {
  arm64: {
    folder: "cpu-arm64",
    pc: armState.pc,
    contextWord: armState.contextWord,
    privilege: armState.exceptionLevel,
    changes: {},
  },
  amd64: {
    folder: "cpu-x86",
    pc: x86State.rip,
    contextWord: x86State.contextWord,
    privilege: x86State.privilege,
    changes: { architecture: amd64 },
  },
};
const name = process.argv[2] ?? "arm64";
const { folder, pc, contextWord, privilege, changes } = CPUS[name];
const OUTPUT = join(import.meta.dirname, "..", "..", folder, "src", "isa", "hot-variants.ts");
/** Inline, at most: beyond some five hundred the main loop loses a third of its speed. */
const HOT_MAX = 340;
/**
 * Lines of a program, at most: locals of a handler are merged wherever the main loop goes around, so that one IRET inline
 * would double the time in which the host's compiler makes the loop.
 */
const HOT_LINES_MAX = 30;
/** A prime, so that no loop of the guest is met at the same place each time. */
const SAMPLE_UNITS = 4093;

const samples = new Map();
/** Of the program of each. */
const lines = new Map();
const engines = new Set();
const { run } = Engine.prototype;

function nameOf({ instruction, fields }) {
  const form = Object.fromEntries(instruction.formFields.map((name) => [name, fields[name] ?? 0]));
  return `{ mnemonic: ${JSON.stringify(instruction.mnemonic)}, form: ${formText(form)} }`;
}

function formText(form) {
  const fields = Object.entries(form).map(([name, value]) => `${name}: ${value}`);
  return fields.length === 0 ? "{}" : `{ ${fields.join(", ")} }`;
}

const EXECUTE = 2;

function sample(engine) {
  if (engine.translate(engine.readField(pc), EXECUTE, engine.readWord(privilege.offset)) !== 0) return;
  const found = decodeAt(engine, engine.translatedPhysical, engine.readWord(contextWord.offset));
  if (found === undefined) return;
  const variant = nameOf(found);
  if (!lines.has(variant)) lines.set(variant, programText(programOf(found.instruction, found.fields), {}).length);
  samples.set(variant, (samples.get(variant) ?? 0) + 1);
}

/** A profile names definitions of context 0, which arm64 shares with context 1. */
function decodeAt(engine, physical, context) {
  if (name === "arm64") return engine.decode(Buffer.from(engine.memory.read(physical, 4)).readUInt32LE(), context);
  const length = Math.min(INSTRUCTION_BYTES_MAX, 4096 - (physical % 4096));
  return context === 0 ? engine.decodeBytes(engine.memory.read(physical, length), context) : undefined;
}

const INSTRUCTION_BYTES_MAX = 15;

Engine.prototype.run = function runSampled(budget) {
  engines.add(this);
  let left = budget;
  while (left > 0) {
    const slice = Math.min(left, SAMPLE_UNITS);
    const code = run.call(this, slice);
    left -= slice - this.unitsLeft;
    if (code !== 0) {
      this.unitsLeft = left;
      return code;
    }
    if (slice === SAMPLE_UNITS) sample(this);
  }
  this.unitsLeft = 0;
  return 0;
};

const directory = mkdtempSync(join(tmpdir(), "hvjournal-profile-"));
try {
  const session = linuxSession(await fetchStockGuest({ architecture: name }), changes);
  await recordGuest(session.setup, join(directory, "profile.hvj"), { unitsMax: 3_000_000_000 });
} finally {
  rmSync(directory, { recursive: true, force: true });
}
const hot = [...samples]
  .filter(([name]) => lines.get(name) <= HOT_LINES_MAX)
  .sort(([left, a], [right, b]) => b - a || (left < right ? -1 : 1))
  .slice(0, HOT_MAX)
  .map(([name]) => name);
const decoded = [...engines].flatMap((engine) =>
  engine.variants().map(({ instruction, form }) => nameOf({ instruction, fields: form })),
);
/** Forms that definitions have in other contexts are no profile's. */
const OTHER_FORMS = /"undefined"|, (one shot|with breakpoints|aligned|segmented by)/;
const warm = [...new Set(decoded)].filter((variant) => !hot.includes(variant) && !OTHER_FORMS.test(variant));

writeFileSync(
  OUTPUT,
  `/**
 * What a stock Linux 6.1 runs from its boot to a shell with typed commands; \`npm run profile\` writes this file. Order and
 * choice never show.
 */
import type { ProfileEntry } from "@hvjournal/engine";

/** Stand inline in the interpreter: most frequent first, by samples of pc. */
export const hotVariants: readonly ProfileEntry[] = [
${hot.map((name) => `  ${name},`).join("\n")}
];

/** The others that were met: their handlers are made together. */
export const warmVariants: readonly ProfileEntry[] = [
${warm.map((name) => `  ${name},`).join("\n")}
];
`,
);
console.log(`${OUTPUT}: ${hot.length} hot, ${warm.length} warm variants`);
