/**
 * Compiles basic blocks, one function each, from the same programs as the interpreter,
 * with operands as constants. It proves the definitions for compiled code; regions and speed are the JIT's.
 */
import type { DecodeCache, DecodedPage } from "../decode/decode-cache.js";
import { type CompiledInstruction, CompiledTarget } from "../emit/compiled-target.js";
import { emitProgram } from "../emit/emitter.js";
import type { ModuleScope } from "../emit/linker.js";
import { engineState } from "../engine-fields.js";
import { ENGINE_HOSTS } from "../interpreter/engine-routines.js";
import { isDelivery } from "../interpreter/delivery.js";
import type { HandlerContext } from "../interpreter/out-of-line.js";
import { EngineExit, HandlerStatus } from "../interpreter/status.js";
import type { Block, EndItem, Program } from "../stage/program.js";
import { blocksOf } from "../stage/schedule.js";
import type { FunctionBuilder } from "../wasm/function-builder.js";
import { ValueType } from "../wasm/opcodes.js";

/**
 * Blocks that are kept, each a module of its own. The host reserves code space for every module that lives; when
 * this many do, all are dropped.
 */
const BLOCKS_MAX = 2048;

/** Instructions of one block, at most. */
const BLOCK_INSTRUCTIONS_MAX = 32;

export interface BlockTierOptions extends HandlerContext {
  readonly buffer: ArrayBuffer;
  readonly decoded: DecodeCache;
}

interface CompiledBlock {
  /** Instructions in it: it only runs with at least this budget. */
  readonly units: number;
  /** Gives a `HandlerStatus`; `engineState.unitsLeft` holds how many units it did not use. */
  readonly run: () => number;
}

interface BlockInstruction extends CompiledInstruction {
  readonly pc: bigint;
  readonly bytes: number;
}

export class BlockTier {
  readonly #options: BlockTierOptions;
  readonly #view: DataView;
  /** Blocks by decoded page and address. */
  readonly #blocks = new Map<number, Map<bigint, CompiledBlock>>();
  readonly #pagesOf = new Map<number, Set<number>>();
  #count = 0;
  readonly #interruptPending: () => number;
  /** Undefined: interrupts and exceptions are delivered by the interpreter. */
  readonly #takeInterrupt: (() => void) | undefined;
  readonly #fetchPage: () => number;
  readonly #fetchFault: () => void;

  constructor(options: BlockTierOptions) {
    this.#options = options;
    this.#view = new DataView(options.buffer);
    const { linker, routines, cpu } = options;
    this.#interruptPending = linker.routine(routines.interruptPending) as () => number;
    const { takeInterrupt } = cpu;
    this.#takeInterrupt = isDelivery(takeInterrupt) ? undefined : (linker.routine(takeInterrupt) as () => void);
    this.#fetchFault = linker.routine(cpu.fetchFault) as () => void;
    this.#fetchPage = linker.routine(routines.fetchSlow) as () => number;
  }

