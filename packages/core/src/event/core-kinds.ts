/** The row events that core itself writes, with their roles, and the registry that readers go by. */
import type { EventKind, EventPayload, Role, RowEvent } from "./event-kind.js";

function kind<const Name extends string>(
  name: Name,
  role: Role,
  ...fields: string[]
): EventKind & { readonly name: Name } {
  return { name, version: 1, role, fields };
}

export const CoreKind = {
  vmCreated: kind("VmCreated", "vmm output", "machine"),
  vcpuCreated: kind("VcpuCreated", "vmm output", "cpu"),
  registerSet: kind("RegisterSet", "vmm output", "name", "value"),
  guestMemoryWritten: kind("GuestMemoryWritten", "vmm output", "gpa", "length", "bytes", "pages"),
  /** A device's message-signalled interrupt: KVM_SIGNAL_MSI. */
  msiSent: kind("MsiSent", "vmm output", "address", "data"),
  /** An idle VM went on before its own next timer, or without one: at a deadline of the VMM half, or for an input. */
  idleEnded: kind("IdleEnded", "vmm output", "untilNs"),
  inputReceived: kind("InputReceived", "outside input", "port", "bytes", "tail", "readCount", "sinceInputNs"),
  /** The host waited in an idle guest's stead, and something from outside came before the guest's own deadline. */
  hostWaited: kind("HostWaited", "outside input", "untilNs"),
  operatorCommanded: kind("OperatorCommanded", "outside input", "command"),
  snapshotTaken: kind("SnapshotTaken", "bookkeeping", "number", "kind", "root", "digest"),
  /** Behind an `ExitHandled`: what else than its result the kernel half gave back, by register, where not all of it is 0. */
  callReturned: kind("CallReturned", "observation", "registers"),
  /**
   * Before the answer to a call that handlers were asked about: whose it is, and that of all later ones up to the next such
   * event. `by`: "handler", "builtin" or "board"; `name`: of the first two. A VM without handlers has none, nor has an old
   * recording. One a call would be most of a recording whose guest does little but call.
   */
  answererChanged: kind("AnswererChanged", "bookkeeping", "by", "name"),
  /**
   * A call has no answer, because whoever was to give it failed; the VM stands still behind this. `by`: a handler's name or the
   * board's, `code`: "handler-failed" ..., `message`: in words, cut where it is long.
   */
  callFailed: kind("CallFailed", "bookkeeping", "by", "code", "message"),
  /** In finishing an exit the kernel half wrote over an instruction of the guest's; `old` and `new`: its bytes. */
  codePatched: kind("CodePatched", "observation", "gpa", "old", "new"),
  /** `exitPending`: nothing has been answered yet, and stays so up to `Resumed`. */
  paused: kind("Paused", "bookkeeping", "exitPending"),
  resumed: kind("Resumed", "bookkeeping"),
  stopped: kind("Stopped", "bookkeeping", "what", "by", "status", "exitPending"),
  /** Behind a `Stopped` of the guest's own: it had failed before, as was asked by `by`, at exit `exitNumber`. */
  failed: kind("Failed", "bookkeeping", "by", "exitNumber"),
  ownershipPrepared: kind("MigrationPrepared", "bookkeeping", "epoch", "digest"),
  ownershipMoved: kind("OwnershipMoved", "bookkeeping", "epoch", "to"),
  ownershipTaken: kind("OwnershipTaken", "bookkeeping", "epoch", "from"),
  ownershipReclaimed: kind("OwnershipReclaimed", "bookkeeping", "epoch", "lost"),
} as const;

/** What `Stopped` says of a guest that can never run another instruction. */
export const STOPPED_STUCK = "stuck";

/** Whether the run ended there because the guest can't go on. */
export function saysStuck({ kind: name, payload }: RowEvent): boolean {
  return name === CoreKind.stopped.name && payload["what"] === STOPPED_STUCK;
}

/** The row kinds of core, for tables that describe every kind. */
export function coreKinds(): readonly EventKind[] {
  return Object.values(CoreKind);
}

/** The hot kinds, for tables that describe every kind. */
export const HOT_EVENT_KINDS: readonly EventKind[] = [
  { name: "Exited", version: 1, role: "observation", fields: ["exit words, see ExitWord"] },
  { name: "ExitHandled", version: 1, role: "observation", fields: ["low", "high"] },
  { name: "ExitCompleted", version: 1, role: "vmm output", fields: ["low", "high"] },
  { name: "OutputProduced", version: 1, role: "vmm output", fields: ["port", "bytes"] },
  { name: "IrqLineSet", version: 1, role: "vmm output", fields: ["line", "level"] },
  { name: "Digested", version: 1, role: "observation", fields: ["sha256"] },
];

/** An event of a kind or version that this build does not know; its meaning can't be guessed. */
export class UnknownEventError extends Error {
  override readonly name = "UnknownEventError";
  readonly seq: number;
  readonly kind: string;
  readonly version: number;
  constructor(seq: number, kindName: string, version: number, known: number | undefined) {
    super(
      known === undefined
        ? `event:${seq} is of kind ${kindName} (version ${version}), which this build does not know`
        : `event:${seq} is ${kindName} version ${version}, this build knows up to ${known}`,
    );
    this.seq = seq;
    this.kind = kindName;
    this.version = version;
  }
}

/** Turns a payload of `version` into one of the next version. */
export interface Upcaster {
  readonly kind: string;
  readonly version: number;
  upcast(payload: EventPayload): EventPayload;
}

/** Kinds by name, core's own and an architecture's, and the way from old versions to today's. */
export class EventKinds {
  readonly #kinds = new Map<string, EventKind>();
  readonly #upcasters = new Map<string, Upcaster>();

  constructor(architectureKinds: readonly EventKind[], upcasters: readonly Upcaster[] = []) {
    for (const each of [...Object.values(CoreKind), ...architectureKinds]) {
      if (this.#kinds.has(each.name)) throw new RangeError(`event kind ${each.name} is defined twice`);
      this.#kinds.set(each.name, each);
    }
    for (const upcaster of upcasters) this.#upcasters.set(`${upcaster.kind}@${upcaster.version}`, upcaster);
  }

  get all(): readonly EventKind[] {
    return [...HOT_EVENT_KINDS, ...this.#kinds.values()];
  }

  /** Throws UnknownEventError. */
  of(event: RowEvent): EventKind {
    const known = this.#kinds.get(event.kind);
    if (known === undefined) throw new UnknownEventError(event.seq, event.kind, event.version, undefined);
    return known;
  }

  /** The event in today's version. Throws UnknownEventError. */
  upcast(event: RowEvent): RowEvent {
    const known = this.of(event);
    let current = event;
    while (current.version < known.version) {
      const upcaster = this.#upcasters.get(`${current.kind}@${current.version}`);
      if (upcaster === undefined) throw new UnknownEventError(event.seq, event.kind, event.version, known.version);
      current = { ...current, version: current.version + 1, payload: upcaster.upcast(current.payload) };
    }
    if (current.version > known.version)
      throw new UnknownEventError(event.seq, event.kind, event.version, known.version);
    return current;
  }
}
