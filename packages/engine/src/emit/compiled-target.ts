/** What targets of compiled code share: operands are constants, and routines and hosts are the module's own or imported. */
import { operandValue } from "../decode/record.js";
import type { Variant } from "../decode/variant-table.js";
import { finishWrites } from "../interpreter/engine-routines.js";
import type { HandlerContext } from "../interpreter/out-of-line.js";
import type { EndItem } from "../stage/program.js";
import type { HostFunction, Routine } from "../stage/stage.js";
import type { FunctionBuilder } from "../wasm/function-builder.js";
import type { ModuleScope } from "./linker.js";
import type { EmitTarget } from "./target.js";

/** An instruction with the fields of its encoding. */
export interface CompiledInstruction {
  readonly variant: Variant;
  readonly fields: Readonly<Record<string, number>>;
}

/** The function that code is made for. */
export interface CompiledFunction {
  readonly context: HandlerContext;
  readonly code: FunctionBuilder;
  readonly scope: ModuleScope;
}

/** Throws Error for a name that is no operand. */
export function constantOperandOf({ variant, fields }: CompiledInstruction, name: string): number | bigint {
  const source = variant.instruction.operands[name];
  if (source === undefined) throw new Error(`${variant.instruction.mnemonic} has no operand ${name}`);
  return operandValue(source, fields);
}

export abstract class CompiledTarget implements EmitTarget {
  readonly #function: CompiledFunction;
  readonly #instruction: CompiledInstruction;

  constructor(compiled: CompiledFunction, instruction: CompiledInstruction) {
    this.#function = compiled;
    this.#instruction = instruction;
  }

  abstract pc(): void;
  abstract nextPc(): void;
  abstract end(item: EndItem | { readonly type: "fallThrough" }, pushTarget: () => void): void;
  abstract accessFailed(kind: "fault" | "device"): void;
  abstract leaveForDeviceWrite(): void;

  operand(name: string): void {
    const value = this.constantOperand(name);
    const { code } = this.#function;
    if (this.#instruction.variant.places.get(name)?.kind === "i64") code.i64(BigInt(value));
    else code.i32(Number(value));
  }

  constantOperand(name: string): number | bigint {
    return constantOperandOf(this.#instruction, name);
  }

  callRoutine(routine: Routine): void {
    const { code, scope } = this.#function;
    code.call(scope.routineIndex(routine));
  }

  callHost(host: HostFunction): void {
    const { code, scope } = this.#function;
    code.call(scope.hostIndex(host));
  }

  callMemorySlow(): void {
    this.callRoutine(this.#function.context.routines.memorySlow);
  }

  callFinishWrites(): void {
    this.callHost(finishWrites);
  }

  return(): void {
    throw new Error(`${this.#instruction.variant.instruction.mnemonic} returns like a routine`);
  }
}
