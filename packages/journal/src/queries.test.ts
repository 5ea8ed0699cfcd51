import { CoreKind, EventBatch, EXIT_WORD_COUNT, ExitWord, FinishedBy, KvmExit } from "@hvjournal/core";
import { afterAll, describe, expect, it } from "@jest/globals";
import Database from "better-sqlite3";
import { existsSync, readFileSync } from "node:fs";
import { query, querySchema } from "./derived/query.js";
import { JournalDamagedError, JournalMissingError, JournalQueryError } from "./errors.js";
import { fsck, fsckSteps } from "./fsck.js";
import { openRecording } from "./recording-reader.js";
import { buildIndex, continueRecording, createRecording, dropIndex, type RecordingWriter } from "./recording-writer.js";
import { toItsEnd } from "./steps.js";
import { sampleHeader, SampleRun } from "./testing/sample-run.js";
import { smallRecording } from "./testing/small-recording.js";
import { TemporaryDirectory } from "./testing/temporary-directory.js";

const directory = new TemporaryDirectory();
afterAll(() => directory.remove());

interface Exit {
  readonly reason: number;
  readonly kvmExit?: number;
  readonly info?: number;
  readonly args?: readonly [number, number][];
}

function frameOf({ reason, kvmExit, info = 0, args = [] }: Exit): Uint32Array {
  const frame = new Uint32Array(EXIT_WORD_COUNT);
  frame[ExitWord.reason] = reason;
  frame[ExitWord.info] = info;
  frame[ExitWord.rule] = 9;
  frame[ExitWord.pcLow] = 0x08a4_1c30;
  frame[ExitWord.pcHigh] = 0xffff_8000;
  if (kvmExit !== undefined) {
    frame[ExitWord.finishedBy] = FinishedBy.vmmHalf;
    frame[ExitWord.kvmExit] = kvmExit;
  }
  for (const [index, [low, high]] of args.entries()) frame.set([low, high], ExitWord.arg0Low + index * 2);
  return frame;
}

/** An MMIO read and write, a hypercall for each half, a trapped register; the answer of the first is in the next batch. */
function writeExits(writer: RecordingWriter): void {
  const batch = new EventBatch();
  batch.begin({ firstSeq: 1, exitNumber: 0, icount: 0 });
  batch.appendExit(10, frameOf({ reason: 1 }));
  batch.appendHandled(10, 0xffff_ffff, 0xffff_ffff);
  batch.appendExit(20, frameOf({ reason: 0, kvmExit: KvmExit.mmio, info: 4, args: [[0x0900_0018, 0]] }));
  writer.append(batch, "normal");
  batch.begin({ firstSeq: 4, exitNumber: 2, icount: 20 });
  batch.appendCompleted(20, 0x90, 0);
  batch.appendExit(30, frameOf({ reason: 0, kvmExit: KvmExit.mmio, info: 0x101, args: [[0x0900_0000, 0], [0x5b, 0]] })); // prettier-ignore
  batch.appendOutput(30, 0, Buffer.from("[ok]\r\nlog"));
  batch.appendExit(40, frameOf({ reason: 2, kvmExit: KvmExit.hypercall, args: [[0xc600_0001, 0], [0x1000, 0]] })); // prettier-ignore
  batch.appendRow({
    seq: 8,
    kind: "RegisterSet",
    version: 1,
    vcpu: 0,
    icount: 40,
    exitNumber: 4,
    payload: { name: "x0", value: 2n ** 63n },
  });
  batch.appendRow({ seq: 9, kind: "RegisterSet", version: 1, vcpu: 0, icount: 40, exitNumber: 4, payload: { name: "x2", value: 7n } }); // prettier-ignore
  // The caller goes on, and another vCPU's register is none of the call's.
  batch.appendRow({ seq: 10, kind: "RegisterSet", version: 1, vcpu: 1, icount: 40, exitNumber: 4, payload: { name: "x1", value: 3n } }); // prettier-ignore
  batch.appendRow({ seq: 11, kind: "RegisterSet", version: 1, vcpu: 0, icount: 45, exitNumber: 4, payload: { name: "x3", value: 3n } }); // prettier-ignore
  batch.appendExit(50, frameOf({ reason: 2, args: [[0x8400_0000, 0]] }));
  batch.appendHandled(50, 0x1_0001, 0);
  batch.appendRow({ seq: 14, kind: "CallReturned", version: 1, vcpu: 0, icount: 50, exitNumber: 5, payload: { registers: { x1: 0n, x2: 9n, x3: 0n } } }); // prettier-ignore
  batch.appendOutput(50, 0, Buffer.from("in: "));
  batch.appendOutput(50, 1, Buffer.from("other port\n"));
  writer.append(batch, "normal");
}

