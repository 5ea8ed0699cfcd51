/**
 * `npm run demo`: records a bare-metal guest of each architecture, replays it to one exit,
 * finds the instruction that broke another one, and moves a running one to a fresh process.
 * Shows every command that it runs; the recordings stay for a closer look.
 */
import { spawnSync } from "node:child_process";
import { mkdtempSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

const root = join(import.meta.dirname, "..");
const command = join(root, "packages", "cli", "bin", "hvjournal.js");
const guest = join(root, "guests", "arm64-bare-metal", "guest.img");
const guestAmd64 = join(root, "guests", "amd64-bare-metal", "guest.elf");
/** Guests as they are shown: their paths are of no interest. */
const NAMES = new Map([
  [guest, "guest.img"],
  [guestAmd64, "guest.elf"],
]);
const directory = mkdtempSync(join(tmpdir(), "hvjournal-demo-"));

function quoted(argument) {
  return /^[\w@%+=:,./#-]+$/.test(argument) ? argument : `'${argument.replaceAll("'", String.raw`'\''`)}'`;
}

/** Runs `hvjournal ARGS` where the recordings are; gives what it printed. */
function hvjournal(...args) {
  const shown = args.map((argument) => NAMES.get(argument) ?? quoted(argument));
  process.stdout.write(`\n$ hvjournal ${shown.join(" ")}\n`);
  const options = { cwd: directory, encoding: "utf8", stdio: ["ignore", "pipe", "inherit"] };
  const { stdout, status, signal, error } = spawnSync(process.execPath, [command, ...args], options);
  process.stdout.write(stdout ?? "");
  if (status === 0) return stdout;
  process.stderr.write(`error: hvjournal ${args[0]} ended with ${error?.message ?? signal ?? `status ${status}`}\n`);
  process.exit(1);
}

function title(text) {
  process.stdout.write(`\n# ${text}\n`);
}

title("Record a guest. Calls to one range of functions are forwarded to the VMM half.");
const filter = ["--smccc-filter", "0xc6000000+0x100=forward"];
hvjournal("record", guest, "--append", "scenario=main input=none", ...filter, "--headless", "-o", "main.hvj");
hvjournal("stat", "main.hvj");

title("Go back to the first forwarded call, then run the whole recording again, comparing every exit.");
hvjournal("replay", "main.hvj", "--until", "hypercall:0xc6000000");
hvjournal("replay", "main.hvj");

title(
  "The same with an x86-64 guest: which architecture it is, the image says. Every exit is named as KVM on Intel has it.",
);
hvjournal("record", guestAmd64, "--append", "scenario=main ticks=3 input=none", "--headless", "-o", "amd64.hvj");
hvjournal("stat", "amd64.hvj");
hvjournal("replay", "amd64.hvj", "--until", "exit:VMCALL");
hvjournal("replay", "amd64.hvj");

title("Somewhere in this run a word is overwritten, and later put right again. Which instruction did it?");
const output = hvjournal("record", guest, "--append", "scenario=fault-memory", "--headless", "-o", "fault.hvj");
const [, address] = /watched word at (0x[0-9a-f]+)/.exec(output) ?? [];
if (address === undefined) {
  process.stderr.write("error: the guest did not print where its watched word is\n");
  process.exit(1);
}
hvjournal("bisect", "fault.hvj", "--when", `*(u64 *)${address} != 0x51a7`);

title("Move a running guest of each architecture to a fresh process. It goes on counting.");
for (const [image, source, destination] of [
  [guest, "src", "dst"],
  [guestAmd64, "src-amd64", "dst-amd64"],
]) {
  const words = ["--headless", "--name", source, "-o", `${source}.hvj`, "--detach"];
  hvjournal("record", image, "--append", "scenario=loop", ...words);
  hvjournal("migrate", source, destination);
  hvjournal("ctl", destination, "quit");
  hvjournal("replay", `${destination}.hvj`);
}

process.stdout.write(`\nThe recordings are in ${directory}\n`);
