/**
 * A small architecture that runs for real: eight 32-bit registers, RAM without translation, MMIO, hypercalls, a
 * timer, WFI, several vCPUs in turn. Every path of the hypervisor can be taken with programs of a few words.
 *
 * An instruction is a word: operation, then a, b, c (one byte each, `imm` is b and c as a signed 16-bit number).
 */
import type {
  Architecture,
  ExitModel,
  KernelHalf,
  KernelHalfOptions,
  RegisterName,
  RunStop,
  WatchReport,
} from "../ports/architecture.js";
import { GUEST_NANOSECONDS_PER_UNIT } from "../ports/architecture.js";
import type { ControlSlice } from "../ports/control.js";
import type { EntropyStream } from "../ports/entropy.js";
import { StateSectionError, type StateSection } from "../ports/state-section.js";
import {
  EXIT_WORD_COUNT,
  ExitWord,
  FinishedBy,
  frameU64,
  KvmExit,
  setFrameU64,
  type ExitFrame,
} from "../event/exit-frame.js";
import { decodeCanonicalMap, encodeCanonical } from "../canonical/canonical-encoding.js";
import { PayloadFields } from "../canonical/payload-fields.js";
import { PlainMemory } from "./plain-memory.js";

export const Op = {
  wfi: 0,
  movi: 1,
  add: 2,
  load: 3,
  store: 4,
  jnz: 5,
  jmp: 6,
  hvc: 7,
  sys: 8,
  timer: 9,
  addi: 10,
  sub: 11,
  xor: 12,
  movhi: 13,
  off: 14,
  nop: 15,
} as const;

export function word(op: number, a = 0, b = 0, c = 0): number {
  return (op | (a << 8) | ((b & 0xff) << 16) | ((c & 0xff) << 24)) >>> 0;
}

/** An instruction with a 16-bit immediate. */
export function wordImmediate(op: number, a: number, immediate: number): number {
  return word(op, a, immediate & 0xff, (immediate >> 8) & 0xff);
}

export const Reason = { hvc: 0, dabt: 1, sys: 2, wfx: 3, irq: 4, off: 5 } as const;

export const smallExitModel: ExitModel = {
  name: "small",
  version: 1,
  reasons: [
    { name: "HVC64", code: 0x16, condition: "always", finishedBy: "the filter decides", pc: "behind" },
    { name: "DABT_LOW", code: 0x24, condition: "outside RAM", finishedBy: "VMM half", pc: "at" },
    { name: "SYS64", code: 0x18, condition: "always", finishedBy: "kernel half", pc: "at" },
    { name: "WFx", code: 0x01, condition: "always", finishedBy: "kernel half", pc: "behind" },
    { name: "IRQ", code: 0, condition: "timer or line", finishedBy: "kernel half", pc: "at" },
    { name: "SYSTEM", code: 0x17, condition: "always", finishedBy: "VMM half", pc: "at" },
  ],
};

/** Which hypercalls go to the VMM half; the others get -1 from the kernel half. */
export interface SmallControlState {
  readonly forwards: readonly { readonly function: number; readonly seq: number }[];
  readonly knob: bigint;
}

export const smallControl: ControlSlice = {
  kinds: [
    { name: "small.ForwardSet", version: 1, role: "vmm output", fields: ["function"] },
    { name: "small.KnobSet", version: 1, role: "vmm output", fields: ["value"] },
  ],
  initialState: (): SmallControlState => ({ forwards: [], knob: 0n }),
  decide(state, command, context) {
    const { forwards } = state as SmallControlState;
    const fields = new PayloadFields(command.name, command);
    if (command.name === "knob")
      return { events: [{ kind: "small.KnobSet", version: 1, vcpu: -1, payload: { value: fields.bigint("value") } }] };
    const call = "SMALL_SET_FORWARD";
    if (command.name !== "forward") return { refused: { errno: "EINVAL", call, reason: `no command ${command.name}` } };
    const number = fields.number("function");
    if (context.hasRun) return { refused: { errno: "EBUSY", call, reason: "a vCPU has run" } };
    if (forwards.some((each) => each.function === number))
      return { refused: { errno: "EEXIST", call, reason: `${number} is set already` } };
    return { events: [{ kind: "small.ForwardSet", version: 1, vcpu: -1, payload: { function: number } }] };
  },
  evolve(state, event, seq): SmallControlState {
    const before = state as SmallControlState;
    const fields = new PayloadFields(event.kind, event.payload);
    if (event.kind === "small.KnobSet") return { ...before, knob: fields.bigint("value") };
    const forwards = [...before.forwards, { function: fields.number("function"), seq }];
    return { ...before, forwards: forwards.sort((a, b) => a.function - b.function) };
  },
  describe: (event) => Object.values(event.payload).map(String).join(" "),
  parse: (name, text) => (name === "forward" ? { name, function: Number(text) } : `unknown command ${name}`),
};

