/** One function per bench: what is run, and what comes out. */
import { openRecording, recordingSizes } from "@hvjournal/journal";
import { statSync } from "node:fs";
import { join } from "node:path";
import { EXITS, prepareAmd64ExitGuests, prepareExitGuests } from "./exit-guests.js";
import { finding } from "./findings.js";
import {
  GUEST_RAM_BYTES,
  hvjournal,
  QEMU,
  QEMU_AMD64,
  qemuAmd64RecordCommands,
  qemuRecordCommand,
  recordBareMetalCommand,
  recordCommand,
  runGuestCommand,
  runMachineCommand,
} from "./guest-commands.js";
import { BenchError, measure, programVersion } from "./measured-process.js";
import { moveRepeatedly } from "./moves.js";
import { median, pairedDifference, pairedRatio, quantile, randomSource } from "./statistics.js";

const MIB = 2 ** 20;

/**
 * Runs the commands in turn, `rounds` times; each round begins with another one, so that no command profits from its place.
 *
 * @returns {Record<string, ReturnType<typeof measure>[]>} samples by name
 */
function interleaved(commands, rounds, note) {
  const names = Object.keys(commands);
  const samples = Object.fromEntries(names.map((name) => [name, []]));
  for (let round = 0; round < rounds; round++) {
    note(`round ${round + 1} of ${rounds}`);
    for (let turn = 0; turn < names.length; turn++) {
      const name = names[(round + turn) % names.length];
      samples[name].push(measure(commands[name]));
    }
  }
  return samples;
}

function cpu(samples) {
  return samples.map(({ cpuSeconds }) => cpuSeconds);
}

function cpuFinding(name, samples) {
  const { low, high } = spread(cpu(samples));
  return finding(name, median(cpu(samples)), "seconds", { low, high });
}

/** The range of the samples themselves. */
function spread(values) {
  return { low: Math.min(...values), high: Math.max(...values) };
}

function ratioFinding(name, numerators, denominators, bound) {
  const { ratio, low, high } = pairedRatio(cpu(numerators), cpu(denominators));
  return finding(name, ratio, "times", { low, high, bound });
}

function least(samples) {
  return Math.min(...cpu(samples));
}

/** Against the faster of QEMU's machines, by the least of each: what a busy host adds is left out. */
function bootAmd64({ guest, pairs, note }) {
  if (programVersion(QEMU_AMD64) === undefined)
    throw new BenchError(`boot-amd64 compares with ${QEMU_AMD64}, which is not installed`);
  const record = recordCommand(guest, join(guest.directory, "boot-amd64.hvj"));
  const samples = interleaved({ record, ...qemuAmd64RecordCommands(guest) }, pairs, note);
  const fastest = least(samples.pc) < least(samples.microvm) ? "pc" : "microvm";
  return [
    cpuFinding("hvjournal record, CPU (range)", samples.record),
    cpuFinding(`${QEMU_AMD64} -M pc rr=record, CPU (range)`, samples.pc),
    cpuFinding(`${QEMU_AMD64} -M microvm rr=record, CPU (range)`, samples.microvm),
    ratioFinding(`record / QEMU's record (${fastest}), CPU`, samples.record, samples[fastest]),
    finding(`the same, least of each`, least(samples.record) / least(samples[fastest]), "times", { bound: 3 }),
  ];
}

/** Records the quiet boot once, for those that read it. */
function recordOnce({ guest }, name, options) {
  const path = join(guest.directory, name);
  measure(recordCommand(guest, path, options));
  return path;
}

function boot({ guest, pairs, note }) {
  if (programVersion(QEMU) === undefined) throw new BenchError(`boot compares with ${QEMU}, which is not installed`);
  const path = join(guest.directory, "boot.hvj");
  const samples = interleaved({ record: recordCommand(guest, path), qemu: qemuRecordCommand(guest) }, pairs, note);
  return [
    cpuFinding("hvjournal record, CPU (range)", samples.record),
    cpuFinding(`${QEMU} rr=record, CPU (range)`, samples.qemu),
    ratioFinding("record / QEMU's record, CPU", samples.record, samples.qemu, 2),
  ];
}

/** What run-guest.js printed. */
function ran(samples) {
  return samples.map(({ output }) => JSON.parse(output));
}

function checkEnds(samples) {
  const ends = new Set(Object.values(samples).flatMap((each) => ran(each).map(({ end }) => end)));
  if (ends.size > 1) throw new BenchError(`the runs to compare did not end at the same place: ${[...ends].join(", ")}`);
}

function overhead({ guest, overheadPairs, note }) {
  const commands = Object.fromEntries(
    ["unrecorded", "events", "default"].map((mode) => [mode, runGuestCommand(guest, mode)]),
  );
  const samples = interleaved(commands, overheadPairs, note);
  checkEnds(samples);
  return [
    cpuFinding("not recorded, CPU (range)", samples.unrecorded),
    cpuFinding("recorded without snapshots, CPU (range)", samples.events),
    cpuFinding("recorded by default, CPU (range)", samples.default),
    ratioFinding("without snapshots / not recorded, CPU", samples.events, samples.unrecorded, 1.05),
    ratioFinding("by default / not recorded, CPU", samples.default, samples.unrecorded, 1.2),
  ];
}

