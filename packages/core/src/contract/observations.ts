/** Whether and where a guest has asked for an item of the contract: computed from the exits of its recording. */
import type { Architecture } from "../ports/architecture.js";
import type { AskedNumber, NumberAsked, Observation } from "../ports/contract.js";
import type { JournalReader } from "../ports/journal-store.js";
import { isPlainMap } from "../canonical/canonical-encoding.js";
import { PayloadFields } from "../canonical/payload-fields.js";
import { CoreKind } from "../event/core-kinds.js";
import { NO_EVENT } from "../event/event-cursor.js";
import { HotKind, type EventPayload, ROW_EVENT, type RowEvent } from "../event/event-kind.js";
import { ExitWord, KvmExit } from "../event/exit-frame.js";
import { parseMachine } from "../machine/machine-description.js";
import { type OwnedRecording, OwnershipState } from "../migration/ownership.js";
import type { BoardDevice } from "../ports/vmm-half.js";
import { firstSeqOf, journalCursor } from "../replay/journal-cursor.js";

/** By name of the item. */
export type Observations = ReadonlyMap<string, Observation>;

/** What a guest asked for, and from which exit on that is known. */
export interface ObservedContract {
  readonly observations: Observations;
  /** Exits up to this one lie in recordings that are not here; 0: everything is known. */
  readonly unknownUpTo: number;
}

export const HANDLER_ITEM = "handler of forwarded calls";

export function deviceItem(name: string): string {
  return `device ${name}`;
}

export interface ObserveOptions {
  readonly architecture: Architecture;
  /** Of the end: ranges of a filter are never taken away. */
  readonly control: EventPayload;
  readonly devices?: readonly BoardDevice[] | undefined;
}

/** A guest may ask for any number: so many are counted one by one, the others only with the range that they lie in. */
const NUMBERS_MAX = 4096;

/** What a handler is asked. */
const FORWARDED: ReadonlySet<number> = new Set([KvmExit.hypercall, KvmExit.hyperv, KvmExit.xen]);

function numberPrefix(group: string): string {
  return `${group} asked `;
}

function numberName({ group, space, number }: NumberAsked): string {
  return `${numberPrefix(group)}${space} ${number}`;
}

/** The numbers of a group that a guest asked for. */
export function askedNumbers(observations: Observations, group: string): AskedNumber[] {
  const prefix = numberPrefix(group);
  return [...observations]
    .filter(([name]) => name.startsWith(prefix))
    .map(([name, observation]) => {
      const [space = "", number] = name.slice(prefix.length).split(" ");
      return { space, number: Number(number), ...observation };
    });
}

/** Counts in place: recordings have millions of exits. */
class Tally {
  readonly counts = new Map<string, { count: number; firstExit: number; lastExit: number }>();
  #numbers = 0;

  add(name: string, exit: number): void {
    const known = this.counts.get(name);
    if (known === undefined) this.counts.set(name, { count: 1, firstExit: exit, lastExit: exit });
    else {
      known.count += 1;
      known.lastExit = exit;
    }
  }