interface Vcpu {
  readonly registers: Uint32Array;
  pc: number;
  waiting: boolean;
}

const REGISTER_COUNT = 8;
const SLICE_UNITS = 97;
const NO_TIMER = -1;
const INSTRUCTION_BYTES = 4;

class SmallKernel implements KernelHalf {
  readonly memory: PlainMemory;
  icount = 0;
  hasRun = false;
  readonly exit: ExitFrame = new Uint32Array(EXIT_WORD_COUNT);
  exitPending = false;
  stuckReason: string | undefined;
  answerLow = 0;
  answerHigh = 0;
  readonly registers: readonly RegisterName[];
  currentVcpu = 0;
  watchReport: WatchReport | undefined;
  readonly #vcpus: readonly Vcpu[];
  readonly #schedule: EntropyStream;
  readonly #random: EntropyStream;
  #skippedNs = 0;
  #timerNs = NO_TIMER;
  /** Interrupt sources that wait: bit 0 the timer, bit 1 + n line n. */
  #pending = 0;
  #lines = 0;
  #sliceLeft = SLICE_UNITS;
  #watched = { physical: 0, bytes: 0 };
  #breakPc: bigint | undefined;
  #control: SmallControlState = { forwards: [], knob: 0n };
  /** A breakage for tests of divergence: added to what SYS reads give. */
  readonly #skew: number;