function replay({ guest, pairs, note }) {
  const path = recordOnce({ guest }, "replayed.hvj");
  const commands = {
    record: recordCommand(guest, join(guest.directory, "again.hvj")),
    replay: hvjournal("replay", path, "-q"),
  };
  const samples = interleaved(commands, pairs, note);
  return [
    cpuFinding("hvjournal replay, CPU (range)", samples.replay),
    ratioFinding("replay / record, CPU", samples.replay, samples.record, 1),
  ];
}

function seek({ guest, seeks, seed, note }) {
  const path = recordOnce({ guest }, "seek.hvj");
  const reader = openRecording(path);
  const exits = reader.end.exitNumber;
  reader.close();
  const random = randomSource(seed);
  const samples = [];
  for (let count = 1; count <= seeks; count++) {
    const target = 1 + Math.floor(random() * exits);
    note(`seek ${count} of ${seeks}, exit ${target}`);
    samples.push(measure(hvjournal("replay", path, "--until", "exit", String(target), "-q")));
  }
  const wall = samples.map(({ wallSeconds }) => wallSeconds * 1000);
  return [
    finding(`exits to choose from (seed ${seed})`, exits, "count"),
    finding("replay --until exit N, wall, median", median(wall), "milliseconds"),
    finding("replay --until exit N, wall, 95th percentile", quantile(wall, 0.95), "milliseconds", { bound: 500 }),
    finding("replay --until exit N, wall, slowest", Math.max(...wall), "milliseconds"),
    // On a busy machine this says more.
    finding("replay --until exit N, CPU, 95th percentile", quantile(cpu(samples), 0.95) * 1000, "milliseconds"),
  ];
}

function sizesOf(path) {
  const reader = openRecording(path);
  try {
    const { events, snapshots } = recordingSizes(reader);
    return { events: events / MIB, snapshots: snapshots / MIB, file: statSync(path).size / MIB, end: reader.end };
  } finally {
    reader.close();
  }
}

/** The bounds are decimal megabytes. */
function size({ guest, note }) {
  return ["quiet", "full"].flatMap((log) => {
    note(`${log} log`);
    const { events, snapshots, file, end } = sizesOf(recordOnce({ guest }, `size-${log}.hvj`, { log }));
    const what = `${log} log, ${end.exitNumber} exits`;
    return [
      finding(`events (${what})`, events, "MiB", { bound: 1e6 / MIB }),
      finding(`pages and snapshots (${what})`, snapshots, "MiB"),
      finding(`whole file (${what})`, file, "MiB", { bound: 200e6 / MIB }),
    ];
  });
}

function sizeAmd64({ guest }) {
  const { events, snapshots, file, end } = sizesOf(recordOnce({ guest }, "size-amd64.hvj"));
  return [
    finding("exits (quiet log)", end.exitNumber, "count", { bound: 10_000 }),
    finding("events (quiet log)", events, "MiB", { bound: 1e6 / MIB }),
    finding("pages and snapshots (quiet log)", snapshots, "MiB"),
    finding("whole file (quiet log)", file, "MiB", { bound: 200e6 / MIB }),
  ];
}

function memory({ guest, note }) {
  const bound = (GUEST_RAM_BYTES + 200e6) / MIB;
  note("record");
  const path = join(guest.directory, "memory.hvj");
  const recorded = measure(recordCommand(guest, path));
  note("replay");
  const replayed = measure(hvjournal("replay", path, "-q"));
  const resident = (name, { residentBytesMax }) => finding(name, residentBytesMax / MIB, "MiB", { bound });
  return [resident("record, resident at most", recorded), resident("replay, resident at most", replayed)];
}

function startup({ guest, pairs, note }) {
  const path = join(guest.directory, "startup.hvj");
  const commands = { version: hvjournal("--version"), bareMetal: recordBareMetalCommand(path) };
  const samples = interleaved(commands, pairs, note);
  const wall = (name, each) => finding(name, median(each.map((sample) => sample.wallSeconds * 1000)), "milliseconds");
  return [
    wall("hvjournal --version, wall, median", samples.version),
    wall("record the bare-metal guest to its end, wall, median", samples.bareMetal),
  ];
}

/** Scenarios without end, of guests that do not idle: idle time is skipped, and `dirty` never waits. */
const MOVED = { loop: "scenario=loop", dirty: "scenario=dirty" };

