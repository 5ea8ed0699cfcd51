/** Runs cases on a vCPU at CPL 3, with code and data mapped as `case-runner.c` has them, and nothing else. */
import { ExitCode, longModeValues, materializeFlags, refreshDerived, vcpuState, x86Cpu } from "@hvjournal/cpu-x86";
import { elementOf, Engine, EngineExit, type EngineOptions, type StateArray, type StateField } from "@hvjournal/engine";
import {
  type Bits,
  BlockOffset,
  checkOf,
  CODE_ADDRESS,
  DATA_PAGE,
  FXSAVE_BYTES,
  FxsaveOffset,
  isBehindCode,
  PAGE_BYTES,
  RAN_ON,
  RAN_OUT,
  STATE_REGISTERS,
  type UserCase,
  type UserResult,
  type UserRunner,
  WINDOW_ADDRESS,
} from "./case-block.js";

const RAM_BYTES = 0x8_0000;
/** Where the system sees its frames: no user code of 32 bits can name these addresses. */
const SYSTEM = 0xffff_8000_0000_0000n;
const NOT_EXECUTABLE = 1n << 63n;
/** Guest-physical addresses. */
const GDT = 0x1000;
const IDT = 0x2000;
const TSS = 0x4000;
const HANDLERS = 0x5000;
const STACK_TOP = 0x7ff0;
const CODE_FRAME = 0x8000;
const DATA_FRAME = 0x9000;
const TABLES = 0x1_0000;
const HANDLER_BYTES = 16;
const HLT = 0xf4;

const SELECTOR = { systemCode: 0x08, user32: 0x1b, userData: 0x23, user64: 0x2b } as const;
const DESCRIPTORS = [
  0n,
  0x00af_9b00_0000_ffffn,
  0n,
  0x00cf_fb00_0000_ffffn,
  0x00cf_f300_0000_ffffn,
  0x00af_fb00_0000_ffffn,
];
const VECTORS = 32;
const UNITS_MAX = 40_000;
/** Vectors that push an error code. */
const WITH_ERROR_CODE = 0x0022_7d00;
const PAGE_FAULT = 14;
const GENERAL_PROTECTION = 13;

const segment = { es: 0, cs: 1, ss: 2, ds: 3, fs: 4, gs: 5, tr: 7 } as const;

/** A runner that keeps one engine, so that later cases also meet what earlier ones left in its caches. */
export function vcpuRunner(options: Partial<EngineOptions> = {}): UserRunner {
  const runner = new VcpuRunner(new Engine(x86Cpu, { ramBase: 0, ramBytes: RAM_BYTES, vcpuCount: 1, ...options }));
  return (cases) => cases.map((userCase) => runner.run(userCase));
}

class VcpuRunner {
  readonly #engine: Engine;
  readonly #start: Uint8Array;

  constructor(engine: Engine) {
    this.#engine = engine;
    this.#buildTables();
    this.#buildGates();
    for (const [field, value] of longModeValues) engine.writeField(field, value);
    this.#writeSystemState();
    this.#start = engine.vcpuState.slice();
  }

  run(userCase: UserCase): UserResult {
    const engine = this.#engine;
    engine.vcpuState.set(this.#start);
    this.#selectMode(userCase.bits);
    this.#loadState(userCase);
    engine.callRoutine(refreshDerived);
    engine.stateWritten();
    const exit = engine.run(UNITS_MAX);
    if (exit === EngineExit.budget) return this.#stopped(userCase.code);
    if (exit !== ExitCode.halt) throw new Error(this.#stopText(userCase, exit));
    return this.#result(userCase.code);
  }

  #stopText({ code, mnemonics }: UserCase, exit: number): string {
    const bytes = Buffer.from(code).toString("hex");
    const operands = [0, 1].map((index) => this.#engine.exitOperand(index).toString(16));
    return `${bytes} (${mnemonics.join("; ")}): exit ${exit}, operands ${operands.join()}`;
  }

  #write64(physical: number, value: bigint): void {
    this.#engine.memory.write(physical, new Uint8Array(BigUint64Array.of(BigInt.asUintN(64, value)).buffer));
  }

  /** The system's first 2 MiB, and two pages of the user's. */
  #buildTables(): void {
    const tables = [1, 2, 3, 4, 5].map((index) => TABLES + index * PAGE_BYTES);
    const [level3 = 0, level2 = 0, code = 0, systemLevel3 = 0, systemLevel2 = 0] = tables;
    const [table, user, systemFrames] = [7n, 7n, 0x83n];
    this.#write64(TABLES, BigInt(level3) | table);
    this.#write64(level3, BigInt(level2) | table);
    this.#write64(level2 + 8 * (CODE_ADDRESS >>> 21), BigInt(code) | table);
    this.#write64(TABLES + 8 * 256, BigInt(systemLevel3) | table);
    this.#write64(systemLevel3, BigInt(systemLevel2) | table);
    this.#write64(systemLevel2, systemFrames);
    this.#write64(code, BigInt(CODE_FRAME) | user);
    this.#write64(code + 8 * ((DATA_PAGE >>> 12) & 511), BigInt(DATA_FRAME) | user | NOT_EXECUTABLE);
  }

