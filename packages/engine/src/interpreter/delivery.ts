/** Delivery of interrupts and exceptions that needs guest memory: a function of its own, `() -> HandlerStatus`. */
import type { CpuDefinition } from "../cpu-definition.js";
import { emitProgram } from "../emit/emitter.js";
import type { ModuleScope } from "../emit/linker.js";
import type { EmitTarget } from "../emit/target.js";
import { engineState } from "../engine-fields.js";
import type { Instruction } from "../stage/instruction.js";
import type { EndItem, Program } from "../stage/program.js";
import type { HostFunction, Routine } from "../stage/stage.js";
import type { FunctionBuilder } from "../wasm/function-builder.js";
import { ValueType } from "../wasm/opcodes.js";
import { finishWrites } from "./engine-routines.js";
import type { HandlerContext } from "./out-of-line.js";
import { EngineExit, HandlerStatus } from "./status.js";

/** Whether interrupts are taken by an instruction of their own, and not by a routine. */
export function isDelivery(takeInterrupt: CpuDefinition["takeInterrupt"]): takeInterrupt is Instruction {
  return "execute" in takeInterrupt;
}

/** Adds the function to the module and gives its index. */
export function emitDelivery(program: Program, context: HandlerContext, scope: ModuleScope): number {
  const { code, index } = scope.module.addFunction({ parameters: [], results: [ValueType.i32] }, "deliver");
  emitProgram(program, code, new DeliveryTarget(program.name, context, code, scope), context.geometry);
  code.unreachable();
  return index;
}

class DeliveryTarget implements EmitTarget {
  readonly #name: string;
  readonly #context: HandlerContext;
  readonly #code: FunctionBuilder;
  readonly #scope: ModuleScope;

  constructor(name: string, context: HandlerContext, code: FunctionBuilder, scope: ModuleScope) {
    this.#name = name;
    this.#context = context;
    this.#code = code;
    this.#scope = scope;
  }

  operand(name: string): void {
    this.#refuse(`operand ${name}`);
  }

  constantOperand(): undefined {
    return undefined;
  }

  pc(): void {
    this.#code.i32(0);
    this.#code.memory("i64.load", this.#context.cpu.pc.offset);
  }

  nextPc(): void {
    this.#refuse("a next pc");
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
      case "jump":
        this.#code.i32(0);
        pushTarget();
        this.#code.memory("i64.store", this.#context.cpu.pc.offset);
        return this.#leave(HandlerStatus.recheck);
      case "raise":
        this.callRoutine(item.routine);
        return this.#leave(HandlerStatus.raised);
      case "exitBefore":
        return this.#exitBefore(item.code);
      case "fallThrough":
      case "endBlock":
      case "exitAfter":
        return this.#refuse(`an end by ${item.type}`);
      default:
        return item satisfies never;
    }
  }

  accessFailed(kind: "fault" | "device"): void {
    if (kind === "device") return this.#exitBefore(EngineExit.deliveryFailed);
    this.callRoutine(this.#context.routines.raiseMemoryFault);
    this.#leave(HandlerStatus.raised);
  }

  leaveForDeviceWrite(): void {
    this.#exitBefore(EngineExit.mmioWrite);
  }

  return(): void {
    this.#refuse("a return");
  }

  #exitBefore(exitCode: number): void {
    this.#code.i32(0);
    this.#code.i32(exitCode);
    this.#code.memory("i32.store", engineState.exitCode.offset);
    this.#leave(HandlerStatus.exitBefore);
  }

  #leave(status: number): void {
    this.#code.i32(status);
    this.#code.return();
  }

  #refuse(what: string): never {
    throw new Error(`${this.#name} uses ${what}, but it stands for no instruction in memory`);
  }
}