function migrate({ guest, moves, note }) {
  return Object.entries(MOVED).flatMap(([name, scenario]) => {
    const samples = moveRepeatedly(scenario, { directory: guest.directory, count: moves, note });
    const downtimes = samples.map(({ stoodStillMs }) => stoodStillMs);
    const ways = [...new Set(samples.map(({ by }) => by))].join(" or ");
    const what = `${name}, handed over by ${ways}`;
    return [
      finding(`guest stands still (${what}), worst of ${moves}`, Math.max(...downtimes), "milliseconds", {
        bound: 500,
      }),
      finding(`guest stands still (${name}), median`, median(downtimes), "milliseconds"),
      finding(`whole move (${name}), median`, median(samples.map(({ tookMs }) => tookMs)), "milliseconds"),
    ];
  });
}

/** What a million exits of one kind cost, and the bounds that hold for it. */
const EXIT_KINDS = {
  handled: { what: "HVC, finished by the kernel half" },
  forwarded: { what: "HVC, forwarded, answered by the board", recordedNsMax: 1000 },
  builtin: { what: "HVC, forwarded, answered by builtin:psci", recordedNsMax: 1000 },
  mmioWrite: { what: "MMIO write, pl011 UARTDR", ratioMax: 1.1 },
  mmioRead: { what: "MMIO read, pl011 UARTFR" },
};

/** By the names of the guest. */
const AMD64_EXIT_KINDS = {
  "pio-write": { what: "OUT, COM1 scratch", ratioMax: 1.1 },
  "pio-read": { what: "IN, COM1 scratch" },
  "mmio-write": { what: "MMIO write, virtio Status" },
  "mmio-read": { what: "MMIO read, virtio MagicValue" },
  kvm: { what: "VMCALL, KVM's, finished by the kernel half" },
  "kvm-forwarded": { what: "VMCALL, KVM's, answered by the board", recordedNsMax: 1000 },
  hyperv: { what: "VMCALL, Hyper-V's, finished by the kernel half" },
  "hyperv-forwarded": { what: "VMCALL, Hyper-V's, answered by the board", recordedNsMax: 1000 },
  rdmsr: { what: "RDMSR, IA32_TSC_ADJUST" },
  cpuid: { what: "CPUID" },
};
const RECORDING_NS_MAX = 150;

/** CPU of the run alone: the start of the process and of the engine is no exit's. */
function nanosecondsPerExit(samples) {
  return ran(samples).map(({ runCpuSeconds }) => (runCpuSeconds * 1e9) / EXITS);
}

function exits({ guest, pairs, note }) {
  return measureExits(EXIT_KINDS, prepareExitGuests(guest.directory), { guest, pairs, note });
}

function exitsAmd64({ guest, pairs, note }) {
  return measureExits(AMD64_EXIT_KINDS, prepareAmd64ExitGuests(Object.keys(AMD64_EXIT_KINDS)), { guest, pairs, note });
}

function measureExits(kinds, machines, { guest, pairs, note }) {
  return Object.entries(machines).flatMap(([name, options]) => {
    const path = join(guest.directory, `${name}.hvj`);
    const commands = Object.fromEntries(
      ["unrecorded", "default"].map((mode) => [mode, runMachineCommand(mode, path, options)]),
    );
    const samples = interleaved(commands, pairs, (text) => note(`${name}: ${text}`));
    checkEnds(samples);
    note(`${name}: replay`);
    measure(hvjournal("replay", path, "-q"));
    return exitFindings(kinds[name], samples);
  });
}

function exitFindings({ what, recordedNsMax, ratioMax }, samples) {
  const [unrecorded, recorded] = [samples.unrecorded, samples.default].map(nanosecondsPerExit);
  const { difference, low, high } = pairedDifference(recorded, unrecorded);
  const { ratio, ...interval } = pairedRatio(recorded, unrecorded);
  return [
    cpuFinding(`${what}: not recorded, CPU (range)`, samples.unrecorded),
    cpuFinding("  recorded, CPU (range)", samples.default),
    finding("  not recorded, CPU an exit (range)", median(unrecorded), "nanoseconds", spread(unrecorded)),
    finding("  recorded, CPU an exit (range)", median(recorded), "nanoseconds", {
      ...spread(recorded),
      bound: recordedNsMax,
    }),
    finding("  recording adds, CPU an exit", difference, "nanoseconds", { low, high, bound: RECORDING_NS_MAX }),
    finding("  recorded / not recorded, CPU of the run", ratio, "times", { ...interval, bound: ratioMax }),
  ];
}

/** Those without an architecture do without a stock kernel. */
export const BENCHES = {
  boot: { run: boot, architecture: "arm64" },
  overhead: { run: overhead, architecture: "arm64" },
  replay: { run: replay, architecture: "arm64" },
  seek: { run: seek, architecture: "arm64" },
  size: { run: size, architecture: "arm64" },
  memory: { run: memory, architecture: "arm64" },
  startup: { run: startup, architecture: "arm64" },
  exits: { run: exits },
  migrate: { run: migrate },
  "boot-amd64": { run: bootAmd64, architecture: "amd64" },
  "overhead-amd64": { run: overhead, architecture: "amd64" },
  "replay-amd64": { run: replay, architecture: "amd64" },
  "size-amd64": { run: sizeAmd64, architecture: "amd64" },
  "exits-amd64": { run: exitsAmd64 },
};
