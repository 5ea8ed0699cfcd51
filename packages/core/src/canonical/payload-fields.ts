/** Reading plain payloads with named complaints instead of casts. */
import type { EventPayload, PlainValue } from "../event/event-kind.js";
import { isPlainMap } from "./canonical-encoding.js";

/** A payload that lacks a field or has it in another form. */
export class PayloadError extends Error {
  override readonly name = "PayloadError";
  readonly what: string;
  readonly field: string;
  constructor(what: string, field: string, expected: string, found: PlainValue | undefined) {
    super(
      `${what}: field ${field}: ${expected} expected, found ${found === undefined ? "nothing" : typeof found === "object" ? "another form" : `${typeof found} ${String(found)}`}`,
    );
    this.what = what;
    this.field = field;
  }
}

/** Typed access to one payload; `what` names it in errors. */
export class PayloadFields {
  readonly what: string;
  readonly payload: EventPayload;

  constructor(what: string, payload: EventPayload) {
    this.what = what;
    this.payload = payload;
  }

  has(field: string): boolean {
    return this.payload[field] !== undefined && this.payload[field] !== null;
  }

  number(field: string): number {
    const value = this.payload[field];
    if (typeof value === "number") return value;
    if (typeof value === "bigint" && value <= BigInt(Number.MAX_SAFE_INTEGER) && value >= 0n) return Number(value);
    throw new PayloadError(this.what, field, "number", value);
  }

  bigint(field: string): bigint {
    const value = this.payload[field];
    if (typeof value === "bigint") return value;
    if (typeof value === "number" && Number.isSafeInteger(value)) return BigInt(value);
    throw new PayloadError(this.what, field, "integer", value);
  }

  string(field: string): string {
    const value = this.payload[field];
    if (typeof value === "string") return value;
    throw new PayloadError(this.what, field, "string", value);
  }

  boolean(field: string): boolean {
    const value = this.payload[field];
    if (typeof value === "boolean") return value;
    throw new PayloadError(this.what, field, "boolean", value);
  }

  bytes(field: string): Uint8Array {
    const value = this.payload[field];
    if (value instanceof Uint8Array) return value;
    throw new PayloadError(this.what, field, "bytes", value);
  }

  array(field: string): readonly PlainValue[] {
    const value = this.payload[field];
    if (Array.isArray(value)) return value as readonly PlainValue[];
    throw new PayloadError(this.what, field, "array", value);
  }

  map(field: string): EventPayload {
    const value = this.payload[field];
    if (isPlainMap(value)) return value;
    throw new PayloadError(this.what, field, "map", value);
  }
}
