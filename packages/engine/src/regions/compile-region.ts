/**
 * Makes one function of a region: `(block, left) -> HandlerStatus`. Blocks are the arms of a `br_table` in a loop, in the
 * order of their addresses, so that straight lines fall through; a jump of a block to itself stays in a loop of its own.
 * Each block begins only with budget for all its instructions; the interpreter runs what is too short. Registers are
 * written to memory at once, so that state is precise wherever control leaves; a block reads its own writes from locals.
 */
import { type CompiledFunction, CompiledTarget } from "../emit/compiled-target.js";
import { emitProgram } from "../emit/emitter.js";
import { KnownState } from "../emit/known-state.js";
import type { ModuleScope } from "../emit/linker.js";
import type { Temporaries } from "../emit/target.js";
import { engineState } from "../engine-fields.js";
import { ENGINE_HOSTS } from "../interpreter/engine-routines.js";
import { isDelivery } from "../interpreter/delivery.js";
import type { HandlerContext } from "../interpreter/out-of-line.js";
import { EngineExit, HandlerStatus } from "../interpreter/status.js";
import type { EndItem } from "../stage/program.js";
import type { FunctionBuilder, Label, LocalType } from "../wasm/function-builder.js";
import { ValueType } from "../wasm/opcodes.js";
import { deadWrites } from "./dead-writes.js";
import { jumpTarget, programsOf, type Region, type RegionBlock, type RegionInstruction } from "./region.js";

/** Parameters of a region's function. */
const BLOCK = 0;
const LEFT = 1;

/** Compiles a region in a module of its own. */
export function compileRegion(context: HandlerContext, region: Region): unknown {
  const exports = context.linker.link({
    programs: () => programsOf(region),
    routines: [context.routines.memorySlow, context.routines.raiseMemoryFault],
    hosts: ENGINE_HOSTS,
    usesTable: false,
    build: (scope) => {
      const signature = { parameters: [ValueType.i32, ValueType.i32], results: [ValueType.i32] };
      new RegionFunction(context, region, scope.module.addFunction(signature, "region").code, scope).emit();
    },
  });
  return exports["region"];
}

class RegionFunction implements CompiledFunction {
  readonly context: HandlerContext;
  readonly code: FunctionBuilder;
  readonly scope: ModuleScope;
  /** Of the block that is being emitted. */
  readonly known: KnownState;
  readonly #region: Region;
  /** Offsets of `CpuDefinition.oftenOverwritten`. */
  readonly #overwritten: ReadonlySet<number>;
  readonly #indices: ReadonlyMap<number, number>;
  /** Local with the address of the page, which may be mapped at several. */
  readonly #codePage: number;
  /** Locals of instructions so far. */
  readonly #temporaries = new Map<number, LocalType>();
  #again: Label | undefined;

  constructor(context: HandlerContext, region: Region, code: FunctionBuilder, scope: ModuleScope) {
    this.context = context;
    this.code = code;
    this.scope = scope;
    this.#region = region;
    this.#overwritten = new Set((context.cpu.oftenOverwritten ?? []).map(({ offset }) => offset));
    this.#indices = new Map(region.map(({ offset }, index) => [offset, index]));
    this.#codePage = code.takeLocal("i64");
    this.known = new KnownState(code, context.cpu.workingRegisters);
  }

  emit(): void {
    const { code } = this;
    code.i32(0);
    code.memory("i64.load", engineState.codePage.offset);
    code.set(this.#codePage);
    this.#again = code.loop();
    const labels = [...this.#region]
      .reverse()
      .map(() => code.block())
      .reverse();
    const [first] = labels;
    if (first === undefined) throw new Error("a region without blocks");
    code.get(BLOCK);
    code.branchTable(labels, first);
    this.#region.forEach((block, index) => {
      code.end();
      this.#block(block, index);
    });
    code.end();
    code.unreachable();
  }

  #block(block: RegionBlock, index: number): void {
    const { code } = this;
    const self = code.loop();
    this.known.clear();
    const units = block.instructions.length;
    code.get(LEFT);
    code.i32(units);
    code.op("i32.lt_u");
    code.if();
    this.leave(block.offset, 0, HandlerStatus.jumped);
    code.end();
    this.addToLeft(-units);
    const programs = block.instructions.map(({ variant }) => variant.program);
    const skipped = deadWrites(programs, this.#overwritten);
    block.instructions.forEach((instruction, position) => {
      const place: BlockPlace = { index, self, unitsBehind: units - position - 1, isLast: position === units - 1 };
      const target = new RegionTarget(this, instruction, place);
      emitProgram(instruction.variant.program, code, target, this.context.geometry, skipped[position]);
      if (instruction.variant.program.alwaysEnds) code.unreachable();
    });
    code.end();
  }

  /** The block that begins at an offset, as a number. */
  indexOf(offset: number): number | undefined {
    return this.#indices.get(offset);
  }

  addToLeft(units: number): void {
    const { code } = this;
    if (units === 0) return;
    code.get(LEFT);
    code.i32(units);
    code.op("i32.add");
    code.set(LEFT);
  }

  noteTemporaries(temporaries: ReturnType<Temporaries>): void {
    for (const { type, local } of temporaries) this.#temporaries.set(local, type);
  }

