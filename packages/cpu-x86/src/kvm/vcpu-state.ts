/** Access to the state of vCPUs from outside guest mode: reset, registers, exceptions, the canonical saved form. */
import { highWord, lowWord, u64OfWords } from "@hvjournal/core";
import { type Engine, elementOf, type StateField } from "@hvjournal/engine";
import { Context, refreshDerived } from "../isa/context.js";
import { resetValues } from "./reset-values.js";
import { noteException } from "../isa/exceptions.js";
import { finishInstruction } from "../isa/finish-instruction.js";
import { materializeFlags } from "../isa/flags.js";
import { generalRegister } from "../isa/general-registers.js";
import { Cr0, Flag } from "../isa/registers.js";
import {
  contextWord,
  cpl,
  cr0,
  cstar,
  fcw,
  fdp,
  fip,
  fmask,
  fop,
  fpr,
  fpuTags,
  fsw,
  InterruptPending,
  interruptPending,
  interruptVector,
  kernelGsBase,
  layout,
  lstar,
  msrExits,
  mxcsr,
  pat,
  pauseExits,
  portComplete,
  portData,
  Register,
  rflags,
  rip,
  Segment,
  segmentAttributes,
  segmentBase,
  segmentSelector,
  star,
  sysenterCs,
  sysenterEip,
  sysenterEsp,
  tscAux,
  xcr0,
  xmm,
} from "../isa/state.js";

/** x87, SSE and the registers of system calls stay as they are. */
const KEPT_BY_INIT: readonly StateField[] = [
  ...Array.from({ length: fpr.count }, (_, index) => elementOf(fpr, index)),
  ...Array.from({ length: xmm.count }, (_, index) => elementOf(xmm, index)),
  ...[fcw, fsw, fpuTags, fop, fip, fdp, mxcsr, xcr0],
  ...[star, lstar, cstar, fmask, kernelGsBase, tscAux, sysenterCs, sysenterEsp, sysenterEip, pat],
];

interface SavedField {
  readonly offset: number;
  readonly bytes: number;
  readonly savedAt: number;
}

/** By name, so that the form does not hang on the order in which modules are loaded. */
function savedFields(): {
  readonly fields: readonly SavedField[];
  readonly bytes: number;
  readonly request: SavedField;
} {
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
  const request = fields.find(({ offset }) => offset === interruptPending.offset);
  if (request === undefined) throw new RangeError("the state has no interruptPending");
  return { fields, bytes: savedAt, request };
}

const stackAttributes = elementOf(segmentAttributes, Segment.ss);
const DPL_SHIFT = 5n;

export class VcpuStates {
  readonly engine: Engine;
  readonly vcpuCount: number;
  readonly #saved = savedFields();
  #leavesForMsrs = false;

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

  reset(vcpu: number): void {
    this.with(vcpu, () => {
      this.engine.vcpuState.fill(0);
      for (const [field, value] of resetValues) this.engine.writeField(field, value);
      this.#derive();
    });
  }

  /** INIT: as reset, but for what it leaves alone (Intel SDM volume 3, table 10-1). */
  initialize(vcpu: number): void {
    this.with(vcpu, () => {
      const kept = KEPT_BY_INIT.map((field) => [field, this.engine.readField(field)] as const);
      this.reset(vcpu);
      for (const [field, value] of kept) this.engine.writeField(field, value);
      this.#derive();
    });
  }

  /** SIPI: real mode at the first byte of a page. */
  startUp(vcpu: number, page: number): void {
    this.with(vcpu, () => {
      this.engine.writeField(elementOf(segmentSelector, Segment.cs), BigInt(page << 8));
      this.engine.writeField(elementOf(segmentBase, Segment.cs), BigInt(page << 12));
      this.engine.writeField(rip, BigInt(page << 12));
      this.#derive();
    });
  }

