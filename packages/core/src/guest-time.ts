/** Guest time: nanoseconds since the start, derived from icount and idle time that was skipped, and from nothing else. */
import { GUEST_NANOSECONDS_PER_UNIT } from "./ports/architecture.js";

const NANOSECONDS: { readonly [unit: string]: number } = { ns: 1, us: 1_000, ms: 1_000_000, s: 1_000_000_000 };

/** The icount at which guest time first reaches `untilNs` while the guest runs without idle time. */
export function icountAtTime(icount: number, guestTimeNs: number, untilNs: number): number {
  return icount + Math.max(0, Math.ceil((untilNs - guestTimeNs) / GUEST_NANOSECONDS_PER_UNIT));
}

/** "1.65s", "20ms", "7us", "12ns" in nanoseconds; undefined when it is none of these or no whole number of nanoseconds. */
export function parseGuestTime(text: string): number | undefined {
  const match = /^(\d+)(?:\.(\d+))?(ns|us|ms|s)$/.exec(text);
  const scale = NANOSECONDS[match?.[3] ?? ""];
  if (match === null || scale === undefined) return undefined;
  const digits = match[2] ?? "";
  const whole = Number(match[1]) * scale;
  // Decimal places are scaled as integers: 0.1 + 0.2 has no place in a position.
  const fraction = digits === "" ? 0 : (Number(digits) * scale) / 10 ** digits.length;
  const total = whole + fraction;
  return Number.isSafeInteger(total) ? total : undefined;
}

/** Seconds with as many places as needed, at least three: what `parseGuestTime` reads back exactly. */
export function formatGuestTime(nanoseconds: number): string {
  const seconds = Math.floor(nanoseconds / 1_000_000_000);
  const places = String(nanoseconds - seconds * 1_000_000_000).padStart(9, "0");
  return `${seconds}.${places.replace(/0{1,6}$/, "")}s`;
}
