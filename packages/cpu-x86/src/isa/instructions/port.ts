/**
 * IN, OUT and their string forms. References: sections of Intel SDM volume 2; permission: volume 1, 19.5.
 *
 * The instruction leaves once it has been checked, and starts again when the access is done (`portComplete`), as it does
 * with a device in memory. Each element of a string instruction is an access, and a unit.
 */
import type { Instruction, Stage, Value } from "@hvjournal/engine";
import { assembly, registerName, repeatText } from "../assembly-text.js";
import { notePortAccess } from "../breakpoints.js";
import { defineEncoded } from "../encoding.js";
import { raiseException, Vector } from "../exceptions.js";
import { BACKDOOR_PORTS, ExitCode } from "../exit-code.js";
import type { DecodedFields } from "../fields.js";
import { RepeatPrefix } from "../fields.js";
import {
  bytesOf,
  generalRegister,
  loadOperand,
  readRegister,
  sizeOf,
  storeOperand,
  writeRegister,
} from "../general-registers.js";
import { immediate, memoryOperand } from "../operands.js";
import { Flag, IOPL_SHIFT } from "../registers.js";
import { accessSegment, segmentOperand } from "../segment-access.js";
import { segmentFields } from "../segments.js";
import { cpl, portComplete, portData, Register, repeating, rflags, Segment, zeroSource } from "../state.js";
import { indexValue, type StringForm, stringStep, writeIndex } from "../string-index.js";

/** Offset in a TSS of the word that says where its I/O permission bitmap begins. */
const TSS_IO_MAP_BASE = 0x66;

/** 16 or 32 bits: REX.W changes nothing. */
function portSize(form: { readonly size: number }): 0 | 1 | 2 {
  return Math.min(2, sizeOf(form)) as 0 | 1 | 2;
}

/**
 * #GP(0) where neither IOPL nor the TSS lets the current level use these ports. An access that has been done was permitted.
 * `leave`: of the hypervisor's doing, see `ExitCode.backdoorRead`.
 */
function checkPermission(stage: Stage, port: Value<32>, bytes: number, leave: () => void): void {
  const flags = stage.truncate32(stage.read(rflags));
  const beyond = stage.compare("gt_u", stage.read(cpl), stage.extractBits(flags, IOPL_SHIFT, 2));
  const virtual = stage.extractBits(flags, Math.log2(Flag.VM), 1);
  const refuse = (): void => {
    const isBackdoor = Object.values(BACKDOOR_PORTS)
      .map((each) => stage.compare("eq", port, stage.constant32(each)))
      .reduce((any, one) => stage.or(any, one));
    stage.if(isBackdoor, leave);
    raiseException(stage, Vector.generalProtection);
  };
  stage.if(stage.and(stage.or(beyond, virtual), isIncomplete(stage)), () => checkBitmap(stage, port, bytes, refuse));
}

function checkBitmap(stage: Stage, port: Value<32>, bytes: number, refuse: () => void): void {
  const tr = segmentFields(Segment.tr);
  const base = stage.read(tr.base);
  const limit = stage.read(tr.limit);
  const readWord = (offset: Value<32>): Value<32> => {
    stage.if(stage.compare("gt_u", stage.add(offset, stage.constant32(1)), limit), refuse);
    const place = stage.add(base, stage.zeroExtend64(offset));
    const options = { privileged: true, faultDetail: stage.constant32(zeroSource.offset) };
    return stage.load(32, stage.access(place, 2, "read", options), 0, 16);
  };
  const map = readWord(stage.constant32(TSS_IO_MAP_BASE));
  const bits = readWord(stage.add(map, stage.shiftRight(port, 3)));
  const wanted = stage.binary("shl", stage.constant32((1 << bytes) - 1), stage.and(port, stage.constant32(7)));
  stage.if(stage.and(bits, wanted), refuse);
}

function isIncomplete(stage: Stage): Value<32> {
  return stage.isZero(stage.read(portComplete));
}

/** Leaves for a read that is yet to be done; else gives what it read, for `endAccess` to clear. */
function readPort(stage: Stage, port: Value<32>, bytes: number): Value<32> {
  stage.if(isIncomplete(stage), () => leaveToRead(stage, ExitCode.portRead, port, bytes));
  return stage.read(portData);
}

function leaveToRead(stage: Stage, code: number, port: Value<32>, bytes: number): void {
  stage.exitBefore(code, stage.nextPc(), stage.zeroExtend64(port), stage.constant64(bytes));
}

/** May the current level read the port? */
function checkRead(stage: Stage, port: Value<32>, bytes: number): void {
  checkPermission(stage, port, bytes, () => leaveToRead(stage, ExitCode.backdoorRead, port, bytes));
}

interface PortWrite {
  readonly port: Value<32>;
  readonly bytes: number;
  readonly data: Value<32>;
}

function leaveToWrite(stage: Stage, code: number, { port, bytes, data }: PortWrite): void {
  const words = [stage.zeroExtend64(port), stage.constant64(bytes), stage.zeroExtend64(data)];
  stage.exitBefore(code, stage.nextPc(), ...words);
}

function writePort(stage: Stage, port: Value<32>, bytes: number, data: Value<32>): void {
  stage.if(isIncomplete(stage), () => leaveToWrite(stage, ExitCode.portWrite, { port, bytes, data }));
}

function endAccess(stage: Stage, port: Value<32>, bytes: number): void {
  notePortAccess(stage, port, bytes);
  stage.write(portComplete, stage.constant32(0));
  stage.write(portData, stage.constant32(0));
}

const RAX = generalRegister(Register.rax).offset;

function portOf(stage: Stage, fixed: Value<32> | undefined): Value<32> {
  if (fixed !== undefined) return stage.and(fixed, stage.constant32(0xff));
  return stage.zeroExtendFrom(16, stage.truncate32(stage.read(generalRegister(Register.rdx))));
}

