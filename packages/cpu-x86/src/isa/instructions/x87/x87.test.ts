import { describe, expect, it } from "@jest/globals";
import { EngineExit } from "@hvjournal/engine";
import { Vector } from "../../exceptions.js";
import { ExitCode, NotSimulated } from "../../exit-code.js";
import { FloatStatus } from "../../float-unit.js";
import { CODE, DATA, frameOf, handledVector, machine, type Machine, UNMAPPED } from "../../testing/machine.js";
import { tiers } from "../../testing/tiers.js";

const HLT = 0xf4;
/** Bytes of numbers of 80 bits, least significant first. */
const ONE = [0, 0, 0, 0, 0, 0, 0, 0x80, 0xff, 0x3f];
/** 2 ** -63. */
const LAST_PLACE = [0, 0, 0, 0, 0, 0, 0, 0x80, 0xc0, 0x3f];
const SIGNALLING = [1, 0, 0, 0, 0, 0, 0, 0x80, 0xff, 0x7f];
/** fld m80 [rdi]; fld m80 [rdi+16] */
const LOAD_BOTH = [0xdb, 0x2f, 0xdb, 0x6f, 0x10];
const ONE_AND_LAST_PLACE = (0x3fffn << 64n) | 0x8000_0000_0000_0001n;
const INDEFINITE = (0xffffn << 64n) | 0xc000_0000_0000_0000n;

function topOf(guest: Machine): number {
  return (Number(guest.get("fsw")) >> 11) & 7;
}

function exceptionsOf(guest: Machine): number {
  return Number(guest.get("fsw")) & ~(7 << 11);
}

