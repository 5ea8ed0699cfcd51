/** Access to the state of vCPUs from outside guest mode: reset, PSTATE, general registers, the canonical saved form. */
import type { Engine, StateField } from "@hvjournal/engine";
import { refreshContext } from "../isa/context.js";
import { resetValues } from "../isa/cpu.js";
import { MPIDR_RES1 } from "../isa/id-registers.js";
import {
  daif,
  exceptionLevel,
  exclusiveBytes,
  fiqSignalled,
  flagC,
  flagN,
  flagV,
  flagZ,
  illegalState,
  irqSignalled,
  layout,
  pc,
  softwareStep,
  sp,
  spInactive,
  stackSelect,
  x,
  yieldExits,
} from "../isa/state.js";
import { hcrEl2, mdcrEl2, mpidrEl1 } from "../isa/system-registers.js";
import { vcpuAffinity } from "./affinity.js";
import { HCR_EL2_VALUE, MDCR_EL2_VALUE } from "./exit-model.js";

const ZERO_REGISTER = 31;
const INSTRUCTION_BYTES = 4;

/** PSTATE as SPSR_EL1 has it. */
const Pstate = { m: 0x1fn, daif: 0x3c0n, il: 1n << 20n, ss: 1n << 21n, nzcv: 0xf000_0000n } as const;
const Mode = { el0t: 0n, el1t: 4n, el1h: 5n } as const;

/** Whether the vCPU has the mode of a PSTATE. */
export function hasMode(pstate: bigint): boolean {
  const mode = pstate & Pstate.m;
  return mode === Mode.el0t || mode === Mode.el1t || mode === Mode.el1h;
}

/** A field of the saved form, where it lies in the saved bytes. */
interface SavedField {
  readonly offset: number;
  readonly bytes: number;
  readonly savedAt: number;
}

/** By name, so that the form does not hang on the order in which modules are loaded. NZCV, in a word, comes last. */
function savedFields(): { readonly fields: readonly SavedField[]; readonly bytes: number } {
  const parts = [
    ...layout.fields.map(({ name, offset, width }) => ({ name, offset, bytes: width / 8 })),
    ...layout.arrays.map(({ name, offset, width, count }) => ({ name, offset, bytes: (width / 8) * count })),
  ].sort((a, b) => (a.name < b.name ? -1 : 1));
  let savedAt = 0;
  const fields = parts.map(({ offset, bytes }) => {
    const field = { offset, bytes, savedAt };
    savedAt += bytes;
    return field;
  });
  return { fields, bytes: savedAt + 4 };
}

export class VcpuStates {
  readonly engine: Engine;
  readonly vcpuCount: number;
  readonly #saved = savedFields();

  constructor(engine: Engine, vcpuCount: number) {
    this.engine = engine;
    this.vcpuCount = vcpuCount;
    for (let vcpu = vcpuCount - 1; vcpu >= 0; vcpu--) this.reset(vcpu);
    engine.selectVcpu(0);
  }

  /** Does something with a vCPU's state in place, and puts back the one that was there. */
  with<Result>(vcpu: number, action: () => Result): Result {
    const before = this.engine.currentVcpu;
    if (vcpu === before) return action();
    this.engine.selectVcpu(vcpu);
    try {
      return action();
    } finally {
      this.engine.selectVcpu(before);
    }
  }

  /** Cold reset: EL1h, DAIF set, MMU off, pc 0. */
  reset(vcpu: number): void {
    this.with(vcpu, () => {
      this.engine.vcpuState.fill(0);
      for (const [field, value] of resetValues) this.engine.writeField(field, value);
      this.engine.writeField(mpidrEl1, MPIDR_RES1 | BigInt(vcpuAffinity(vcpu)));
      this.engine.writeField(hcrEl2, HCR_EL2_VALUE);
      this.engine.writeField(mdcrEl2, MDCR_EL2_VALUE);
      this.#derive();
    });
  }