function portText({ immediate: value }: DecodedFields, isFixed: boolean): string {
  return isFixed ? `0x${(value & 0xff).toString(16)}` : "dx";
}

function input(pattern: string, isFixed: boolean): Instruction {
  return defineEncoded({
    mnemonic: `IN (${pattern})`,
    reference: "3.3 IN",
    pattern,
    formFields: ["size"],
    operands: { fixed: immediate },
    text: (fields, pc) => assembly(fields, pc, "in", registerName(0, portSize(fields)), portText(fields, isFixed)),
    execute(form, { fixed }, stage) {
      const size = portSize(form);
      const port = portOf(stage, isFixed ? fixed : undefined);
      checkRead(stage, port, bytesOf(size));
      const data = readPort(stage, port, bytesOf(size));
      endAccess(stage, port, bytesOf(size));
      writeRegister(stage, size, stage.constant32(RAX), data);
      stage.endBlock("a device has answered");
    },
  });
}

function output(pattern: string, isFixed: boolean): Instruction {
  return defineEncoded({
    mnemonic: `OUT (${pattern})`,
    reference: "4.3 OUT",
    pattern,
    formFields: ["size"],
    operands: { fixed: immediate },
    text: (fields, pc) => assembly(fields, pc, "out", portText(fields, isFixed), registerName(0, portSize(fields))),
    execute(form, { fixed }, stage) {
      const size = portSize(form);
      const port = portOf(stage, isFixed ? fixed : undefined);
      const data = readRegister(stage, size, stage.constant32(RAX)) as Value<32>;
      checkPermission(stage, port, bytesOf(size), () =>
        leaveToWrite(stage, ExitCode.backdoorWrite, { port, bytes: bytesOf(size), data }),
      );
      writePort(stage, port, bytesOf(size), data);
      endAccess(stage, port, bytesOf(size));
      stage.endBlock("a device has been written");
    },
  });
}

/** Repeats `element` as REP says; it gives what is to be written once it has been checked. */
function repeated(stage: Stage, form: StringForm & { readonly rep: number }, element: () => () => void): void {
  if (form.rep === RepeatPrefix.none) {
    element()();
    return stage.endBlock("a device has been accessed");
  }
  const count = indexValue(stage, form, Register.rcx);
  stage.if(stage.compare("ne", count, stage.constant64(0)), () => {
    element()();
    const left = stage.sub(count, stage.constant64(1));
    writeIndex(stage, form, Register.rcx, left);
    const again = stage.compare("ne", left, stage.constant64(0));
    stage.write(repeating, again);
    stage.if(again, () => stage.jump(stage.pc(), { contextChanged: true }));
  });
  stage.endBlock("a device has been accessed");
}

function inputString(pattern: string): Instruction {
  return defineEncoded({
    mnemonic: `INS (${pattern})`,
    reference: "3.3 INS/INSB/INSW/INSD",
    pattern,
    formFields: ["size", "addressSize", "rep"],
    operands: {},
    text: (fields, pc) =>
      assembly(fields, pc, `${repeatText(fields)}ins`, elementText(fields, Register.rdi, "es"), "dx"),
    execute(form, _operands, stage) {
      const size = portSize(form);
      repeated(stage, form, () => {
        const port = portOf(stage, undefined);
        checkPermission(stage, port, bytesOf(size), () => raiseException(stage, Vector.generalProtection));
        const destination = indexValue(stage, form, Register.rdi);
        const to = accessSegment(stage, segmentOperand(stage, Segment.es), destination, bytesOf(size), "write");
        const data = readPort(stage, port, bytesOf(size));
        return () => {
          endAccess(stage, port, bytesOf(size));
          storeOperand(stage, size, to, data);
          writeIndex(stage, form, Register.rdi, stage.add(destination, stringStep(stage, size)));
        };
      });
    },
  });
}

function outputString(pattern: string): Instruction {
  return defineEncoded({
    mnemonic: `OUTS (${pattern})`,
    reference: "4.3 OUTS/OUTSB/OUTSW/OUTSD",
    pattern,
    formFields: ["size", "addressSize", "rep"],
    operands: { segment: memoryOperand.segment },
    text: (fields, pc) =>
      assembly(fields, pc, `${repeatText(fields)}outs`, "dx", elementText(fields, Register.rsi, "ds")),
    execute(form, { segment }, stage) {
      const size = portSize(form);
      repeated(stage, form, () => {
        const port = portOf(stage, undefined);
        checkPermission(stage, port, bytesOf(size), () => raiseException(stage, Vector.generalProtection));
        const source = indexValue(stage, form, Register.rsi);
        const from = accessSegment(stage, segment, source, bytesOf(size), "read");
        writePort(stage, port, bytesOf(size), loadOperand(stage, size, from) as Value<32>);
        return () => {
          endAccess(stage, port, bytesOf(size));
          writeIndex(stage, form, Register.rsi, stage.add(source, stringStep(stage, size)));
        };
      });
    },
  });
}

function elementText(fields: DecodedFields, register: number, segment: string): string {
  const pointer = ["BYTE", "WORD", "DWORD"][portSize(fields)] ?? "";
  return `${pointer} PTR ${segment}:[${registerName(register, fields.addressSize)}]`;
}

export const portInstructions: readonly Instruction[] = [
  input("E4 ib byte", true),
  input("E5 ib", true),
  input("EC byte", false),
  input("ED", false),
  output("E6 ib byte", true),
  output("E7 ib", true),
  output("EE byte", false),
  output("EF", false),
  inputString("6C byte"),
  inputString("6D"),
  outputString("6E byte"),
  outputString("6F"),
];
