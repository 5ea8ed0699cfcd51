/**
 * The oracle: runs cases under QEMU's user mode emulation of a Cortex-A57.
 *
 * All cases go into one static ELF program, written here byte by byte. For each case it copies the case's block
 * to `DATA_ADDRESS`, loads every register from it, jumps into the case's code, and behind it (or in the handler of
 * the signal that ended it) saves every register and writes the block to standard output.
 */
import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import {
  addImmediate,
  addRegister,
  branch,
  branchIfNotZero,
  branchToRegister,
  branchWithLink,
  loadPairPost,
  loadQ,
  loadX,
  moveAddress,
  moveImmediate16,
  readSystemRegister,
  RET,
  SP,
  storePairPost,
  storeQ,
  storeX,
  subtractRegister,
  subtractWithFlags,
  SVC_0,
  SystemRegister,
  writeSystemRegister,
} from "./a64-assembler.js";
import { BLOCK_BYTES, decodeBlock, encodeBlock, STATE_ADDRESS, StateOffset } from "./state-block.js";
import {
  CASE_STRIDE,
  CASE_WORDS_MAX,
  CODE_ADDRESS,
  codeAddress,
  DATA_ADDRESS,
  DATA_BYTES,
  type UserCase,
  type UserResult,
  type UserTrap,
} from "./user-case.js";

const QEMU = "qemu-aarch64";
const TIMEOUT_MS = 60_000;

/** Code of the program itself; its data, then the blocks of the cases. */
const RUNTIME_ADDRESS = 0x4030_0000;
const RUNTIME_DATA_ADDRESS = 0x4040_0000;
const SIGNAL_STACK_OFFSET = 0x1000;
const SIGNAL_STACK_BYTES = 0x8000;
const BLOCKS_ADDRESS = RUNTIME_DATA_ADDRESS + SIGNAL_STACK_OFFSET + SIGNAL_STACK_BYTES;

/** Linux on arm64: uapi asm-generic/unistd.h, asm/signal.h, asm/ucontext.h. */
const SystemCall = { write: 64, exitGroup: 94, sigaltstack: 132, rtSigaction: 134 } as const;
const Signal = { illegal: 4, bus: 7, segmentation: 11 } as const;
const SIGNALS = Object.values(Signal);
const SA_SIGINFO = 0x4n;
const SA_ONSTACK = 0x0800_0000n;
const SIGSET_BYTES = 8;
const UCONTEXT_PC = 440;
const SIGACTION_OFFSET = 0x20;

const TRAP_KINDS: ReadonlyMap<number, UserTrap["kind"]> = new Map([
  [Signal.illegal, "undefined"],
  [Signal.bus, "alignment"],
  [Signal.segmentation, "memory"],
]);

export function isQemuUserAvailable(): boolean {
  return spawnSync(QEMU, ["--version"]).status === 0;
}

export function runUnderQemu(cases: readonly UserCase[]): UserResult[] {
  const folder = mkdtempSync(join(tmpdir(), "hvjournal-a64-"));
  try {
    const path = join(folder, "cases");
    writeFileSync(path, programOf(cases), { mode: 0o755 });
    const run = spawnSync(QEMU, ["-cpu", "cortex-a57", path], {
      maxBuffer: (cases.length + 1) * BLOCK_BYTES,
      timeout: TIMEOUT_MS,
    });
    if (run.status !== 0 || run.stdout.length !== cases.length * BLOCK_BYTES) {
      const results = Math.floor(run.stdout.length / BLOCK_BYTES);
      throw new Error(
        `${QEMU} ended with status ${run.status}, signal ${run.signal} behind ${results} of ${cases.length} cases: ${run.stderr.toString()}`,
      );
    }
    const slots = slotsOf(cases);
    return cases.map((_, index) =>
      resultOf(run.stdout.subarray(index * BLOCK_BYTES, (index + 1) * BLOCK_BYTES), slots[index] ?? index),
    );
  } finally {
    rmSync(folder, { recursive: true });
  }
}

