/** Makes WebAssembly of a program. */
import { engineFields, engineState } from "../engine-fields.js";
import {
  AccessInfo,
  FORBIDS_READ,
  PageState,
  SlowResult,
  TLB_ENTRY_BYTES,
  TlbEntry,
  type TlbGeometry,
} from "../mmu/tlb-layout.js";
import type {
  AccessItem,
  Block,
  EffectItem,
  EndItem,
  Item,
  Program,
  ValueNode,
  VariableNode,
} from "../stage/program.js";
import { schedule } from "../stage/schedule.js";
import type { StateField } from "../stage/state-layout.js";
import type { FunctionBuilder, LocalType } from "../wasm/function-builder.js";
import type { EmitTarget } from "./target.js";
import { loadPageState, markWalkedEntry, preparePageTablePage } from "./page-table-access.js";

/** Emits `program` into `code`; behind it control has left through the target. `skipped`: writes that are left out. */
export function emitProgram(
  program: Program,
  code: FunctionBuilder,
  target: EmitTarget,
  geometry: TlbGeometry,
  skipped: ReadonlySet<EffectItem> = NOTHING,
): void {
  schedule(program);
  new Emitter(program, code, target, geometry, skipped).run();
}

const NOTHING: ReadonlySet<EffectItem> = new Set();

class Emitter {
  readonly #program: Program;
  readonly #code: FunctionBuilder;
  readonly #target: EmitTarget;
  readonly #geometry: TlbGeometry;
  readonly #skipped: ReadonlySet<EffectItem>;
  readonly #locals = new Map<ValueNode | VariableNode | AccessItem, number>();
  readonly #taken: { readonly type: LocalType; readonly local: number }[] = [];
  /** Not zero once an access took a path whose writes must be finished at the end. */
  #slowLocal = -1;
  /** Where there are several accesses: not zero once one of them missed the TLB. */
  #missedLocal = -1;

  constructor(
    program: Program,
    code: FunctionBuilder,
    target: EmitTarget,
    geometry: TlbGeometry,
    skipped: ReadonlySet<EffectItem>,
  ) {
    this.#program = program;
    this.#skipped = skipped;
    this.#code = code;
    this.#target = target;
    this.#geometry = geometry;
  }

  run(): void {
    this.#target.begin?.(() => this.#taken);
    if (this.#program.writesMemory) {
      this.#slowLocal = this.#take("i32");
      this.#code.i32(0);
      this.#code.set(this.#slowLocal);
    }
    if (this.#program.accessCount > 1) {
      this.#missedLocal = this.#take("i32");
      this.#code.i32(0);
      this.#code.set(this.#missedLocal);
    }
    this.#block(this.#program.root);
    if (!this.#program.alwaysEnds) this.#retire({ type: "fallThrough" }, () => undefined);
    for (const { type, local } of this.#taken) this.#code.releaseLocal(type, local);
  }

  #take(type: LocalType): number {
    const local = this.#code.takeLocal(type);
    this.#taken.push({ type, local });
    return local;
  }

  #localOf(key: ValueNode | VariableNode, width: number): number {
    const known = this.#locals.get(key);
    if (known !== undefined) return known;
    const local = this.#take(localType(width));
    this.#locals.set(key, local);
    return local;
  }