  /** Not counted where there are too many others already. */
  addNumber(asked: NumberAsked, exit: number): void {
    const name = numberName(asked);
    if (!this.counts.has(name) && (this.#numbers += 1) > NUMBERS_MAX) return;
    this.add(name, exit);
  }

  take(earlier: Observations): void {
    for (const [name, observation] of earlier) this.counts.set(name, { ...observation });
    this.#numbers = [...earlier.keys()].filter((name) => name.includes(numberPrefix(""))).length;
  }
}

/** What the exits of a recording up to event `lastSeq` show, behind what a move brought along. */
export function observe(...words: Parameters<typeof observeSteps>): ObservedContract {
  const steps = observeSteps(...words);
  for (;;) {
    const step = steps.next();
    if (step.done === true) return step.value;
  }
}

/** The same in steps, each with how far it has come. */
export function* observeSteps(
  reader: JournalReader & Partial<Pick<OwnedRecording, "ownership">>,
  { architecture, control, devices = [] }: ObserveOptions,
  lastSeq = Infinity,
): Generator<{ readonly exitNumber: number; readonly icount: number }, ObservedContract, void> {
  const brought = broughtAlong(reader);
  const tally = new Tally();
  tally.take(brought.observations);
  const state = control["architecture"] ?? null;
  const machine = parseMachine(reader.header.machine);
  const first = firstSeqOf(reader);
  for (const cursor = journalCursor(reader, first); cursor.kind !== NO_EVENT && cursor.seq <= lastSeq; cursor.next()) {
    if (cursor.kind === ROW_EVENT) notePatch(tally, cursor.row, cursor.exitsBefore, architecture);
    if (cursor.kind !== HotKind.exited) continue;
    yield { exitNumber: cursor.exitsBefore, icount: cursor.icount };
    const { exit } = cursor;
    const number = cursor.exitsBefore + 1;
    for (const name of architecture.contract?.asks(exit, state, machine) ?? []) tally.add(name, number);
    const asked = architecture.contract?.asksNumber?.(exit, machine);
    if (asked !== undefined) tally.addNumber(asked, number);
    if (FORWARDED.has(exit[ExitWord.kvmExit] ?? 0)) tally.add(HANDLER_ITEM, number);
    const at = architecture.contract?.accessedDevice(exit, machine);
    if (at === undefined) continue;
    const device = devices.find(({ base, bytes }) => at >= base && at < base + bytes);
    if (device !== undefined) tally.add(deviceItem(device.name), number);
  }
  return { observations: tally.counts, unknownUpTo: brought.unknownUpTo };
}

function notePatch(tally: Tally, row: RowEvent, exit: number, { contract }: Architecture): void {
  const { gpa } = row.payload;
  // A page that was made anew by a move is in the guest's registers.
  if (row.kind !== CoreKind.codePatched.name || typeof gpa !== "number" || row.vcpu < 0) return;
  const item = contract?.patchItem?.(gpa);
  if (item !== undefined) tally.add(item, exit);
}

/** A move tells its destination what the guest has seen before; of a branch the parent's file would have to be asked. */
function broughtAlong(
  reader: Pick<JournalReader, "header"> & Partial<Pick<OwnedRecording, "ownership">>,
): ObservedContract {
  const { parent } = reader.header;
  if (parent === undefined) return { observations: new Map(), unknownUpTo: 0 };
  const prepared = reader.ownership?.().findLast(({ state }) => state === OwnershipState.prepared);
  const observed = prepared?.detail["observed"];
  if (parent.why === "migration" && isPlainMap(observed)) return readObserved(observed);
  return { observations: new Map(), unknownUpTo: parent.exitNumber };
}

export function observedPayload({ observations, unknownUpTo }: ObservedContract): EventPayload {
  return {
    unknownUpTo,
    items: Object.fromEntries([...observations].map(([name, observation]) => [name, observationPayload(observation)])),
  };
}

/** Throws PayloadError. */
export function readObserved(payload: EventPayload): ObservedContract {
  const fields = new PayloadFields("observed contract", payload);
  const items = new PayloadFields("observed contract: items", fields.map("items"));
  return {
    unknownUpTo: fields.number("unknownUpTo"),
    observations: new Map(
      Object.keys(items.payload).map((name) => [name, readObservation(new PayloadFields(name, items.map(name)))]),
    ),
  };
}

export function observationPayload({ did, count, firstExit, lastExit }: Observation): EventPayload {
  return { count, firstExit, lastExit, ...(did === undefined ? {} : { did }) };
}

export function readObservation(fields: PayloadFields): Observation {
  return {
    count: fields.number("count"),
    firstExit: fields.number("firstExit"),
    lastExit: fields.number("lastExit"),
    ...(fields.has("did") ? { did: fields.string("did") } : {}),
  };
}