  /** Whether RDMSR and WRMSR leave guest mode whatever they name. */
  set leavesForMsrs(leaves: boolean) {
    if (leaves === this.#leavesForMsrs) return;
    this.#leavesForMsrs = leaves;
    for (let vcpu = 0; vcpu < this.vcpuCount; vcpu++)
      this.with(vcpu, () => {
        this.engine.writeWord(msrExits.offset, leaves ? 1 : 0);
      });
  }

  /** Fields that follow from others or from the VM. */
  #derive(): void {
    this.engine.writeWord(pauseExits.offset, this.vcpuCount > 1 ? 1 : 0);
    this.engine.writeWord(msrExits.offset, this.#leavesForMsrs ? 1 : 0);
    this.engine.callRoutine(refreshDerived);
    this.engine.stateWritten();
  }

  // The vCPU that is selected

  readGeneral(index: number): bigint {
    return this.engine.readField(generalRegister(index));
  }

  writeGeneral(index: number, value: bigint): void {
    this.engine.writeField(generalRegister(index), value);
  }

  /** Two words of a row of words, the low one first. */
  copyGeneral(index: number, into: Uint32Array, at: number): void {
    this.#copyField(generalRegister(index), into, at);
  }

  /** The low 32 bits. */
  readGeneral32(index: number): number {
    return this.engine.readWord(generalRegister(index).offset);
  }

  readGeneralHigh32(index: number): number {
    return this.engine.readWord(generalRegister(index).offset + 4);
  }

  /** As an instruction writes a 32-bit register: the upper half is zero. */
  writeGeneral32(index: number, value: number): void {
    const { offset } = generalRegister(index);
    this.engine.writeWord(offset, value >>> 0);
    this.engine.writeWord(offset + 4, 0);
  }

  /** EDX:EAX. */
  get edxEax(): bigint {
    return u64OfWords(this.readGeneral32(Register.rax), this.readGeneral32(Register.rdx));
  }

  set edxEax(value: bigint) {
    this.writeGeneral32(Register.rax, lowWord(value));
    this.writeGeneral32(Register.rdx, highWord(value));
  }

  get pc(): bigint {
    return this.engine.readField(rip);
  }

  /** Whether RIP is this, given in two words. */
  isAt(low: number, high: number): boolean {
    return this.engine.readWord(rip.offset) === low && this.engine.readWord(rip.offset + 4) === high;
  }

  copyPc(into: Uint32Array, at: number): void {
    this.#copyField(rip, into, at);
  }

  #copyField({ offset }: StateField<64>, into: Uint32Array, at: number): void {
    into[at] = this.engine.readWord(offset);
    into[at + 1] = this.engine.readWord(offset + 4);
  }

  get cpl(): number {
    return this.engine.readWord(cpl.offset);
  }

  /** 64-bit mode. */
  get isLongMode(): boolean {
    return (this.engine.readWord(contextWord.offset) & Context.legacy) === 0;
  }

  /** CR0.PE. */
  get isProtected(): boolean {
    return (this.engine.readWord(cr0.offset) & Cr0.PE) !== 0;
  }

  /** RFLAGS.IF; the interrupt shadow is no mask. */
  get interruptsEnabled(): boolean {
    return (this.engine.readWord(rflags.offset) & Flag.IF) !== 0;
  }

  /** Lets the vCPU leave where it would take an interrupt, or not. One that has been handed over is taken first. */
  requestInterrupt(isRequested: boolean): void {
    if (this.engine.readWord(interruptPending.offset) === InterruptPending.vectored) return;
    this.engine.writeWord(interruptPending.offset, isRequested ? InterruptPending.requested : InterruptPending.none);
  }

  /** Hands over the interrupt that the vCPU takes next; undefined: it was none. */
  giveInterrupt(vector: number | undefined): void {
    const state = vector === undefined ? InterruptPending.none : InterruptPending.vectored;
    this.engine.writeWord(interruptPending.offset, state);
    this.engine.writeWord(interruptVector.offset, vector ?? 0);
  }

  /** The port access of the instruction at RIP is done. */
  completePort(data: number): void {
    this.engine.writeWord(portData.offset, data >>> 0);
    this.engine.writeWord(portComplete.offset, 1);
  }

  /** The instruction at RIP, which the kernel half has carried out, is over. */
  finishInstruction(next: bigint): void {
    this.engine.callRoutine(finishInstruction, BigInt.asIntN(64, next));
  }

  /** The instruction at RIP raises an exception. */
  raise(vector: number, errorCode = 0): void {
    this.engine.callRoutine(noteException, vector, errorCode);
  }

  readRflags(): bigint {
    this.engine.callRoutine(materializeFlags);
    return this.engine.readField(rflags);
  }

  writeRflags(value: bigint): void {
    this.engine.writeField(rflags, value | BigInt(Flag.fixed));
    this.#derive();
  }

  /** Writes a field from outside, with what follows from it. */
  writeState(field: StateField, value: bigint): void {
    this.engine.callRoutine(materializeFlags);
    this.engine.writeField(field, value);
    // As KVM_SET_SREGS: CPL is SS.DPL.
    if (field.offset === stackAttributes.offset)
      this.engine.writeField(cpl, (this.engine.readField(stackAttributes) >> DPL_SHIFT) & 3n);
    this.#derive();
  }

  // Saving

  save(vcpu: number): Uint8Array {
    return this.with(vcpu, () => {
      this.engine.callRoutine(materializeFlags);
      const { start } = layout;
      const bytes = new Uint8Array(this.#saved.bytes);
      const state = this.engine.vcpuState;
      for (const field of this.#saved.fields)
        bytes.set(state.subarray(field.offset - start, field.offset - start + field.bytes), field.savedAt);
      this.#hideRequest(bytes);
      return bytes;
    });
  }

  /** That the irqchip requests an interrupt follows from the irqchip, and is not saved. */
  #hideRequest(bytes: Uint8Array): void {
    if (this.engine.readWord(interruptPending.offset) !== InterruptPending.requested) return;
    const { savedAt, bytes: length } = this.#saved.request;
    bytes.fill(0, savedAt, savedAt + length);
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
      this.#derive();
    });
  }
}