function slotsOf(cases: readonly UserCase[]): number[] {
  return cases.map(({ slot }, index) => slot ?? index);
}

function resultOf(block: Uint8Array, slot: number): UserResult {
  const { state, signal, trapPc } = decodeBlock(block);
  if (signal === 0) return { state, trap: undefined };
  const kind = TRAP_KINDS.get(signal);
  if (kind === undefined) throw new Error(`case in slot ${slot}: signal ${signal} at 0x${trapPc.toString(16)}`);
  return { state, trap: { kind, word: (Number(trapPc) - codeAddress(slot)) / 4 } };
}

// The program

interface Segment {
  readonly address: number;
  readonly bytes: Uint8Array;
  readonly memoryBytes: number;
  readonly flags: number;
}

const SegmentFlag = { execute: 1, write: 2, read: 4 } as const;

function programOf(cases: readonly UserCase[]): Uint8Array {
  const runtime = runtimeCode(slotsOf(cases));
  const data = runtimeData(runtime.handler, cases);
  return elfOf(runtime.start, [
    segment(CODE_ADDRESS, caseCode(cases, runtime.save), SegmentFlag.read | SegmentFlag.execute),
    {
      address: DATA_ADDRESS,
      bytes: new Uint8Array(0),
      memoryBytes: DATA_BYTES + 0x1000,
      flags: SegmentFlag.read | SegmentFlag.write,
    },
    segment(RUNTIME_ADDRESS, wordsToBytes(runtime.words), SegmentFlag.read | SegmentFlag.execute),
    segment(RUNTIME_DATA_ADDRESS, data, SegmentFlag.read | SegmentFlag.write),
  ]);
}

function segment(address: number, bytes: Uint8Array, flags: number): Segment {
  return { address, bytes, memoryBytes: bytes.length, flags };
}

function wordsToBytes(words: readonly number[]): Uint8Array {
  const bytes = new Uint8Array(words.length * 4);
  const view = new DataView(bytes.buffer);
  words.forEach((word, index) => view.setUint32(4 * index, word, true));
  return bytes;
}

/** The words of each case in its slot, then a branch to `save`. */
function caseCode(cases: readonly UserCase[], save: number): Uint8Array {
  const slots = slotsOf(cases);
  const words = new Uint32Array(((Math.max(...slots) + 1) * CASE_STRIDE) / 4);
  cases.forEach((userCase, index) => {
    const slot = slots[index] ?? index;
    const count = userCase.words.length;
    if (count > CASE_WORDS_MAX) throw new RangeError(`case in slot ${slot}: ${count} words of ${CASE_WORDS_MAX}`);
    const leave = branch(codeAddress(slot) + 4 * count, save);
    words.set([...userCase.words, leave], (slot * CASE_STRIDE) / 4);
  });
  return new Uint8Array(words.buffer);
}

interface Runtime {
  readonly words: readonly number[];
  readonly start: number;
  readonly save: number;
  readonly handler: number;
}

function runtimeCode(slots: readonly number[]): Runtime {
  const words: number[] = [];
  const here = (): number => RUNTIME_ADDRESS + 4 * words.length;
  const copy = here();
  words.push(...copyBlock());
  const save = here();
  words.push(...saveAndGoOn());
  const handler = here();
  words.push(...signalHandler(save));
  const load = here();
  words.push(...loadState());
  const start = here();
  words.push(...installHandlers());
  slots.forEach((slot, index) => words.push(...startCase(index, slot, here(), copy, load)));
  words.push(moveImmediate16(0, 0), moveImmediate16(8, SystemCall.exitGroup), SVC_0);
  return { words, start, save, handler };
}

