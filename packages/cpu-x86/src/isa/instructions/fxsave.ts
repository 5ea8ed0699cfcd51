/** FXSAVE: all 512 bytes are checked before the first is written. Intel SDM volume 2, 3.3 FXSAVE; layout volume 1, 10.5.1. */
import { elementOf, type Instruction, type Stage, type Value } from "@hvjournal/engine";
import { addressText, assembly } from "../assembly-text.js";
import { accessMemory } from "../effective-address.js";
import { defineEncoded } from "../encoding.js";
import { readFloat, requireFloatUnit, stackRegister } from "../float-unit.js";
import { memoryOperand } from "../operands.js";
import { fcw, fdp, fip, fop, fpuTags, fsw, mxcsr, xmm } from "../state.js";

/** Offsets in the save area. */
const Area = { fcw: 0, fsw: 2, ftw: 4, fop: 6, fip: 8, fdp: 16, mxcsr: 24, mxcsrMask: 28, st: 32, xmm: 160 } as const;
const AREA_BYTES = 512;
const SLOT_BYTES = 16;
const FOP_MASK = 0x7ff;
/** Bits of MXCSR that may be set: all of the low 16, DAZ too. */
const MXCSR_MASK = 0xffff;

/** Instruction and data pointers have 64 bits with REX.W; else 32, and the selectors behind them are saved as 0. */
function savePointer(stage: Stage, store: (offset: number, value: Value<64>) => void, wide: boolean): void {
  const save = (offset: number, pointer: Value<64>): void =>
    store(offset, wide ? pointer : stage.zeroExtendFrom(32, pointer));
  save(Area.fip, stage.read(fip));
  save(Area.fdp, stage.read(fdp));
}

function fxsave(wide: boolean): Instruction {
  return defineEncoded({
    mnemonic: wide ? "FXSAVE64" : "FXSAVE",
    reference: "3.3 FXSAVE",
    pattern: `np w${wide ? 1 : 0} 0F AE /0 mem`,
    formFields: ["mode"],
    operands: memoryOperand,
    text: (fields, pc) => assembly(fields, pc, wide ? "fxsave64" : "fxsave", addressText(fields)),
    execute({ mode }, operands, stage) {
      requireFloatUnit(stage);
      const area = accessMemory(stage, operands, AREA_BYTES, "write", 16);
      stage.store(area, Area.fcw, 16, stage.read(fcw));
      stage.store(area, Area.fsw, 16, stage.read(fsw));
      stage.store(area, Area.ftw, 16, stage.read(fpuTags));
      stage.store(area, Area.fop, 16, stage.and(stage.read(fop), stage.constant32(FOP_MASK)));
      savePointer(stage, (offset, value) => stage.store(area, offset, 64, value), wide);
      stage.store(area, Area.mxcsr, 32, stage.read(mxcsr));
      stage.store(area, Area.mxcsrMask, 32, stage.constant32(MXCSR_MASK));
      for (let index = 0; index < 8; index++) {
        const { low, high } = readFloat(stage, stackRegister(stage, stage.constant32(index)));
        stage.store(area, Area.st + SLOT_BYTES * index, 64, low);
        stage.store(area, Area.st + SLOT_BYTES * index + 8, 64, high);
      }
      const registers = mode === 0 ? 16 : 8;
      for (let index = 0; index < registers; index++)
        stage.store(area, Area.xmm + SLOT_BYTES * index, 128, stage.read(elementOf(xmm, index)));
    },
  });
}

export const stateSavingInstructions: readonly Instruction[] = [fxsave(false), fxsave(true)];