  constructor(options: KernelHalfOptions, skew: number) {
    this.memory = new PlainMemory(options.memoryBase, options.memoryBytes);
    this.memory.onGuestWrite = (physical, bytes) => this.#noteWrite(physical, bytes);
    this.#schedule = options.entropy.stream("schedule");
    this.#random = options.entropy.stream("trng");
    this.#skew = skew;
    this.#vcpus = Array.from({ length: options.vcpuCount }, () => ({
      registers: new Uint32Array(REGISTER_COUNT),
      pc: options.memoryBase,
      waiting: false,
    }));
    const general = Array.from({ length: REGISTER_COUNT }, (_, index) => `x${index}`);
    this.registers = [...general, "pc"].map((name) => ({ name, bits: 64, group: "general" }));
  }

  get guestTimeNs(): number {
    return this.icount * GUEST_NANOSECONDS_PER_UNIT + this.#skippedNs;
  }

  get #vcpu(): Vcpu {
    const vcpu = this.#vcpus[this.currentVcpu];
    if (vcpu === undefined) throw new RangeError(`no vcpu${this.currentVcpu}`);
    return vcpu;
  }

  get idleDeadlineNs(): number | undefined {
    return this.#timerNs === NO_TIMER ? undefined : this.#timerNs;
  }

  #noteWrite(physical: number, bytes: number): void {
    const { physical: start, bytes: length } = this.#watched;
    if (physical + bytes <= start || physical >= start + length) return;
    this.watchReport = { vcpu: this.currentVcpu, pc: BigInt(this.#vcpu.pc), physical, bytes };
  }

  watch(physical: number, bytes: number): void {
    this.#watched = { physical, bytes };
  }

  breakAt(pc: bigint | undefined): void {
    this.#breakPc = pc;
  }

  #checkTimer(): void {
    if (this.#timerNs === NO_TIMER || this.guestTimeNs < this.#timerNs) return;
    this.#timerNs = NO_TIMER;
    this.#pending |= 1;
  }

  #raise(reason: number, finishedBy: number, kvmExit: number): void {
    this.exit.fill(0);
    this.exit[ExitWord.reason] = reason;
    this.exit[ExitWord.vcpu] = this.currentVcpu;
    this.exit[ExitWord.finishedBy] = finishedBy;
    this.exit[ExitWord.kvmExit] = kvmExit;
    this.exit[ExitWord.pcLow] = this.#vcpu.pc;
    this.exitPending = true;
  }

  #nextVcpu(): void {
    this.currentVcpu = (this.currentVcpu + 1) % this.#vcpus.length;
    this.#sliceLeft = SLICE_UNITS + Number(this.#schedule.next() & 63n);
  }

  run(limit: number): RunStop {
    if (this.exitPending) throw new Error("run while an exit is pending");
    this.watchReport = undefined;
    for (;;) {
      if (this.#breakPc === BigInt(this.#vcpu.pc)) return "breakpoint";
      if (this.icount >= limit) return "limit";
      this.#checkTimer();
      // An interrupt wakes every vCPU and is taken where it is seen, as an exit.
      if (this.#pending !== 0 && this.#vcpu.waiting) for (const vcpu of this.#vcpus) vcpu.waiting = false;
      if (this.#vcpus.every((vcpu) => vcpu.waiting)) return "idle";
      if (this.#vcpu.waiting || (this.#sliceLeft <= 0 && this.#vcpus.length > 1)) {
        this.#nextVcpu();
        continue;
      }
      if (this.#pending !== 0) {
        this.#raise(Reason.irq, FinishedBy.kernelHalf, 0);
        setFrameU64(this.exit, ExitWord.arg0Low, BigInt(this.#pending));
        return "exit";
      }
      this.hasRun = true;
      if (this.#execute()) return "exit";
      if (this.stuckReason !== undefined) return "stuck";
      if (this.watchReport !== undefined) return "watch";
    }
  }

  #retire(): void {
    this.#vcpu.pc += INSTRUCTION_BYTES;
    this.icount += 1;
    this.#sliceLeft -= 1;
  }

  /** True: an exit is pending. */
  #execute(): boolean {
    const vcpu = this.#vcpu;
    if (!this.memory.contains(vcpu.pc, INSTRUCTION_BYTES)) {
      this.stuckReason = `vcpu${this.currentVcpu} runs outside RAM at 0x${vcpu.pc.toString(16)}`;
      return false;
    }
    const code = this.memory.readWord(vcpu.pc);
    const a = (code >> 8) & 7;
    const b = (code >> 16) & 7;
    const c = (code >> 24) & 7;
    const immediate = code >> 16;
    const x = vcpu.registers;
    switch (code & 0xff) {
      case Op.wfi:
        this.#retire();
        this.#raise(Reason.wfx, FinishedBy.kernelHalf, 0);
        return true;
      case Op.load:
      case Op.store:
        return this.#access((code & 0xff) === Op.store, a, x[b] ?? 0);
      case Op.hvc:
        return this.#hypercall();
      case Op.sys:
        this.#raise(Reason.sys, FinishedBy.kernelHalf, 0);
        this.exit[ExitWord.arg0Low] = immediate & 0xffff;
        return true;
      case Op.off:
        this.#raise(Reason.off, FinishedBy.vmmHalf, KvmExit.systemEvent);
        this.exit[ExitWord.info] = 1;
        return true;
      case Op.jnz:
        if (x[a] !== 0) vcpu.pc += (immediate - 1) * INSTRUCTION_BYTES;
        break;
      case Op.jmp:
        vcpu.pc += (immediate - 1) * INSTRUCTION_BYTES;
        break;
      default:
        this.#arithmetic(code & 0xff, a, x[b] ?? 0, x[c] ?? 0, immediate);
    }
    this.#retire();
    return false;
  }

  #arithmetic(op: number, a: number, b: number, c: number, immediate: number): void {
    const x = this.#vcpu.registers;
    const old = x[a] ?? 0;
    if (op === Op.movi) x[a] = immediate & 0xffff;
    else if (op === Op.movhi) x[a] = (old & 0xffff) | (immediate << 16);
    else if (op === Op.add) x[a] = b + c;
    else if (op === Op.addi) x[a] = old + immediate;
    else if (op === Op.sub) x[a] = b - c;
    else if (op === Op.xor) x[a] = b ^ c;
    else if (op === Op.timer) this.#timerNs = this.guestTimeNs + old;
  }

  #access(isWrite: boolean, register: number, physical: number): boolean {
    const vcpu = this.#vcpu;
    if (this.memory.contains(physical, 4)) {
      if (isWrite) this.memory.writeWord(physical, vcpu.registers[register] ?? 0);
      else vcpu.registers[register] = this.memory.readWord(physical);
      this.#retire();
      return false;
    }
    this.#raise(Reason.dabt, FinishedBy.vmmHalf, KvmExit.mmio);
    this.exit[ExitWord.info] = 4 | (isWrite ? 0x100 : 0);
    this.exit[ExitWord.syndromeLow] = register;
    this.exit[ExitWord.arg0Low] = physical;
    if (isWrite) this.exit[ExitWord.arg1Low] = vcpu.registers[register] ?? 0;
    return true;
  }

  #hypercall(): boolean {
    const number = this.#vcpu.registers[0] ?? 0;
    this.#retire();
    const rule = this.#control.forwards.find((each) => each.function === number);
    this.#raise(Reason.hvc, rule ? FinishedBy.vmmHalf : FinishedBy.kernelHalf, rule ? KvmExit.hypercall : 0);
    this.exit[ExitWord.rule] = rule?.seq ?? 0;
    this.exit[ExitWord.arg0Low] = number;
    this.exit[ExitWord.arg1Low] = this.#vcpu.registers[1] ?? 0;
    return true;
  }

  finishExit(): boolean {
    this.exitPending = false;
    const vcpu = this.#vcpu;
    this.answerHigh = 0;
    switch (this.exit[ExitWord.reason]) {
      case Reason.hvc:
        vcpu.registers[0] = 0xffff_ffff;
        this.answerLow = 0xffff_ffff;
        return true;
      case Reason.sys:
        return this.#finishSystemRead(vcpu);
      case Reason.wfx:
        // A line that is held high wakes as long as it is, so that nothing between looking and waiting is lost.
        vcpu.waiting = this.#lines === 0;
        return false;
      default:
        // The source in x7 is how the guest learns of an interrupt.
        vcpu.registers[7] = this.#pending;
        this.#pending = 0;
        return false;
    }
  }

  /** System register 0 reads guest time, 1 entropy, 2 the knob, 3 the vCPU's number; the result goes to x6. */
  #finishSystemRead(vcpu: Vcpu): boolean {
    const values = [
      () => Math.floor(this.guestTimeNs / 16) + this.#skew,
      () => Number(this.#random.next() & 0xffff_ffffn),
      () => Number(this.#control.knob & 0xffff_ffffn),
      () => this.currentVcpu,
    ];
    vcpu.registers[6] = values[this.exit[ExitWord.arg0Low] ?? 0]?.() ?? 0;
    this.answerLow = vcpu.registers[6] ?? 0;
    this.#retire();
    return true;
  }

  completeExit(low: number): void {
    if (!this.exitPending) throw new Error("no exit is pending");
    this.exitPending = false;
    if (this.exit[ExitWord.reason] === Reason.hvc) return;
    const isMmio = this.exit[ExitWord.reason] === Reason.dabt;
    const isWrite = ((this.exit[ExitWord.info] ?? 0) & 0x100) !== 0;
    if (isMmio && !isWrite) this.#vcpu.registers[this.exit[ExitWord.syndromeLow] ?? 0] = low;
    this.#retire();
  }

  skipTo(guestTimeNs: number): void {
    if (!this.#vcpus.every((vcpu) => vcpu.waiting)) throw new Error("skipTo while a vCPU runs");
    if (guestTimeNs < this.guestTimeNs) throw new RangeError(`skipTo ${guestTimeNs} is in the past`);
    this.#skippedNs += guestTimeNs - this.guestTimeNs;
  }

  setIrqLine(line: number, level: 0 | 1): void {
    const bit = 2 << line;
    if (level === 1 && (this.#lines & bit) === 0) this.#pending |= bit;
    this.#lines = level === 1 ? this.#lines | bit : this.#lines & ~bit;
  }

  configure(state: unknown): void {
    this.#control = state as SmallControlState;
  }

  #register(vcpu: number, name: string): { readonly of: Vcpu; readonly index: number } {
    const of = this.#vcpus[vcpu];
    const index = name === "pc" ? REGISTER_COUNT : /^x[0-7]$/.test(name) ? Number(name.slice(1)) : -1;
    if (of === undefined || index < 0) throw new RangeError(`no register ${name} on vcpu${vcpu}`);
    return { of, index };
  }

  readRegister(vcpu: number, name: string): bigint {
    const { of, index } = this.#register(vcpu, name);
    return BigInt(index === REGISTER_COUNT ? of.pc : (of.registers[index] ?? 0));
  }

  writeRegister(vcpu: number, name: string, value: bigint): void {
    const { of, index } = this.#register(vcpu, name);
    if (index === REGISTER_COUNT) of.pc = Number(value);
    else of.registers[index] = Number(value & 0xffff_ffffn);
  }

  translate(_vcpu: number, virtual: bigint): number | undefined {
    return this.memory.contains(Number(virtual), 1) ? Number(virtual) : undefined;
  }

  disassemble(_vcpu: number, virtual: bigint, count: number): { address: bigint; bytes: Uint8Array; text: string }[] {
    return Array.from({ length: count }, (_, index) => {
      const bytes = this.memory.read(Number(virtual) + index * INSTRUCTION_BYTES, INSTRUCTION_BYTES);
      const name = Object.entries(Op).find(([, op]) => op === bytes[0])?.[0] ?? "?";
      return { address: virtual + BigInt(index * INSTRUCTION_BYTES), bytes, text: name };
    });
  }

  backtrace(): bigint[] {
    return [];
  }

  save(): StateSection[] {
    const state = {
      icount: this.icount,
      skippedNs: this.#skippedNs,
      timerNs: this.#timerNs,
      pending: this.#pending,
      lines: this.#lines,
      sliceLeft: this.#sliceLeft,
      currentVcpu: this.currentVcpu,
      hasRun: this.hasRun,
      exitPending: this.exitPending,
      exit: this.exitPending ? new Uint8Array(this.exit.slice().buffer) : new Uint8Array(0),
      vcpus: this.#vcpus.map(({ registers, pc, waiting }) => ({
        registers: new Uint8Array(registers.slice().buffer),
        pc,
        waiting,
      })),
    };
    return [{ name: "small.kernel", version: 1, bytes: encodeCanonical(state) }];
  }

  restore(sections: readonly StateSection[]): void {
    const section = sections.find((each) => each.name === "small.kernel");
    if (section === undefined || sections.length !== 1) throw new StateSectionError("small.kernel", "it is missing");
    const fields = new PayloadFields("small.kernel", decodeCanonicalMap(section.bytes));
    this.icount = fields.number("icount");
    this.#skippedNs = fields.number("skippedNs");
    this.#timerNs = fields.number("timerNs");
    this.#pending = fields.number("pending");
    this.#lines = fields.number("lines");
    this.#sliceLeft = fields.number("sliceLeft");
    this.currentVcpu = fields.number("currentVcpu");
    this.hasRun = fields.boolean("hasRun");
    this.exitPending = fields.boolean("exitPending");
    this.stuckReason = undefined;
    this.exit.fill(0);
    this.exit.set(new Uint32Array(fields.bytes("exit").slice().buffer));
    fields.array("vcpus").forEach((saved, index) => {
      const vcpu = this.#vcpus[index];
      if (vcpu === undefined) throw new StateSectionError("small.kernel", `no vcpu${index}`);
      const each = new PayloadFields("vcpu", saved as { [key: string]: number });
      vcpu.registers.set(new Uint32Array(each.bytes("registers").slice().buffer));
      vcpu.pc = each.number("pc");
      vcpu.waiting = each.boolean("waiting");
    });
  }

  dropCaches(): void {}

  unimplemented(): ReadonlyMap<string, number> {
    return new Map();
  }
}

/** `skew` makes another build of it, which reads the clock wrongly; `watch: false` one without watched memory, `breaks: false` one without a break pc. */
export function smallArchitecture(
  build: { readonly skew?: number; readonly watch?: boolean; readonly breaks?: boolean } = {},
): Architecture {
  return {
    name: "arm64",
    revision: build.skew === undefined ? 1 : 2,
    cpuModels: ["small"],
    exitModels: [smallExitModel],
    control: smallControl,
    createKernelHalf(options) {
      const kernel: KernelHalf = new SmallKernel(options, build.skew ?? 0);
      if (build.watch === false) Object.defineProperty(kernel, "watch", { value: undefined });
      if (build.breaks === false) Object.defineProperty(kernel, "breakAt", { value: undefined });
      return kernel;
    },
    describeExit(model, frame) {
      const name = model.reasons[frame[ExitWord.reason] ?? 0]?.name ?? "?";
      return `${name} 0x${frameU64(frame, ExitWord.arg0Low).toString(16)}`;
    },
  };
}
