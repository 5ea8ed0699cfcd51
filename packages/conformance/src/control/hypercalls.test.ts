/** The SMCCC filter as a guest and a journal see it: whose call it is, and which event decided that. */
import { describe, expect, it } from "@jest/globals";
import { ExitWord, FinishedBy, frameU64, KvmExit } from "@hvjournal/core";
import { query } from "@hvjournal/journal";
import { command, recordGuest } from "../testing/guest-recording.js";
import { exitsOf, replayerOf, type RecordedExit, rowsOf, withRecording } from "../testing/guest-replay.js";
import { recordingDirectory } from "../testing/recording-directory.js";

const pathOf = recordingDirectory();
/** What the guest calls, each by HVC and then by SMC, with 0x1111, 0x2222, ... in x1 to x7. */
const functions = [0xc5ff_ffff, 0xc600_0000, 0xc600_0001, 0xc600_0040, 0xc600_00ff, 0xc600_0100];
const NOT_SUPPORTED = `0x${"f".repeat(16)}`;
const ZERO = `0x${"0".repeat(16)}`;

const { path, console } = await recordGuest(
  {
    append: "scenario=hypercalls",
    commands: [
      command("smccc-filter", "0xc6000000+0x100=forward"),
      command("smccc-filter", "0xc5ffffff+0x1=deny"),
      command("smccc-filter", "0xc6000100+0x1=handle"),
    ],
  },
  pathOf("filter"),
);
const exits = await withRecording(path, exitsOf);
const filters = await withRecording(path, (reader) => rowsOf(reader, "arm64.SmcccFilterSet"));
const [forwardSeq, denySeq, handleSeq] = filters.map(({ seq }) => seq);

function callOf(name: "HVC64" | "SMC64", id: number): RecordedExit {
  const found = exits.filter(({ text }) => text.startsWith(`${name} 0x${id.toString(16)}`));
  expect(found).toHaveLength(1);
  const [exit] = found;
  if (exit === undefined) throw new Error(`${name} 0x${id.toString(16)} is not in the recording`);
  return exit;
}

function printed(conduit: "hvc" | "smc", id: number): string {
  return new RegExp(`^${conduit} 0x${id.toString(16)}: ([^\\r]*)`, "m").exec(console)?.[1] ?? "nothing";
}

const registers = (...values: readonly number[]): string =>
  values.map((value) => `0x${value.toString(16).padStart(16, "0")}`).join(" ");

describe("a range of hypercalls that the VMM half asked for", () => {
  it.each(functions.slice(1, 5))("gets function 0x%s at its edges and inside, by HVC and by SMC", (id) => {
    for (const [name, flags] of [
      ["HVC64", 0],
      ["SMC64", 1],
    ] as const) {
      const { words } = callOf(name, id);
      expect(words[ExitWord.kvmExit]).toBe(KvmExit.hypercall);
      expect(words[ExitWord.finishedBy]).toBe(FinishedBy.vmmHalf);
      expect(words[ExitWord.info]).toBe(flags);
      expect(words[ExitWord.rule]).toBe(forwardSeq);
      const args = [ExitWord.arg0Low, ExitWord.arg1Low, ExitWord.arg2Low, ExitWord.arg3Low];
      expect(args.map((word) => frameU64(words, word))).toEqual([BigInt(id), 0x1111n, 0x2222n, 0x3333n]);
    }
    // This board has no handler: x0 says so, and the other registers stay as the guest left them.
    const answer = `${NOT_SUPPORTED} ${registers(0x1111, 0x2222, 0x3333)}`;
    expect([printed("hvc", id), printed("smc", id)]).toEqual([answer, answer]);
  });

  it.each([
    ["below it, that a rule of its own denies", 0xc5ff_ffff, denySeq],
    ["behind it, that a rule leaves to the kernel half, which does not know it", 0xc600_0100, handleSeq],
  ])("does not get the function %s", (_where, id, rule) => {
    for (const name of ["HVC64", "SMC64"] as const) {
      const { words } = callOf(name, id);
      expect(words[ExitWord.finishedBy]).toBe(FinishedBy.kernelHalf);
      expect(words[ExitWord.kvmExit]).toBe(0);
      expect(words[ExitWord.rule]).toBe(rule);
    }
    const answer = `${NOT_SUPPORTED} ${ZERO} ${ZERO} ${ZERO}`;
    expect([printed("hvc", id), printed("smc", id)]).toEqual([answer, answer]);
  });

  it("is an event, and the exit's rule is its number", () => {
    expect(filters.map(({ payload }) => payload)).toMatchObject([
      { base: 0xc600_0000, count: 0x100, new: "forward" },
      { base: 0xc5ff_ffff, count: 1, new: "deny" },
      { base: 0xc600_0100, count: 1, new: "handle" },
    ]);
    expect(forwardSeq).toBeGreaterThan(0);
  });

  it("does not change what the kernel half answers itself: no rule decided that", () => {
    const version = callOf("HVC64", 0x8000_0000);
    expect(version.words[ExitWord.rule]).toBe(0);
    expect(console).toContain("SMCCC_VERSION: 0x0000000000010001");
  });

  it("has all that the kernel half gave back: every register of an answer that has more than one", async () => {
    const returned = await withRecording(path, (reader) => rowsOf(reader, "CallReturned"));
    const of = (id: number): unknown => {
      const { number } = callOf("HVC64", id);
      return returned.find(({ exitNumber }) => exitNumber === number)?.payload;
    };
    // The UUID of KVM as a vendor, behind its first word (include/linux/arm-smccc.h).
    expect(of(0x8600_ff01)).toEqual({ registers: { x1: 0xe911_c52en, x2: 0x564b_caa9n, x3: 0x743a_004dn } });
    expect(of(0x8000_0000)).toBeUndefined();
  });

  it("leaves the guest's power-off to the VMM as a system event, which people who query find as a call", () => {
    const [off] = query(
      path,
      'SELECT exit_nr, "function", flags, handled_by FROM hypercalls ORDER BY 1 DESC LIMIT 1',
    ).rows;
    expect(off).toEqual([BigInt(exits.length), 0x8400_0008n, 0n, "VMM half"]);
  });

  it("is asked again in a replay, without the VMM half", async () => {
    await withRecording(path, (reader) => {
      const replayer = replayerOf(reader);
      expect(replayer.advance()).toBe("end");
      expect(replayer.compared.exits).toBe(exits.length);
    });
  });
});

describe("the same calls without any filter", () => {
  it("are all denied by the default rule", async () => {
    const plain = await recordGuest({ append: "scenario=hypercalls" }, pathOf("no-filter"));
    const plainExits = await withRecording(plain.path, exitsOf);
    const vendor = plainExits.filter(({ words }) => functions.includes(words[ExitWord.arg0Low] ?? 0));
    expect(vendor).toHaveLength(2 * functions.length);
    for (const { words } of vendor) {
      expect([words[ExitWord.kvmExit], words[ExitWord.finishedBy], words[ExitWord.rule]]).toEqual([
        0,
        FinishedBy.kernelHalf,
        0,
      ]);
    }
    for (const id of functions) expect(plain.console).toContain(`hvc 0x${id.toString(16)}: ${NOT_SUPPORTED}`);
  });
});
