import { describe, expect, it } from "@jest/globals";
import { defineInstruction } from "../stage/instruction.js";
import { programOf } from "../stage/program-builder.js";
import type { Program } from "../stage/program.js";
import type { Stage } from "../stage/stage.js";
import { deadWrites } from "./dead-writes.js";

const flag = { name: "flag", offset: 0x1000, width: 64 as const };
const other = { name: "other", offset: 0x1008, width: 64 as const };
const FIELDS = new Set([flag.offset]);

function program(execute: (stage: Stage) => void): Program {
  const instruction = defineInstruction({
    mnemonic: "TEST",
    reference: "",
    pattern: "bits:32",
    formFields: [],
    operands: {},
    text: () => "",
    execute: (_form, _operands, stage) => execute(stage),
  });
  return programOf(instruction, {});
}

const writes = program((stage) => stage.write(flag, stage.constant64(1)));
const reads = program((stage) => stage.write(other, stage.read(flag)));
const steps = program((stage) => stage.write(flag, stage.add(stage.read(flag), stage.constant64(1))));
const loads = program((stage) => void stage.access(stage.constant64(0), 8, "read"));
const mayWrite = program((stage) => {
  stage.if(stage.constant32(1), () => stage.write(flag, stage.constant64(2)));
});

const counts = (...programs: Program[]): number[] => deadWrites(programs, FIELDS).map(({ size }) => size);

describe("a write of a field", () => {
  it("is left out where the next one comes before any read", () => {
    expect(counts(writes, writes, writes)).toEqual([1, 1, 0]);
    expect(counts(writes, reads, writes)).toEqual([0, 0, 0]);
    expect(counts(writes, steps, writes)).toEqual([0, 1, 0]);
  });

  it("stays where control may leave before the next one, or that one may not happen", () => {
    expect(counts(writes, loads, writes)).toEqual([0, 0, 0]);
    expect(counts(writes, mayWrite)).toEqual([0, 0]);
    expect(counts(writes, mayWrite, reads)).toEqual([0, 0, 0]);
  });

  it("is left out where it may not happen", () => {
    expect(counts(writes, mayWrite, writes)).toEqual([1, 1, 0]);
    expect(counts(mayWrite, reads)).toEqual([0, 0]);
  });

  it("stays where it is no field of those", () => {
    expect(counts(reads, reads)).toEqual([0, 0]);
  });
});
