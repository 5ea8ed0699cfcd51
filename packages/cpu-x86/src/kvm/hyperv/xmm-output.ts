/**
 * Calls that give values back in XMM registers: TLFS, "XMM Fast Hypercall Output". Not upstream, where no such call is known; three
 * ways after the discussion of July 2024, by the policy `hv.xmmOutput`. Each sends these calls to the VMM as KVM_EXIT_HYPERV:
 *
 * - `grow-struct`: type 2 as ever, whose struct has grown by the registers; nothing in it says so.
 * - `valid-fields`: the same, and bit 0 of the frame's last argument says so.
 * - `new-type`: type 4, KVM_EXIT_HYPERV_HCALL_XMM, which a VMM of before does not take for anything it knows.
 *
 * The frame: `info` is the type, arguments 0 to 2 are the input value and the two parameters, argument 3 the bits of valid fields.
 * The registers going in are the vCPU's own `xmm0.q[0]` to `xmm5.q[1]`. What the VMM gives back it sets as `hcall_xmm0.q[0]`
 * to `hcall_xmm5.q[1]` before it completes the exit with the result. It reaches the guest only if the call succeeds, or has
 * completed elements; and never in registers that hold input.
 */
import { type ExitFrame, ExitWord, frameU64, KvmExit } from "@hvjournal/core";
import { elementOf } from "@hvjournal/engine";
import { xmm } from "../../isa/state.js";
import { type Amd64ControlState, policyValue } from "../control/control-state.js";
import type { Vm } from "../vm.js";
import { HypervExit } from "./exit-types.js";
import { HvCall } from "./call-codes.js";
import { inputOf, type HypervInput } from "./hypercall-input.js";

const REGISTER_BYTES = 16;
/** RDX and R8, which are as one register, and XMM0 to XMM5. */
const BLOCK_REGISTERS = 7;
const BLOCK_BYTES: number = BLOCK_REGISTERS * REGISTER_BYTES;
const XMM_REGISTERS = 6;
const VALID_XMM = 1n;
const STATUS_MASK = 0xffffn;
const REPS_SHIFT = 32n;
const REPS_MASK = 0xfffn;
const WORD_BITS = 64n;

export interface OutputBlock {
  /** Bytes of the block that belong to the input: whole registers. */
  readonly inputBytes: number;
  /** What is left for output. */
  readonly outputBytes: number;
  /** The first XMM register of the output; -1: it begins with RDX and R8. */
  readonly firstXmm: number;
}

/** How the fast block is parted: the input takes whole registers. undefined: the input alone does not fit. */
export function outputBlock(inputBytes: number): OutputBlock | undefined {
  const registers = Math.ceil(inputBytes / REGISTER_BYTES);
  if (registers > BLOCK_REGISTERS) return undefined;
  const taken = registers * REGISTER_BYTES;
  return { inputBytes: taken, outputBytes: BLOCK_BYTES - taken, firstXmm: registers - 1 };
}

interface Sizes {
  readonly inputBytes: number;
  readonly outputBytes: number;
  readonly isRep: boolean;
}

/** undefined: the call has no output in registers. */
function sizesOf({ code, repCount }: Pick<HypervInput, "code" | "repCount">): Sizes | undefined {
  switch (code) {
    case HvCall.GET_VP_REGISTERS:
      return { inputBytes: 16 + 4 * repCount, outputBytes: 16 * repCount, isRep: true };
    case HvCall.TRANSLATE_VIRTUAL_ADDRESS:
      return { inputBytes: 32, outputBytes: 16, isRep: false };
    default:
      return undefined;
  }
}

export function hasXmmOutput(code: number): boolean {
  return sizesOf({ code, repCount: 0 }) !== undefined;
}

/** Whether input and output fit into the registers, and the call is made as it must be. */
export function fitsRegisters(call: HypervInput): boolean {
  const sizes = sizesOf(call);
  const block = sizes && outputBlock(sizes.inputBytes);
  if (sizes === undefined || block === undefined || call.variableHeader !== 0) return false;
  const isForm = sizes.isRep ? call.repStart < call.repCount : call.repCount === 0 && call.repStart === 0;
  return isForm && sizes.outputBytes <= block.outputBytes;
}

/** Whether the VMM has asked for these calls at all. */
export function knowsXmmOutput(control: Amd64ControlState): boolean {
  return policyValue(control, "hv.xmmOutput") !== "absent";
}

/** `info` and argument 3 of a fast call's exit. */
export function xmmExit(control: Amd64ControlState): { readonly type: number; readonly validFields: bigint } {
  const design = policyValue(control, "hv.xmmOutput");
  return {
    type: design === "new-type" ? HypervExit.hypercallXmm : HypervExit.hypercall,
    validFields: design === "valid-fields" ? VALID_XMM : 0n,
  };
}

/** Whether an exit carries XMM registers, both ways; under `grow-struct` the VMM must know it, for the frame does not say so. */
export function carriesXmm(control: Amd64ControlState, frame: ExitFrame): boolean {
  const type = frame[ExitWord.info];
  if (frame[ExitWord.kvmExit] !== KvmExit.hyperv) return false;
  if (type !== HypervExit.hypercall) return type === HypervExit.hypercallXmm;
  const call = inputOf(frameU64(frame, ExitWord.arg0Low));
  return call.isFast && hasXmmOutput(call.code) && knowsXmmOutput(control);
}

const STAGED = /^hcall_xmm([0-5])\.q\[([01])\]$/;

/** Name of what the VMM gives back in half a register. */
export function outputRegister(register: number, half: number): string {
  return `hcall_xmm${register}.q[${half}]`;
}

/** All of them. */
export const OUTPUT_REGISTERS: readonly string[] = Array.from({ length: XMM_REGISTERS }, (_, register) =>
  [0, 1].map((half) => outputRegister(register, half)),
).flat();

/** Which word of the output such a name is; undefined: it is no such name. */
export function outputWordNamed(name: string): number | undefined {
  const [, register, half] = STAGED.exec(name) ?? [];
  return register === undefined ? undefined : 2 * Number(register) + Number(half);
}

/** What the VMM has given back so far, else what the guest's register holds. */
export function readOutputWord(vm: Vm, word: number): bigint {
  const staged = vm.hypervOutput.get(word);
  if (staged !== undefined) return staged;
  const value = vm.engine.readField(elementOf(xmm, word >> 1));
  return (word & 1) === 0 ? BigInt.asUintN(64, value) : value >> WORD_BITS;
}

/** The VMM completes the exit with this result: what it has given back goes to the guest, or is forgotten. */
export function writeBackOutput(vm: Vm, frame: ExitFrame, result: bigint): void {
  const staged = [...vm.hypervOutput];
  vm.hypervOutput.clear();
  const call = inputOf(frameU64(frame, ExitWord.arg0Low));
  const sizes = sizesOf(call);
  const block = sizes && outputBlock(sizes.inputBytes);
  const repsDone = Number((result >> REPS_SHIFT) & REPS_MASK);
  const succeeds = (result & STATUS_MASK) === 0n || (sizes?.isRep === true && repsDone > call.repStart);
  if (block === undefined || !succeeds) return;
  for (const [word, value] of staged) if (word >> 1 >= block.firstXmm) writeHalf(vm, word, value);
}

function writeHalf({ engine }: Vm, word: number, value: bigint): void {
  const field = elementOf(xmm, word >> 1);
  const old = engine.readField(field);
  const [low, high] = (word & 1) === 0 ? [value, old >> WORD_BITS] : [BigInt.asUintN(64, old), value];
  engine.writeField(field, (high << WORD_BITS) | BigInt.asUintN(64, low));
}
