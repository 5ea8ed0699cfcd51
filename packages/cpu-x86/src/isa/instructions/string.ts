/**
 * String instructions. References: sections of Intel SDM volume 2.
 *
 * One iteration is one unit: it is checked, done and retired as a whole and leaves rSI, rDI and rCX exact, so that a
 * fault, an interrupt or a stop comes between iterations. A repetition of none is one unit too.
 */
import type { Instruction, Stage, Value } from "@hvjournal/engine";
import { addressText, assembly, registerName, repeatText } from "../assembly-text.js";
import { defineEncoded } from "../encoding.js";
import { NO_REGISTER, RepeatPrefix } from "../fields.js";
import { bytesOf, loadOperand, sizeOf, storeOperand } from "../general-registers.js";
import { memoryOperand } from "../operands.js";
import { accessSegment, segmentOperand } from "../segment-access.js";
import { Register, repeating, Segment } from "../state.js";
import { indexValue, type StringForm, stringStep, writeIndex } from "../string-index.js";

const POINTERS = ["BYTE", "WORD", "DWORD", "QWORD"] as const;

function moveElement(stage: Stage, form: StringForm, sourceSegment: Value<32>): void {
  const size = sizeOf(form);
  const source = indexValue(stage, form, Register.rsi);
  const destination = indexValue(stage, form, Register.rdi);
  const from = accessSegment(stage, sourceSegment, source, bytesOf(size), "read");
  const to = accessSegment(stage, segmentOperand(stage, Segment.es), destination, bytesOf(size), "write");
  const distance = stringStep(stage, size);
  storeOperand(stage, size, to, loadOperand(stage, size, from));
  writeIndex(stage, form, Register.rsi, stage.add(source, distance));
  writeIndex(stage, form, Register.rdi, stage.add(destination, distance));
}

function moveRepeated(stage: Stage, form: StringForm, sourceSegment: Value<32>): void {
  const count = indexValue(stage, form, Register.rcx);
  stage.if(stage.compare("ne", count, stage.constant64(0)), () => {
    moveElement(stage, form, sourceSegment);
    const left = stage.sub(count, stage.constant64(1));
    writeIndex(stage, form, Register.rcx, left);
    const again = stage.compare("ne", left, stage.constant64(0));
    stage.write(repeating, again);
    stage.if(again, () => stage.jump(stage.pc()));
  });
}

function movs(byte: boolean): Instruction {
  return defineEncoded({
    mnemonic: byte ? "MOVSB" : "MOVS",
    reference: "4.3 MOVS/MOVSB/MOVSW/MOVSD/MOVSQ",
    pattern: byte ? "A4 byte" : "A5",
    formFields: ["size", "addressSize", "rep"],
    operands: { segment: memoryOperand.segment },
    text(fields, pc) {
      const at = (register: number): string => registerName(register, fields.addressSize);
      const source = addressText({ ...fields, base: Register.rsi, index: NO_REGISTER });
      const pointer = POINTERS[fields.size] ?? "";
      return assembly(
        fields,
        pc,
        `${repeatText(fields)}movs`,
        `${pointer} PTR es:[${at(Register.rdi)}]`,
        `${pointer} PTR ${source.startsWith("[") ? "ds:" : ""}${source}`,
      );
    },
    execute(form, { segment }, stage) {
      if (form.rep === RepeatPrefix.none) moveElement(stage, form, segment);
      else moveRepeated(stage, form, segment);
    },
  });
}

export const stringInstructions: readonly Instruction[] = [movs(true), movs(false)];
