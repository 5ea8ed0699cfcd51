/** Runs cases by `case-runner.c`: on the CPU of an x86-64 host, or under QEMU's user mode emulation of one. */
import { spawnSync } from "node:child_process";
import { existsSync, mkdirSync, renameSync, statSync } from "node:fs";
import { arch, tmpdir } from "node:os";
import { join } from "node:path";
import {
  type Bits,
  BLOCK_BYTES,
  BlockOffset,
  FXSAVE_BYTES,
  FxsaveOffset,
  inputBlock,
  isBehindCode,
  RAN_OUT,
  STATE_REGISTERS,
  type UserCase,
  type UserResult,
  WINDOW_BYTES,
} from "./case-block.js";

const SOURCE = join(import.meta.dirname, "../../src/x86/case-runner.c");
const COMPILER = "gcc";
const OPTIONS =
  "-O1 -fno-builtin -ffreestanding -fno-stack-protector -fno-pic -no-pie -mgeneral-regs-only -nostdlib -static".split(
    " ",
  );
const TIMEOUT_MS = 120_000;

export interface Oracle {
  readonly name: string;
  /** It gives signals, not vectors; and state at faults is not exact, nor is the address space the same. */
  readonly toEndOnly: boolean;
  /** Its x87 can be compared. */
  readonly hasX87: boolean;
  /** Whether it can begin a case at all: a host that is itself virtual may not return to every state. */
  canEnter(userCase: UserCase): boolean;
  /** Cases of one number of bits. */
  run(cases: readonly UserCase[]): OracleResult[];
}

/** "failed": the emulator itself, so that there is nothing to compare with. */
export type OracleResult = UserResult | "failed";

/** Why there is no oracle of a kind here, or the oracle. */
export function hostOracle(bits: Bits): Oracle | string {
  if (arch() !== "x64") return `the host is no x86-64 CPU (${arch()})`;
  return oracle("host", bits, []);
}

export function qemuOracle(bits: Bits): Oracle | string {
  const command = bits === 64 ? "qemu-x86_64" : "qemu-i386";
  if (spawnSync(command, ["--version"]).status !== 0) return `${command} is not installed`;
  return oracle(command, bits, [command, "-cpu", "max"]);
}

function oracle(name: string, bits: Bits, launcher: readonly string[]): Oracle | string {
  if (spawnSync(COMPILER, ["--version"]).status !== 0) return `${COMPILER} is not installed`;
  const program = compiled(bits);
  if (program === undefined) return `${COMPILER} -m${bits} does not compile case-runner.c`;
  const command = [...launcher, program];
  if (spawnSync(command[0] ?? "", command.slice(1), { input: "" }).status !== 0)
    return `${name} runs no programs of ${bits} bits`;
  const entersAnyStack = bits === 32 || canEnterStack(command, NON_CANONICAL);
  // QEMU's x87 knows no stack faults and no C1; its 32-bit code begins with another state than the signal's frame says.
  return {
    name,
    toEndOnly: launcher.length > 0,
    hasX87: launcher.length === 0,
    canEnter: (userCase) => entersAnyStack || isCanonical(stackOf(userCase)),
    run: (cases) => run(command, cases),
  };
}

const NON_CANONICAL = 1n << 63n;
const NOP = 0x90;
const RSP = 4;

function stackOf({ block }: Pick<UserCase, "block">): bigint {
  return viewOf(block).getBigUint64(BlockOffset.gpr + 8 * RSP, true);
}

/** Of 48 bits, as user code without LA57 has them. */
function isCanonical(address: bigint): boolean {
  return BigInt.asUintN(64, BigInt.asIntN(48, address)) === address;
}

/** An IRET takes any RSP (Intel SDM volume 2A, IRET); not so where a hypervisor without hardware's help stands in for it. */
function canEnterStack(command: readonly string[], rsp: bigint): boolean {
  const block = new Uint8Array(BLOCK_BYTES);
  const view = viewOf(block);
  view.setBigUint64(BlockOffset.gpr + 8 * RSP, rsp, true);
  view.setBigUint64(BlockOffset.rflags, 0x202n, true);
  view.setUint16(BlockOffset.fxsave + FxsaveOffset.fcw, 0x37f, true);
  view.setUint32(BlockOffset.fxsave + FxsaveOffset.mxcsr, 0x1f80, true);
  const nothing = {
    bits: 64,
    stateSeed: 0,
    code: Uint8Array.of(NOP),
    block,
    undefinedFlags: [],
    mnemonics: ["NOP"],
  } as const;
  const [result] = run(command, [nothing]);
  return typeof result === "object" && result.end.vector === RAN_OUT;
}