  /** Like the interpreter's `run`, which also finishes what is too short for a block. */
  run(budget: number, interpreter: (budget: number) => number): number {
    let left = budget;
    let recheck = true;
    for (;;) {
      if (left === 0) return this.#leave(0, EngineExit.budget);
      const delivers: boolean = recheck && this.#interruptPending() !== 0;
      if (delivers && this.#takeInterrupt !== undefined) {
        this.#takeInterrupt();
        left -= 1;
        continue;
      }
      const block: CompiledBlock | "fault" | undefined = delivers ? undefined : this.#find();
      if (block === "fault") {
        this.#fetchFault();
        // Where a fault is only noted, its delivery is the unit.
        if (this.#takeInterrupt !== undefined) left -= 1;
        recheck = true;
        continue;
      }
      if (block === undefined || block.units > left) {
        // One instruction at a time, so that a jump out of here finds its block.
        const code = interpreter(1);
        left -= 1 - this.#view.getUint32(engineState.unitsLeft.offset, true);
        if (code !== EngineExit.budget) return this.#leave(left, code);
        recheck = true;
        continue;
      }
      const status = block.run();
      left -= block.units - this.#view.getUint32(engineState.unitsLeft.offset, true);
      if (status === HandlerStatus.exitBefore || status === HandlerStatus.exitAfter)
        return this.#leave(left, this.#view.getInt32(engineState.exitCode.offset, true));
      recheck = status !== HandlerStatus.jumped;
    }
  }

  /** Code of a page was written; true when compiled code went. */
  invalidate(pageIndex: number): boolean {
    const bases = this.#pagesOf.get(pageIndex);
    if (bases === undefined) return false;
    for (const base of bases) this.#blocks.delete(base);
    this.#pagesOf.delete(pageIndex);
    return true;
  }

  clear(): void {
    this.#blocks.clear();
    this.#pagesOf.clear();
    this.#count = 0;
  }

  #leave(left: number, code: number): number {
    this.#view.setUint32(engineState.unitsLeft.offset, left, true);
    return code;
  }