  /** Fields that follow from others or from the VM. */
  #derive(): void {
    this.engine.writeWord(yieldExits.offset, this.vcpuCount > 1 ? 1 : 0);
    this.engine.callRoutine(refreshContext);
    this.engine.stateWritten();
  }

  // The vCPU that is selected

  readX(index: number): bigint {
    return index === ZERO_REGISTER ? 0n : this.engine.readField(generalRegister(index));
  }

  writeX(index: number, value: bigint): void {
    if (index !== ZERO_REGISTER) this.engine.writeField(generalRegister(index), value);
  }

  /** X register `index` into two words of `into`, the low one at `at`. */
  copyX(index: number, into: Uint32Array, at: number): void {
    if (index === ZERO_REGISTER) {
      into[at] = 0;
      into[at + 1] = 0;
      return;
    }
    const from = x.offset + 8 * index;
    into[at] = this.engine.readWord(from);
    into[at + 1] = this.engine.readWord(from + 4);
  }

  /** pc, likewise. */
  copyPc(into: Uint32Array, at: number): void {
    into[at] = this.engine.readWord(pc.offset);
    into[at + 1] = this.engine.readWord(pc.offset + 4);
  }

  /** W register `index`. */
  readW(index: number): number {
    return index === ZERO_REGISTER ? 0 : this.engine.readWord(x.offset + 8 * index);
  }

  writeXWords(index: number, low: number, high: number): void {
    if (index === ZERO_REGISTER) return;
    const at = x.offset + 8 * index;
    this.engine.writeWord(at, low);
    this.engine.writeWord(at + 4, high);
  }

  /** X register `index`: a whole number that a double holds exactly, or a bigint; negative in two's complement. */
  writeXValue(index: number, value: number | bigint): void {
    if (typeof value === "bigint") this.writeX(index, BigInt.asUintN(64, value));
    else this.writeXWords(index, value >>> 0, Math.floor(value / 2 ** 32) >>> 0);
  }

  /** Register 31 is the stack pointer here. */
  addToBase(index: number, value: bigint): void {
    if (index !== ZERO_REGISTER) this.writeX(index, this.readX(index) + value);
    else this.engine.writeField(sp, BigInt.asUintN(64, this.engine.readField(sp) + value));
  }

  /** pc to the next instruction. */
  stepPc(): void {
    const low = this.engine.readWord(pc.offset);
    const next = (low + INSTRUCTION_BYTES) >>> 0;
    this.engine.writeWord(pc.offset, next);
    if (next < low) this.engine.writeWord(pc.offset + 4, this.engine.readWord(pc.offset + 4) + 1);
  }

  get pc(): bigint {
    return this.engine.readField(pc);
  }

  /** Whether pc is this, given in two words. */
  isAt(low: number, high: number): boolean {
    return this.engine.readWord(pc.offset) === low && this.engine.readWord(pc.offset + 4) === high;
  }

  get isMasked(): boolean {
    const masks = this.engine.readWord(daif.offset);
    return (masks & 0xc0) === 0xc0;
  }

  signalInterrupts(irq: boolean, fiq: boolean): void {
    this.engine.writeWord(irqSignalled.offset, irq ? 1 : 0);
    this.engine.writeWord(fiqSignalled.offset, fiq ? 1 : 0);
  }

  clearExclusiveMonitor(): void {
    this.engine.writeWord(exclusiveBytes.offset, 0);
  }

  get nzcv(): number {
    const { engine } = this;
    const n = Number(engine.readField(flagN) >> 63n);
    const z = engine.readField(flagZ) === 0n ? 1 : 0;
    return (n << 3) | (z << 2) | (engine.readWord(flagC.offset) << 1) | engine.readWord(flagV.offset);
  }

  set nzcv(value: number) {
    this.engine.writeField(flagN, BigInt(value) << 60n);
    this.engine.writeField(flagZ, (value & 4) === 0 ? 1n : 0n);
    this.engine.writeWord(flagC.offset, (value >> 1) & 1);
    this.engine.writeWord(flagV.offset, value & 1);
  }

  get pstate(): bigint {
    const { engine } = this;
    const mode = (engine.readField(exceptionLevel) << 2n) | engine.readField(stackSelect);
    const il = engine.readField(illegalState) << 20n;
    const ss = engine.readField(softwareStep) << 21n;
    return (BigInt(this.nzcv) << 28n) | ss | il | engine.readField(daif) | mode;
  }

  /** Throws RangeError for a mode that the vCPU does not have. */
  set pstate(value: bigint) {
    const mode = value & Pstate.m;
    if (!hasMode(value))
      throw new RangeError(
        `pstate 0x${value.toString(16)}: mode 0x${mode.toString(16)} is none of EL0t (0), EL1t (4), EL1h (5)`,
      );
    const selected = mode & 1n;
    if (this.engine.readField(stackSelect) !== selected) {
      const other = this.engine.readField(spInactive);
      this.engine.writeField(spInactive, this.engine.readField(sp));
      this.engine.writeField(sp, other);
      this.engine.writeField(stackSelect, selected);
    }
    this.engine.writeField(exceptionLevel, mode >> 2n);
    this.engine.writeField(daif, value & Pstate.daif);
    this.engine.writeField(illegalState, (value & Pstate.il) === 0n ? 0n : 1n);
    this.engine.writeField(softwareStep, (value & Pstate.ss) === 0n ? 0n : 1n);
    this.nzcv = Number((value & Pstate.nzcv) >> 28n);
    this.#derive();
  }

  /** After a system register or stack pointer was written from outside. */
  stateWritten(): void {
    this.#derive();
  }

  // Saving

  save(vcpu: number): Uint8Array {
    return this.with(vcpu, () => {
      const { start } = layout;
      const bytes = new Uint8Array(this.#saved.bytes);
      const state = this.engine.vcpuState;
      for (const field of this.#saved.fields)
        bytes.set(state.subarray(field.offset - start, field.offset - start + field.bytes), field.savedAt);
      new DataView(bytes.buffer).setUint32(this.#saved.bytes - 4, this.nzcv, true);
      return bytes;
    });
  }

  /** Throws RangeError for another length. */
  restore(vcpu: number, bytes: Uint8Array): void {
    if (bytes.length !== this.#saved.bytes)
      throw new RangeError(`${this.#saved.bytes} bytes expected, found ${bytes.length}`);
    this.with(vcpu, () => {
      const { start } = layout;
      const state = this.engine.vcpuState;
      state.fill(0);
      for (const field of this.#saved.fields)
        state.set(bytes.subarray(field.savedAt, field.savedAt + field.bytes), field.offset - start);
      const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
      this.nzcv = view.getUint32(this.#saved.bytes - 4, true);
      this.#derive();
    });
  }
}

const GENERAL_REGISTERS: readonly StateField<64>[] = Array.from({ length: ZERO_REGISTER }, (_, index) => ({
  name: `x${index}`,
  width: 64,
  offset: x.offset + 8 * index,
}));

function generalRegister(index: number): StateField<64> {
  const field = GENERAL_REGISTERS[index];
  if (field === undefined) throw new RangeError(`x${index} is no register`);
  return field;
}
