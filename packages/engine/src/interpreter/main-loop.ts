/**
 * Tier 0: one function with a `br_table` over decoded records; the variants in its
 * profile stand inline, all others behind one `call_indirect`.
 */

import { DecodeResult } from "../decode/decode-cache.js";
import type { Variant } from "../decode/variant-table.js";
import { emitProgram } from "../emit/emitter.js";
import type { ModuleContent, ModuleScope } from "../emit/linker.js";
import type { EmitTarget, Temporaries } from "../emit/target.js";
import { outOfLineRecordBytes, PackedPlace, PackedRecord, RegionRecord } from "../decode/record.js";
import { engineFields, engineState } from "../engine-fields.js";
import { CONTEXT_SLOT_SHIFT, TLB_ENTRY_BYTES, TlbEntry } from "../mmu/tlb-layout.js";
import type { EndItem, Program } from "../stage/program.js";
import { programOf } from "../stage/program-builder.js";
import type { HostFunction, Routine } from "../stage/stage.js";
import type { FunctionBuilder, Label } from "../wasm/function-builder.js";
import { ValueType } from "../wasm/opcodes.js";
import { emitDelivery, isDelivery } from "./delivery.js";
import { decodeRecord, ENGINE_HOSTS, finishWrites, standAside } from "./engine-routines.js";
import { type HandlerContext, moduleKey, pushRecordOperand } from "./out-of-line.js";
import { pushNextOffset, pushOffset, pushOffsetBehindUnkept, type RunningRecord, setRecordAt } from "./record-code.js";
import { EngineExit, HandlerStatus } from "./status.js";

/**
 * Builds `run(budget) -> exit code`; `inline` must be the first variants of the table, in order. `breaks`: it leaves wherever
 * pc is `engineState.breakPc` at a unit boundary, at its entry too.
 */
export function compileMainLoop(
  context: HandlerContext,
  inline: readonly Variant[],
  { breaks }: { readonly breaks: boolean },
): (budget: number) => number {
  const { cpu, routines } = context;
  let delivery: Program | undefined;
  const content: ModuleContent = {
    programs() {
      delivery = isDelivery(cpu.takeInterrupt) ? programOf(cpu.takeInterrupt, {}) : undefined;
      return [...inline.map((variant) => variant.program), ...(delivery === undefined ? [] : [delivery])];
    },
    routines: [
      routines.memorySlow,
      routines.fetchSlow,
      routines.raiseMemoryFault,
      routines.interruptPending,
      ...(isDelivery(cpu.takeInterrupt) ? [] : [cpu.takeInterrupt]),
      cpu.misalignedPc,
      cpu.fetchFault,
    ],
    hosts: [...ENGINE_HOSTS, decodeRecord, standAside],
    usesTable: true,
    build(scope) {
      const deliver = delivery === undefined ? undefined : emitDelivery(delivery, context, scope);
      const { code } = scope.module.addFunction({ parameters: [ValueType.i32], results: [ValueType.i32] }, "run");
      new MainLoop(context, inline, code, scope, { deliver, breaks }).emit();
    },
  };
  const exports = context.linker.link(
    content,
    moduleKey(context, breaks ? "main loop with breaks" : "main loop", inline),
  );
  return exports["run"] as (budget: number) => number;
}

interface Labels {
  readonly recheck: Label;
  readonly lookup: Label;
  /** To the target in the local, in the page that runs. */
  readonly inPage: Label;
  readonly next: Label;
}

class MainLoop {
  readonly #context: HandlerContext;
  readonly #inline: readonly Variant[];
  readonly #code: FunctionBuilder;
  readonly #scope: ModuleScope;
  /** Index of the function that delivers interrupts and exceptions, where they are instructions of their own. */
  readonly #deliver: number | undefined;
  /** What `#pushPlace` gives at the break pc, 0 while another page runs: no place is that. Undefined: nothing breaks. */
  readonly #breakPlace: number | undefined;
  /** The parameter: units left. */
  readonly #left = 0;
  readonly #record: number;
  readonly #base: number;
  readonly #codePage: number;
  readonly #target: number;
  readonly #status: number;

