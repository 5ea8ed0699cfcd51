import { describe, expect, it } from "@jest/globals";
import * as a from "./testing/assembler.js";
import { CODE, DATA, guest, STACK } from "./testing/guest.js";

const CR4_SMAP = 1n << 21n;

function words(...values: readonly bigint[]): number[] {
  return values.flatMap((value) => Array.from({ length: 8 }, (_, at) => Number((value >> BigInt(8 * at)) & 0xffn)));
}

describe("looking at a stopped amd64 guest", () => {
  it("sees pages of users where the guest's own system may not read them", () => {
    const { kernel } = guest([...a.hlt]);
    kernel.writeRegister(0, "cr4", kernel.readRegister(0, "cr4") | CR4_SMAP);
    expect(kernel.translate(0, BigInt(DATA + 8))).toBe(DATA + 8);
    expect(kernel.disassemble(0, BigInt(CODE), 1).map(({ text }) => text)).toEqual(["hlt"]);
  });

  it("calls nothing a caller that no code can be: RBP points anywhere in code without frames", () => {
    const { kernel, place } = guest([...a.hlt]);
    const frame = STACK - 0x100;
    kernel.writeRegister(0, "rbp", BigInt(frame));
    place(frame, words(BigInt(frame + 0x20), BigInt(CODE + 0x40)));
    place(frame + 0x20, words(BigInt(frame + 0x40), 0x6170_2030_5379_7474n));
    place(frame + 0x40, words(0n, BigInt(CODE + 0x80)));
    expect(kernel.backtrace(0, 8)).toEqual([BigInt(CODE + 0x40)]);
  });
});
