/** Runs cases on the engine at EL0, with code and data mapped as in the program under QEMU, and nothing else. */
import { cortexA57, refreshContext, resetValues, systemRegisterFields, vcpuState } from "@hvjournal/cpu-arm64";
import { elementOf, Engine, EngineExit, type EngineOptions } from "@hvjournal/engine";
import { STOP } from "./a64-assembler.js";
import {
  CODE_ADDRESS,
  CODE_BYTES,
  codeAddress,
  DATA_ADDRESS,
  DATA_BYTES,
  type UserCase,
  type UserResult,
  type UserRunner,
  type UserState,
  type UserTrap,
} from "./user-case.js";

const RAM_BASE = 0x4000_0000;
const RAM_BYTES = 0x20_0000;
const VECTORS = RAM_BASE;
const SYNCHRONOUS_FROM_EL0 = VECTORS + 0x400;

// Translation tables: 39 bits of address, so that the first level has entries of 1 GiB. Arm ARM D5.3.
const LEVEL_1 = RAM_BASE + 0x1000;
const LEVEL_2 = RAM_BASE + 0x2000;
const LEVEL_3 = RAM_BASE + 0x3000;
const PAGE_BYTES = 0x1000;
const TABLE_DESCRIPTOR = 3n;
/** Accessed, reachable from EL0. */
const USER_PAGE = TABLE_DESCRIPTOR | (1n << 10n) | (1n << 6n);
const READ_ONLY = 1n << 7n;
const NOT_EXECUTABLE = (1n << 54n) | (1n << 53n);
const VECTOR_PAGE = TABLE_DESCRIPTOR | (1n << 10n);
/** T0SZ 25, TTBR1 off, 40 bits of output. */
const TCR = 25n | (1n << 23n) | (2n << 32n);
/** Reset value with M, C and I. */
const SCTLR = 0x30d0_1905n;

/** CPACR_EL1.FPEN: nothing is trapped. */
const FPEN_NO_TRAP = 3n << 20n;

/** ESR_EL1.EC and its DFSC for alignment. Arm ARM D13.2.37. */
const EC_SHIFT = 26n;
const TRAP_KINDS: ReadonlyMap<number, UserTrap["kind"]> = new Map([
  [0x00, "undefined"],
  [0x20, "memory"],
  [0x22, "alignment"],
  [0x24, "memory"],
]);
const EC_DATA_ABORT = 0x24;
const FAULT_STATUS_ALIGNMENT = 0x21n;

/** A runner that keeps one engine, so that later cases also meet what earlier ones left in its caches. */
export function engineRunner(options: Partial<EngineOptions> = {}): UserRunner {
  const engine = new Engine(cortexA57, { ramBase: RAM_BASE, ramBytes: RAM_BYTES, vcpuCount: 1, ...options });
  placeWords(engine, SYNCHRONOUS_FROM_EL0, [STOP]);
  mapCodeAndData(engine);
  return (cases) => cases.map((userCase, index) => runCase(engine, userCase, userCase.slot ?? index));
}

function placeWords(engine: Engine, address: number, words: readonly number[]): void {
  engine.memory.write(address, new Uint8Array(Uint32Array.from(words).buffer));
}

function mapCodeAndData(engine: Engine): void {
  const map = (address: number, bytes: number, attributes: bigint): void => {
    for (let page = address; page < address + bytes; page += PAGE_BYTES) {
      placeDescriptor(engine, LEVEL_3 + ((page - RAM_BASE) / PAGE_BYTES) * 8, BigInt(page) | attributes);
    }
  };
  placeDescriptor(engine, LEVEL_1 + 8, BigInt(LEVEL_2) | TABLE_DESCRIPTOR);
  placeDescriptor(engine, LEVEL_2, BigInt(LEVEL_3) | TABLE_DESCRIPTOR);
  map(VECTORS, PAGE_BYTES, VECTOR_PAGE);
  map(CODE_ADDRESS, CODE_BYTES, USER_PAGE | READ_ONLY);
  map(DATA_ADDRESS, DATA_BYTES, USER_PAGE | NOT_EXECUTABLE);
}

function placeDescriptor(engine: Engine, address: number, descriptor: bigint): void {
  engine.memory.write(address, new Uint8Array(BigUint64Array.of(descriptor).buffer));
}

