import { describe, expect, it } from "@jest/globals";
import { defineInstruction, type Instruction } from "./instruction.js";
import { programOf, programOfRoutine, StageRuleError } from "./program-builder.js";
import { programText } from "./text.js";
import type { Routine, Stage } from "./stage.js";

const nothing: Routine & { readonly result: undefined } = {
  name: "nothing",
  parameters: [],
  result: undefined,
  body: () => undefined,
};
const field = { name: "f", offset: 0x1000, width: 64 as const };

function instruction(execute: (stage: Stage) => void): Instruction {
  return defineInstruction({
    mnemonic: "TEST",
    reference: "",
    pattern: "bits:32",
    formFields: [],
    operands: { Rn: { u16: () => 0 }, imm: { i64: () => 0n } },
    text: () => "",
    execute: (_form, _operands, stage) => execute(stage),
  });
}

const text = (execute: (stage: Stage) => void): string[] => programText(programOf(instruction(execute), {}));

describe("the stage", () => {
  it("refuses a probe after the first write", () => {
    for (const late of [
      (stage: Stage) => void stage.access(stage.constant64(0), 8, "read"),
      (stage: Stage) => stage.raise(nothing),
      (stage: Stage) => stage.exitBefore(17),
    ]) {
      expect(() => text((stage) => (stage.write(field, stage.constant64(1)), late(stage)))).toThrow(StageRuleError);
    }
  });

  it("counts a write in one arm as a write behind the join, unless the arm has ended", () => {
    const inArm = (ends: boolean) => () =>
      text((stage) => {
        stage.if(stage.constant32(1), () => {
          stage.write(field, stage.constant64(1));
          if (ends) stage.endBlock("test");
        });
        stage.access(stage.constant64(0), 8, "read");
      });
    expect(inArm(false)).toThrow(StageRuleError);
    expect(inArm(true)).not.toThrow();
  });

  it("lets an instruction probe behind writes to scratch fields and calls that only probe", () => {
    const scratch = { ...field, scratch: true } as const;
    const looks: Routine & { readonly result: undefined } = {
      name: "looks",
      parameters: [],
      result: undefined,
      probing: true,
      body: (stage) => stage.write(scratch, stage.constant64(1)),
    };
    expect(() =>
      text((stage) => {
        stage.write(scratch, stage.constant64(1));
        stage.call(looks);
        stage.access(stage.constant64(0), 8, "read");
      }),
    ).not.toThrow();
    const writes: Routine = { ...looks, body: (stage) => stage.write(field, stage.constant64(1)) };
    expect(() => programOfRoutine(writes)).toThrow(/only probes/);
  });

  it("refuses a store through a handle for reading, and bytes beyond the handle", () => {
    expect(() =>
      text((stage) => stage.store(stage.access(stage.constant64(0), 8, "read"), 0, 64, stage.constant64(0))),
    ).toThrow(/reading/);
    expect(() =>
      text((stage) => stage.store(stage.access(stage.constant64(0), 8, "write"), 4, 64, stage.constant64(0))),
    ).toThrow(/bytes 4 to 12/);
  });

  it("keeps a read of state in front of a later write to it", () => {
    expect(
      text((stage) => {
        const old = stage.read(field);
        stage.write(field, stage.constant64(5));
        stage.write({ ...field, offset: 0x1008 }, old);
      }),
    ).toEqual(["t0 = state[0x1000]", "state[0x1000] <- 5", "state[0x1008] <- t0", "next"]);
  });

  it("computes a value at its one use, and once where it has two", () => {
    expect(
      text((stage) => {
        const sum = stage.add(stage.read(field), stage.constant64(1));
        stage.write(field, sum);
      }),
    ).toEqual(["state[0x1000] <- i64.add(state[0x1000], 1)", "next"]);
    expect(
      text((stage) => {
        const sum = stage.add(stage.read(field), stage.constant64(1));
        stage.write(field, stage.add(sum, sum));
      }),
    ).toEqual(["t0 = i64.add(state[0x1000], 1)", "state[0x1000] <- i64.add(t0, t0)", "next"]);
  });

  it("refuses an effect behind the end of the instruction", () => {
    expect(() =>
      text((stage) => {
        stage.jump(stage.constant64(0));
        stage.write(field, stage.constant64(0));
      }),
    ).toThrow(StageRuleError);
  });
});
