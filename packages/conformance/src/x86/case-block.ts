/** A piece of x86 user code with the state it starts from and the state it ends in: `struct block` of `case-runner.c`. */

export const CODE_ADDRESS = 0x2000_0800;
const CODE_PAGE = 0x2000_0000;
/** One page of data between two that are not mapped; only the window at its end is filled. */
export const DATA_PAGE = 0x2001_0000;
export const WINDOW_ADDRESS = 0x2001_0c00;
export const WINDOW_BYTES = 0x400;
export const PAGE_BYTES = 0x1000;
export const CODE_BYTES_MAX = 64;
export const FXSAVE_BYTES = 512;

/** Where things stand in a block. */
export const BlockOffset = {
  gpr: 0,
  rip: 128,
  rflags: 136,
  cr2: 144,
  vector: 152,
  error: 156,
  codeLength: 160,
  check: 164,
  signal: 168,
  fxsave: 192,
  code: 704,
  window: 768,
} as const;
export const BLOCK_BYTES: number = BlockOffset.window + WINDOW_BYTES;

/** Of FXSAVE's image: Intel SDM volume 1, 10.5.1. */
export const FxsaveOffset = { fcw: 0, fsw: 2, tags: 4, mxcsr: 24, st: 32, xmm: 160 } as const;

export const STATE_REGISTERS = 16;

/** 64: 64-bit mode; 32: compatibility mode, or a process of 32 bits. */
export type Bits = 32 | 64;

export interface UserCase {
  readonly bits: Bits;
  /** Of `randomState`. */
  readonly stateSeed: number;
  readonly code: Uint8Array;
  /** A whole block but for the code. */
  readonly block: Uint8Array;
  /** Status flags that the manual leaves undefined: in front of each instruction, by its offset in the code, and at the end. */
  readonly undefinedFlags: readonly (readonly [offset: number, flags: number])[];
  /** Definitions in it, by mnemonic. */
  readonly mnemonics: readonly string[];
}

/** Why a case ended. `cr2` counts for page faults only. */
export interface CaseEnd {
  /** A vector, or `RAN_OUT` behind the last instruction, or `RAN_ON`. */
  readonly vector: number;
  readonly error: number;
  readonly cr2: bigint;
}

export const RAN_OUT = -1;
/** The budget was not enough for the case. */
export const RAN_ON = -2;

export interface UserResult {
  readonly gpr: readonly bigint[];
  readonly rip: bigint;
  readonly rflags: number;
  readonly end: CaseEnd;
  readonly fxsave: Uint8Array;
  readonly window: Uint8Array;
  /** Of the data page outside the window. */
  readonly check: number;
  /** The case has written over its own code. An oracle does not tell. */
  readonly codeWritten?: boolean;
}

export type UserRunner = (cases: readonly UserCase[]) => UserResult[];

/** FNV-1a by words, of what stands in front of the window. */
export function checkOf(page: Uint8Array): number {
  const words = new Uint32Array(page.slice(0, WINDOW_ADDRESS - DATA_PAGE).buffer);
  return words.reduce((hash, word) => Math.imul(hash ^ word, 0x0100_0193), 0x811c_9dc5 | 0) >>> 0;
}

/** Whether the page of code has nothing but HLT there. */
export function isBehindCode(rip: bigint, codeLength: number): boolean {
  const offset = Number(rip) - CODE_ADDRESS;
  const inPage = rip >= CODE_PAGE && rip < CODE_PAGE + PAGE_BYTES;
  return inPage && (offset < 0 || offset >= codeLength);
}

export function inputBlock({ block, code }: UserCase): Uint8Array {
  const whole = block.slice();
  whole.set(code, BlockOffset.code);
  new DataView(whole.buffer).setUint32(BlockOffset.codeLength, code.length, true);
  return whole;
}

/** What the manual defines of RFLAGS at the end of user code: status flags, DF. */
export const COMPARED_FLAGS = 0xcd5;

const VECTOR_NAMES: ReadonlyMap<number, string> = new Map([
  [RAN_OUT, "end"],
  [RAN_ON, "no end"],
  [0, "#DE"],
  [1, "#DB"],
  [3, "#BP"],
  [4, "#OF"],
  [5, "#BR"],
  [6, "#UD"],
  [7, "#NM"],
  [12, "#SS"],
  [13, "#GP"],
  [14, "#PF"],
  [16, "#MF"],
  [17, "#AC"],
  [19, "#XM"],
]);

