/**
 * What is compiled together: the basic blocks around a hot place that lie in one page, have run already, and reach each
 * other by jumps whose targets stand in the code.
 */
import type { DecodeCache, DecodedPage } from "../decode/decode-cache.js";
import { type CompiledInstruction, constantOperandOf } from "../emit/compiled-target.js";
import type { Block, Program, ValueNode } from "../stage/program.js";
import { blocksOf } from "../stage/schedule.js";

const PAGE_BYTES = 4096;
/** Bytes of the longest instruction of any architecture. */
const INSTRUCTION_BYTES_MAX = 15;
/** Instructions of a region; what lies beyond is left to the interpreter. */
const INSTRUCTIONS_MAX = 512;
/** Blocks right in front of a region that are compiled with it. */
const BLOCKS_IN_FRONT_MAX = 4;
/** How far in front of a hot place its block may begin. */
const LOOK_BACK_MAX = 64;

export interface RegionInstruction extends CompiledInstruction {
  /** In its page. */
  readonly offset: number;
  readonly bytes: number;
}

/** Straight-line code: control enters at its first instruction only, and leaves behind its last, or by a fault. */
export interface RegionBlock {
  readonly instructions: readonly RegionInstruction[];
  readonly offset: number;
}

/** Blocks by ascending address. */
export type Region = readonly RegionBlock[];

/** How control leaves a program, as far as the code tells. */
interface Flow {
  /** Offsets in the page that it jumps to. */
  readonly targets: readonly number[];
  /** Control may go on with the next instruction, now or when a call returns. */
  readonly continues: boolean;
  /** It may leave the straight line other than by a fault, an exception or an exit. */
  readonly leaves: boolean;
}

/** The region around the instruction at `offset`; undefined where there is nothing worth compiling. */
export function findRegion(
  decoded: DecodeCache,
  page: DecodedPage,
  offset: number,
  granule: 1 | 4,
): Region | undefined {
  const finder = new RegionFinder(decoded, page, granule);
  return finder.find(offset);
}

class RegionFinder {
  readonly #decoded: DecodeCache;
  readonly #page: DecodedPage;
  readonly #granule: 1 | 4;
  /** All that were looked at; decoding takes its time. */
  readonly #decodedHere = new Map<number, RegionInstruction>();
  readonly #instructions = new Map<number, RegionInstruction>();
  readonly #leaders = new Set<number>();
  readonly #flows = new Map<number, Flow>();

  constructor(decoded: DecodeCache, page: DecodedPage, granule: 1 | 4) {
    this.#decoded = decoded;
    this.#page = page;
    this.#granule = granule;
  }

