/**
 * Eventfds and what signals them. Commands: {name: "eventfd"} opens one, and it gets the next number; {name: "ioeventfd", addr,
 * len, fd, flags, datamatch} is KVM_IOEVENTFD.
 */
import type { PayloadFields } from "../canonical/payload-fields.js";
import type { EventKind } from "../event/event-kind.js";
import {
  busOfFlags,
  collides,
  type IoBus,
  type Ioeventfd,
  IOEVENTFD_FLAGS,
  IOEVENTFD_LENGTHS,
  IoeventfdFlag,
} from "../notification/io-eventfd.js";
import type { ControlCommand, Decision, Refusal } from "../ports/control.js";
import { type ControlPart, decided, type EventPart, NUMBER, refuse } from "./control-part.js";

const CALL = "KVM_IOEVENTFD";
/** Numbers of a process's first three files are taken. */
const FIRST_FD = 3;
const U64 = 1n << 64n;

export interface EventfdState {
  // What follows is absent as long as nothing has set it.
  readonly eventfds?: readonly number[];
  /** In the order in which they were assigned. */
  readonly ioeventfds?: readonly Ioeventfd[];
}

/** The number that the next eventfd gets. */
export function nextEventfd({ eventfds = [] }: EventfdState): number {
  return FIRST_FD + eventfds.length;
}

/** What eventfd_ctx_fdget says of a number that is none; undefined: it is one. */
export function eventfdRefusal(
  { eventfds = [] }: EventfdState,
  fd: number,
  call: string,
): { readonly refused: Refusal } | undefined {
  if (eventfds.includes(fd)) return undefined;
  // The process's own files are no eventfds.
  return fd >= 0 && fd < FIRST_FD
    ? refuse("EINVAL", call, `file ${fd} is no eventfd`)
    : refuse("EBADF", call, `there is no file ${fd}`);
}

function readEntry(fields: PayloadFields): Ioeventfd {
  const flags = fields.number("flags");
  const matches = (flags & IoeventfdFlag.datamatch) !== 0;
  const [addr, len, fd] = [fields.bigint("addr"), fields.number("len"), fields.number("fd")];
  return { bus: busOfFlags(flags), addr, len, ...(matches ? { datamatch: fields.bigint("datamatch") } : {}), fd };
}

/** KVM's own order. */
function brokenRule(addr: bigint, len: number, flags: number): string | undefined {
  if (!IOEVENTFD_LENGTHS.some((each) => each === len)) return `len ${len} is none of ${IOEVENTFD_LENGTHS.join(", ")}`;
  if (addr + BigInt(len) >= U64 && len > 0) return `0x${addr.toString(16)}+${len} goes beyond 64 bits`;
  if ((flags & ~IOEVENTFD_FLAGS) !== 0) return `flags 0x${flags.toString(16)} are not known`;
  if (len === 0 && (flags & IoeventfdFlag.datamatch) !== 0) return "len 0 takes any data, and can't match some";
  return undefined;
}

function samePlace(a: Ioeventfd, b: Ioeventfd): boolean {
  return a.bus === b.bus && a.addr === b.addr && a.len === b.len && a.datamatch === b.datamatch && a.fd === b.fd;
}

/** Of a command line, which opens no files: an eventfd is opened with the first that signals it. */
export function opensEventfd(state: EventfdState, fields: PayloadFields): boolean {
  return fields.has("opens") && fields.number("fd") === nextEventfd(state);
}

/** `decision`, behind the opening of its eventfd where it opens one. */
export function withEventfd(opens: boolean, fd: number, kind: EventKind, decision: Decision): Decision {
  const opened = decided(kind, { fd });
  if (!opens || "refused" in decision || "refused" in opened) return decision;
  return { events: [...opened.events, ...decision.events] };
}

export function eventfdCreated(architecture: string): EventKind {
  return { name: `${architecture}.EventfdCreated`, version: 1, role: "vmm output", fields: ["fd"] };
}

