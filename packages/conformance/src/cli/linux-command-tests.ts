/** Tests of the command line's own promise, literally, with a stock Linux in an empty directory: record, replay, migrate. */
import { afterAll, beforeAll, expect, it } from "@jest/globals";
import { copyFileSync, writeFileSync } from "node:fs";
import { gzipSync } from "node:zlib";
import { buildInitrd } from "../debian/initrd.js";
import type { LinuxGuest } from "../debian/linux-guest.js";
import { commandDirectory, runShell } from "../testing/command-line.js";
import { describeWhere } from "../testing/describe-where.js";
import { keepOnFailure } from "../testing/keep-recording.js";
import { randomSectors } from "../testing/memory-drive.js";
import { VmSandbox } from "../testing/vm-sandbox.js";

/** What the commands say of one architecture's kernel. */
export interface LinuxCommandWords {
  /** Its kernel's file. */
  readonly image: string;
  readonly banner: RegExp;
  readonly poweredOff: RegExp;
  /** The chain of callers at the end. */
  readonly lastStack: RegExp;
  /** A function that writes to the console; nothing writes to its code after the boot has patched it. */
  readonly consoleWrite: string;
  /** Of exits by their reason. */
  readonly exitPosition: string;
}

/** Longer than any move takes; the test ends it. */
const LOOP = "i=0; while [ $i -lt 1000000 ]; do echo line $i; i=$((i+1)); done";
const INTERRUPT = "\x03";
/** The shell asks for the cursor's place behind its prompt: what comes in one piece need not end with the prompt. */
const PROMPT_BEHIND_INTERRUPT = /\^C[^]*# /;

/** undefined: there is no such guest here, and they are skipped. */
export function testLinuxCommands(linux: LinuxGuest | undefined, words: LinuxCommandWords): void {
  describeWhere(linux !== undefined)("in a directory with nothing but a kernel, an initrd and a disk", () => {
    if (linux !== undefined) commandTests(linux, words);
  });
}