  find(offset: number): Region | undefined {
    this.#take(this.#blockStart(offset));
    for (let count = 0; count < BLOCKS_IN_FRONT_MAX && this.#takeBlockInFront(); count++);
    const blocks = [...this.#leaders].sort((a, b) => a - b).map((leader) => this.#block(leader));
    const region = blocks.filter(({ instructions }) => instructions.length > 0);
    return region.some((block) => this.#reachesBack(block)) ? region : undefined;
  }

  /** With all that can be reached from there. */
  #take(start: number): void {
    const waiting = [start];
    for (let leader = waiting.pop(); leader !== undefined; leader = waiting.pop()) {
      if (this.#leaders.has(leader) || !this.#isWarm(leader)) continue;
      this.#leaders.add(leader);
      waiting.push(...this.#follow(leader));
    }
  }

  /** The way into a loop, such as the start of its function, runs as often as the loop does when that is short. */
  #takeBlockInFront(): boolean {
    const first = Math.min(...this.#leaders);
    const last = this.#before(first);
    if (last === undefined) return false;
    const { targets, continues } = this.#flowOf(last);
    if (!continues && !targets.some((target) => this.#instructions.has(target))) return false;
    this.#take(this.#blockStart(last));
    return true;
  }

  /** Has run since it was decoded. */
  #isWarm(offset: number): boolean {
    return offset >= 0 && offset < PAGE_BYTES && this.#decoded.isDecoded(this.#page, offset);
  }

  #blockStart(offset: number): number {
    let start = offset;
    for (let back = 1; back <= LOOK_BACK_MAX; back++) {
      const before = this.#before(start);
      if (before === undefined || this.#flowOf(before).leaves) break;
      start = before;
    }
    return start;
  }

  /** The instruction that ends where another starts. */
  #before(offset: number): number | undefined {
    for (let bytes = this.#granule; bytes <= INSTRUCTION_BYTES_MAX; bytes += this.#granule) {
      const before = offset - bytes;
      if (this.#isWarm(before) && this.#instructionAt(before).bytes === bytes) return before;
    }
    return undefined;
  }

  /** Takes the straight line from `leader` on; gives where control may go from its end. */
  #follow(leader: number): readonly number[] {
    for (let offset = leader; this.#isWarm(offset);) {
      if (this.#instructions.has(offset)) return [];
      if (this.#instructions.size >= INSTRUCTIONS_MAX) return [];
      const instruction = this.#instructionAt(offset);
      this.#instructions.set(offset, instruction);
      const { targets, continues, leaves } = this.#flowOf(offset);
      offset += instruction.bytes;
      if (leaves) return continues ? [...targets, offset] : targets;
    }
    return [];
  }

  #block(leader: number): RegionBlock {
    const instructions: RegionInstruction[] = [];
    for (let offset = leader; ;) {
      const instruction = this.#instructions.get(offset);
      if (instruction === undefined || (offset !== leader && this.#leaders.has(offset))) break;
      instructions.push(instruction);
      if (this.#flowOf(offset).leaves) break;
      offset += instruction.bytes;
    }
    return { instructions, offset: leader };
  }

  /** Whether the block ends in a jump to its own start or before: without a loop nothing is gained by compiling. */
  #reachesBack({ instructions, offset }: RegionBlock): boolean {
    const last = instructions.at(-1);
    if (last === undefined) return false;
    return this.#flowOf(last.offset).targets.some((target) => target <= offset && this.#leaders.has(target));
  }

  #instructionAt(offset: number): RegionInstruction {
    const known = this.#decodedHere.get(offset);
    if (known !== undefined) return known;
    const decoded = this.#decoded.instructionAt(this.#page, offset);
    if (decoded === undefined) throw new Error(`no instruction at ${offset} of a page`);
    const instruction = { variant: decoded.variant, fields: decoded.fields, offset, bytes: decoded.bytes };
    this.#decodedHere.set(offset, instruction);
    return instruction;
  }

  #flowOf(offset: number): Flow {
    const known = this.#flows.get(offset);
    if (known !== undefined) return known;
    const flow = flowOf(this.#instructionAt(offset));
    this.#flows.set(offset, flow);
    return flow;
  }
}

function flowOf(instruction: RegionInstruction): Flow {
  const { program } = instruction.variant;
  const targets: number[] = [];
  const leaves = collectTargets(program.root, instruction, targets);
  return { targets, continues: !program.alwaysEnds || linksReturn(program.root), leaves: leaves || program.alwaysEnds };
}

/** Gives whether anything in the block leaves the straight line. */
function collectTargets(block: Block, instruction: RegionInstruction, targets: number[]): boolean {
  let leaves = false;
  for (const item of block.items) {
    if (item.type === "jump") {
      const target = item.contextChanged ? undefined : jumpTarget(item.target, instruction);
      if (target !== undefined) targets.push(target);
      leaves = true;
    } else if (item.type === "endBlock" || item.type === "exitAfter") leaves = true;
    for (const inner of blocksOf(item)) leaves = collectTargets(inner, instruction, targets) || leaves;
  }
  return leaves;
}

/** Whether it notes where the next instruction stands, as a call does. */
function linksReturn(block: Block): boolean {
  return block.items.some(
    (item) => (item.type === "writeState" || item.type === "storeMemory") && item.value.op.kind === "nextPc",
  );
}

/** The offset in the instruction's own page that a jump goes to, where the code says so. */
export function jumpTarget(target: ValueNode, instruction: RegionInstruction): number | undefined {
  const sum = relativeToPage(target, instruction);
  if (sum === undefined || sum.pages !== 1n) return undefined;
  const offset = Number(sum.offset);
  return offset >= 0 && offset < PAGE_BYTES ? offset : undefined;
}

/** A sum of constants, operands and the address of the instruction's page. */
interface PageSum {
  readonly pages: bigint;
  readonly offset: bigint;
}

function relativeToPage(value: ValueNode, instruction: RegionInstruction): PageSum | undefined {
  const { op, args } = value;
  switch (op.kind) {
    case "pc":
      return { pages: 1n, offset: BigInt(instruction.offset) };
    case "nextPc":
      return { pages: 1n, offset: BigInt(instruction.offset + instruction.bytes) };
    case "constant64":
      return { pages: 0n, offset: op.value };
    case "operand":
      return { pages: 0n, offset: BigInt(constantOperandOf(instruction, op.name)) };
    case "wasm": {
      const [left, right] = args.map((arg) => relativeToPage(arg, instruction));
      if (op.name === "i64.extend_i32_s") return left;
      // Addresses of 32 bits wrap, those of a page don't.
      if (op.name === "i64.and" && left?.pages === 1n && isLowHalf(right)) return left;
      if (op.name !== "i64.add" || left === undefined || right === undefined) return undefined;
      return { pages: left.pages + right.pages, offset: left.offset + right.offset };
    }
    default:
      return undefined;
  }
}

function isLowHalf(sum: PageSum | undefined): boolean {
  return sum?.pages === 0n && sum.offset === 0xffff_ffffn;
}

export function programsOf(region: Region): Program[] {
  return region.flatMap(({ instructions }) => instructions.map(({ variant }) => variant.program));
}
