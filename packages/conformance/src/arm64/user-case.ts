/** A piece of A64 user code with the state it starts from, and the state it leaves. */

/** Cases keep their code below the data, close enough for literals (1 MiB) and branches. */
export const CODE_ADDRESS = 0x4010_0000;
export const CODE_BYTES = 0x8_0000;
/** Data that loads and stores of a case find: at the same address for every case. */
export const DATA_ADDRESS = CODE_ADDRESS + CODE_BYTES;
export const DATA_BYTES = 0x2000;
/** From one case's code to the next. A case has at most `CASE_WORDS_MAX` words, one more leaves it. */
export const CASE_STRIDE = 0x100;
export const CASE_WORDS_MAX = CASE_STRIDE / 4 - 1;
export const CASE_COUNT_MAX = CODE_BYTES / CASE_STRIDE;

export interface UserState {
  /** X0 to X30. */
  readonly x: readonly bigint[];
  readonly sp: bigint;
  /** N, Z, C, V in bits 3 to 0. */
  readonly nzcv: number;
  readonly fpcr: number;
  readonly fpsr: number;
  /** V0 to V31, 128 bits each. */
  readonly v: readonly bigint[];
  /** `DATA_BYTES` from `DATA_ADDRESS` on. */
  readonly memory: Uint8Array;
}

export interface UserCase {
  readonly state: UserState;
  readonly words: readonly number[];
  /** Its code's place; that of its index in the batch, if not given. No two of a batch share one. */
  readonly slot?: number;
}

/** Why a case ended before its end. */
export interface UserTrap {
  readonly kind: "undefined" | "memory" | "alignment";
  /** Index of the word that trapped. */
  readonly word: number;
}

export interface UserResult {
  readonly state: UserState;
  readonly trap: UserTrap | undefined;
}

/** Runs cases one after the other, each from its own state, and gives their results in order. Exclusive monitors are open at each start. */
export type UserRunner = (cases: readonly UserCase[]) => UserResult[];

/** Where the code of a case lies: results depend on it. */
export function codeAddress(slot: number): number {
  if (slot >= CASE_COUNT_MAX) throw new RangeError(`case ${slot} of at most ${CASE_COUNT_MAX}`);
  return CODE_ADDRESS + slot * CASE_STRIDE;
}

/** Differences of two results, one line each: `x3: 0x1, not 0x2`. */
export function differences(actual: UserResult, expected: UserResult): string[] {
  const lines: string[] = [];
  const compare = (name: string, left: bigint | number, right: bigint | number): void => {
    if (left !== right) lines.push(`${name}: 0x${left.toString(16)}, not 0x${right.toString(16)}`);
  };
  const trapText = ({ trap }: UserResult): string =>
    trap === undefined ? "none" : `${trap.kind} at word ${trap.word}`;
  if (trapText(actual) !== trapText(expected)) lines.push(`trap: ${trapText(actual)}, not ${trapText(expected)}`);
  expected.state.x.forEach((value, index) => compare(`x${index}`, actual.state.x[index] ?? 0n, value));
  compare("sp", actual.state.sp, expected.state.sp);
  compare("nzcv", actual.state.nzcv, expected.state.nzcv);
  compare("fpcr", actual.state.fpcr, expected.state.fpcr);
  compare("fpsr", actual.state.fpsr, expected.state.fpsr);
  expected.state.v.forEach((value, index) => compare(`v${index}`, actual.state.v[index] ?? 0n, value));
  if (Buffer.compare(actual.state.memory, expected.state.memory) !== 0)
    expected.state.memory.forEach((value, index) =>
      compare(`memory+0x${index.toString(16)}`, actual.state.memory[index] ?? 0, value),
    );
  return lines;
}