function decideIoeventfd(
  state: EventfdState,
  fields: PayloadFields,
  { kind, created }: { readonly kind: EventKind; readonly created: EventKind },
): Decision {
  const flags = fields.number("flags");
  const entry = readEntry(fields);
  const isDeassign = (flags & IoeventfdFlag.deassign) !== 0;
  const broken = isDeassign ? undefined : brokenRule(entry.addr, entry.len, flags);
  if (broken !== undefined) return refuse("EINVAL", CALL, broken);
  const opens = opensEventfd(state, fields);
  const noFile = opens ? undefined : eventfdRefusal(state, entry.fd, CALL);
  if (noFile !== undefined) return noFile;
  const { ioeventfds = [] } = state;
  if (isDeassign && !ioeventfds.some((each) => samePlace(each, entry)))
    return refuse("ENOENT", CALL, `${entryText(entry)} is not assigned`);
  const other = isDeassign ? undefined : ioeventfds.find((each) => collides(each, entry));
  if (other !== undefined) return refuse("EEXIST", CALL, `${entryText(other)} is there`);
  const { bus, addr, len, datamatch = null, fd } = entry;
  return withEventfd(opens, fd, created, decided(kind, { bus, addr, len, datamatch, fd, assigned: !isDeassign }));
}

function eventEntry(fields: PayloadFields): Ioeventfd {
  const datamatch = fields.has("datamatch") ? { datamatch: fields.bigint("datamatch") } : {};
  return {
    bus: fields.string("bus") as IoBus,
    addr: fields.bigint("addr"),
    len: fields.number("len"),
    ...datamatch,
    fd: fields.number("fd"),
  };
}

/** "pio:0x510+2=0x1 -> eventfd 3" */
function entryText({ bus, addr, len, datamatch, fd }: Ioeventfd): string {
  const match = datamatch === undefined ? "" : `=0x${datamatch.toString(16)}`;
  return `${bus}:0x${addr.toString(16)}+${len}${match} -> eventfd ${fd}`;
}

/** "pio:0x510+2=1,fd=3", "mmio:0xd0000000,fd=3": a length of 0 takes any. */
function parseIoeventfd(text: string): ControlCommand | string {
  const match = new RegExp(`^(mmio|pio):${NUMBER}(?:\\+${NUMBER})?(?:=${NUMBER})?,fd=${NUMBER}(,deassign)?$`).exec(
    text,
  );
  if (match === null) return "expected mmio|pio:ADDR[+BYTES][=DATA],fd=N[,deassign]";
  const [, bus, addr = "0", len = "0", datamatch, fd = "0", deassign] = match;
  const flags =
    (bus === "pio" ? IoeventfdFlag.pio : 0) |
    (datamatch === undefined ? 0 : IoeventfdFlag.datamatch) |
    (deassign === undefined ? 0 : IoeventfdFlag.deassign);
  const data = datamatch === undefined ? 0n : BigInt(datamatch);
  return {
    name: "ioeventfd",
    addr: BigInt(addr),
    len: Number(len),
    fd: Number(fd),
    flags,
    datamatch: data,
    opens: true,
  };
}

/** `architecture`: what the events' names begin with. */
export function eventfdPartOf<State extends EventfdState>(architecture: string): ControlPart<State> {
  const created = eventfdCreated(architecture);
  const set: EventKind = {
    ...{ name: `${architecture}.IoeventfdSet`, version: 1, role: "vmm output" },
    fields: ["bus", "addr", "len", "datamatch", "fd", "assigned"],
  };
  const events: readonly EventPart<State>[] = [
    {
      kind: created,
      evolve: (state, fields) => ({ ...state, eventfds: [...(state.eventfds ?? []), fields.number("fd")] }),
      describe: (fields) => `eventfd ${fields.number("fd")}`,
    },
    {
      kind: set,
      evolve(state, fields) {
        const entry = eventEntry(fields);
        const others = (state.ioeventfds ?? []).filter((each) => !samePlace(each, entry));
        return { ...state, ioeventfds: fields.boolean("assigned") ? [...others, entry] : others };
      },
      describe: (fields) => `${fields.boolean("assigned") ? "+" : "-"} ${entryText(eventEntry(fields))}`,
    },
  ];
  return {
    decide: {
      eventfd: (state) => decided(created, { fd: nextEventfd(state) }),
      ioeventfd: (state, fields) => decideIoeventfd(state, fields, { kind: set, created }),
    },
    events,
    parse: {
      eventfd: (text) => (text === "" || text === "new" ? { name: "eventfd" } : "expected new"),
      ioeventfd: parseIoeventfd,
    },
  };
}
