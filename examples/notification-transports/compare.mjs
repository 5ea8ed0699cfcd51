/**
 * Records the guest once for each transport and prints what a round of each took, counted from the recordings:
 *   node compare.mjs [COMMAND]     COMMAND: the command line to use; default: hvjournal
 */
import { execFileSync } from "node:child_process";

const ROUNDS = 256;
const TRANSPORTS = [
  "none",
  "pio",
  "mmio",
  "pio-ioeventfd",
  "mmio-ioeventfd",
  "kvm-hypercall",
  "hv-signal-event",
  "hv-eventfd",
];
const MARK_PORT = 0x80;
/** Between the guest's two marks: exits, those that left to the VMM, units, events, and bytes that the VMM wrote to memory. */
const COUNTS = `
  with marks as (select min(nr) first, max(nr) last, min(icount) i, max(icount) j, min(seq) s, max(seq) t
                 from exits where reason = 'IO_INSTRUCTION' and arg0 = ${MARK_PORT})
  select (select count(*) from exits where nr > first and nr < last) exits,
         (select count(*) from exits where nr > first and nr < last and handled_by = 'VMM half') to_vmm,
         j - i units, first + 1 first, last - 1 last,
         (select count(*) from events where kind = 'GuestMemoryWritten' and seq > s and seq < t) writes
  from marks`;

const [command = "hvjournal", ...words] = (process.argv[2] ?? "hvjournal").split(" ");

function hvjournal(...more) {
  return execFileSync(command, [...words, ...more], { encoding: "utf8", stdio: ["ignore", "pipe", "pipe"] });
}

function jsonLines(text) {
  return text
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line));
}

/** What exits carried between guest and VMM, by `stat`. */
function exitBytes(file, first, last) {
  if (last < first) return 0;
  const rows = jsonLines(hvjournal("stat", file, `exit:${first}..exit:${last}`, "--json"));
  return rows.reduce((sum, { bytes = 0 }) => sum + bytes, 0);
}

function measured(transport) {
  const file = `${transport}.hvj`;
  const append = `transport=${transport} rounds=${ROUNDS}`;
  hvjournal("record", "-c", "vm.yaml", "--append", append, "-o", file, "--force", "-q");
  const [row] = jsonLines(hvjournal("sql", file, COUNTS, "--json"));
  const [exits, toVmm, units, first, last, writes] = ["exits", "to_vmm", "units", "first", "last", "writes"].map(
    (name) => Number(row[name]),
  );
  return [exits, toVmm, units, exitBytes(file, first, last), 8 * writes].map((count) => count / ROUNDS);
}

const HEAD = ["per notification", "exits", "to the VMM", "guest units", "exit bytes", "ring bytes"];
const widths = [18, 7, 12, 13, 12, 12];
const line = (cells) =>
  cells.map((cell, at) => (at === 0 ? cell.padEnd(widths[at]) : cell.padStart(widths[at]))).join("");
console.log(line(HEAD));
for (const transport of TRANSPORTS)
  console.log(line([transport, ...measured(transport).map((each) => each.toFixed(2))]));