function exitRecording(index: boolean): string {
  const path = directory.file();
  const writer = createRecording(path, sampleHeader(), { kinds: [CoreKind.callReturned] });
  writeExits(writer);
  writer.finish("closed", { index });
  return path;
}

/** The same question to our virtual tables and to any program that opens the indexed file. */
const READERS: readonly (readonly [name: string, ask: (sql: string) => unknown])[] = [
  ["the virtual tables", (sql) => query(path, sql).rows],
  [
    "the stock sqlite3 on an indexed file",
    (sql) => {
      const database = new Database(indexed, { readonly: true });
      try {
        return database.prepare(sql).raw().safeIntegers().all();
      } finally {
        database.close();
      }
    },
  ],
];
const path = exitRecording(false);
const indexed = exitRecording(true);

describe.each(READERS)("SQL by %s", (_, ask) => {
  it("counts exits by reason", () => {
    expect(ask("SELECT reason, count(*) FROM exits GROUP BY 1 ORDER BY 1")).toEqual([
      ["DABT_LOW", 2n],
      ["HVC64", 2n],
      ["SYS64", 1n],
    ]);
  });

  it("shows what an MMIO exit asked for and got, also when the answer is in a later batch", () => {
    expect(
      ask("SELECT nr, seq, icount, kvm, gpa, size, is_write, data FROM exits WHERE kvm = 'KVM_EXIT_MMIO'"),
    ).toEqual([
      [2n, 3n, 20n, "KVM_EXIT_MMIO", 0x0900_0018n, 4n, 0n, 0x90n],
      [3n, 5n, 30n, "KVM_EXIT_MMIO", 0x0900_0000n, 1n, 1n, 0x5bn],
    ]);
  });

  it("keeps all bits of 64-bit values, as signed integers", () => {
    expect(ask("SELECT printf('%x', pc), answer, handled_by, kvm, rule FROM exits WHERE nr = 1")).toEqual([
      ["ffff800008a41c30", -1n, "kernel half", null, 9n],
    ]);
  });

  it("lists hypercalls, whoever finished them", () => {
    expect(ask('SELECT exit_nr, reason, "function", arg1, handled_by FROM hypercalls ORDER BY 1')).toEqual([
      [4n, "HVC64", 0xc600_0001n, 0x1000n, "VMM half"],
      [5n, "HVC64", 0x8400_0000n, 0n, "kernel half"],
    ]);
  });

  it("has the registers of a call's answer: those that the VMM half set, all of the kernel half's", () => {
    const forwarded = [4n, -(2n ** 63n), null, 7n, null];
    const handled = [5n, 0x1_0001n, 0n, 0x9n, 0n];
    expect(ask("SELECT exit_nr, answer, answer1, answer2, answer3 FROM hypercalls ORDER BY 1")).toEqual([
      forwarded,
      handled,
    ]);
    expect(ask("SELECT nr, answer, answer1, answer2, answer3 FROM exits WHERE reason = 'HVC64' ORDER BY 1")).toEqual([
      forwarded,
      handled,
    ]);
    expect(ask("SELECT DISTINCT answer1, answer2, answer3 FROM exits WHERE reason != 'HVC64'")).toEqual([
      [null, null, null],
    ]);
  });

  it("gives the console line by line, each where it was ended", () => {
    expect(ask("SELECT * FROM console ORDER BY port, line")).toEqual([
      [0n, 1n, 6n, 30n, 3n, "[ok]"],
      [0n, 2n, 15n, 50n, 5n, "login: "],
      [1n, 1n, 16n, 50n, 5n, "other port"],
    ]);
  });
});

