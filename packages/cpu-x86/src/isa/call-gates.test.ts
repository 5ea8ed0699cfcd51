/** Call gates with parameters: Intel SDM volume 3, 5.8.5. */
import { describe, expect, it } from "@jest/globals";
import { Vector } from "./exceptions.js";
import { ExitCode } from "./exit-code.js";
import { SegmentAttribute } from "./segment-attributes.js";
import { Segment } from "./state.js";
import { CODE, handledVector, type Machine, STACK } from "./testing/machine.js";
import { bytes, Legacy, LEVEL0_ESP, protectedMode, setSegment, toUserMode, word32 } from "./testing/modes.js";

const { P, S, code, writable, accessed, DB, G } = SegmentAttribute;
const TARGET = CODE + 0x200;
const tiers = [
  ["handlers out of line", {}],
  ["compiled blocks", { tier: "blocks" }],
] as const;

/** CPL 3 that calls a gate of 32 (0xec) or 16 bits (0xe4) with so many parameters, each telling its number. */
function caller(type: number, count: number, options: object): Machine {
  // lcall $0x88,$0
  const guest = protectedMode("9a 00 00 00 00 88 00 f4", options);
  const gate =
    BigInt(TARGET & 0xffff) |
    (BigInt(Legacy.code) << 16n) |
    (BigInt(count) << 32n) |
    (BigInt(type) << 40n) |
    (BigInt(TARGET >> 16) << 48n);
  guest.setWord64(guest.gdtBase + Legacy.gate, gate);
  toUserMode(guest, Legacy.userCode, Legacy.userData, P | S | code | writable | accessed | DB | G);
  const size = type === 0xec ? 4 : 2;
  guest.set("rsp", STACK - 0x100);
  for (let word = 0; word < 31; word++)
    guest.place(STACK - 0x100 + word * size, size === 4 ? [word + 1, 0x22, 0x33, 0x44] : [word + 1, 0x22]);
  return guest;
}

describe.each(tiers)("call gates with parameters, %s", (_name, options) => {
  it.each([0, 1, 2, 5, 16, 30, 31])(
    "copy %d doublewords between the stacks, and RET n takes them off both",
    (count) => {
      const guest = caller(0xec, count, options);
      const released = 4 * count;
      // lret $4*count
      guest.place(TARGET, [0xca, released & 0xff, released >> 8]);
      guest.engine.run(1);
      const rsp = LEVEL0_ESP - 16 - 4 * count;
      expect([guest.get("cpl"), guest.get("rip"), guest.get("rsp")]).toEqual([0, TARGET, rsp].map(BigInt));
      const words = Array.from({ length: count + 4 }, (_, index) => word32(guest, rsp + 4 * index));
      expect(words).toEqual([
        CODE + 7,
        Legacy.userCode,
        ...Array.from({ length: count }, (_, index) => 0x4433_2201 + index),
        STACK - 0x100,
        Legacy.userData,
      ]);
      guest.engine.run(1);
      expect([guest.get("cpl"), guest.get("rip"), guest.get("rsp")]).toEqual(
        [3, CODE + 7, STACK - 0x100 + released].map(BigInt),
      );
    },
  );

  it("copy words through a gate of 16 bits", () => {
    const guest = caller(0xe4, 3, options);
    guest.engine.run(1);
    const rsp = LEVEL0_ESP - 2 * 7;
    expect(guest.get("rsp")).toBe(BigInt(rsp));
    const words = Array.from({ length: 7 }, (_, index) => word32(guest, rsp + 2 * index) & 0xffff);
    expect(words).toEqual([
      (CODE + 7) & 0xffff,
      Legacy.userCode,
      0x2201,
      0x2202,
      0x2203,
      (STACK - 0x100) & 0xffff,
      Legacy.userData,
    ]);
  });

  it("raise #SS where the old stack ends among the parameters, and change nothing", () => {
    const guest = caller(0xec, 31, options);
    setSegment(guest, Segment.ss, Legacy.userData, 0, STACK - 0x100 + 63, P | S | writable | accessed | DB | (3 << 5));
    expect(guest.engine.run(5)).toBe(ExitCode.halt);
    expect(handledVector(guest)).toBe(Vector.stackFault);
    // The error code stands on the stack of CPL 0, below the caller's frame.
    expect(word32(guest, LEVEL0_ESP - 24)).toBe(0);
    expect(word32(guest, LEVEL0_ESP - 20)).toBe(CODE);
  });

  it("copy none where the level stays", () => {
    const guest = protectedMode("9a 00 00 00 00 88 00 f4", options);
    const gate = BigInt(TARGET & 0xffff) | (BigInt(Legacy.code) << 16n) | (0x05n << 32n) | (0x8cn << 40n);
    guest.setWord64(guest.gdtBase + Legacy.gate, gate | (BigInt(TARGET >> 16) << 48n));
    guest.place(TARGET, bytes("f4"));
    expect(guest.engine.run(5)).toBe(ExitCode.halt);
    expect(guest.get("rsp")).toBe(BigInt(STACK - 8));
  });
});
