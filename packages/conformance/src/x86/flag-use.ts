/** Which status flags a definition reads, and which it writes in any case, as its program says. */
import { type DecodedFields, vcpuState } from "@hvjournal/cpu-x86";
import { blocksOf, type Instruction, type ProgramBlock, programOf } from "@hvjournal/engine";

/** `Flag` by the offset of the field that holds it. */
const FLAGS: ReadonlyMap<number, number> = new Map([
  [vcpuState.flagCarry.offset, 0x001],
  [vcpuState.flagParity.offset, 0x004],
  [vcpuState.flagAdjust.offset, 0x010],
  [vcpuState.flagZero.offset, 0x040],
  [vcpuState.flagSign.offset, 0x080],
  [vcpuState.flagOverflow.offset, 0x800],
]);

interface FlagUse {
  readonly read: number;
  readonly written: number;
}

const known = new Map<Instruction, Map<string, FlagUse>>();

export function flagsRead(instruction: Instruction, fields: DecodedFields): number {
  return useOf(instruction, fields).read;
}

export function flagsWritten(instruction: Instruction, fields: DecodedFields): number {
  return useOf(instruction, fields).written;
}

function useOf(instruction: Instruction, fields: DecodedFields): FlagUse {
  const form: Record<string, number> = {};
  for (const name of instruction.formFields) form[name] = fields[name as keyof DecodedFields];
  const key = Object.values(form).join();
  const forms = known.get(instruction) ?? new Map<string, FlagUse>();
  known.set(instruction, forms);
  const use = forms.get(key) ?? useOfBlock(programOf(instruction, form).root);
  forms.set(key, use);
  return use;
}

/** What an inner block writes may not be written. */
function useOfBlock(block: ProgramBlock): FlagUse {
  let read = 0;
  let written = 0;
  for (const item of block.items) {
    if (item.type === "value" && item.op.kind === "readState") read |= FLAGS.get(item.op.offset) ?? 0;
    if (item.type === "writeState") written |= FLAGS.get(item.offset) ?? 0;
    for (const inner of blocksOf(item)) read |= useOfBlock(inner).read;
  }
  return { read, written };
}
