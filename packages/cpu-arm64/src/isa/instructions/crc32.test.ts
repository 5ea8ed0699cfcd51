import { describe, expect, it } from "@jest/globals";
import { CODE, machine } from "../testing/machine.js";

/** "123456789", whose checksums every catalogue of CRCs gives; start and end are inverted. */
const CHECK = Uint8Array.from("123456789", (letter) => letter.charCodeAt(0));
const CRC32_CHECK = 0xcbf4_3926;
const CRC32C_CHECK = 0xe306_9283;
const LOG2_BYTES_MAX = 3;

/** CRC32{C}{B,H,W,X} W0, W0, {W,X}1. */
function encoding(isCastagnoli: boolean, log2Bytes: number): number {
  const sf = log2Bytes === LOG2_BYTES_MAX ? 0x8000_0000 : 0;
  return (sf | 0x1ac1_4000 | (isCastagnoli ? 1 << 12 : 0) | (log2Bytes << 10)) >>> 0;
}

/** The largest pieces of at most 2^log2BytesMax bytes that the message can be cut into. */
function pieces(log2BytesMax: number): { readonly log2Bytes: number; readonly value: bigint }[] {
  const result = [];
  for (let at = 0; at < CHECK.length;) {
    let log2Bytes = log2BytesMax;
    while (at + (1 << log2Bytes) > CHECK.length) log2Bytes -= 1;
    let value = 0n;
    for (let byte = (1 << log2Bytes) - 1; byte >= 0; byte--) value = (value << 8n) | BigInt(CHECK[at + byte] ?? 0);
    result.push({ log2Bytes, value });
    at += 1 << log2Bytes;
  }
  return result;
}

describe.each([
  ["CRC32", false, CRC32_CHECK],
  ["CRC32C", true, CRC32C_CHECK],
])("%s", (_name, isCastagnoli, expected) => {
  it.each([0, 1, 2, 3])("gives the catalogue's checksum in pieces of up to 2^%d bytes", (log2BytesMax) => {
    const guest = machine([0], {});
    guest.set("x0", 0xffff_ffffn);
    for (const { log2Bytes, value } of pieces(log2BytesMax)) {
      guest.place(CODE, [encoding(isCastagnoli, log2Bytes)]);
      guest.set("pc", BigInt(CODE));
      // Narrow pieces have other bits above them.
      guest.set("x1", log2Bytes === LOG2_BYTES_MAX ? value : value | (0x5an << 56n));
      guest.engine.run(1);
    }
    expect(guest.get("x0") ^ 0xffff_ffffn).toBe(BigInt(expected));
  });
});