describe("SQL over virtual tables", () => {
  it("sees every event, payloads as JSON", () => {
    const { columns, rows } = query(
      path,
      "SELECT seq, kind, exit_number, payload ->> 'value' AS value FROM events WHERE seq IN (1, 8)",
    );
    expect(columns).toEqual(["seq", "kind", "exit_number", "value"]);
    expect(rows).toEqual([
      [1n, "Exited", 1n, null],
      [8n, "RegisterSet", 4n, "0x8000000000000000"],
    ]);
  });

  it("sees header, snapshots, kinds, ownership, digests and batches", () => {
    const { path: small } = smallRecording(directory.file());
    const ask = (sql: string): unknown => query(small, sql).rows;
    expect(ask("SELECT value FROM header WHERE key = 'architecture'")).toEqual([["arm64"]]);
    expect(ask("SELECT number, kind FROM snapshots")).toEqual([[0n, "full"], [1n, "seek"], [2n, "full"]]); // prettier-ignore
    expect(ask("SELECT count(*) FROM event_kinds")).toEqual([[3n]]);
    expect(ask("SELECT epoch, owner, state, detail FROM ownership")).toEqual([[1n, "source", "taken", '{"host":"a"}']]);
    expect(ask("SELECT count(*) = (SELECT count(*) FROM events WHERE kind = 'Digested') FROM digests")).toEqual([[1n]]);
    expect(ask("SELECT sum(event_count) = (SELECT count(*) FROM events) FROM batches")).toEqual([[1n]]);
    expect(ask("SELECT count(*) > 8 FROM tables")).toEqual([[1n]]);
  });

  it("is told by SQLite's own schema what there is to ask", () => {
    const { rows } = query(path, "SELECT name, sql FROM sqlite_master ORDER BY rowid");
    expect(rows.map(([, sql]) => sql)).toEqual(querySchema());
    expect(rows.map(([name]) => name)).toEqual(expect.arrayContaining(["exits", "events", "ownership"]));
    const columns = query(path, "SELECT name FROM pragma_table_info('digests')").rows;
    expect(columns).toEqual([["seq"], ["icount"], ["sha256"]]);
  });

  // Were one read anew for each row of the other, this would take longer than all other tests of the file.
  it("reads each table of a join once", () => {
    const { path: small } = smallRecording(directory.file());
    const exits = query(small, "SELECT count(*) FROM exits").rows;
    const joined = "SELECT count(*) FROM exits JOIN events ON events.seq = exits.seq WHERE events.kind = ?";
    expect(query(small, joined, { parameters: ["Exited"] }).rows).toEqual(exits);
  });

  it("takes parameters", () => {
    expect(query(path, "SELECT nr FROM exits WHERE reason = ?", { parameters: ["SYS64"] }).rows).toEqual([[1n]]);
  });

  it("refuses what is no query, and changes nothing", () => {
    const before = readFileSync(path);
    for (const sql of [
      "DELETE FROM exits",
      "ATTACH '/tmp/never.db' AS other",
      "CREATE TABLE t(x)",
      "VACUUM INTO '/tmp/never.db'",
      "SELECT",
      "SELECT * FROM nothing",
      "SELECT 1; SELECT 2",
    ]) {
      expect(() => query(path, sql)).toThrow(JournalQueryError);
    }
    expect(existsSync("/tmp/never.db")).toBe(false);
    expect(readFileSync(path).equals(before)).toBe(true);
  });

  it("answers from the batches where a derived table says otherwise", () => {
    const copy = exitRecording(true);
    const database = new Database(copy);
    database.exec("UPDATE exits SET reason = 'IRQ' WHERE nr = 3");
    database.close();
    expect(query(copy, "SELECT reason FROM exits WHERE nr = 3").rows).toEqual([["DABT_LOW"]]);
    expect(fsck(copy)).toMatchObject({
      isWhole: false,
      onlyDerived: true,
      problems: [{ place: { part: "derived table exits" }, what: "the row of nr 3 is not what the journal says" }],
    });
    toItsEnd(buildIndex(copy));
    expect(fsck(copy)).toMatchObject({ isWhole: true, onlyDerived: false });
  });

  it("names damage as damage, not as a failed query", () => {
    const copy = exitRecording(false);
    const database = new Database(copy);
    database.exec("UPDATE events SET icount = 41");
    database.close();
    expect(() => query(copy, "SELECT count(*) FROM exits")).toThrow(JournalDamagedError);
  });
});