  #buildGates(): void {
    DESCRIPTORS.forEach((descriptor, index) => this.#write64(GDT + 8 * index, descriptor));
    // IST 1 of the TSS.
    this.#write64(TSS + 0x24, SYSTEM + BigInt(STACK_TOP));
    for (let vector = 0; vector < VECTORS; vector++) {
      const gate = (0x8e01n << 32n) | BigInt(SELECTOR.systemCode << 16) | BigInt(HANDLERS + HANDLER_BYTES * vector);
      this.#write64(IDT + 16 * vector, gate | (((SYSTEM >> 16n) & 0xffffn) << 48n));
      this.#write64(IDT + 16 * vector + 8, SYSTEM >> 32n);
      this.#engine.memory.write(HANDLERS + HANDLER_BYTES * vector, Uint8Array.of(HLT));
    }
  }

  #writeSystemState(): void {
    const { gdtBase, gdtLimit, idtBase, idtLimit, cr3, cpl, segmentSelector, segmentAttributes, segmentBase } =
      vcpuState;
    const write = (field: StateField, value: number | bigint): void => this.#engine.writeField(field, BigInt(value));
    write(gdtBase, SYSTEM + BigInt(GDT));
    write(gdtLimit, 8 * DESCRIPTORS.length - 1);
    write(idtBase, SYSTEM + BigInt(IDT));
    write(idtLimit, 16 * VECTORS - 1);
    write(cr3, TABLES);
    write(cpl, 3);
    for (const name of ["es", "ss", "ds"] as const) {
      write(elementOf(segmentSelector, segment[name]), SELECTOR.userData);
      write(elementOf(segmentAttributes, segment[name]), 0xc0f3);
    }
    write(elementOf(segmentBase, segment.tr), SYSTEM + BigInt(TSS));
    write(elementOf(vcpuState.segmentLimit, segment.tr), 0x67);
    write(elementOf(segmentAttributes, segment.tr), 0x8b);
    // CR4.OSFXSR and OSXMMEXCPT
    this.#engine.writeField(vcpuState.cr4, this.#engine.readField(vcpuState.cr4) | 0x600n);
  }

  #selectMode(bits: Bits): void {
    const write = (field: StateField, value: number): void => this.#engine.writeField(field, BigInt(value));
    write(elementOf(vcpuState.segmentSelector, segment.cs), bits === 64 ? SELECTOR.user64 : SELECTOR.user32);
    write(elementOf(vcpuState.segmentAttributes, segment.cs), bits === 64 ? 0xa0fb : 0xc0fb);
  }

  #loadState({ block, code }: UserCase): void {
    const { memory } = this.#engine;
    const view = new DataView(block.buffer, block.byteOffset, block.length);
    const page = new Uint8Array(PAGE_BYTES).fill(HLT);
    page.set(code, CODE_ADDRESS % PAGE_BYTES);
    memory.write(CODE_FRAME, page);
    memory.write(DATA_FRAME, new Uint8Array(WINDOW_ADDRESS % PAGE_BYTES));
    memory.write(DATA_FRAME + (WINDOW_ADDRESS % PAGE_BYTES), block.subarray(BlockOffset.window));
    for (let index = 0; index < STATE_REGISTERS; index++)
      this.#engine.writeField(elementOf(vcpuState.gpr, index), view.getBigUint64(BlockOffset.gpr + 8 * index, true));
    this.#engine.writeField(vcpuState.rflags, view.getBigUint64(BlockOffset.rflags, true) | 0x202n);
    this.#engine.writeField(vcpuState.rip, BigInt(CODE_ADDRESS));
    this.#loadFloats(block.subarray(BlockOffset.fxsave, BlockOffset.fxsave + FXSAVE_BYTES));
  }

  #loadFloats(image: Uint8Array): void {
    const engine = this.#engine;
    const view = new DataView(image.buffer, image.byteOffset, image.length);
    const fsw = view.getUint16(FxsaveOffset.fsw, true);
    engine.writeField(vcpuState.fcw, BigInt(view.getUint16(FxsaveOffset.fcw, true)));
    engine.writeField(vcpuState.fsw, BigInt(fsw));
    engine.writeField(vcpuState.fpuTags, BigInt(image[FxsaveOffset.tags] ?? 0));
    engine.writeField(vcpuState.mxcsr, BigInt(view.getUint32(FxsaveOffset.mxcsr, true)));
    const load = (array: StateArray, index: number, offset: number, upper: bigint): void => {
      const high = view.getBigUint64(offset + 8, true) & upper;
      engine.writeField(elementOf(array, index), view.getBigUint64(offset, true) | (high << 64n));
    };
    for (let index = 0; index < 8; index++)
      load(vcpuState.fpr, ((fsw >> 11) + index) & 7, FxsaveOffset.st + 16 * index, 0xffffn);
    for (let index = 0; index < 16; index++)
      load(vcpuState.xmm, index, FxsaveOffset.xmm + 16 * index, 0xffff_ffff_ffff_ffffn);
  }

  #saveFloats(): Uint8Array {
    const engine = this.#engine;
    const image = new Uint8Array(FXSAVE_BYTES);
    const view = new DataView(image.buffer);
    const fsw = Number(engine.readField(vcpuState.fsw));
    view.setUint16(FxsaveOffset.fcw, Number(engine.readField(vcpuState.fcw)), true);
    view.setUint16(FxsaveOffset.fsw, fsw, true);
    image[FxsaveOffset.tags] = Number(engine.readField(vcpuState.fpuTags));
    view.setUint32(FxsaveOffset.mxcsr, Number(engine.readField(vcpuState.mxcsr)), true);
    const save = (array: StateArray, index: number, offset: number): void => {
      const value = engine.readField(elementOf(array, index));
      view.setBigUint64(offset, BigInt.asUintN(64, value), true);
      view.setBigUint64(offset + 8, value >> 64n, true);
    };
    for (let index = 0; index < 8; index++)
      save(vcpuState.fpr, ((fsw >> 11) + index) & 7, FxsaveOffset.st + 16 * index);
    for (let index = 0; index < 16; index++) save(vcpuState.xmm, index, FxsaveOffset.xmm + 16 * index);
    return image;
  }

  /** The vCPU has halted in the handler of an exception, whose frame has the rest. */
  #result(code: Uint8Array): UserResult {
    const engine = this.#engine;
    engine.callRoutine(materializeFlags);
    const vector = (Number(engine.readField(vcpuState.rip) - SYSTEM) - 1 - HANDLERS) / HANDLER_BYTES;
    const frame = Number(engine.readField(elementOf(vcpuState.gpr, 4)) - SYSTEM);
    const words = new DataView(engine.memory.read(frame, 48).slice().buffer);
    const hasError = ((WITH_ERROR_CODE >> vector) & 1) !== 0;
    const word = (index: number): bigint => words.getBigUint64(8 * (index + (hasError ? 1 : 0)), true);
    const [rip, rflags, rsp] = [word(0), word(2), word(3)];
    // The HLT behind the code is not for CPL 3.
    const ranOut = vector === GENERAL_PROTECTION && isBehindCode(rip, code.length);
    const end = {
      vector: ranOut ? RAN_OUT : vector,
      error: hasError ? Number(words.getBigUint64(0, true)) : 0,
      cr2: vector === PAGE_FAULT ? engine.readField(vcpuState.cr2) : 0n,
    };
    return { ...this.#state(code), gpr: this.#registers(rsp), rip, rflags: Number(rflags), end };
  }

  /** Where the budget was too small. */
  #stopped(code: Uint8Array): UserResult {
    const engine = this.#engine;
    engine.callRoutine(materializeFlags);
    return {
      ...this.#state(code),
      gpr: this.#registers(engine.readField(elementOf(vcpuState.gpr, 4))),
      rip: engine.readField(vcpuState.rip),
      rflags: Number(engine.readField(vcpuState.rflags)),
      end: { vector: RAN_ON, error: 0, cr2: 0n },
    };
  }

  #registers(rsp: bigint): bigint[] {
    return Array.from({ length: STATE_REGISTERS }, (_, index) =>
      index === 4 ? rsp : this.#engine.readField(elementOf(vcpuState.gpr, index)),
    );
  }

  #state(code: Uint8Array): Pick<UserResult, "fxsave" | "window" | "check" | "codeWritten"> {
    const page = this.#engine.memory.read(DATA_FRAME, PAGE_BYTES).slice();
    const codeNow = this.#engine.memory.read(CODE_FRAME + (CODE_ADDRESS % PAGE_BYTES), code.length);
    return {
      codeWritten: Buffer.compare(codeNow, code) !== 0,
      fxsave: this.#saveFloats(),
      window: page.slice(WINDOW_ADDRESS % PAGE_BYTES),
      check: checkOf(page),
    };
  }
}
