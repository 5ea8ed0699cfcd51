/** What an event may be, and what each replay does with it. */

/**
 * - `outside input`: skipped in replay, fed in verify.
 * - `vmm output`: applied in replay, compared in verify.
 * - `observation`: compared in both.
 * - `bookkeeping`: skipped in both.
 */
export type Role = "outside input" | "vmm output" | "observation" | "bookkeeping";

export interface EventKind {
  readonly name: string;
  readonly version: number;
  readonly role: Role;
  /** Fields in the order of the columns or of the payload, with their unit or form. */
  readonly fields: readonly string[];
}

/**
 * Kinds that occur by the thousand: fixed fields in columns, never objects on the
 * way (`event-batch.ts`). The number is the kind's code in a batch.
 */
export const HotKind = {
  exited: 1,
  exitHandled: 2,
  exitCompleted: 3,
  outputProduced: 4,
  irqLineSet: 5,
  digested: 6,
  /** Only on the way into a journal: readers find a row event, `RegisterSet` (`register-rows.ts`). */
  registerSet: 7,
} as const;

/** Code in a batch's `kinds` that stands for the next row event. */
export const ROW_EVENT = 0;

/**
 * A plain event: few, and what people ask about. Payloads are plain data that msgpack
 * carries as it is: strings, numbers, bigints (u64), booleans, byte arrays, arrays, maps.
 */
export interface RowEvent {
  /** From 1 within a recording's numbering; assigned when it is appended. */
  readonly seq: number;
  readonly kind: string;
  readonly version: number;
  /** -1 when it concerns the VM and not one vCPU. */
  readonly vcpu: number;
  readonly icount: number;
  /** Exits that had occurred: the event lies behind exit `exitNumber`. */
  readonly exitNumber: number;
  readonly payload: EventPayload;
}

export type PlainValue =
  | string
  | number
  | bigint
  | boolean
  | null
  | Uint8Array
  | readonly PlainValue[]
  | { readonly [key: string]: PlainValue };
export type EventPayload = { readonly [key: string]: PlainValue };
