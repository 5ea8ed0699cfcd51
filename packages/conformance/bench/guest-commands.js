/** The guest that is measured, Debian's stock arm64 kernel up to its power-off, and the commands that run it. */
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { buildInitrd } from "../dist/debian/initrd.js";
import { fetchStockGuest } from "../dist/debian/stock-guest.js";

const repository = join(import.meta.dirname, "..", "..", "..");
const hvjournalPath = join(repository, "packages", "cli", "bin", "hvjournal.js");
export const bareMetalGuest = join(repository, "guests", "arm64-bare-metal", "guest.img");

export const GUEST_RAM_BYTES = 256 * 2 ** 20;
/** One run for all that are compared. */
const SEED = "1";
const RTC = "base=2026-01-01T00:00:00Z";

export const QEMU = "qemu-system-aarch64";

export function hvjournal(...words) {
  return [process.execPath, hvjournalPath, ...words];
}

/** @param {string} directory for the files that the commands read and write */
export async function prepareGuest(directory) {
  const guest = await fetchStockGuest();
  const initrd = join(directory, "initrd.cpio");
  writeFileSync(initrd, buildInitrd(guest, { command: "poweroff -f" }));
  return { directory, release: guest.release, kernel: guest.image, initrd };
}

/** "quiet" prints one line, "full" the whole log: two exits a byte. */
export function commandLine(log) {
  return log === "full" ? "console=ttyAMA0" : "console=ttyAMA0 quiet";
}

/** The words of `record` that make the machine. */
export function machineWords(guest, log = "quiet") {
  return [guest.kernel, "--initrd", guest.initrd, "--append", commandLine(log), "--seed", SEED, "--rtc", RTC];
}

export function recordCommand(guest, path, { log = "quiet", words = [] } = {}) {
  return hvjournal("record", ...machineWords(guest, log), "--headless", "-q", "--force", "-o", path, ...words);
}

export function recordBareMetalCommand(path) {
  const machine = [bareMetalGuest, "--append", "scenario=hypercalls", "--seed", SEED, "--rtc", RTC];
  return hvjournal("record", ...machine, "--headless", "-q", "--force", "-o", path);
}

/** The same machine and work under QEMU's own record mode: 2 ns an instruction there too. */
export function qemuRecordCommand(guest) {
  const machine = "-M virt,gic-version=3 -cpu cortex-a57 -m 256 -nographic -nodefaults -serial stdio -no-reboot";
  const record = `shift=1,rr=record,rrfile=${join(guest.directory, "qemu.rr")}`;
  return [
    QEMU,
    ...machine.split(" "),
    ...["-accel", "tcg,thread=single", "-icount", record],
    ...["-kernel", guest.kernel, "-initrd", guest.initrd, "-append", commandLine("quiet")],
  ];
}

/** One process that runs the machine that `options` of `record` make, with more or less of a journal; see run-guest.js. */
export function runMachineCommand(mode, file, options) {
  const script = join(import.meta.dirname, "run-guest.js");
  return [process.execPath, script, mode, file, JSON.stringify({ ...options, seed: SEED, rtc: RTC })];
}

/** The stock guest, run so. */
export function runGuestCommand(guest, mode) {
  const { kernel: image, initrd } = guest;
  const options = { image, initrd, append: commandLine("quiet") };
  return runMachineCommand(mode, join(guest.directory, `${mode}.hvj`), options);
}