function runCase(engine: Engine, { state, words }: UserCase, slot: number): UserResult {
  const start = codeAddress(slot);
  placeWords(engine, start, [...words, STOP]);
  writeState(engine, state, start);
  // Branches only lead forward: as many units as words reach the end, where the vCPU stays.
  const exit = engine.run(words.length + 1);
  if (exit !== EngineExit.budget) throw new Error(`case in slot ${slot}: the vCPU left guest mode with exit ${exit}`);
  const pc = Number(engine.readField(vcpuState.pc));
  if (pc === SYNCHRONOUS_FROM_EL0) {
    return { state: readState(engine, vcpuState.spInactive), trap: trapOf(engine, start) };
  }
  const end = start + 4 * words.length;
  if (pc !== end) throw new Error(`case in slot ${slot}: pc 0x${pc.toString(16)}, not 0x${end.toString(16)}`);
  return { state: readState(engine, vcpuState.sp), trap: undefined };
}

function trapOf(engine: Engine, start: number): UserTrap {
  const syndrome = engine.readField(systemRegisterFields.esrEl1);
  const word = (Number(engine.readField(systemRegisterFields.elrEl1)) - start) / 4;
  const exceptionClass = Number(syndrome >> EC_SHIFT);
  if (exceptionClass === EC_DATA_ABORT && (syndrome & 0x3fn) === FAULT_STATUS_ALIGNMENT) {
    return { kind: "alignment", word };
  }
  const kind = TRAP_KINDS.get(exceptionClass);
  if (kind === undefined) throw new Error(`word ${word} raised ESR_EL1 0x${syndrome.toString(16)}`);
  return { kind, word };
}

function writeState(engine: Engine, state: UserState, pc: number): void {
  for (const [field, value] of resetValues) engine.writeField(field, value);
  engine.memory.write(DATA_ADDRESS, state.memory);
  state.x.forEach((value, index) => engine.writeField(elementOf(vcpuState.x, index), value));
  state.v.forEach((value, index) => engine.writeField(elementOf(vcpuState.v, index), value));
  engine.writeField(vcpuState.sp, state.sp);
  engine.writeField(vcpuState.fpcr, BigInt(state.fpcr));
  engine.writeField(vcpuState.fpsr, BigInt(state.fpsr));
  writeNzcv(engine, state.nzcv);
  engine.writeField(vcpuState.exclusiveBytes, 0n);
  engine.writeField(vcpuState.pc, BigInt(pc));
  engine.writeField(vcpuState.exceptionLevel, 0n);
  engine.writeField(vcpuState.stackSelect, 0n);
  engine.writeField(systemRegisterFields.vbarEl1, BigInt(VECTORS));
  engine.writeField(systemRegisterFields.cpacrEl1, FPEN_NO_TRAP);
  engine.writeField(systemRegisterFields.ttbr0El1, BigInt(LEVEL_1));
  engine.writeField(systemRegisterFields.tcrEl1, TCR);
  engine.writeField(systemRegisterFields.sctlrEl1, SCTLR);
  engine.callRoutine(refreshContext);
  engine.stateWritten();
}

function readState(engine: Engine, stackPointer: typeof vcpuState.sp): UserState {
  return {
    x: Array.from({ length: 31 }, (_, index) => engine.readField(elementOf(vcpuState.x, index))),
    sp: engine.readField(stackPointer),
    nzcv: readNzcv(engine),
    fpcr: Number(engine.readField(vcpuState.fpcr)),
    fpsr: Number(engine.readField(vcpuState.fpsr)),
    v: Array.from({ length: 32 }, (_, index) => engine.readField(elementOf(vcpuState.v, index))),
    memory: engine.memory.read(DATA_ADDRESS, DATA_BYTES).slice(),
  };
}

/** The flags lie in the state as `vcpuState` says. */
function writeNzcv(engine: Engine, nzcv: number): void {
  const bit = (index: number): bigint => BigInt((nzcv >> index) & 1);
  engine.writeField(vcpuState.flagN, bit(3) << 63n);
  engine.writeField(vcpuState.flagZ, bit(2) ^ 1n);
  engine.writeField(vcpuState.flagC, bit(1));
  engine.writeField(vcpuState.flagV, bit(0));
}

function readNzcv(engine: Engine): number {
  const n = Number(engine.readField(vcpuState.flagN) >> 63n);
  const z = engine.readField(vcpuState.flagZ) === 0n ? 1 : 0;
  return (
    (n << 3) | (z << 2) | (Number(engine.readField(vcpuState.flagC)) << 1) | Number(engine.readField(vcpuState.flagV))
  );
}