/** (X1 source): copies a block to `DATA_ADDRESS`. */
function copyBlock(): number[] {
  return [
    ...moveAddress(0, DATA_ADDRESS),
    moveImmediate16(2, BLOCK_BYTES),
    loadPairPost(3, 4, 1),
    storePairPost(3, 4, 0),
    subtractWithFlags(2, 2, 16),
    branchIfNotZero(2, -3),
    RET,
  ];
}

const SPECIAL_REGISTERS = [
  [SystemRegister.nzcv, StateOffset.nzcv],
  [SystemRegister.fpcr, StateOffset.fpcr],
  [SystemRegister.fpsr, StateOffset.fpsr],
] as const;

/** (X0 the state): loads everything but X0 and X30. */
function loadState(): number[] {
  const words = [loadX(1, 0, StateOffset.sp), addImmediate(SP, 1, 0)];
  for (const [register, offset] of SPECIAL_REGISTERS) words.push(loadX(1, 0, offset), writeSystemRegister(register, 1));
  for (let vector = 0; vector < 32; vector++) words.push(loadQ(vector, 0, StateOffset.v + 16 * vector));
  for (let register = 29; register >= 1; register--) words.push(loadX(register, 0, StateOffset.x + 8 * register));
  return [...words, RET];
}

/** Loads everything for a case, whose next is the code behind this, and jumps to it. */
function startCase(index: number, slot: number, address: number, copy: number, load: number): number[] {
  const words = moveAddress(1, BLOCKS_ADDRESS + index * BLOCK_BYTES);
  const here = (): number => address + 4 * words.length;
  words.push(branchWithLink(here(), copy), ...moveAddress(0, STATE_ADDRESS));
  const nextAddress = words.length;
  words.push(0, 0, storeX(1, 0, StateOffset.next));
  words.push(branchWithLink(here(), load));
  words.push(loadX(30, 0, StateOffset.x + 8 * 30), loadX(0, 0, StateOffset.x));
  words.push(branch(here(), codeAddress(slot)));
  words.splice(nextAddress, 2, ...moveAddress(1, here()));
  return words;
}

/** Saves everything, writes the block out and goes on with the next case. TPIDR_EL0 keeps X0 meanwhile. */
function saveAndGoOn(): number[] {
  const words = [writeSystemRegister(SystemRegister.tpidrEl0, 0), ...moveAddress(0, STATE_ADDRESS)];
  for (let register = 1; register <= 30; register++) words.push(storeX(register, 0, StateOffset.x + 8 * register));
  words.push(readSystemRegister(1, SystemRegister.tpidrEl0), storeX(1, 0, StateOffset.x));
  words.push(addImmediate(1, SP, 0), storeX(1, 0, StateOffset.sp));
  for (const [register, offset] of SPECIAL_REGISTERS) words.push(readSystemRegister(1, register), storeX(1, 0, offset));
  for (let vector = 0; vector < 32; vector++) words.push(storeQ(vector, 0, StateOffset.v + 16 * vector));
  words.push(...moveAddress(1, DATA_ADDRESS), moveImmediate16(2, BLOCK_BYTES));
  // write may take less than all of it
  words.push(
    moveImmediate16(0, 1),
    moveImmediate16(8, SystemCall.write),
    SVC_0,
    addRegister(1, 1, 0),
    subtractRegister(2, 2, 0),
    branchIfNotZero(2, -5),
  );
  words.push(...moveAddress(0, STATE_ADDRESS), loadX(1, 0, StateOffset.next), branchToRegister(1));
  return words;
}

/** (X0 signal, X1 siginfo, X2 ucontext): notes where the case ended, and returns to `save`. */
function signalHandler(save: number): number[] {
  return [
    ...moveAddress(3, STATE_ADDRESS),
    storeX(0, 3, StateOffset.signal),
    loadX(4, 2, UCONTEXT_PC),
    storeX(4, 3, StateOffset.trapPc),
    ...moveAddress(4, save),
    storeX(4, 2, UCONTEXT_PC),
    RET,
  ];
}

