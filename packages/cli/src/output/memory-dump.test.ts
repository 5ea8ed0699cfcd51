import { describe, expect, it } from "@jest/globals";
import { dumpLines } from "./memory-dump.js";

describe("a memory dump", () => {
  it("is that of hexdump -C, with 64-bit addresses", () => {
    const bytes = Uint8Array.from({ length: 18 }, (_, index) => 0x5f + index);
    expect(dumpLines(0xffff_8000_0000_0ff8n, bytes)).toEqual([
      "ffff800000000ff8  5f 60 61 62 63 64 65 66  67 68 69 6a 6b 6c 6d 6e  |_`abcdefghijklmn|",
      "ffff800000001008  6f 70                                             |op|",
    ]);
  });
});
