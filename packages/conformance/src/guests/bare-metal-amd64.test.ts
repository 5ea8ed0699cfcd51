/** The bare-metal guest of amd64 on board pc: recorded, replayed, verified, entered by each boot protocol. */
import { describe, expect, it } from "@jest/globals";
import { readFileSync } from "node:fs";
import {
  bisectWhen,
  parseExpression,
  parsePosition,
  Replayer,
  resolvePosition,
  toHex,
  Verifier,
} from "@hvjournal/core";
import { amd64 } from "@hvjournal/cpu-x86";
import { BootError } from "@hvjournal/vmm";
import { countedArchitecture } from "../testing/counted-architecture.js";
import {
  command,
  createBoard,
  createGuest,
  digester,
  type GuestSetup,
  MIB,
  recordGuest,
} from "../testing/guest-recording.js";
import {
  countObserved,
  eventLines,
  exitsOf,
  goTo,
  replayerOf,
  rowsOf,
  withRecording,
} from "../testing/guest-replay.js";
import { recordingDirectory } from "../testing/recording-directory.js";
import { bareMetalAmd64, readBareMetalImage } from "./bare-metal.js";

const pathOf = recordingDirectory();

function guest(append: string, changes: Partial<GuestSetup> = {}): GuestSetup {
  const kernel = { name: "guest.elf", bytes: new Uint8Array(readFileSync(bareMetalAmd64)) };
  return { architecture: amd64, kernel, append, memoryBytes: 64 * MIB, ...changes };
}

async function compareAgain(path: string, setup: GuestSetup): Promise<void> {
  await withRecording(path, async (reader) => {
    const replayer = replayerOf(reader);
    expect(replayer.advance()).toBe("end");
    expect(replayer.compared).toEqual(countObserved(reader));
    const verifier = new Verifier({ architecture: amd64, digester, reader, vmm: createBoard(setup) });
    while ((await verifier.step(1e9)) !== "equal");
    expect(verifier.compared).toEqual(countObserved(reader));
  });
}

const ECHO = String.raw`
at console /type a line/ send "hello\r"
at console /echo: hello/ send "quit\r"
`;