function installHandlers(): number[] {
  const words = [
    ...moveAddress(0, RUNTIME_DATA_ADDRESS),
    moveImmediate16(1, 0),
    moveImmediate16(8, SystemCall.sigaltstack),
    SVC_0,
  ];
  for (const signal of SIGNALS) {
    words.push(
      moveImmediate16(0, signal),
      ...moveAddress(1, RUNTIME_DATA_ADDRESS + SIGACTION_OFFSET),
      moveImmediate16(2, 0),
      moveImmediate16(3, SIGSET_BYTES),
      moveImmediate16(8, SystemCall.rtSigaction),
      SVC_0,
    );
  }
  return words;
}

/** stack_t, struct sigaction, room for the signal stack, and the blocks of all cases. */
function runtimeData(handler: number, cases: readonly UserCase[]): Uint8Array {
  const bytes = new Uint8Array(BLOCKS_ADDRESS - RUNTIME_DATA_ADDRESS + cases.length * BLOCK_BYTES);
  const view = new DataView(bytes.buffer);
  view.setBigUint64(0, BigInt(RUNTIME_DATA_ADDRESS + SIGNAL_STACK_OFFSET), true);
  view.setBigUint64(16, BigInt(SIGNAL_STACK_BYTES), true);
  view.setBigUint64(SIGACTION_OFFSET, BigInt(handler), true);
  view.setBigUint64(SIGACTION_OFFSET + 8, SA_SIGINFO | SA_ONSTACK, true);
  cases.forEach(({ state }, index) => {
    bytes.set(encodeBlock(state), BLOCKS_ADDRESS - RUNTIME_DATA_ADDRESS + index * BLOCK_BYTES);
  });
  return bytes;
}

// ELF-64. System V ABI, chapters 4 and 5.

const ELF_HEADER_BYTES = 64;
const PROGRAM_HEADER_BYTES = 56;
const PAGE_BYTES = 0x1000;
const EM_AARCH64 = 183;
const ET_EXEC = 2;
const PT_LOAD = 1;

function elfOf(entry: number, segments: readonly Segment[]): Uint8Array {
  const offsets: number[] = [];
  let end = PAGE_BYTES;
  for (const { bytes } of segments) {
    offsets.push(end);
    end += Math.ceil(bytes.length / PAGE_BYTES) * PAGE_BYTES;
  }
  const file = new Uint8Array(end);
  const view = new DataView(file.buffer);
  // 64-bit, little-endian, version 1
  file.set([0x7f, 0x45, 0x4c, 0x46, 2, 1, 1]);
  view.setUint16(16, ET_EXEC, true);
  view.setUint16(18, EM_AARCH64, true);
  view.setUint32(20, 1, true);
  view.setBigUint64(24, BigInt(entry), true);
  view.setBigUint64(32, BigInt(ELF_HEADER_BYTES), true);
  view.setUint16(52, ELF_HEADER_BYTES, true);
  view.setUint16(54, PROGRAM_HEADER_BYTES, true);
  view.setUint16(56, segments.length, true);
  segments.forEach(({ address, bytes, memoryBytes, flags }, index) => {
    const header = ELF_HEADER_BYTES + index * PROGRAM_HEADER_BYTES;
    const offset = offsets[index] ?? 0;
    view.setUint32(header, PT_LOAD, true);
    view.setUint32(header + 4, flags, true);
    view.setBigUint64(header + 8, BigInt(offset), true);
    view.setBigUint64(header + 16, BigInt(address), true);
    view.setBigUint64(header + 24, BigInt(address), true);
    view.setBigUint64(header + 32, BigInt(bytes.length), true);
    view.setBigUint64(header + 40, BigInt(memoryBytes), true);
    view.setBigUint64(header + 48, BigInt(PAGE_BYTES), true);
    file.set(bytes, offset);
  });
  return file;
}
