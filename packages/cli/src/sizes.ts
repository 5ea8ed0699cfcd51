/** Sizes, counts and dates as options give them. */
import { UsageError } from "./cli-error.js";

const SIZE_FACTOR: Readonly<Record<string, number>> = { "": 2 ** 20, K: 2 ** 10, M: 2 ** 20, G: 2 ** 30 };
const COUNT_FACTOR: Readonly<Record<string, number>> = { "": 1, K: 1e3, M: 1e6, G: 1e9 };

/** "256M", "1G"; a bare number is MiB, as in QEMU's -m. Bytes. */
export function parseSize(option: string, text: string): number {
  const match = /^(\d+)([KMG]?)i?B?$/.exec(text);
  if (match === null) throw new UsageError(`${option} ${text}: expected a size such as 256M or 1G`);
  return Number(match[1]) * (SIZE_FACTOR[match[2] ?? ""] ?? 1);
}

/** "64M" units, decimal factors. */
export function parseCount(option: string, text: string): number {
  const match = /^(\d+)([KMG]?)$/.exec(text);
  if (match === null || Number(match[1]) === 0) throw new UsageError(`${option} ${text}: expected a count such as 64M`);
  return Number(match[1]) * (COUNT_FACTOR[match[2] ?? ""] ?? 1);
}

/** A number, decimal or 0x. */
export function parseU64(option: string, text: string): bigint {
  if (!/^(\d+|0x[0-9a-fA-F]+)$/.test(text)) throw new UsageError(`${option} ${text}: expected a number`);
  const value = BigInt(text);
  if (value >= 1n << 64n) throw new UsageError(`${option} ${text}: more than 64 bits`);
  return value;
}