  #block(block: Block): void {
    for (const item of block.items) {
      if (item.type !== "value") this.#effect(item);
      else if (item.needsLocal) {
        this.#compute(item);
        this.#code.set(this.#localOf(item, item.width));
      }
    }
  }

  /** Pushes a value: from its local, or computed here. */
  #push(value: ValueNode): void {
    if (value.needsLocal) this.#code.get(this.#localOf(value, value.width));
    else this.#compute(value);
  }

  #compute(value: ValueNode): void {
    const { op } = value;
    const code = this.#code;
    switch (op.kind) {
      case "constant32":
        return code.i32(op.value);
      case "constant64":
        return code.i64(op.value);
      case "constant128":
        return code.v128(op.low, op.high);
      case "operand":
        return this.#target.operand(op.name);
      case "parameter":
        return code.get(op.index);
      case "pc":
        return this.#target.pc();
      case "nextPc":
        return this.#target.nextPc();
      case "variable":
        return code.get(this.#localOf(op.variable, op.variable.width));
      case "result":
        return code.get(this.#localOf(value, value.width));
      case "readState":
        return this.#loadState(op.offset, value.width);
      case "readStateAt":
        return this.#loadStateAt(value, op.offset);
      case "loadMemory":
        return this.#loadMemory(value.width, op.access, op.offset, op.bits);
      default:
    }
    for (const arg of value.args) this.#pushArgument(value, arg);
    this.#apply(value);
  }

  /** Float instructions take their operands as bits. */
  #pushArgument(value: ValueNode, arg: ValueNode): void {
    this.#push(arg);
    if (value.op.kind === "floatWasm" && value.op.from !== "integer")
      this.#code.op(`f${value.op.from}.reinterpret_i${value.op.from}`);
  }

  #apply(value: ValueNode): void {
    const { op } = value;
    const code = this.#code;
    switch (op.kind) {
      case "wasm":
        return code.op(op.name);
      case "floatWasm":
        code.op(op.name);
        if (op.to !== "integer") code.op(`i${op.to}.reinterpret_f${op.to}`);
        return;
      case "lane":
        return code.lane(op.name, op.lane);
      case "shuffle":
        return code.shuffle(op.lanes);
      case "select":
        return value.width === 128 ? code.selectVector() : code.select();
      case "multiplyHigh":
        return this.#multiplyHigh(op.signed);
      default:
        throw new Error(`${this.#program.name}: no code for ${op.kind}`);
    }
  }

  #loadState(offset: number, width: number): void {
    const { known } = this.#target;
    if (known !== undefined) return known.load(offset, wasmType(width));
    this.#code.i32(0);
    this.#code.memory(`${wasmType(width)}.load`, offset);
  }

  #loadStateAt(value: ValueNode, offset: number): void {
    const [address] = value.args;
    if (address === undefined) throw new Error(`${this.#program.name}: an access to state without address`);
    const constant = this.#constantAddress(address);
    if (constant !== undefined) return this.#loadState(constant + offset, value.width);
    this.#push(address);
    this.#code.memory(`${wasmType(value.width)}.load`, offset);
  }

  #storeState(offset: number, value: ValueNode): void {
    const type = wasmType(value.width);
    const { known } = this.#target;
    if (known !== undefined) return known.store(offset, type, () => this.#push(value));
    this.#code.i32(0);
    this.#push(value);
    this.#code.memory(`${type}.store`, offset);
  }

  #storeStateAt({ address, offset, value }: EffectItem & { readonly type: "writeStateAt" }): void {
    const constant = this.#constantAddress(address);
    if (constant !== undefined) return this.#storeState(constant + offset, value);
    this.#push(address);
    this.#push(value);
    this.#code.memory(`${wasmType(value.width)}.store`, offset);
    this.#target.known?.clear();
  }

  #constantAddress({ op }: ValueNode): number | undefined {
    const constant = op.kind === "operand" ? this.#target.constantOperand(op.name) : undefined;
    return constant === undefined ? undefined : Number(constant);
  }

  #loadMemory(width: number, access: AccessItem, offset: number, bits: number): void {
    this.#code.get(this.#accessLocal(access));
    const type = wasmType(width);
    const name = bits === width ? `${type}.load` : width === 128 ? "v128.load" : `${type}.load${bits}_u`;
    if (width === 128 && bits !== 128) throw new Error(`${this.#program.name}: a vector load of ${bits} bits`);
    if (width === 32 && bits > 32) throw new Error(`${this.#program.name}: a load of ${bits} bits into 32`);
    this.#code.memory(name, offset);
  }

  /** Stack: left, right (i64). Leaves the high half of the product, from four products of 32-bit halves. */
  #multiplyHigh(signed: boolean): void {
    const code = this.#code;
    const left = this.#take("i64");
    const right = this.#take("i64");
    const middle = this.#take("i64");
    const cross = this.#take("i64");
    const low = (local: number): void => {
      code.get(local);
      code.i64(0xffff_ffffn);
      code.op("i64.and");
    };
    const high = (local: number): void => {
      code.get(local);
      code.i64(32n);
      code.op(signed && (local === left || local === right) ? "i64.shr_s" : "i64.shr_u");
    };
    const shifted = signed ? "i64.shr_s" : "i64.shr_u";
    code.set(right);
    code.set(left);
    // middle = high(left) * low(right) + (low * low >> 32)
    high(left);
    low(right);
    code.op("i64.mul");
    low(left);
    low(right);
    code.op("i64.mul");
    code.i64(32n);
    code.op("i64.shr_u");
    code.op("i64.add");
    code.set(middle);
    // cross = low(left) * high(right) + low(middle)
    low(left);
    high(right);
    code.op("i64.mul");
    low(middle);
    code.op("i64.add");
    code.set(cross);
    high(left);
    high(right);
    code.op("i64.mul");
    code.get(middle);
    code.i64(32n);
    code.op(shifted);
    code.op("i64.add");
    code.get(cross);
    code.i64(32n);
    code.op(shifted);
    code.op("i64.add");
  }

  #effect(item: EffectItem): void {
    const code = this.#code;
    if (this.#skipped.has(item)) return;
    switch (item.type) {
      case "writeState":
        return this.#storeState(item.offset, item.value);
      case "writeStateAt":
        return this.#storeStateAt(item);
      case "access":
        return this.#access(item);
      case "storeMemory":
        return this.#storeMemory(item);
      case "setVariable":
        this.#push(item.value);
        return code.set(this.#localOf(item.variable, item.variable.width));
      case "if":
        return this.#if(item);
      case "loop":
        return this.#loop(item);
      case "callRoutine":
        for (const arg of item.args) this.#push(arg);
        this.#target.callRoutine(item.routine);
        this.#target.known?.clear();
        if (item.result !== undefined) this.#keepResult(item.result);
        return;
      case "callHost":
        for (const arg of item.args) this.#push(arg);
        this.#target.callHost(item.host);
        this.#target.known?.clear();
        return this.#keepResult(item.result);
      case "readPageTable":
        return this.#readPageTable(item);
      case "return":
        if (item.value !== undefined) this.#push(item.value);
        return this.#target.return();
      case "jump":
      case "endBlock":
      case "exitAfter":
      case "exitBefore":
      case "raise":
        return this.#end(item);
      default:
        return item satisfies never;
    }
  }

  #keepResult(result: ValueNode): void {
    if (result.needsLocal) this.#code.set(this.#localOf(result, result.width));
    else this.#code.drop();
  }

  #if(item: EffectItem & { readonly type: "if" }): void {
    const { known } = this.#target;
    this.#push(item.condition);
    this.#code.if();
    const before = known?.save();
    this.#block(item.then);
    const behindThen = endsAlways(item.then) ? undefined : known?.save();
    if (before !== undefined) known?.restore(before);
    if (item.otherwise !== undefined) {
      this.#code.else();
      this.#block(item.otherwise);
    }
    this.#code.end();
    if (item.otherwise !== undefined && endsAlways(item.otherwise)) known?.restore(behindThen ?? new Map());
    else if (behindThen !== undefined) known?.join(behindThen);
  }

  #loop(item: EffectItem & { readonly type: "loop" }): void {
    this.#target.known?.clear();
    const again = this.#code.loop();
    this.#block(item.body);
    if (item.condition === undefined) throw new Error(`${this.#program.name}: a loop without condition`);
    this.#push(item.condition);
    this.#code.branchIf(again);
    this.#code.end();
    this.#target.known?.clear();
  }

  #storeMemory(item: EffectItem & { readonly type: "storeMemory" }): void {
    const code = this.#code;
    code.get(this.#accessLocal(item.access));
    this.#push(item.value);
    const type = wasmType(item.value.width);
    if (item.bits > item.value.width)
      throw new Error(`${this.#program.name}: a store of ${item.bits} bits from ${item.value.width}`);
    code.memory(item.bits === item.value.width ? `${type}.store` : `${type}.store${item.bits}`, item.offset);
  }

  #accessLocal(access: AccessItem): number {
    const local = this.#locals.get(access);
    if (local === undefined)
      throw new Error(`${this.#program.name}: a handle is used outside the arm that asked for it`);
    return local;
  }

  /**
   * Looks the address up in the TLB set of the current privilege. The tag is compared with the page of the last
   * byte while the entry is chosen by the first, so an access across pages never matches.
   */
  #access(item: AccessItem): void {
    const code = this.#code;
    const address = this.#take("i64");
    const host = this.#take("i32");
    const entry = this.#take("i32");
    this.#locals.set(item, host);
    this.#push(item.address);
    code.set(address);
    const array = item.mode === "read" ? 0 : this.#geometry.writeOffset;
    code.get(address);
    code.op("i32.wrap_i64");
    code.i32(12 - Math.log2(TLB_ENTRY_BYTES));
    code.op("i32.shr_u");
    code.i32((this.#geometry.entries - 1) * TLB_ENTRY_BYTES);
    code.op("i32.and");
    code.i32(0);
    code.memory("i32.load", tlbOf(item).offset);
    code.op("i32.add");
    code.tee(entry);
    code.memory("i64.load", array + TlbEntry.tag);
    code.get(address);
    if (item.bytes > 1) {
      code.i64(BigInt(item.bytes - 1));
      code.op("i64.add");
    }
    code.i64(-4096n);
    code.op("i64.and");
    code.op("i64.eq");
    this.#pushAligned(address, item.alignment);
    code.if();
    code.get(entry);
    code.memory("i32.load", array + TlbEntry.addend);
    code.get(address);
    code.op("i32.wrap_i64");
    code.op("i32.add");
    code.set(host);
    code.else();
    this.#slowAccess(item, address, host);
    code.end();
  }

  #pushAligned(address: number, alignment: number): void {
    if (alignment <= 1) return;
    const code = this.#code;
    code.get(address);
    code.op("i32.wrap_i64");
    code.i32(alignment - 1);
    code.op("i32.and");
    code.op("i32.eqz");
    code.op("i32.and");
  }

  #slowAccess(item: AccessItem, address: number, host: number): void {
    const code = this.#code;
    if (this.#program.accessCount > 1) this.#noteFirstMiss();
    code.get(address);
    code.i32(this.#accessInfo(item));
    code.i32(item.alignment);
    this.#target.callMemorySlow();
    code.tee(host);
    code.i32(SlowResult.device);
    code.op("i32.le_u");
    code.if();
    code.get(host);
    code.if();
    this.#target.accessFailed("device");
    code.else();
    if (item.faultDetail !== undefined) {
      const { faultDetail } = item;
      code.i32(0);
      this.#apart(() => this.#push(faultDetail));
      code.memory("i32.store", engineFields.faultDetail.offset);
    }
    this.#target.accessFailed("fault");
    code.end();
    code.end();
    if (item.mode === "read") return;
    code.get(host);
    code.i32(this.#geometry.ramStart);
    code.op("i32.lt_u");
    code.get(this.#slowLocal);
    code.op("i32.or");
    code.set(this.#slowLocal);
  }

  #noteFirstMiss(): void {
    const code = this.#code;
    code.get(this.#missedLocal);
    code.op("i32.eqz");
    code.if();
    code.i32(1);
    code.set(this.#missedLocal);
    code.i32(0);
    code.i32(0);
    code.memory("i32.store", engineState.accessesBegun.offset);
    code.end();
  }

  #accessInfo(item: AccessItem): number {
    return (
      item.bytes |
      (item.mode === "read" ? 0 : AccessInfo.write) |
      (item.mode === "readWrite" ? AccessInfo.alsoReads : 0) |
      (item.unprivileged ? AccessInfo.unprivileged : 0) |
      (item.privileged ? AccessInfo.privileged : 0) |
      (this.#program.accessCount > 1 ? AccessInfo.several : 0)
    );
  }

  #readPageTable(item: EffectItem & { readonly type: "readPageTable" }): void {
    const code = this.#code;
    const { ramBase, ramStart } = this.#geometry;
    const offset = this.#take("i64");
    const result = this.#localOf(item.result, 64);
    item.result.needsLocal = true;
    this.#push(item.physical);
    code.i64(BigInt(ramBase));
    code.op("i64.sub");
    code.tee(offset);
    code.i32(0);
    code.memory("i64.load", engineState.ramBytes.offset);
    code.i64(BigInt(item.bits / 8));
    code.op("i64.sub");
    code.op("i64.gt_u");
    code.if();
    code.i64(0n);
    code.set(result);
    this.#block(item.onAbsent);
    code.else();
    loadPageState(code, this.#geometry, offset);
    code.i32(PageState.pageTable | FORBIDS_READ);
    code.op("i32.and");
    code.i32(PageState.pageTable);
    code.op("i32.ne");
    code.if();
    code.get(offset);
    code.op("i32.wrap_i64");
    code.i32(12);
    code.op("i32.shr_u");
    this.#target.callHost(preparePageTablePage);
    code.drop();
    code.end();
    markWalkedEntry(code, this.#geometry, offset, () => {
      this.#push(item.isLast);
    });
    code.get(offset);
    code.op("i32.wrap_i64");
    code.memory(item.bits === 64 ? "i64.load" : "i64.load32_u", ramStart);
    code.set(result);
    code.end();
    this.#target.known?.clear();
  }

  #end(item: EndItem): void {
    if (item.type === "exitBefore" || item.type === "exitAfter") {
      item.operands.forEach((operand, index) => {
        this.#code.i32(0);
        this.#push(operand);
        this.#code.memory("i64.store", engineState.exitOperands.offset + 8 * index);
      });
    }
    if (item.type === "raise") for (const arg of item.args) this.#push(arg);
    const pushTarget = (): void => {
      if (item.type === "jump") this.#push(item.target);
    };
    if (item.type === "raise" || item.type === "exitBefore") this.#target.end(item, pushTarget);
    else this.#retire(item, pushTarget);
  }

  /** Emits what may be passed over: it teaches nothing of what is known behind it. */
  #apart(emit: () => void): void {
    const { known } = this.#target;
    const before = known?.save();
    emit();
    if (before !== undefined) known?.restore(before);
  }

  /** Finishes bounced writes before the instruction retires; device writes leave the guest from here. */
  #retire(item: EndItem | { readonly type: "fallThrough" }, pushTarget: () => void): void {
    const code = this.#code;
    if (this.#program.writesMemory) {
      code.get(this.#slowLocal);
      code.if();
      this.#target.callFinishWrites();
      code.if();
      code.i32(0);
      if (item.type === "jump") this.#apart(pushTarget);
      else this.#target.nextPc();
      code.memory("i64.store", engineState.nextPc.offset);
      this.#target.leaveForDeviceWrite();
      code.end();
      code.end();
    }
    this.#target.end(item, pushTarget);
  }
}

const ENDS: ReadonlySet<Item["type"]> = new Set(["return", "jump", "endBlock", "raise", "exitBefore", "exitAfter"]);

/** Control never comes out of it. */
function endsAlways(block: Block): boolean {
  const last = block.items.at(-1);
  return last !== undefined && ENDS.has(last.type);
}

/** The TLB set that an access looks into. */
function tlbOf(item: AccessItem): StateField<32> {
  if (item.privileged) return engineFields.tlbKernel;
  return item.unprivileged ? engineFields.tlbUser : engineFields.tlbCurrent;
}

function wasmType(width: number): "i32" | "i64" | "v128" {
  return width === 32 ? "i32" : width === 64 ? "i64" : "v128";
}

function localType(width: number): LocalType {
  return wasmType(width);
}
