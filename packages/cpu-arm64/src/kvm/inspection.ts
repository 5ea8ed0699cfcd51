/** Looking at a stopped guest: address translation, disassembly, the chain of callers. None of it changes anything. */
import { AccessKind } from "@hvjournal/engine";
import { contextWord } from "../isa/state.js";
import type { VcpuStates } from "./vcpu-state.js";

const PRIVILEGED = 1;
const INSTRUCTION_BYTES = 4;
const FRAME_RECORD_BYTES = 16;
const FRAME_POINTER = 29;
const LINK_REGISTER = 30;
const RET = 0xd65f_03c0;
/** A function longer than this is not searched for its start. */
const FUNCTION_INSTRUCTIONS_MAX = 4096;
const U64 = 0xffff_ffff_ffff_ffffn;

export interface DisassembledInstruction {
  readonly address: bigint;
  readonly bytes: Uint8Array;
  readonly text: string;
}

/** Guest-virtual to guest-physical for a privileged read. undefined: not mapped. */
export function translateVirtual(states: VcpuStates, vcpu: number, virtual: bigint): number | undefined {
  return states.with(vcpu, () => translateCurrent(states, virtual));
}

function translateCurrent(states: VcpuStates, virtual: bigint): number | undefined {
  const { engine } = states;
  return engine.translate(virtual & U64, AccessKind.read, PRIVILEGED) === 0 ? engine.translatedPhysical : undefined;
}

/** `bytes` must not cross a page. undefined where there is no RAM. */
function readCurrent(states: VcpuStates, virtual: bigint, bytes: number): DataView | undefined {
  const { memory } = states.engine;
  const physical = translateCurrent(states, virtual);
  if (physical === undefined || physical < memory.base || physical + bytes > memory.base + memory.bytes)
    return undefined;
  const found = memory.read(physical, bytes);
  return new DataView(found.buffer, found.byteOffset, found.byteLength);
}

/** The instruction at an address of the vCPU that is selected. */
export function instructionAt(states: VcpuStates, virtual: bigint): number | undefined {
  return readCurrent(states, virtual, INSTRUCTION_BYTES)?.getUint32(0, true);
}

/** Ends early at an address without memory. */
export function disassemble(
  states: VcpuStates,
  vcpu: number,
  virtual: bigint,
  count: number,
): DisassembledInstruction[] {
  return states.with(vcpu, () => {
    const context = states.engine.readWord(contextWord.offset);
    const lines: DisassembledInstruction[] = [];
    for (let index = 0; index < count; index++) {
      const address = (virtual + BigInt(index * INSTRUCTION_BYTES)) & U64;
      const found = readCurrent(states, address, INSTRUCTION_BYTES);
      if (found === undefined) break;
      const encoding = found.getUint32(0, true);
      const decoded = states.engine.decode(encoding, context);
      const text =
        decoded?.instruction.text(decoded.fields, address) ?? `.inst 0x${encoding.toString(16).padStart(8, "0")}`;
      lines.push({ address, bytes: new Uint8Array(found.buffer, found.byteOffset, INSTRUCTION_BYTES), text });
    }
    return lines;
  });
}

/**
 * Return addresses by the frame records that x29 chains (AAPCS64 6.4.6). A function that has not made its record
 * yet, or never does, returns to x30: so it is when the call before x30 leads to it.
 */
export function backtrace(states: VcpuStates, vcpu: number, depthMax: number): bigint[] {
  return states.with(vcpu, () => {
    const callers: bigint[] = [];
    const link = states.readX(LINK_REGISTER);
    let frame = states.readX(FRAME_POINTER);
    const first = readCurrent(states, frame, FRAME_RECORD_BYTES)?.getBigUint64(8, true);
    if (link !== first && callLeadsHere(states, link)) callers.push(link);
    while (callers.length < depthMax && frame !== 0n && (frame & 7n) === 0n) {
      const record = readCurrent(states, frame, FRAME_RECORD_BYTES);
      if (record === undefined) break;
      const next = record.getBigUint64(0, true);
      const caller = record.getBigUint64(8, true);
      if (caller === 0n) break;
      callers.push(caller);
      // Stacks grow down: a record further out lies higher, unless the stack was switched, which ends the chain.
      if (next <= frame) break;
      frame = next;
    }
    return callers.slice(0, depthMax);
  });
}

/** Whether the BL before `link` calls the function that pc is in. */
function callLeadsHere(states: VcpuStates, link: bigint): boolean {
  const call = (link - BigInt(INSTRUCTION_BYTES)) & U64;
  const encoding = instructionAt(states, call);
  if (encoding === undefined || encoding >>> 26 !== 0b100101) return false;
  const target = (call + BigInt.asIntN(28, BigInt(encoding & 0x3ff_ffff) << 2n)) & U64;
  const distance = (states.pc - target) / BigInt(INSTRUCTION_BYTES);
  if (distance < 0n || distance > FUNCTION_INSTRUCTIONS_MAX) return false;
  for (let address = target; address < states.pc; address += BigInt(INSTRUCTION_BYTES))
    if (instructionAt(states, address) === RET) return false;
  return true;
}
