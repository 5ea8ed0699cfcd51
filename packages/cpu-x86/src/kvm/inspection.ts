/** Looking at a stopped guest: address translation, disassembly, the chain of callers. None of it changes anything. */
import { AccessKind } from "@hvjournal/engine";
import { INSTRUCTION_BYTES_MAX } from "../isa/decoder.js";
import { contextWord, Register } from "../isa/state.js";
import { Privilege } from "../isa/translation.js";
import type { VcpuStates } from "./vcpu-state.js";

const PAGE_BYTES = 4096n;
const U64 = 0xffff_ffff_ffff_ffffn;

export interface DisassembledInstruction {
  readonly address: bigint;
  readonly bytes: Uint8Array;
  readonly text: string;
}

/** Linear to guest-physical, whoever may read there. undefined: not mapped. */
export function translateVirtual(states: VcpuStates, vcpu: number, virtual: bigint): number | undefined {
  return states.with(vcpu, () => translateCurrent(states, virtual));
}

function translateCurrent(states: VcpuStates, virtual: bigint): number | undefined {
  const { engine } = states;
  const code = engine.translate(virtual & U64, AccessKind.read, Privilege.systemWithUserData);
  return code === 0 ? engine.translatedPhysical : undefined;
}

/** As many of `bytes` as there is memory, over two pages at most, of the vCPU that is selected. */
export function readCurrent(states: VcpuStates, virtual: bigint, bytes: number): Uint8Array {
  const inPage = Number(PAGE_BYTES - (virtual & (PAGE_BYTES - 1n)));
  const first = readInPage(states, virtual, Math.min(bytes, inPage));
  if (bytes <= inPage || first.length < inPage) return first;
  const second = readInPage(states, (virtual + BigInt(inPage)) & U64, bytes - inPage);
  const both = new Uint8Array(first.length + second.length);
  both.set(first);
  both.set(second, first.length);
  return both;
}

function readInPage(states: VcpuStates, virtual: bigint, bytes: number): Uint8Array {
  const { memory } = states.engine;
  const physical = translateCurrent(states, virtual);
  if (physical === undefined || physical < memory.base || physical + bytes > memory.base + memory.bytes)
    return new Uint8Array(0);
  return memory.read(physical, bytes);
}

/** Ends early at an address without memory. */
export function disassemble(
  states: VcpuStates,
  vcpu: number,
  virtual: bigint,
  count: number,
): DisassembledInstruction[] {
  return states.with(vcpu, () => {
    const lines: DisassembledInstruction[] = [];
    let address = virtual;
    for (let index = 0; index < count; index++) {
      const line = disassembleOne(states, address);
      if (line === undefined) break;
      lines.push(line);
      address = (address + BigInt(line.bytes.length)) & U64;
    }
    return lines;
  });
}

/** Of the vCPU that is selected. */
function disassembleOne(states: VcpuStates, address: bigint): DisassembledInstruction | undefined {
  const { engine } = states;
  const bytes = readCurrent(states, address, INSTRUCTION_BYTES_MAX);
  if (bytes.length === 0) return undefined;
  const decoded = engine.decodeBytes(bytes, engine.readWord(contextWord.offset));
  if (decoded === undefined) return { address, bytes: bytes.slice(0, 1), text: "(bad)" };
  return {
    address,
    bytes: bytes.slice(0, decoded.length),
    text: decoded.instruction.text(decoded.fields, address),
  };
}

/**
 * Return addresses by the frames that RBP chains (System V ABI, AMD64 supplement, 3.2.2), as far as they lie in mapped memory.
 */
export function backtrace(states: VcpuStates, vcpu: number, depthMax: number): bigint[] {
  return states.with(vcpu, () => {
    const wordBytes = states.isLongMode ? 8 : 4;
    const callers: bigint[] = [];
    let frame = states.readGeneral(Register.rbp);
    while (callers.length < depthMax && frame !== 0n && frame % BigInt(wordBytes) === 0n) {
      const record = readCurrent(states, frame, 2 * wordBytes);
      if (record.length < 2 * wordBytes) break;
      const next = wordAt(record, 0, wordBytes);
      const caller = wordAt(record, wordBytes, wordBytes);
      // 0 ends a chain; and code without frames has anything in RBP, and so anywhere behind it.
      if (caller === 0n || translateCurrent(states, caller) === undefined) break;
      callers.push(caller);
      // Stacks grow down: a record further out lies higher, unless the stack was switched, which ends the chain.
      if (next <= frame) break;
      frame = next;
    }
    return callers;
  });
}

function wordAt(bytes: Uint8Array, at: number, wordBytes: number): bigint {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  return wordBytes === 8 ? view.getBigUint64(at, true) : BigInt(view.getUint32(at, true));
}