describe("the bare-metal guest of amd64", () => {
  it.each(["kvm-intel", "kvm-amd"])(
    "runs, talks to its console and powers off under %s, again and again",
    async (exitModel) => {
      const setup = guest("scenario=main ticks=3", { script: ECHO, exitModel });
      const { path, stop, console } = await recordGuest(setup, pathOf(exitModel));
      expect(stop).toEqual({ what: "powered off", by: "ACPI S5" });
      expect(console).toMatch(/64 MiB of RAM, counter at 1000000000 Hz/);
      expect(console).toMatch(/hypervisor: KVMKVMKVM/);
      expect(console).toMatch(/clock: 0x20260101/);
      expect(console).toMatch(/tick 1\r\ntick 2\r\ntick 3\r\n/);
      expect(console).toMatch(/vmcall 4660: 0xfffffffffffffc18/);
      expect(console).toMatch(/echo: hello\r\necho: quit\r\n$/);
      await compareAgain(path, setup);
    },
  );

  it("gives the same events each time", async () => {
    const setup = guest("scenario=loop count=3 period=500");
    const lines = [];
    for (const name of ["once", "twice"]) {
      const { path, console } = await recordGuest(setup, pathOf(name));
      expect(console).toMatch(/loop 3 ticks 30 chain 0x[0-9a-f]{16}\r\n$/);
      lines.push(await withRecording(path, eventLines));
    }
    expect(lines[0]).toEqual(lines[1]);
  });

  it("sleeps without time going by for the host", async () => {
    const { path } = await recordGuest(guest("scenario=idle ticks=5 period=100000"), pathOf("idle"));
    await withRecording(path, (reader) => {
      expect(reader.end.icount).toBeLessThan(100_000);
      const replayer = replayerOf(reader);
      goTo(replayer, "time:400ms");
      expect(replayer.machine.guestTimeNs).toBeGreaterThanOrEqual(400_000_000);
    });
  });

  it("sleeps as long where HLT does not exit, with as many exits fewer", async () => {
    const append = "scenario=idle ticks=5 period=100000";
    const commands = [command("cap", "X86_DISABLE_EXITS=2", amd64)];
    const seen = [];
    for (const setup of [guest(append), guest(append, { commands })]) {
      const { path, stop, console } = await recordGuest(setup, pathOf(`halts-${seen.length}`));
      await compareAgain(path, setup);
      const texts = await withRecording(path, (reader) =>
        exitsOf(reader).map(({ icount, text }) => `${icount} ${text}`),
      );
      seen.push({ stop, console, texts });
    }
    const [exiting, inGuest] = seen;
    const others = exiting?.texts.filter((text) => !text.includes("HLT")) ?? [];
    expect(others.length).toBeLessThan(exiting?.texts.length ?? 0);
    expect(inGuest).toEqual({ ...exiting, texts: others });
  });

  it("is told what goes before its vCPUs before there are any", async () => {
    const commands = ["HYPERV_SYNIC", "X86_DISABLE_EXITS=2"].map((text) => command("cap", text, amd64));
    const { path } = await recordGuest(guest("scenario=idle ticks=1", { commands }), pathOf("before-vcpus"));
    await withRecording(path, (reader) => {
      const rows = rowsOf(reader, "VmCreated", "VcpuCreated", "x86.CapEnabled");
      expect(rows.map(({ kind, payload }) => [kind, payload["name"], payload["args"]])).toEqual([
        ["VmCreated", undefined, undefined],
        ["x86.CapEnabled", "KVM_CAP_X86_DISABLE_EXITS", [2n]],
        ["VcpuCreated", undefined, undefined],
        ["x86.CapEnabled", "KVM_CAP_HYPERV_SYNIC", []],
      ]);
    });
  });

  it("is at each of its exits with the same state, from the start and from a snapshot", async () => {
    const { path } = await recordGuest(guest("scenario=dirty passes=64"), pathOf("dirty"));
    await withRecording(path, (reader) => {
      const last = reader.snapshots().at(-2);
      const digests = ["exit:200", "exit:240"].map((position) => {
        const fromStart = replayerOf(reader);
        goTo(fromStart, position);
        const back = replayerOf(reader);
        back.restore(reader.loadSnapshot(last?.number ?? 0));
        goTo(back, position);
        expect(toHex(back.machine.digest())).toBe(toHex(fromStart.machine.digest()));
        return toHex(back.machine.digest());
      });
      expect(new Set(digests).size).toBe(2);
    });
  });

  it.each([
    ["scenario=triple-fault", { what: "crashed", by: "triple fault" }],
    ["scenario=hypercalls end=reset", { what: "reset", by: "reset control register" }],
  ])("ends by %s", async (append, expected) => {
    const setup = guest(append);
    const { path, stop } = await recordGuest(setup, pathOf(append.replaceAll(/\W/g, "-")));
    expect(stop).toEqual(expected);
    await compareAgain(path, setup);
  });

  it("is refused where it is for the other architecture", () => {
    const image = { name: "guest.img", bytes: readBareMetalImage() };
    expect(() => createGuest(guest("", { kernel: image }), pathOf("foreign"))).toThrow(BootError);
    expect(() => createGuest(guest("", { kernel: image }), pathOf("again"))).toThrow(
      /can't boot guest.img: it is an arm64 kernel \(Image\); this VM has x86-64 vCPUs/,
    );
  });
});

describe("a search for an instruction of amd64", () => {
  it("runs from visit to visit by either name of the register, and finds what single steps find", async () => {
    const { path } = await recordGuest(guest("scenario=loop count=3 period=500"), pathOf("search"));
    await withRecording(path, (reader) => {
      const good = resolvePosition(parsePosition("start"), reader);
      const lastSeq = reader.end.firstSeq - 1;
      const when = (source: string): readonly [number | undefined, number] => {
        const { architecture, runs } = countedArchitecture(amd64);
        const replayer = new Replayer({ architecture, digester, reader });
        const { first } = bisectWhen({ replayer, expression: parseExpression(source), good, lastSeq });
        return [first?.icount, runs()];
      };
      const replayer = replayerOf(reader);
      goTo(replayer, "exit:5+3");
      const pc = `0x${replayer.machine.kernel.readRegister(0, "rip").toString(16)}`;
      const [stepped, steps] = when(`$rip >= ${pc} && $rip <= ${pc}`);
      expect(stepped).toBeDefined();
      for (const name of ["rip", "pc"]) {
        const [found, runs] = when(`$${name} == ${pc}`);
        expect(found).toBe(stepped);
        expect(runs).toBeLessThan(steps / 2);
      }
    });
  });
});