/** What is undefined where a case ended, or in front of any instruction where a jump may have led there. */
export function undefinedAt({ undefinedFlags }: UserCase, rip: bigint): number {
  const there = undefinedFlags.find(([offset]) => BigInt(CODE_ADDRESS + offset) === rip);
  return there?.[1] ?? undefinedFlags.reduce((all, [, flags]) => all | flags, 0);
}

export interface ComparisonOptions {
  /** Also what the manual leaves undefined. */
  readonly undefinedToo?: boolean;
  /** Only cases that run to their end on both sides. */
  readonly toEndOnly?: boolean;
  readonly hasX87?: boolean;
}

/** Differences of two results, one line each, decided by the manual or not: see `open-differences.ts`. */
export function differences(
  userCase: UserCase,
  actual: UserResult,
  expected: UserResult,
  { undefinedToo = false, toEndOnly = false, hasX87 = true }: ComparisonOptions = {},
): string[] {
  if (toEndOnly && [actual, expected].some(({ end }) => end.vector !== RAN_OUT)) return [];
  const lines: string[] = [];
  const compare = (name: string, left: bigint | number, right: bigint | number): void => {
    if (left !== right) lines.push(`${name}: 0x${left.toString(16)}, not 0x${right.toString(16)}`);
  };
  const ends = [actual, expected].map(({ end }) => endText(end));
  if (ends[0] !== ends[1]) lines.push(`${ends[0]}, not ${ends[1]}`);
  expected.gpr.forEach((value, index) => compare(`r${index}`, actual.gpr[index] ?? 0n, value));
  compare("rip", actual.rip, expected.rip);
  const flags = COMPARED_FLAGS & ~(undefinedToo ? 0 : undefinedAt(userCase, expected.rip));
  compare("rflags", actual.rflags & flags, expected.rflags & flags);
  if (hasX87) compareX87(actual.fxsave, expected.fxsave, compare);
  compareSse(actual.fxsave, expected.fxsave, compare);
  if (Buffer.compare(actual.window, expected.window) !== 0)
    expected.window.forEach((value, index) =>
      compare(`window+0x${index.toString(16)}`, actual.window[index] ?? 0, value),
    );
  compare("data outside the window", actual.check, expected.check);
  return lines;
}

type Compare = (name: string, left: bigint | number, right: bigint | number) => void;

function viewOf(image: Uint8Array): DataView {
  return new DataView(image.buffer, image.byteOffset, image.length);
}

function vectorAt(view: DataView, offset: number, upper: bigint): bigint {
  return view.getBigUint64(offset, true) | ((view.getBigUint64(offset + 8, true) & upper) << 64n);
}

function compareX87(actual: Uint8Array, expected: Uint8Array, compare: Compare): void {
  const [left, right] = [viewOf(actual), viewOf(expected)];
  for (const name of ["fcw", "fsw"] as const)
    compare(name, left.getUint16(FxsaveOffset[name], true), right.getUint16(FxsaveOffset[name], true));
  compare("tags", left.getUint8(FxsaveOffset.tags), right.getUint8(FxsaveOffset.tags));
  for (let index = 0; index < 8; index++) {
    const offset = FxsaveOffset.st + 16 * index;
    compare(`st${index}`, vectorAt(left, offset, 0xffffn), vectorAt(right, offset, 0xffffn));
  }
}

function compareSse(actual: Uint8Array, expected: Uint8Array, compare: Compare): void {
  const [left, right] = [viewOf(actual), viewOf(expected)];
  compare("mxcsr", left.getUint32(FxsaveOffset.mxcsr, true), right.getUint32(FxsaveOffset.mxcsr, true));
  const all = 0xffff_ffff_ffff_ffffn;
  for (let index = 0; index < 16; index++) {
    const offset = FxsaveOffset.xmm + 16 * index;
    compare(`xmm${index}`, vectorAt(left, offset, all), vectorAt(right, offset, all));
  }
}

function endText({ vector, error, cr2 }: CaseEnd): string {
  const name = VECTOR_NAMES.get(vector) ?? `vector ${vector}`;
  if (vector !== 14) return vector === 13 || vector === 12 ? `${name}(${error})` : name;
  // Linux hides whether an address of its own is mapped.
  const shown = cr2 >> 47n === 0n ? error : error | 1;
  return `${name}(${shown}) at 0x${cr2.toString(16)}`;
}
