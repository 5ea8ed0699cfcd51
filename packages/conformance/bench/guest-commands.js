/** The guests that are measured, Debian's stock kernels up to their power-off, and the commands that run them. */
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { buildInitrd } from "../dist/debian/initrd.js";
import { fetchStockGuest } from "../dist/debian/stock-guest.js";

const repository = join(import.meta.dirname, "..", "..", "..");
const hvjournalPath = join(repository, "packages", "cli", "bin", "hvjournal.js");
export const bareMetalGuest = join(repository, "guests", "arm64-bare-metal", "guest.img");

const bareMetalAmd64 = join(repository, "guests", "amd64-bare-metal", "guest.elf");

export const GUEST_RAM_BYTES = 256 * 2 ** 20;
/** One run for all that are compared. */
const SEED = "1";
const RTC = "base=2026-01-01T00:00:00Z";

export const QEMU = "qemu-system-aarch64";
export const QEMU_AMD64 = "qemu-system-x86_64";
const SERIAL_PORTS = { arm64: "ttyAMA0", amd64: "ttyS0" };

export function hvjournal(...words) {
  return [process.execPath, hvjournalPath, ...words];
}

/**
 * @param {string} directory for the files that the commands read and write
 * @param {"arm64" | "amd64"} architecture
 */
export async function prepareGuest(directory, architecture) {
  const guest = await fetchStockGuest({ architecture });
  const initrdThatEndsBy = (command) => {
    const path = join(directory, `${architecture}-${command.split(" ")[0]}.cpio`);
    writeFileSync(path, buildInitrd(guest, { command }));
    return path;
  };
  const initrd = initrdThatEndsBy("poweroff -f");
  const resetInitrd = initrdThatEndsBy("reboot -f");
  return { directory, architecture, release: guest.release, kernel: guest.image, initrd, resetInitrd };
}

/** "quiet" prints one line, "full" the whole log: two exits a byte. */
function commandLine({ architecture }, log) {
  const console = `console=${SERIAL_PORTS[architecture]}`;
  return log === "full" ? console : `${console} quiet`;
}

/** The words of `record` that make the machine. */
function machineWords(guest, log) {
  return [guest.kernel, "--initrd", guest.initrd, "--append", commandLine(guest, log), "--seed", SEED, "--rtc", RTC];
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
    ...["-kernel", guest.kernel, "-initrd", guest.initrd, "-append", commandLine(guest, "quiet")],
  ];
}

/**
 * QEMU's two machines that come into question: `pc`, and the one with as few devices as the board `pc` here has, which
 * can't switch itself off and ends by a reset.
 */
export function qemuAmd64RecordCommands(guest) {
  const command = (machine, initrd, append) => [
    ...[QEMU_AMD64, "-M", machine, ..."-m 256 -nographic -nodefaults -serial stdio -no-reboot".split(" ")],
    ...["-accel", "tcg,thread=single", "-icount", `shift=1,rr=record,rrfile=${join(guest.directory, "qemu-amd64.rr")}`],
    ...["-kernel", guest.kernel, "-initrd", initrd, "-append", append],
  ];
  const append = commandLine(guest, "quiet");
  return {
    pc: command("pc", guest.initrd, append),
    microvm: command("microvm,acpi=off", guest.resetInitrd, `${append} reboot=t`),
  };
}

/** One process that runs the machine that `options` of `record` make, with more or less of a journal; see run-guest.js. */
export function runMachineCommand(mode, file, options) {
  const script = join(import.meta.dirname, "run-guest.js");
  return [process.execPath, script, mode, file, JSON.stringify({ ...options, seed: SEED, rtc: RTC })];
}

/** The stock guest, run so. */
export function runGuestCommand(guest, mode) {
  const { kernel: image, initrd } = guest;
  const options = { image, initrd, append: commandLine(guest, "quiet") };
  return runMachineCommand(mode, join(guest.directory, `${guest.architecture}-${mode}.hvj`), options);
}

/** The bare-metal amd64 guest, which leaves `count` times for `kind`. */
export function exitsAmd64Options(kind, count) {
  return { image: bareMetalAmd64, append: `scenario=exits kind=${kind} count=${count}`, memory: "64M" };
}