  /**
   * Goes back with every local of an instruction zero: one that has the same value on all ways around a loop costs the
   * compiler of the host nothing there.
   */
  goTo(index: number, { index: own, self }: BlockPlace): void {
    const { code } = this;
    for (const [local, type] of this.#temporaries) code.zeroLocal(type, local);
    for (const { local, type } of this.known.locals) code.zeroLocal(type, local);
    if (index === own) return code.branch(self);
    code.i32(index);
    code.set(BLOCK);
    if (this.#again === undefined) throw new Error("a jump in front of the region");
    code.branch(this.#again);
  }

  /** Pushes the address of an offset in the page, which may be behind its end. */
  pushAddress(offset: number): void {
    this.code.get(this.#codePage);
    this.code.i64(BigInt(offset));
    this.code.op("i64.add");
  }

  storePc(push: () => void): void {
    this.code.i32(0);
    push();
    this.code.memory("i64.store", this.context.cpu.pc.offset);
  }

  /** Leaves with pc at an offset of the page; `unitsBack` of those taken have not been used. */
  leave(offset: number, unitsBack: number, status: number): void {
    this.storePc(() => this.pushAddress(offset));
    this.finish(unitsBack, status);
  }

  finish(unitsBack: number, status: number): void {
    const { code } = this;
    code.i32(0);
    code.get(LEFT);
    code.i32(unitsBack);
    code.op("i32.add");
    code.memory("i32.store", engineState.unitsLeft.offset);
    code.i32(status);
    code.return();
  }
}

interface BlockPlace {
  readonly index: number;
  /** Goes to the start of this block. */
  readonly self: Label;
  /** Units taken for the instructions of the block behind this one. */
  readonly unitsBehind: number;
  readonly isLast: boolean;
}

class RegionTarget extends CompiledTarget {
  readonly #function: RegionFunction;
  readonly #instruction: RegionInstruction;
  readonly #place: BlockPlace;
  #temporaries: Temporaries = () => [];

  constructor(region: RegionFunction, instruction: RegionInstruction, place: BlockPlace) {
    super(region, instruction);
    this.#function = region;
    this.#instruction = instruction;
    this.#place = place;
  }

  get known(): KnownState {
    return this.#function.known;
  }

  begin(temporaries: Temporaries): void {
    this.#temporaries = temporaries;
  }

  pc(): void {
    this.#function.pushAddress(this.#instruction.offset);
  }

  nextPc(): void {
    this.#function.pushAddress(this.#next);
  }

  get #next(): number {
    return this.#instruction.offset + this.#instruction.bytes;
  }

  end(item: EndItem | { readonly type: "fallThrough" }, pushTarget: () => void): void {
    this.#function.noteTemporaries(this.#temporaries());
    const { unitsBehind } = this.#place;
    switch (item.type) {
      case "fallThrough":
        return this.#fallThrough();
      case "jump":
        return this.#jump(item, pushTarget);
      case "endBlock":
        return this.#function.leave(this.#next, unitsBehind, HandlerStatus.recheck);
      case "raise":
        this.#function.storePc(() => this.pc());
        this.callRoutine(item.routine);
        return this.#finishRaised();
      case "exitBefore":
        return this.#exit(item.code, this.#instruction.offset, unitsBehind + 1, HandlerStatus.exitBefore);
      case "exitAfter":
        return this.#exit(item.code, this.#next, unitsBehind, HandlerStatus.exitAfter);
      default:
        return item satisfies never;
    }
  }

  /** The next block in order stands right behind, where its address does. */
  #fallThrough(): void {
    const { isLast, index } = this.#place;
    if (!isLast) return;
    const next = this.#function.indexOf(this.#next);
    if (next === undefined) this.#function.leave(this.#next, 0, HandlerStatus.jumped);
    else if (next !== index + 1) this.#function.goTo(next, this.#place);
  }

  #jump(item: EndItem & { readonly type: "jump" }, pushTarget: () => void): void {
    const target = item.contextChanged ? undefined : jumpTarget(item.target, this.#instruction);
    const index = target === undefined ? undefined : this.#function.indexOf(target);
    const { unitsBehind } = this.#place;
    if (index !== undefined) {
      this.#function.addToLeft(unitsBehind);
      return this.#function.goTo(index, this.#place);
    }
    this.#function.storePc(pushTarget);
    this.#function.finish(unitsBehind, item.contextChanged ? HandlerStatus.recheck : HandlerStatus.jumped);
  }

  accessFailed(kind: "fault" | "device"): void {
    const { unitsBehind } = this.#place;
    if (kind === "device")
      return this.#exit(EngineExit.mmioRead, this.#instruction.offset, unitsBehind + 1, HandlerStatus.exitBefore);
    this.#function.storePc(() => this.pc());
    this.callRoutine(this.#function.context.routines.raiseMemoryFault);
    this.#finishRaised();
  }

  leaveForDeviceWrite(): void {
    const { offset } = this.#instruction;
    this.#exit(EngineExit.mmioWrite, offset, this.#place.unitsBehind + 1, HandlerStatus.exitBefore);
  }

  /** An exception is a unit where it is taken; where it is only noted its delivery is. */
  #finishRaised(): void {
    const { unitsBehind } = this.#place;
    const isNoted = isDelivery(this.#function.context.cpu.takeInterrupt);
    this.#function.finish(isNoted ? unitsBehind + 1 : unitsBehind, HandlerStatus.raised);
  }

  #exit(exitCode: number, offset: number, unitsBack: number, status: number): void {
    const { code } = this.#function;
    code.i32(0);
    code.i32(exitCode);
    code.memory("i32.store", engineState.exitCode.offset);
    this.#function.leave(offset, unitsBack, status);
  }
}
