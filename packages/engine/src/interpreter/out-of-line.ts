/** Handlers as functions of their own: `(record) -> HandlerStatus`. */
import type { CpuDefinition } from "../cpu-definition.js";
import type { RecordGeometry } from "../decode/record.js";
import type { Variant } from "../decode/variant-table.js";
import { emitProgram } from "../emit/emitter.js";
import type { ModuleKey } from "../emit/kept-modules.js";
import type { Linker, ModuleContent, ModuleScope } from "../emit/linker.js";
import type { EmitTarget } from "../emit/target.js";
import { engineState } from "../engine-fields.js";
import type { TlbGeometry } from "../mmu/tlb-layout.js";
import type { EndItem } from "../stage/program.js";
import type { HostFunction, Routine } from "../stage/stage.js";
import type { FunctionBuilder } from "../wasm/function-builder.js";
import { ValueType } from "../wasm/opcodes.js";
import { ENGINE_HOSTS, type EngineRoutines, finishWrites } from "./engine-routines.js";
import { pushNextOffset, pushOffset, type RunningRecord } from "./record-code.js";
import { EngineExit, HandlerStatus } from "./status.js";

export interface HandlerContext {
  readonly cpu: CpuDefinition;
  readonly geometry: TlbGeometry;
  readonly records: RecordGeometry;
  readonly routines: EngineRoutines;
  readonly linker: Linker;
}

/** Compiles variants in one module and gives their functions in order. With `kept`, see `Linker.link`. */
export function compileHandlers(
  context: HandlerContext,
  variants: readonly Variant[],
  kept?: ModuleKey,
): readonly unknown[] {
  const content: ModuleContent = {
    programs: () => variants.map((variant) => variant.program),
    routines: [context.routines.memorySlow, context.routines.raiseMemoryFault],
    hosts: ENGINE_HOSTS,
    usesTable: false,
    build(scope) {
      const signature = { parameters: [ValueType.i32], results: [ValueType.i32] };
      variants.forEach((variant, index) => {
        const { code } = scope.module.addFunction(signature, `handler:${index}`);
        emitProgram(variant.program, code, new OutOfLineTarget(context, variant, code, scope), context.geometry);
        code.unreachable();
      });
    },
  };
  const exports = context.linker.link(content, kept);
  return variants.map((_, index) => exports[`handler:${index}`]);
}

/** Under which the module of a context's variants is kept, if their order alone says which they are. */
export function moduleKey(context: HandlerContext, what: string, variants: readonly Variant[]): ModuleKey {
  const { cpu, geometry, records } = context;
  const forms = variants.map(({ instruction, form, isInline }) => [instruction.mnemonic, form, isInline]);
  return { owner: cpu, key: JSON.stringify([what, geometry, records, forms]) };
}

const RECORD_PARAMETER = 0;

class OutOfLineTarget implements EmitTarget {
  readonly #context: HandlerContext;
  readonly #variant: Variant;
  readonly #code: FunctionBuilder;
  readonly #scope: ModuleScope;

  constructor(context: HandlerContext, variant: Variant, code: FunctionBuilder, scope: ModuleScope) {
    this.#context = context;
    this.#variant = variant;
    this.#code = code;
    this.#scope = scope;
  }

  operand(name: string): void {
    pushRecordOperand(this.#code, this.#variant, name, RECORD_PARAMETER);
  }

  constantOperand(): undefined {
    return undefined;
  }

  get #running(): RunningRecord {
    const pushBase = (): void => {
      this.#code.i32(0);
      this.#code.memory("i32.load", engineState.decodedBase.offset);
    };
    return { record: RECORD_PARAMETER, pushBase };
  }

  pc(): void {
    this.#pushCodePage();
    pushOffset(this.#code, this.#context.records, this.#running);
    this.#code.op("i64.add");
  }

  nextPc(): void {
    this.#pushCodePage();
    pushNextOffset(this.#code, this.#context.records, this.#running, this.#variant.recordBytes);
    this.#code.op("i64.add");
  }

  #pushCodePage(): void {
    this.#code.i32(0);
    this.#code.memory("i64.load", engineState.codePage.offset);
  }

  callRoutine(routine: Routine): void {
    this.#code.call(this.#scope.routineIndex(routine));
  }

  callHost(host: HostFunction): void {
    this.#code.call(this.#scope.hostIndex(host));
  }

  callMemorySlow(): void {
    this.callRoutine(this.#context.routines.memorySlow);
  }

  callFinishWrites(): void {
    this.callHost(finishWrites);
  }

  end(item: EndItem | { readonly type: "fallThrough" }, pushTarget: () => void): void {
    switch (item.type) {
      case "fallThrough":
        return this.#leave(HandlerStatus.next);
      case "jump":
        this.#storePc(pushTarget);
        return this.#leave(item.contextChanged ? HandlerStatus.recheck : HandlerStatus.jumped);
      case "endBlock":
        this.#storePc(() => {
          this.nextPc();
        });
        return this.#leave(HandlerStatus.recheck);
      case "raise":
        this.#storePc(() => {
          this.pc();
        });
        this.callRoutine(item.routine);
        return this.#leave(HandlerStatus.raised);
      case "exitBefore":
        return this.#exitBefore(item.code);
      case "exitAfter":
        this.#storePc(() => {
          this.nextPc();
        });
        this.#storeExitCode(item.code);
        return this.#leave(HandlerStatus.exitAfter);
      default:
        return item satisfies never;
    }
  }

  accessFailed(kind: "fault" | "device"): void {
    if (kind === "device") return this.#exitBefore(EngineExit.mmioRead);
    this.#storePc(() => {
      this.pc();
    });
    this.callRoutine(this.#context.routines.raiseMemoryFault);
    this.#leave(HandlerStatus.raised);
  }

  leaveForDeviceWrite(): void {
    this.#exitBefore(EngineExit.mmioWrite);
  }

  return(): void {
    throw new Error(`${this.#variant.instruction.mnemonic} returns like a routine`);
  }

  #exitBefore(exitCode: number): void {
    this.#storePc(() => {
      this.pc();
    });
    this.#storeExitCode(exitCode);
    this.#leave(HandlerStatus.exitBefore);
  }

  #storePc(push: () => void): void {
    this.#code.i32(0);
    push();
    this.#code.memory("i64.store", this.#context.cpu.pc.offset);
  }

  #storeExitCode(exitCode: number): void {
    this.#code.i32(0);
    this.#code.i32(exitCode);
    this.#code.memory("i32.store", engineState.exitCode.offset);
  }

  #leave(status: number): void {
    this.#code.i32(status);
    this.#code.return();
  }
}

/** Pushes an operand from the record whose address is in a local. */
export function pushRecordOperand(code: FunctionBuilder, variant: Variant, name: string, recordLocal: number): void {
  const place = variant.places.get(name);
  if (place === undefined) throw new Error(`${variant.instruction.mnemonic} has no operand ${name}`);
  code.get(recordLocal);
  code.memory(place.kind === "i64" ? "i64.load" : place.kind === "i32" ? "i32.load" : "i32.load16_u", place.offset);
}
