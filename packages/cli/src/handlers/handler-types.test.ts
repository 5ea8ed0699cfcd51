import { describe, expect, it } from "@jest/globals";
import type { HandlerVm, HypercallCall, HypercallHandler, X86Call, X86Handler, X86HandlerVm } from "@hvjournal/vmm";
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

  it("says the same of amd64's", () => {
    const call = (given: X86Call): Shipped.X86Call => given;
    const back = (given: Shipped.X86Call): X86Call => given;
    const vm = (given: X86HandlerVm): Omit<Shipped.X86HandlerVm, "notHandled" | "hvExt"> => given;
    const answers: readonly Exclude<Shipped.X86Answer, Shipped.NotHandled>[] = [
      undefined,
      5n,
      -1,
      { status: 0, repsCompleted: 3, xmm: [{ low: 1n, high: 2n }] },
      { error: 1 },
      { data: 7n },
      { eax: 6, ebx: 1n },
    ];
    const taken: readonly Awaited<ReturnType<X86Handler>>[] = answers;
    expect([call, back, vm].map((check) => check.length)).toEqual([1, 1, 1]);
    expect(taken).toHaveLength(7);
  });

  it("is enough to write a handler of amd64", () => {
    const handler: Shipped.X86Handler = (call, vm) => {
      switch (call.type) {
        case "hv-call":
          return call.code === 0x8001 ? vm.hvExt(call, 1n) : { status: 0, repsCompleted: call.repCount };
        case "rdmsr":
          return vm.vcpu(call.vcpu).getMsr(call.index) ?? { error: 1 };
        case "wrmsr":
          return call.data === 0n ? undefined : { error: 1 };
        case "kvm-call":
          return call.args[1];
        default:
          return vm.notHandled;
      }
    };
    expect(handler).toHaveLength(2);
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
