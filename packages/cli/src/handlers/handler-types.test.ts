import { describe, expect, it } from "@jest/globals";
import type { HandlerVm, HypercallCall, HypercallHandler } from "@hvjournal/vmm";
import type * as Shipped from "../../handler.js";

/** Whose symbol it is differs between the two, and nothing else. */
type Plain<Vm> = Omit<Vm, "notHandled" | "psci" | "sdei">;

describe("handler.d.ts", () => {
  it("says of the call and of the VM what a handler gets", () => {
    const call = (given: HypercallCall): Shipped.HypercallCall => given;
    const back = (given: Shipped.HypercallCall): HypercallCall => given;
    const vm = (given: HandlerVm): Plain<Shipped.HandlerVm> => given;
    const answers: readonly Exclude<Shipped.HandlerAnswer, Shipped.NotHandled>[] = [
      undefined,
      5n,
      -1,
      [0, 7n],
      { x0: 0, x17: 1n },
    ];
    const taken: readonly Awaited<ReturnType<HypercallHandler>>[] = answers;
    expect([call, back, vm].map((check) => check.length)).toEqual([1, 1, 1]);
    expect(taken).toHaveLength(5);
  });

  it("is enough to write a handler", () => {
    const handler: Shipped.Handler = (call, vm) => {
      if (call.nr !== 0xc600_0001) return vm.notHandled;
      vm.state["calls"] = Number(vm.state["calls"] ?? 0) + 1;
      return { x0: vm.vcpu(call.vcpu).getOneReg("x1") };
    };
    expect(handler).toHaveLength(2);
  });
});