  constructor(
    context: HandlerContext,
    inline: readonly Variant[],
    code: FunctionBuilder,
    scope: ModuleScope,
    { deliver, breaks }: { readonly deliver: number | undefined; readonly breaks: boolean },
  ) {
    this.#context = context;
    this.#inline = inline;
    this.#code = code;
    this.#scope = scope;
    this.#deliver = deliver;
    this.#record = code.takeLocal("i32");
    this.#base = code.takeLocal("i32");
    this.#codePage = code.takeLocal("i64");
    this.#target = code.takeLocal("i64");
    this.#status = code.takeLocal("i32");
    this.#breakPlace = breaks ? code.takeLocal("i32") : undefined;
  }

  emit(): void {
    const code = this.#code;
    const recheck = code.loop();
    this.#leaveWhenNoneLeft();
    this.#leaveAtBreakPc();
    this.#takeInterrupt(recheck);
    const lookup = code.loop();
    this.#leaveWhenNoneLeft();
    this.#leaveAtBreakPc();
    this.#findRecords(recheck);
    const inPage = code.loop();
    this.#setRecordFromTarget();
    const next = code.loop();
    this.#leaveFromRecord();
    this.#addToLeft(-1);
    this.#dispatch({ recheck, lookup, inPage, next });
    code.end();
    code.end();
    code.end();
    code.end();
    code.unreachable();
  }

  /** Where pc is in state. */
  #leaveWhenNoneLeft(): void {
    const code = this.#code;
    code.get(this.#left);
    code.op("i32.eqz");
    this.#leaveIf(EngineExit.budget);
  }