function commandTests({ guest, serialPort }: LinuxGuest, words: LinuxCommandWords): void {
  const { image } = words;
  const sandbox = new VmSandbox();
  const binaries = commandDirectory(sandbox.directory);
  const shell = (line: string): ReturnType<typeof runShell> => runShell(line, { cwd: sandbox.directory, binaries });
  let recorded: ReturnType<typeof runShell>;

  beforeAll(() => {
    copyFileSync(guest.image, sandbox.path(image));
    writeFileSync(sandbox.path("initrd.gz"), gzipSync(buildInitrd(guest, { modules: ["virtio_mmio", "virtio_blk"] })));
    writeFileSync(sandbox.path("disk.img"), randomSectors(256, 5));
    writeFileSync(sandbox.path("off.txt"), 'at console /init: shell[^]*# $/ send "poweroff -f\\n"\n');
    writeFileSync(sandbox.path("loop.txt"), `at console /init: shell[^]*# $/ send "${LOOP}\\n"\n`);
    recorded = shell(
      `hvjournal record ${image} --initrd initrd.gz --append console=${serialPort} --headless --input off.txt`,
    );
  });
  afterAll(() => sandbox.close());

  it("hvjournal record runs Linux to its power-off", () => {
    expect(recorded.status).toBe(0);
    expect(recorded.output).toMatch(words.banner);
    expect(recorded.output).toContain(`Linux version ${guest.release}`);
    expect(recorded.output).toMatch(words.poweredOff);
  });

  it("hvjournal replay --until exit 4821 stands there, and names the code by the guest's own symbols", () => {
    const { status, output } = shell("hvjournal replay --until exit 4821");
    expect(status).toBe(0);
    expect(output).toMatch(/^exit:4821 vcpu0 [A-Z]/);
    expect(output).toMatch(/^ {2}pc {2}ffff[0-9a-f]{12} {2}\w+\+0x[0-9a-f]+ +at \w+/m);
    expect(output).toMatch(/compared \d+ exits? and \d+ digests?( since snapshot:\d+ \(exit:\d+\))?, equal/);
  });

  it("names hold to the end, where Linux has freed the page of its header", () => {
    const { output } = shell("hvjournal show end --stack");
    expect(output).toMatch(words.lastStack);
    // A kernel without CONFIG_KALLSYMS_ALL names its code: nothing writes to this after the boot patched it.
    const changed = `changed(${words.consoleWrite}, 64)`;
    const { status } = shell(`hvjournal bisect --when '${changed}' --good 'console:/init: shell/'`);
    expect(status).toBe(1);
  });

  it("a kernel without a root that panics and resets is told of, and the next step shows who called panic()", () => {
    const record = `hvjournal record ${image} --append 'console=${serialPort} panic=-1' --headless --no-index -o panic.hvj`;
    const { status, output } = shell(record);
    expect(status).toBe(0);
    expect(output).toMatch(
      /^note: the console has 'Kernel panic - not syncing: VFS: Unable to mount root fs .*' at exit:\d+ /m,
    );
    const [, next = ""] = /^next: (hvjournal show panic\.hvj exit:\d+ --stack --disas 8)$/m.exec(output) ?? [];
    expect(shell(next).output).toMatch(
      /^ {2}stack +.* < panic\+0x[0-9a-f]+ < mount_block_root|^ {2}stack +.* < panic\+0x[0-9a-f]+ < mount_root/m,
    );
  });

  it("printed positions are taken by every other command", () => {
    for (const position of ["exit:4821+12", "console:/Run .init/", words.exitPosition]) {
      const { output } = shell(`hvjournal replay --until '${position}' --json`);
      const { position: printed, icount, digest } = JSON.parse(output) as Record<string, unknown>;
      const shown = JSON.parse(shell(`hvjournal show '${String(printed)}' --json`).output) as unknown;
      expect(shown).toMatchObject({ position: printed, icount, digest });
    }
  });

  it("hvjournal migrate src dst moves it in the middle of a shell loop: each line comes once, and dst reads disk and keys", async () => {
    await keepOnFailure([sandbox.path("src.hvj"), sandbox.path("dst.hvj")], async () => {
      const machine = `${image} --initrd initrd.gz --append 'console=${serialPort} quiet' --drive file=disk.img`;
      const limits = "--headless --input loop.txt --detach --no-index --host-timeout 400s";
      expect(shell(`hvjournal record ${machine} ${limits} -o src.hvj`).status).toBe(0);
      expect(shell("hvjournal ctl src --at 'console:/line 300\\r/' pause").status).toBe(0);
      expect(shell("hvjournal ctl src resume").status).toBe(0);
      const moved = shell("hvjournal migrate src dst");
      expect({ ...moved, output: moved.output.split("\n").at(-3) }).toMatchObject({ status: 0 });
      expect(moved.output).toMatch(/^moved: dst runs \(pid \d+\); src is sealed$/m);
      expect(shell("hvjournal migrate src again").status).toBe(1);

      const { child, finished } = sandbox.start("attach", "dst");
      let seen = "";
      child.stdout?.on("data", (text: string) => {
        const hadPrompt = PROMPT_BEHIND_INTERRUPT.test(seen);
        seen += text;
        if (!hadPrompt && PROMPT_BEHIND_INTERRUPT.test(seen)) child.stdin?.write("sha256sum /dev/vda; poweroff -f\n");
      });
      child.stdin?.write(INTERRUPT);
      await finished;
      expect(await sandbox.gone("dst")).toBe(true);
      const [source, whole] = [sandbox.console("src.hvj"), sandbox.joinedConsole("src.hvj", "dst.hvj")];
      const numbers = (text: string): number[] =>
        [...text.matchAll(/^line (\d+)\r$/gm)].map((match) => Number(match[1]));
      const all = numbers(whole);
      expect(all).toEqual(Array.from({ length: all.length }, (_, line) => line));
      expect(numbers(source).length).toBeGreaterThan(300);
      expect(all.length).toBeGreaterThan(numbers(source).length);
      const [hash] = shell("sha256sum disk.img").output.split(" ");
      expect(whole).toContain(`${hash}  /dev/vda`);
      for (const name of ["src.hvj", "dst.hvj"]) expect(shell(`hvjournal replay ${name}`).output).toContain("equal");
    });
  });
}