  #find(): CompiledBlock | "fault" | undefined {
    const pc = this.#view.getBigUint64(this.#options.cpu.pc.offset, true);
    if ((pc & BigInt(this.#options.cpu.granule - 1)) !== 0n) return undefined;
    const base = this.#fetchPage() >>> 0;
    if (base === 0) return "fault";
    const known = this.#blocks.get(base)?.get(pc);
    if (known !== undefined) return known;
    const page = this.#options.decoded.pageOf(base);
    const instructions = this.#read(pc, page);
    if (instructions.length === 0) return undefined;
    if (this.#count >= BLOCKS_MAX) this.clear();
    const made = this.#compile(instructions);
    this.#count += 1;
    const blocks = this.#blocks.get(base) ?? new Map<bigint, CompiledBlock>();
    this.#blocks.set(base, blocks.set(pc, made));
    const bases = this.#pagesOf.get(page.pageIndex) ?? new Set<number>();
    this.#pagesOf.set(page.pageIndex, bases.add(base));
    return made;
  }

  /** Instructions from `pc` to the first that may jump, within the page: none when the first reaches into the next one. */
  #read(pc: bigint, page: DecodedPage): BlockInstruction[] {
    const { decoded } = this.#options;
    const list: BlockInstruction[] = [];
    let offset = Number(pc & 0xfffn);
    while (offset < 4096 && list.length < BLOCK_INSTRUCTIONS_MAX) {
      const instruction = decoded.instructionAt(page, offset);
      if (instruction === undefined) break;
      const { variant, fields, bytes } = instruction;
      list.push({ variant, fields, pc: (pc & ~0xfffn) | BigInt(offset), bytes });
      offset += bytes;
      if (mayLeaveBlock(variant.program)) break;
    }
    return list;
  }

  #compile(instructions: readonly BlockInstruction[]): CompiledBlock {
    const { linker, routines, geometry } = this.#options;
    const exports = linker.link({
      programs: () => instructions.map(({ variant }) => variant.program),
      routines: [routines.memorySlow, routines.raiseMemoryFault],
      hosts: ENGINE_HOSTS,
      usesTable: false,
      build: (scope) => {
        const { code } = scope.module.addFunction({ parameters: [], results: [ValueType.i32] }, "block");
        instructions.forEach((instruction, index) => {
          const isLast = index === instructions.length - 1;
          emitProgram(
            instruction.variant.program,
            code,
            new BlockTarget(this.#options, instruction, instructions.length - index, isLast, code, scope),
            geometry,
          );
        });
        code.unreachable();
      },
    });
    return { units: instructions.length, run: exports["block"] as () => number };
  }
}

/** Whether control may leave the straight line other than by a fault, an exit before or an exception. */
function mayLeaveBlock(program: Program): boolean {
  return program.alwaysEnds || blockLeaves(program.root);
}

function blockLeaves(block: Block): boolean {
  return block.items.some(
    (item) =>
      item.type === "jump" || item.type === "endBlock" || item.type === "exitAfter" || blocksOf(item).some(blockLeaves),
  );
}

class BlockTarget extends CompiledTarget {
  readonly #options: BlockTierOptions;
  readonly #instruction: BlockInstruction;
  /** Units of the block from this instruction on. */
  readonly #unitsFromHere: number;
  readonly #isLast: boolean;
  readonly #code: FunctionBuilder;

  constructor(
    options: BlockTierOptions,
    instruction: BlockInstruction,
    unitsFromHere: number,
    isLast: boolean,
    code: FunctionBuilder,
    scope: ModuleScope,
  ) {
    super({ context: options, code, scope }, instruction);
    this.#options = options;
    this.#instruction = instruction;
    this.#unitsFromHere = unitsFromHere;
    this.#isLast = isLast;
    this.#code = code;
  }

  pc(): void {
    this.#code.i64(this.#instruction.pc);
  }

  nextPc(): void {
    this.#code.i64(this.#instruction.pc + BigInt(this.#instruction.bytes));
  }

  end(item: EndItem | { readonly type: "fallThrough" }, pushTarget: () => void): void {
    const retired = this.#unitsFromHere - 1;
    switch (item.type) {
      case "fallThrough":
        if (this.#isLast) this.#leave(() => this.nextPc(), retired, HandlerStatus.jumped);
        return;
      case "jump":
        return this.#leave(pushTarget, retired, item.contextChanged ? HandlerStatus.recheck : HandlerStatus.jumped);
      case "endBlock":
        return this.#leave(() => this.nextPc(), retired, HandlerStatus.recheck);
      case "raise":
        this.#storePc(() => this.pc());
        this.callRoutine(item.routine);
        return this.#finishRaised();
      case "exitBefore":
        return this.#exit(item.code, () => this.pc(), this.#unitsFromHere, HandlerStatus.exitBefore);
      case "exitAfter":
        return this.#exit(item.code, () => this.nextPc(), retired, HandlerStatus.exitAfter);
      default:
        return item satisfies never;
    }
  }

  accessFailed(kind: "fault" | "device"): void {
    if (kind === "device")
      return this.#exit(EngineExit.mmioRead, () => this.pc(), this.#unitsFromHere, HandlerStatus.exitBefore);
    this.#storePc(() => this.pc());
    this.callRoutine(this.#options.routines.raiseMemoryFault);
    this.#finishRaised();
  }

  leaveForDeviceWrite(): void {
    this.#exit(EngineExit.mmioWrite, () => this.pc(), this.#unitsFromHere, HandlerStatus.exitBefore);
  }

  /** An exception is a unit where it is taken; where it is only noted its delivery is. */
  #finishRaised(): void {
    const units = isDelivery(this.#options.cpu.takeInterrupt) ? this.#unitsFromHere : this.#unitsFromHere - 1;
    this.#finish(units, HandlerStatus.raised);
  }

  #exit(exitCode: number, pushPc: () => void, unitsLeft: number, status: number): void {
    this.#code.i32(0);
    this.#code.i32(exitCode);
    this.#code.memory("i32.store", engineState.exitCode.offset);
    this.#leave(pushPc, unitsLeft, status);
  }

  #leave(pushPc: () => void, unitsLeft: number, status: number): void {
    this.#storePc(pushPc);
    this.#finish(unitsLeft, status);
  }

  #finish(unitsLeft: number, status: number): void {
    const code = this.#code;
    code.i32(0);
    code.i32(unitsLeft);
    code.memory("i32.store", engineState.unitsLeft.offset);
    code.i32(status);
    code.return();
  }

  #storePc(push: () => void): void {
    this.#code.i32(0);
    push();
    this.#code.memory("i64.store", this.#options.cpu.pc.offset);
  }
}