  /** Stack: a condition. */
  #leaveIf(exitCode: number): void {
    const code = this.#code;
    code.if();
    this.#leave(() => {
      code.i32(exitCode);
    });
    code.end();
  }

  /** Where pc is in state. Before an interrupt is taken or a fetch faults: this boundary is one of its own. */
  #leaveAtBreakPc(): void {
    if (this.#breakPlace === undefined) return;
    const code = this.#code;
    code.i32(0);
    code.memory("i64.load", this.#context.cpu.pc.offset);
    code.i32(0);
    code.memory("i64.load", engineState.breakPc.offset);
    code.op("i64.eq");
    this.#leaveIf(EngineExit.breakpoint);
  }

  /** Where the record says what pc is. */
  #leaveFromRecord(): void {
    const code = this.#code;
    code.get(this.#left);
    code.op("i32.eqz");
    if (this.#breakPlace !== undefined) {
      this.#pushPlace();
      code.get(this.#breakPlace);
      code.op("i32.eq");
      code.op("i32.or");
    }
    code.if();
    this.#storePc();
    this.#leave(() => {
      code.i32(EngineExit.budget);
      if (this.#breakPlace === undefined) return;
      code.i32(EngineExit.breakpoint);
      code.get(this.#left);
      code.op("i32.eqz");
      code.select();
    });
    code.end();
  }

  /** A number for the place of the record, which is never 0. */
  #pushPlace(): void {
    const code = this.#code;
    code.get(this.#record);
    if (this.#context.records.kind === "dense") return;
    code.memory("i32.load16_u", PackedRecord.offset);
    code.i32(1);
    code.op("i32.add");
  }

  /** In the page that is about to run. */
  #findBreakPlace(): void {
    if (this.#breakPlace === undefined) return;
    const code = this.#code;
    const { records } = this.#context;
    const pushBreakPc = (): void => {
      code.i32(0);
      code.memory("i64.load", engineState.breakPc.offset);
    };
    pushBreakPc();
    code.op("i32.wrap_i64");
    code.i32(4095);
    code.op("i32.and");
    if (records.kind === "packed") code.i32(1);
    else {
      code.i32(records.shift);
      code.op("i32.shl");
      code.get(this.#base);
    }
    code.op("i32.add");
    code.i32(0);
    pushBreakPc();
    code.i64(-4096n);
    code.op("i64.and");
    code.get(this.#codePage);
    code.op("i64.eq");
    code.select();
    code.set(this.#breakPlace);
  }

  /** Not while an instruction waits to start again with completed device reads: it comes first. */
  #takeInterrupt(recheck: Label): void {
    const code = this.#code;
    const { cpu, routines } = this.#context;
    code.i32(0);
    code.memory("i32.load", engineState.fragmentCount.offset);
    code.op("i32.eqz");
    code.if();
    code.call(this.#scope.routineIndex(routines.interruptPending));
    code.if();
    this.#addToLeft(-1);
    if (this.#deliver !== undefined) {
      code.call(this.#deliver);
      code.tee(this.#status);
      this.#afterHandler(recheck, recheck);
    } else if (!isDelivery(cpu.takeInterrupt)) {
      code.call(this.#scope.routineIndex(cpu.takeInterrupt));
      code.branch(recheck);
    }
    code.end();
    code.end();
  }

  /** After a routine has raised in place of the instruction whose unit is taken. */
  raised(): void {
    if (this.#deliver === undefined) return;
    // The delivery is the unit, and what the instruction had read of devices is not the delivery's.
    this.#addToLeft(1);
    this.#code.i32(0);
    this.#code.i32(0);
    this.#code.memory("i32.store", engineState.fragmentCount.offset);
  }

  /** From the pc in state to its record, through the fetch array of the TLB. */
  #findRecords(recheck: Label): void {
    const code = this.#code;
    const { cpu, geometry } = this.#context;
    const entry = code.takeLocal("i32");
    code.i32(0);
    code.memory("i64.load", cpu.pc.offset);
    code.tee(this.#target);
    code.i64(-4096n);
    code.op("i64.and");
    code.set(this.#codePage);
    if (cpu.granule === 4) {
      code.get(this.#target);
      code.op("i32.wrap_i64");
      code.i32(3);
      code.op("i32.and");
      code.if();
      this.#addToLeft(-1);
      code.call(this.#scope.routineIndex(cpu.misalignedPc));
      code.branch(recheck);
      code.end();
    }
    code.get(this.#target);
    code.op("i32.wrap_i64");
    code.i32(12 - Math.log2(TLB_ENTRY_BYTES));
    code.op("i32.shr_u");
    if (cpu.contextsAlternate === true) {
      code.i32(0);
      code.memory("i32.load", cpu.contextWord.offset);
      code.i32(CONTEXT_SLOT_SHIFT + Math.log2(TLB_ENTRY_BYTES));
      code.op("i32.shl");
      code.op("i32.xor");
    }
    code.i32((geometry.entries - 1) * TLB_ENTRY_BYTES);
    code.op("i32.and");
    code.i32(0);
    code.memory("i32.load", engineFields.tlbCurrent.offset);
    code.op("i32.add");
    code.tee(entry);
    code.memory("i64.load", geometry.fetchOffset + TlbEntry.tag);
    code.get(this.#codePage);
    code.i32(0);
    code.memory("i64.load32_u", cpu.contextWord.offset);
    code.op("i64.or");
    code.op("i64.eq");
    code.if();
    code.get(entry);
    code.memory("i32.load", geometry.fetchOffset + TlbEntry.addend);
    code.set(this.#base);
    code.else();
    code.call(this.#scope.routineIndex(this.#context.routines.fetchSlow));
    code.tee(this.#base);
    code.op("i32.eqz");
    code.if();
    this.#addToLeft(-1);
    code.call(this.#scope.routineIndex(cpu.fetchFault));
    this.raised();
    code.branch(recheck);
    code.end();
    code.end();
    code.i32(0);
    code.get(this.#codePage);
    code.memory("i64.store", engineState.codePage.offset);
    code.i32(0);
    code.get(this.#base);
    code.memory("i32.store", engineState.decodedBase.offset);
    this.#findBreakPlace();
    code.releaseLocal("i32", entry);
  }

  #setRecordFromTarget(): void {
    setRecordAt(this.#code, this.#context.records, { record: this.#record, base: this.#base }, () => {
      this.#code.get(this.#target);
    });
  }

  #dispatch(labels: Labels): void {
    const code = this.#code;
    const outOfLine = code.block();
    const inlineLabels = [...this.#inline]
      .reverse()
      .map(() => code.block())
      .reverse();
    const link = code.block();
    const region = code.block();
    const pageEnd = code.block();
    const decode = code.block();
    code.get(this.#record);
    code.memory("i32.load16_u", 0);
    code.branchTable([decode, pageEnd, region, link, ...inlineLabels], outOfLine);
    code.end();
    this.#decode(labels);
    code.end();
    this.#pageEnd(labels);
    code.end();
    this.#region(labels);
    code.end();
    this.#link(labels);
    for (const variant of this.#inline) {
      code.end();
      emitProgram(variant.program, code, new InlineTarget(this, variant, labels), this.#context.geometry);
      // Control has left; this keeps the stack well typed behind ends in both arms of an `if`.
      code.unreachable();
    }
    code.end();
    this.#callOutOfLine(labels);
  }

  #decode(labels: Labels): void {
    const code = this.#code;
    this.#addToLeft(1);
    code.get(this.#record);
    code.call(this.#scope.hostIndex(decodeRecord));
    if (this.#context.records.kind === "dense") code.drop();
    else this.#takeDecoded(labels);
    code.branch(labels.next);
  }

  /** Stack: what `decodeRecord` gave. To the record, or runs the one that is not kept, or raises its fetch fault. */
  #takeDecoded(labels: Labels): void {
    const code = this.#code;
    code.tee(this.#status);
    code.i32(1);
    code.op("i32.add");
    // The fault is 0 now; records reach beyond 2 GiB.
    code.i32(DecodeResult.variantEnd);
    code.op("i32.le_u");
    code.if();
    this.#runUnkept(labels);
    code.end();
    code.get(this.#status);
    code.set(this.#record);
  }

  #runUnkept(labels: Labels): void {
    const code = this.#code;
    const { cpu } = this.#context;
    this.#addToLeft(-1);
    code.get(this.#status);
    code.i32(DecodeResult.fetchFault);
    code.op("i32.eq");
    code.if();
    this.#storePc();
    code.call(this.#scope.routineIndex(cpu.fetchFault));
    this.raised();
    code.branch(labels.recheck);
    code.end();
    code.get(this.#base);
    code.i32(PackedPlace.unkept);
    code.op("i32.add");
    code.set(this.#record);
    this.#callHandler(() => {
      code.get(this.#status);
    });
    code.op("i32.eqz");
    code.if();
    // It ends in another page.
    this.storePc(() => {
      code.get(this.#codePage);
      pushOffsetBehindUnkept(code, this.#base);
      code.op("i64.add");
    });
    code.branch(labels.lookup);
    code.end();
    code.get(this.#status);
    this.#afterHandler(labels.recheck, labels.lookup);
  }

  /** A run goes on elsewhere. */
  #link(labels: Labels): void {
    const code = this.#code;
    this.#addToLeft(1);
    code.get(this.#record);
    code.memory("i32.load", PackedRecord.link);
    code.set(this.#record);
    code.branch(labels.next);
  }

  #pageEnd(labels: Labels): void {
    const code = this.#code;
    this.#addToLeft(1);
    code.i32(0);
    code.get(this.#codePage);
    code.i64(4096n);
    code.op("i64.add");
    code.memory("i64.store", this.#context.cpu.pc.offset);
    code.branch(labels.lookup);
  }

  #region(labels: Labels): void {
    const code = this.#code;
    this.#addToLeft(1);
    code.get(this.#left);
    code.get(this.#record);
    code.memory("i32.load", RegionRecord.units);
    code.op("i32.lt_u");
    if (this.#breakPlace !== undefined) {
      // It would run through; one of another page comes nowhere near.
      code.get(this.#breakPlace);
      code.op("i32.or");
    }
    code.if();
    code.get(this.#record);
    code.call(this.#scope.hostIndex(standAside));
    code.drop();
    code.branch(labels.next);
    code.end();
    code.get(this.#record);
    code.memory("i32.load16_u", RegionRecord.block);
    code.get(this.#left);
    code.get(this.#record);
    code.memory("i32.load", RegionRecord.function);
    code.callIndirect(
      this.#scope.module.type({ parameters: [ValueType.i32, ValueType.i32], results: [ValueType.i32] }),
    );
    code.set(this.#status);
    code.i32(0);
    code.memory("i32.load", engineState.unitsLeft.offset);
    code.set(this.#left);
    code.get(this.#status);
    code.i32(HandlerStatus.jumped);
    code.op("i32.eq");
    code.branchIf(labels.lookup);
    code.get(this.#status);
    code.i32(HandlerStatus.raised);
    code.op("i32.le_u");
    code.branchIf(labels.recheck);
    this.#leave(() => {
      code.i32(0);
      code.memory("i32.load", engineState.exitCode.offset);
    });
  }

  #callOutOfLine(labels: Labels): void {
    const code = this.#code;
    this.#callHandler(() => {
      code.get(this.#record);
      code.memory("i32.load16_u", 0);
    });
    code.op("i32.eqz");
    code.if();
    this.stepRecord(outOfLineRecordBytes(this.#context.cpu.granule));
    code.branch(labels.next);
    code.end();
    code.get(this.#status);
    this.#afterHandler(labels.recheck, labels.lookup);
  }

  /** Calls the handler of a variant with the current record; leaves its status in the local and on the stack. */
  #callHandler(pushVariant: () => void): void {
    const code = this.#code;
    code.get(this.#record);
    pushVariant();
    code.callIndirect(this.#scope.module.type({ parameters: [ValueType.i32], results: [ValueType.i32] }));
    code.tee(this.#status);
  }

  /** Stack: a status other than `next`, which is in the local too. Goes on, or leaves. */
  #afterHandler(recheck: Label, lookup: Label): void {
    const code = this.#code;
    code.i32(HandlerStatus.jumped);
    code.op("i32.eq");
    code.branchIf(lookup);
    if (this.#deliver !== undefined) {
      code.get(this.#status);
      code.i32(HandlerStatus.raised);
      code.op("i32.eq");
      code.if();
      this.raised();
      code.end();
    }
    code.get(this.#status);
    code.i32(HandlerStatus.raised);
    code.op("i32.le_u");
    code.branchIf(recheck);
    code.get(this.#status);
    code.i32(HandlerStatus.exitBefore);
    code.op("i32.eq");
    code.get(this.#left);
    code.op("i32.add");
    code.set(this.#left);
    this.#leave(() => {
      code.i32(0);
      code.memory("i32.load", engineState.exitCode.offset);
    });
  }

  /** To the next record in memory. */
  stepRecord(recordBytes: number): void {
    const code = this.#code;
    code.get(this.#record);
    code.i32(recordBytes);
    code.op("i32.add");
    code.set(this.#record);
  }

  get #running(): RunningRecord {
    const pushBase = (): void => {
      this.#code.get(this.#base);
    };
    return { record: this.#record, pushBase };
  }

  /** Behind the last record of a page the offset is 4096: it must carry. */
  pushPc(): void {
    this.#code.get(this.#codePage);
    pushOffset(this.#code, this.#context.records, this.#running);
    this.#code.op("i64.add");
  }

  pushNextPc(recordBytes: number): void {
    this.#code.get(this.#codePage);
    pushNextOffset(this.#code, this.#context.records, this.#running, recordBytes);
    this.#code.op("i64.add");
  }

  storePc(push: () => void): void {
    this.#code.i32(0);
    push();
    this.#code.memory("i64.store", this.#context.cpu.pc.offset);
  }

  /** Jumps inside the page stay with its records; `target` is on the stack. */
  jump(labels: Labels, branch: (label: Label) => void): void {
    const code = this.#code;
    const { cpu } = this.#context;
    code.tee(this.#target);
    code.get(this.#codePage);
    code.op("i64.xor");
    code.i64(~BigInt(4096 - cpu.granule));
    code.op("i64.and");
    code.op("i64.eqz");
    code.if();
    if (this.#context.records.kind === "packed") branch(labels.inPage);
    else {
      this.#setRecordFromTarget();
      branch(labels.next);
    }
    code.end();
    this.storePc(() => {
      code.get(this.#target);
    });
    branch(labels.lookup);
  }

  exitBefore(exitCode: number): void {
    this.#storePc();
    this.#addToLeft(1);
    this.#leave(() => {
      this.#code.i32(exitCode);
    });
  }

  leaveWith(exitCode: number): void {
    this.#leave(() => {
      this.#code.i32(exitCode);
    });
  }

  get code(): FunctionBuilder {
    return this.#code;
  }

  get context(): HandlerContext {
    return this.#context;
  }

  get scope(): ModuleScope {
    return this.#scope;
  }

  get recordLocal(): number {
    return this.#record;
  }

  #storePc(): void {
    this.storePc(() => {
      this.pushPc();
    });
  }

  #addToLeft(units: number): void {
    const code = this.#code;
    code.get(this.#left);
    code.i32(units);
    code.op("i32.add");
    code.set(this.#left);
  }

  #leave(pushCode: () => void): void {
    const code = this.#code;
    code.i32(0);
    code.get(this.#left);
    code.memory("i32.store", engineState.unitsLeft.offset);
    pushCode();
    code.return();
  }
}

class InlineTarget implements EmitTarget {
  readonly #loop: MainLoop;
  readonly #variant: Variant;
  readonly #labels: Labels;

  #temporaries: Temporaries = () => [];

  constructor(loop: MainLoop, variant: Variant, labels: Labels) {
    this.#loop = loop;
    this.#variant = variant;
    this.#labels = labels;
  }

  begin(temporaries: Temporaries): void {
    this.#temporaries = temporaries;
  }

  /**
   * Leaves for another instruction with every local of this one zero again: a local that has the same value on
   * all ways around the loop costs the compiler of the host nothing there.
   */
  #branch(label: Label): void {
    for (const { type, local } of this.#temporaries()) this.#loop.code.zeroLocal(type, local);
    this.#loop.code.branch(label);
  }

  operand(name: string): void {
    pushRecordOperand(this.#loop.code, this.#variant, name, this.#loop.recordLocal);
  }

  constantOperand(): undefined {
    return undefined;
  }

  pc(): void {
    this.#loop.pushPc();
  }

  nextPc(): void {
    this.#loop.pushNextPc(this.#variant.recordBytes);
  }

  callRoutine(routine: Routine): void {
    this.#loop.code.call(this.#loop.scope.routineIndex(routine));
  }

  callHost(host: HostFunction): void {
    this.#loop.code.call(this.#loop.scope.hostIndex(host));
  }

  callMemorySlow(): void {
    this.callRoutine(this.#loop.context.routines.memorySlow);
  }

  callFinishWrites(): void {
    this.callHost(finishWrites);
  }

  end(item: EndItem | { readonly type: "fallThrough" }, pushTarget: () => void): void {
    const loop = this.#loop;
    switch (item.type) {
      case "fallThrough":
        loop.stepRecord(this.#variant.recordBytes);
        return this.#branch(this.#labels.next);
      case "jump":
        if (item.contextChanged) {
          loop.storePc(pushTarget);
          return this.#branch(this.#labels.recheck);
        }
        pushTarget();
        return loop.jump(this.#labels, (label) => this.#branch(label));
      case "endBlock":
        loop.storePc(() => {
          loop.pushNextPc(this.#variant.recordBytes);
        });
        return this.#branch(this.#labels.recheck);
      case "raise":
        loop.storePc(() => {
          loop.pushPc();
        });
        this.callRoutine(item.routine);
        loop.raised();
        return this.#branch(this.#labels.recheck);
      case "exitBefore":
        return loop.exitBefore(item.code);
      case "exitAfter":
        loop.storePc(() => {
          loop.pushNextPc(this.#variant.recordBytes);
        });
        return loop.leaveWith(item.code);
      default:
        return item satisfies never;
    }
  }

  accessFailed(kind: "fault" | "device"): void {
    const loop = this.#loop;
    if (kind === "device") return loop.exitBefore(EngineExit.mmioRead);
    loop.storePc(() => {
      loop.pushPc();
    });
    this.callRoutine(loop.context.routines.raiseMemoryFault);
    loop.raised();
    this.#branch(this.#labels.recheck);
  }

  leaveForDeviceWrite(): void {
    this.#loop.exitBefore(EngineExit.mmioWrite);
  }

  return(): void {
    throw new Error(`${this.#variant.instruction.mnemonic} returns like a routine`);
  }
}
