/** PUSHF, POPF, CLI, STI, CLAC, STAC. References: sections of Intel SDM volume 2. Virtual interrupts (CR4.VME, PVI) are not offered. */
import type { Instruction, Stage, Value } from "@hvjournal/engine";
import { assembly } from "../assembly-text.js";
import { contextChanged, privilegeChanged } from "../context.js";
import { accessStack, stackPointer, writeStackPointer } from "../effective-address.js";
import { defineEncoded } from "../encoding.js";
import { raiseIf, Vector } from "../exceptions.js";
import { readRflags, writeRflags } from "../flags.js";
import { bytesOf, sizeOf } from "../general-registers.js";
import { endOneShot, isStepping } from "../one-shot.js";
import { Flag, IOPL_SHIFT, STATUS_FLAGS } from "../registers.js";
import { cpl, InterruptShadow, rflags } from "../state.js";
import { requireVirtualPrivilege } from "../virtual-mode.js";

const SUFFIXES = ["", "w", "", ""] as const;

const pushf = defineEncoded({
  mnemonic: "PUSHF/PUSHFD/PUSHFQ",
  reference: "4.3 PUSHF/PUSHFD/PUSHFQ",
  pattern: "9C d64",
  formFields: ["size", "stackSize"],
  operands: {},
  text: (fields, pc) => assembly(fields, pc, `pushf${SUFFIXES[fields.size] ?? ""}`),
  execute(form, _operands, stage) {
    requireVirtualPrivilege(stage);
    const bytes = bytesOf(sizeOf(form));
    const pointer = stackPointer(stage, form, -bytes);
    const handle = accessStack(stage, pointer, bytes, "write");
    const image = stage.and(readRflags(stage), stage.constant32(~(Flag.VM | Flag.RF)));
    const bits = (8 * bytes) as 16 | 32 | 64;
    stage.store(handle, 0, bits, bits === 64 ? stage.zeroExtend64(image) : image);
    writeStackPointer(stage, form, pointer);
  },
});

/** What the current level may write, of an image of so many bytes. */
function writableFlags(stage: Stage, bytes: number): Value<32> {
  const always = STATUS_FLAGS | Flag.TF | Flag.DF | Flag.NT | Flag.AC | Flag.ID;
  const level = stage.read(cpl);
  const ioPrivilege = stage.extractBits(stage.truncate32(stage.read(rflags)), IOPL_SHIFT, 2);
  const none = stage.constant32(0);
  const mayLevel = stage.select(level, none, stage.constant32(Flag.IOPL));
  const mayInterrupt = stage.select(stage.compare("le_u", level, ioPrivilege), stage.constant32(Flag.IF), none);
  const all = stage.or(stage.constant32(always), stage.or(mayLevel, mayInterrupt));
  return bytes === 2 ? stage.zeroExtendFrom(16, all) : all;
}

/** RF becomes 0. */
const popf = defineEncoded({
  mnemonic: "POPF/POPFD/POPFQ",
  reference: "4.3 POPF/POPFD/POPFQ",
  pattern: "9D d64",
  formFields: ["size", "stackSize"],
  operands: {},
  text: (fields, pc) => assembly(fields, pc, `popf${SUFFIXES[fields.size] ?? ""}`),
  execute(form, _operands, stage) {
    requireVirtualPrivilege(stage);
    const bytes = bytesOf(sizeOf(form));
    const handle = accessStack(stage, stackPointer(stage, form, 0), bytes, "read");
    const image = stage.load(32, handle, 0, bytes === 2 ? 16 : 32);
    const mask = writableFlags(stage, bytes);
    const before = stage.truncate32(stage.read(rflags));
    const pointer = stackPointer(stage, form, bytes);
    writeRflags(stage, image, mask);
    writeStackPointer(stage, form, pointer);
    const changed = stage.xor(before, stage.truncate32(stage.read(rflags)));
    stage.if(stage.and(changed, stage.constant32(Flag.TF | Flag.AC)), () => {
      privilegeChanged(stage);
      contextChanged(stage);
    });
    stage.endBlock("flags are popped");
  },
});

function requireIoPrivilege(stage: Stage): void {
  const ioPrivilege = stage.extractBits(stage.truncate32(stage.read(rflags)), IOPL_SHIFT, 2);
  raiseIf(stage, stage.compare("gt_u", stage.read(cpl), ioPrivilege), Vector.generalProtection);
}

const cli = defineEncoded({
  mnemonic: "CLI",
  reference: "3.3 CLI",
  pattern: "FA",
  formFields: [],
  operands: {},
  text: (fields, pc) => assembly(fields, pc, "cli"),
  execute(_form, _operands, stage) {
    requireIoPrivilege(stage);
    stage.write(rflags, stage.and(stage.read(rflags), stage.constant64(~BigInt(Flag.IF))));
  },
});

/** Interrupts stay off until the end of the next instruction, if they were off. */
const sti = defineEncoded({
  mnemonic: "STI",
  reference: "4.3 STI",
  pattern: "FB",
  formFields: [],
  operands: {},
  text: (fields, pc) => assembly(fields, pc, "sti"),
  execute(_form, _operands, stage) {
    requireIoPrivilege(stage);
    const stepping = stage.variable(isStepping(stage));
    const flags = stage.truncate32(stage.read(rflags));
    const wasOff = stage.isZero(stage.and(flags, stage.constant32(Flag.IF)));
    const shadow = stage.select(wasOff, stage.constant32(InterruptShadow.sti), stage.constant32(InterruptShadow.none));
    stage.write(rflags, stage.or(stage.read(rflags), stage.constant64(Flag.IF)));
    endOneShot(stage, shadow, stage.get(stepping));
    stage.endBlock("interrupts enabled");
  },
});

/** EFLAGS.AC lets the system reach data of users: with CR4.SMAP it may not otherwise. #UD outside the system. */
function setAlignmentCheck(mnemonic: "CLAC" | "STAC", rm: number, isSet: boolean): Instruction {
  return defineEncoded({
    mnemonic,
    reference: `3.3 CLAC, 4.3 STAC`,
    pattern: "np 0F 01 /1 reg",
    where: (fields) => (fields.rm & 7) === rm,
    formFields: [],
    operands: {},
    text: (fields, pc) => assembly(fields, pc, mnemonic.toLowerCase()),
    execute(_form, _operands, stage) {
      raiseIf(stage, stage.read(cpl), Vector.invalidOpcode);
      const flags = stage.read(rflags);
      const changed = isSet
        ? stage.or(flags, stage.constant64(Flag.AC))
        : stage.and(flags, stage.constant64(~BigInt(Flag.AC)));
      stage.write(rflags, changed);
      privilegeChanged(stage);
    },
  });
}

export const flagsImageInstructions: readonly Instruction[] = [
  pushf,
  popf,
  cli,
  setAlignmentCheck("CLAC", 2, false),
  setAlignmentCheck("STAC", 3, true),
];

/** It starts a shadow of its own: `oneShot` leaves it as it is. */
export const interruptFlagInstructions: readonly Instruction[] = [sti];
