/** CLC, STC, CMC, CLD, STD, LAHF, SAHF. References: sections of Intel SDM volume 2. */
import { elementOf, type Instruction, type Stage } from "@hvjournal/engine";
import { assembly } from "../assembly-text.js";
import { defineEncoded } from "../encoding.js";
import { carryFlag, readRflags, setCarryFlag, writeRflags } from "../flags.js";
import { readRegister, writeRegister } from "../general-registers.js";
import { Flag, STATUS_FLAGS } from "../registers.js";
import { gpr, Register, rflags } from "../state.js";

function flagInstruction(
  mnemonic: string,
  reference: string,
  pattern: string,
  execute: (stage: Stage) => void,
): Instruction {
  return defineEncoded({
    mnemonic,
    reference,
    pattern,
    formFields: [],
    operands: {},
    text: (fields, pc) => assembly(fields, pc, mnemonic.toLowerCase()),
    execute: (_form, _operands, stage) => execute(stage),
  });
}

const AH = elementOf(gpr, Register.rax).offset + 1;
/** What LAHF and SAHF move. */
const IN_AH = STATUS_FLAGS & ~Flag.OF;

function loadFlags(stage: Stage): void {
  const image = stage.and(readRflags(stage), stage.constant32(IN_AH | Flag.fixed));
  writeRegister(stage, 0, stage.constant32(AH), image);
}

function storeFlags(stage: Stage): void {
  const kept = stage.and(readRflags(stage), stage.constant32(Flag.OF));
  const moved = stage.and(readRegister(stage, 0, stage.constant32(AH)), stage.constant32(IN_AH));
  writeRflags(stage, stage.or(kept, moved as typeof kept), stage.constant32(STATUS_FLAGS));
}

export const flagInstructions: readonly Instruction[] = [
  flagInstruction("CMC", "3.3 CMC", "F5", (stage) => setCarryFlag(stage, stage.isZero(carryFlag(stage)))),
  flagInstruction("CLC", "3.3 CLC", "F8", (stage) => setCarryFlag(stage, stage.constant32(0))),
  flagInstruction("STC", "4.3 STC", "F9", (stage) => setCarryFlag(stage, stage.constant32(1))),
  flagInstruction("CLD", "3.3 CLD", "FC", (stage) =>
    stage.write(rflags, stage.and(stage.read(rflags), stage.constant64(~Flag.DF))),
  ),
  flagInstruction("STD", "4.3 STD", "FD", (stage) =>
    stage.write(rflags, stage.or(stage.read(rflags), stage.constant64(Flag.DF))),
  ),
  flagInstruction("SAHF", "4.3 SAHF", "9E", storeFlags),
  flagInstruction("LAHF", "3.3 LAHF", "9F", loadFlags),
];