describe.each(tiers)("x87 instructions with %s", (_name, options) => {
  function prepared(code: readonly number[], first: readonly number[], second: readonly number[]): Machine {
    const guest = machine([...code, HLT], options);
    guest.place(DATA, first);
    guest.place(DATA + 16, second);
    guest.set("rdi", DATA);
    return guest;
  }

  it("load numbers of 80 bits, add them exactly in 64 bits of significand, and store them", () => {
    // faddp; fstp m80 [rdi+32]
    const guest = prepared([...LOAD_BOTH, 0xde, 0xc1, 0xdb, 0x7f, 0x20], ONE, LAST_PLACE);
    guest.place(
      DATA + 32,
      Array.from({ length: 16 }, () => 0xee),
    );
    expect(guest.engine.run(3)).toBe(EngineExit.budget);
    expect([guest.get("fpr7"), topOf(guest), guest.get("fpuTags")]).toEqual([ONE_AND_LAST_PLACE, 7, 0x80n]);
    expect(guest.engine.run(10)).toBe(ExitCode.halt);
    expect([...guest.engine.memory.read(DATA + 32, 16)]).toEqual([
      1, 0, 0, 0, 0, 0, 0, 0x80, 0xff, 0x3f, 0xee, 0xee, 0xee, 0xee, 0xee, 0xee,
    ]);
    expect([topOf(guest), guest.get("fpuTags"), exceptionsOf(guest)]).toEqual([0, 0n, 0]);
    expect([guest.get("fop"), guest.get("fip"), guest.get("fdp")]).toEqual([
      0x37fn,
      BigInt(CODE + 7),
      BigInt(DATA + 32),
    ]);
  });

  it("round to the precision and direction of the control word, and tell in C1 that they rounded up", () => {
    // fadd st,st(1) with 53 bits, upwards
    const guest = prepared([...LOAD_BOTH, 0xd8, 0xc1], ONE, LAST_PLACE);
    guest.set("fcw", 0xa7f);
    expect(guest.engine.run(10)).toBe(ExitCode.halt);
    expect(guest.get("fpr6")).toBe((0x3fffn << 64n) | 0x8000_0000_0000_0800n);
    expect(exceptionsOf(guest)).toBe(FloatStatus.PE | FloatStatus.C1);
  });

  it("add to any register of the stack, and numbers of 32 and 64 bits from memory", () => {
    // fadd st(1),st; fadd m32 [rdi+32]; fadd m64 [rdi+40]
    const guest = prepared([...LOAD_BOTH, 0xdc, 0xc1, 0xd8, 0x47, 0x20, 0xdc, 0x47, 0x28], ONE, ONE);
    guest.place(DATA + 32, [0, 0, 0x80, 0x3f]);
    guest.place(DATA + 40, [0, 0, 0, 0, 0, 0, 0, 0x40]);
    expect(guest.engine.run(10)).toBe(ExitCode.halt);
    expect([guest.get("fpr7"), guest.get("fpr6")]).toEqual([
      (0x4000n << 64n) | (1n << 63n),
      (0x4001n << 64n) | (1n << 63n),
    ]);
  });

  it("give the default NaN for an empty register, and push it over a full one, where that is masked", () => {
    const empty = prepared([0xd8, 0xc1], ONE, ONE);
    expect(empty.engine.run(10)).toBe(ExitCode.halt);
    expect([empty.get("fpr0"), exceptionsOf(empty)]).toEqual([INDEFINITE, FloatStatus.IE | FloatStatus.SF]);
    const full = prepared([0xdb, 0x2f], ONE, ONE);
    full.set("fpuTags", 0xff);
    expect(full.engine.run(10)).toBe(ExitCode.halt);
    expect([full.get("fpr7"), topOf(full), exceptionsOf(full)]).toEqual([
      INDEFINITE,
      7,
      FloatStatus.IE | FloatStatus.SF | FloatStatus.C1,
    ]);
  });

  it("leave registers and stack alone at an invalid operand that has a handler, which the next x87 instruction raises", () => {
    const guest = prepared([...LOAD_BOTH, 0xde, 0xc1, 0xdb, 0x2f], ONE, SIGNALLING);
    guest.set("fcw", 0x37e);
    expect(guest.engine.run(3)).toBe(EngineExit.budget);
    expect([topOf(guest), guest.get("fpr7") >> 64n, guest.get("fpuTags")]).toEqual([6, 0x3fffn, 0xc0n]);
    expect(exceptionsOf(guest)).toBe(FloatStatus.IE | FloatStatus.ES | FloatStatus.B);
    expect(guest.engine.run(10)).toBe(ExitCode.halt);
    expect([handledVector(guest), frameOf(guest, false)["rip"]]).toEqual([Vector.floatError, BigInt(CODE + 7)]);
    // FXSAVE does not wait.
    const saving = prepared([0x0f, 0xae, 0x07], ONE, ONE);
    saving.set("fsw", FloatStatus.IE | FloatStatus.ES | FloatStatus.B);
    expect(saving.engine.run(10)).toBe(ExitCode.halt);
    expect(saving.get("rip")).toBe(BigInt(CODE + 4));
  });

  it("leave for an error that CR0.NE sends to a pin, and raise #NM while TS is set", () => {
    const guest = prepared([0xd8, 0xc1], ONE, ONE);
    guest.set("fsw", FloatStatus.ES);
    guest.set("cr0", guest.get("cr0") & ~32n);
    expect(guest.engine.run(10)).toBe(ExitCode.notSimulated);
    expect(guest.engine.exitOperand(0)).toBe(BigInt(NotSimulated.floatErrorPin));
    const off = prepared([0xd8, 0xc1], ONE, ONE);
    off.set("cr0", off.get("cr0") | 8n);
    expect(off.engine.run(10)).toBe(ExitCode.halt);
    expect(handledVector(off)).toBe(Vector.deviceNotAvailable);
  });

  it("pop nothing when the page that FSTP writes is not present", () => {
    const guest = prepared([0xdb, 0x2f, 0xdb, 0x3e], ONE, ONE);
    guest.map(UNMAPPED - 0x1000, 0x2_8000);
    guest.set("rsi", UNMAPPED - 8);
    expect(guest.engine.run(10)).toBe(ExitCode.halt);
    expect([handledVector(guest), guest.get("cr2")]).toEqual([Vector.pageFault, BigInt(UNMAPPED)]);
    expect([topOf(guest), guest.get("fpuTags"), guest.word64(0x2_8ff8)]).toEqual([7, 0x80n, 0n]);
  });
});
