/** What differs between the consumers of a program: where operands and pc come from, and how an instruction ends. */
import type { HostFunction, Routine } from "../stage/stage.js";
import type { EndItem } from "../stage/program.js";
import type { LocalType } from "../wasm/function-builder.js";
import type { KnownState } from "./known-state.js";

/** Locals that a program has used so far. */
export type Temporaries = () => readonly { readonly type: LocalType; readonly local: number }[];

export interface EmitTarget {
  /** What is known of state where the program begins, of code that runs in a straight line. */
  readonly known?: KnownState;
  /** Called before the program is emitted. */
  begin?(temporaries: Temporaries): void;
  /** Pushes an operand's value. */
  operand(name: string): void;
  /** The operand's value where it is known while code is made. */
  constantOperand(name: string): number | bigint | undefined;
  pc(): void;
  nextPc(): void;
  /** Calls a routine or host function whose parameters are on the stack. */
  callRoutine(routine: Routine): void;
  callHost(host: HostFunction): void;
  /** Calls `memorySlow` (address, info on the stack), which leaves a host address, or `SlowResult`. */
  callMemorySlow(): void;
  callFinishWrites(): void;
  /** Ends; `pushTarget` pushes a jump's target. Operands of exits are stored already, arguments of a raise are on the stack. */
  end(item: EndItem | { readonly type: "fallThrough" }, pushTarget: () => void): void;
  /** An access has failed: `memoryFault` must be raised, or the vCPU leaves for a device read. On the stack: nothing. */
  accessFailed(kind: "fault" | "device"): void;
  /** The instruction is done but for device writes: it leaves with `nextPc` in `engineState.nextPc`. */
  leaveForDeviceWrite(): void;
  /** In routines: return with the value on the stack. */
  return(): void;
}