function viewOf(block: Uint8Array): DataView {
  return new DataView(block.buffer, block.byteOffset, block.byteLength);
}

/** The program, made when it is older than its source. */
function compiled(bits: Bits): string | undefined {
  const folder = join(tmpdir(), `hvjournal-x86-oracle-${process.getuid?.() ?? 0}`);
  const program = join(folder, `case-runner-${bits}-${Math.floor(statSync(SOURCE).mtimeMs)}`);
  if (existsSync(program)) return program;
  mkdirSync(folder, { recursive: true });
  const made = `${program}.${process.pid}`;
  if (spawnSync(COMPILER, [`-m${bits}`, ...OPTIONS, "-o", made, SOURCE]).status !== 0) return undefined;
  renameSync(made, program);
  return program;
}

/** QEMU 7.2's translator fails an assertion of its own at a few cases: that is no result, and no difference. */
const FAILED_ASSERTION = /^ERROR:.*assertion failed/m;
/** One of so many cases at most, and one where there are fewer: an oracle that always fails is none. */
const CASES_A_FAILURE = 50;

function run(command: readonly string[], cases: readonly UserCase[]): OracleResult[] {
  const results: OracleResult[] = [];
  for (let failures = 0; results.length < cases.length;) {
    const { done, failure } = runThrough(command, cases.slice(results.length));
    results.push(...done);
    if (failure === undefined) continue;
    if (!FAILED_ASSERTION.test(failure) || failures * CASES_A_FAILURE > cases.length)
      throw new Error(`behind ${results.length} of ${cases.length} cases ${failure}`);
    results.push("failed");
    failures += 1;
  }
  return results;
}

/** As many as come before a failure, which is told with all that the program has said. */
function runThrough(
  [command = "", ...parameters]: readonly string[],
  cases: readonly UserCase[],
): { readonly done: UserResult[]; readonly failure: string | undefined } {
  const input = new Uint8Array(cases.length * BLOCK_BYTES);
  cases.forEach((userCase, index) => input.set(inputBlock(userCase), index * BLOCK_BYTES));
  const { status, signal, stdout, stderr } = spawnSync(command, parameters, {
    input,
    maxBuffer: input.length + BLOCK_BYTES,
    timeout: TIMEOUT_MS,
  });
  const count = Math.floor(stdout.length / BLOCK_BYTES);
  const isWhole = status === 0 && count === cases.length;
  return {
    done: Array.from({ length: count }, (_, index) =>
      resultOf(stdout.subarray(index * BLOCK_BYTES, (index + 1) * BLOCK_BYTES)),
    ),
    failure: isWhole ? undefined : `${command} ended with status ${status}, signal ${signal}:\n${stderr.toString()}`,
  };
}

const SIGSEGV = 11;
/** Where there is no vector, one that gives this signal. */
const VECTOR_OF_SIGNAL: ReadonlyMap<number, number> = new Map([
  [4, 6],
  [5, 3],
  [7, 13],
  [8, 0],
  [11, 13],
]);
const NO_VECTOR = 0xffff_ffff;

function resultOf(block: Uint8Array): UserResult {
  const view = new DataView(block.buffer, block.byteOffset, block.length);
  const signal = view.getUint32(BlockOffset.signal, true);
  const rip = view.getBigUint64(BlockOffset.rip, true);
  const given = view.getUint32(BlockOffset.vector, true);
  const vector = given === NO_VECTOR ? (VECTOR_OF_SIGNAL.get(signal) ?? -2) : given;
  // The HLT behind the code, which is not for user mode.
  const ranOut = signal === SIGSEGV && vector === 13 && isBehindCode(rip, view.getUint32(BlockOffset.codeLength, true));
  return {
    gpr: Array.from({ length: STATE_REGISTERS }, (_, index) => view.getBigUint64(BlockOffset.gpr + 8 * index, true)),
    rip,
    rflags: Number(view.getBigUint64(BlockOffset.rflags, true)),
    end: {
      vector: ranOut ? RAN_OUT : vector,
      error: view.getUint32(BlockOffset.error, true),
      cr2: view.getBigUint64(BlockOffset.cr2, true),
    },
    fxsave: block.slice(BlockOffset.fxsave, BlockOffset.fxsave + FXSAVE_BYTES),
    window: block.slice(BlockOffset.window, BlockOffset.window + WINDOW_BYTES),
    check: view.getUint32(BlockOffset.check, true),
  };
}