describe("the derived tables", () => {
  const tablesOf = (file: string): unknown => {
    const database = new Database(file, { readonly: true });
    const names = database
      .prepare("SELECT name FROM sqlite_schema WHERE name IN ('exits', 'hypercalls', 'console') ORDER BY 1")
      .pluck()
      .all();
    database.close();
    return names;
  };

  it("are made at a clean end unless they are not wanted", () => {
    expect(tablesOf(indexed)).toEqual(["console", "exits", "hypercalls"]);
    expect(tablesOf(path)).toEqual([]);
  });

  it("are made, made again and dropped on request, and the recording stays what it is", () => {
    const file = exitRecording(false);
    const { chain } = openRecording(file).end;
    toItsEnd(buildIndex(file));
    toItsEnd(buildIndex(file));
    expect(tablesOf(file)).toEqual(["console", "exits", "hypercalls"]);
    expect(fsck(file).isWhole).toBe(true);
    dropIndex(file);
    expect(tablesOf(file)).toEqual([]);
    expect(openRecording(file).end).toMatchObject({ chain, state: "closed" });
    expect(() => toItsEnd(buildIndex(directory.file()))).toThrow(JournalMissingError);
  });

  it("stay as they were where making them is left in the midst", () => {
    const file = exitRecording(false);
    const steps = buildIndex(file);
    for (let i = 0; i < 3; i++) expect(steps.next().done).toBe(false);
    steps.return();
    expect(tablesOf(file)).toEqual([]);
    expect(openRecording(file).end).toMatchObject({ state: "closed" });
    expect(fsck(file).isWhole).toBe(true);
  });

  it("can be left by fsck in the midst, as all that it reads", () => {
    const file = exitRecording(true);
    const stepCount = [...fsckSteps(file)].length;
    expect(stepCount).toBeGreaterThan(8);
    for (let count = 0; count <= stepCount; count++) {
      const steps = fsckSteps(file);
      for (let step = 0; step < count; step++) steps.next();
      expect(() => steps.return(undefined as never)).not.toThrow();
    }
    // Nothing of it holds the file.
    dropIndex(file);
  });

  it("are dropped when the recording goes on", () => {
    const file = exitRecording(true);
    const writer = continueRecording(file);
    const run = new SampleRun(1, writer.end, (batch) => writer.append(batch, "normal"));
    run.run(50);
    run.end();
    writer.finish("closed", { index: false });
    expect(tablesOf(file)).toEqual([]);
    expect(fsck(file).isWhole).toBe(true);
  });

  it("use the names that the writer is given", () => {
    const file = directory.file();
    const names = { reason: (reason: number) => `EXIT_${reason}`, isHypercall: (reason: number) => reason === 1 };
    const writer = createRecording(file, sampleHeader(), { names });
    writeExits(writer);
    writer.finish("closed", { index: true });
    const database = new Database(file, { readonly: true });
    expect(database.prepare("SELECT reason FROM hypercalls").pluck().all()).toEqual(["EXIT_1", "EXIT_2"]);
    database.close();
  });
});
