/** Memory as hexdump -C prints it. */
import { hexAddress } from "../symbols/symbols.js";

const BYTES_PER_LINE = 16;
const HALF = BYTES_PER_LINE / 2;

export function dumpLines(address: bigint, bytes: Uint8Array): string[] {
  const lines: string[] = [];
  for (let at = 0; at < bytes.length; at += BYTES_PER_LINE) {
    const row = [...bytes.subarray(at, at + BYTES_PER_LINE)];
    const cells = row.map((byte) => byte.toString(16).padStart(2, "0"));
    const left = cells
      .slice(0, HALF)
      .join(" ")
      .padEnd(HALF * 3 - 1);
    const right = cells
      .slice(HALF)
      .join(" ")
      .padEnd(HALF * 3 - 1);
    const text = row.map((byte) => (byte >= 0x20 && byte < 0x7f ? String.fromCharCode(byte) : ".")).join("");
    lines.push(`${hexAddress(address + BigInt(at))}  ${left}  ${right}  |${text}|`);
  }
  return lines;
}
