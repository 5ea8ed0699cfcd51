/** Appends events to batches and batches to a journal. Where batches are cut depends on events alone. */
import type { Digester } from "../ports/digester.js";
import type { Durability, JournalWriter, Snapshot } from "../ports/journal-store.js";
import { CoreKind } from "../event/core-kinds.js";
import { EventBatch, OUTPUT_BYTES_PER_BATCH_MAX } from "../event/event-batch.js";
import type { EventKind, EventPayload } from "../event/event-kind.js";
import type { ExitFrame } from "../event/exit-frame.js";
import { memoryWrittenPayload } from "../memory/memory-written.js";
import type { EventPlace, EventSink } from "./event-sink.js";

/** To split a value into words. */
const u64 = new DataView(new ArrayBuffer(8));

export class BatchWriter implements EventSink {
  readonly #writer: JournalWriter;
  readonly #digester: Digester;
  readonly #batch = new EventBatch();
  #exitNumber: number;
  #icount: number;

  /** Goes on where the journal ends. */
  constructor(writer: JournalWriter, digester: Digester) {
    this.#writer = writer;
    this.#digester = digester;
    const { end } = writer;
    this.#exitNumber = end.exitNumber;
    this.#icount = end.icount;
    this.#batch.begin(end);
  }

  get nextSeq(): number {
    return this.#batch.nextSeq;
  }

  get nextFrame(): ExitFrame | undefined {
    return this.#batch.nextFrame;
  }

  get hasEvents(): boolean {
    return this.#batch.count > 0;
  }

  #room(icount: number, outputBytes = 0): void {
    if (!this.#batch.hasRoom(outputBytes)) this.#append("normal");
    this.#icount = icount;
  }

  #append(durability: Durability): void {
    this.#writer.append(this.#batch, durability);
    this.#batch.begin({ firstSeq: this.#batch.nextSeq, exitNumber: this.#exitNumber, icount: this.#icount });
  }

  exited(icount: number, frame: ExitFrame): void {
    this.#room(icount);
    this.#batch.appendExit(icount, frame);
    this.#exitNumber += 1;
  }

  handled(icount: number, low: number, high: number): void {
    this.#room(icount);
    this.#batch.appendHandled(icount, low, high);
  }

  completed(icount: number, low: number, high: number): void {
    this.#room(icount);
    this.#batch.appendCompleted(icount, low, high);
  }

  output(icount: number, port: number, bytes: Uint8Array): void {
    if (bytes.length <= OUTPUT_BYTES_PER_BATCH_MAX) return this.#appendOutput(icount, port, bytes);
    for (let at = 0; at < bytes.length; at += OUTPUT_BYTES_PER_BATCH_MAX)
      this.#appendOutput(icount, port, bytes.subarray(at, at + OUTPUT_BYTES_PER_BATCH_MAX));
  }

  #appendOutput(icount: number, port: number, piece: Uint8Array): void {
    this.#room(icount, piece.length);
    this.#batch.appendOutput(icount, port, piece);
  }

  registerSet(place: EventPlace, name: string, value: bigint): void {
    const { vcpu, icount } = place;
    this.#room(icount);
    if (vcpu < 0 || BigInt.asUintN(64, value) !== value || !this.#batch.takesRegister(name))
      return this.row(CoreKind.registerSet, place, { name, value });
    u64.setBigUint64(0, value, true);
    this.#batch.appendRegister(icount, vcpu, name, u64.getUint32(0, true), u64.getUint32(4, true));
  }

  irqLine(icount: number, line: number, level: number): void {
    this.#room(icount);
    this.#batch.appendIrqLine(icount, line, level);
  }

  digested(icount: number, digest: Uint8Array): void {
    this.#room(icount);
    this.#batch.appendDigest(icount, digest);
  }

  memoryWritten(place: EventPlace, physical: number, bytes: Uint8Array): EventPayload {
    const payload = memoryWrittenPayload(physical, bytes, this.#digester, this.#writer);
    this.row({ name: "GuestMemoryWritten", version: 1 }, place, payload);
    return payload;
  }

  row(kind: Pick<EventKind, "name" | "version">, place: EventPlace, payload: EventPayload): void {
    this.#room(place.icount);
    const { vcpu, icount, exitNumber } = place;
    this.#batch.appendRow({
      seq: this.nextSeq,
      kind: kind.name,
      version: kind.version,
      vcpu,
      icount,
      exitNumber,
      payload,
    });
  }

  /** Commits what there is, the open batch as well. */
  flush(durability: "normal" | "full"): void {
    if (this.#batch.count > 0) this.#append(durability);
  }

  /** Commits what there is by `commit`, which also stores it. */
  commitBy(commit: (batch: EventBatch) => void): void {
    commit(this.#batch);
    this.#batch.begin({ firstSeq: this.#batch.nextSeq, exitNumber: this.#exitNumber, icount: this.#icount });
  }

  /** The batch that says so is committed before the snapshot: a crash in between costs a snapshot, not an event. */
  addSnapshot(snapshot: Snapshot, durability: "normal" | "full"): void {
    this.flush(durability);
    this.#writer.addSnapshot(snapshot, durability);
  }
}
