import { describe, expect, it } from "@jest/globals";
import { EXIT_WORD_COUNT, type ExitFrame, ExitWord, KvmExit, setFrameU64 } from "@hvjournal/core";
import { TestGuest } from "../../testing/test-guest.js";
import { HandlerChain } from "../handler-chain.js";
import { HandlerError } from "../hypercall-handler.js";
import { x86Calls } from "./x86-calls.js";
import type { X86Handler } from "./x86-handler-vm.js";

interface Words {
  readonly kvmExit: number;
  readonly info?: number;
  readonly args?: readonly bigint[];
}

const FIRST_WORDS = [ExitWord.arg0Low, ExitWord.arg1Low, ExitWord.arg2Low, ExitWord.arg3Low];

function exit({ kvmExit, info = 0, args = [] }: Words): ExitFrame {
  const frame = new Uint32Array(EXIT_WORD_COUNT);
  frame[ExitWord.kvmExit] = kvmExit;
  frame[ExitWord.info] = info;
  args.forEach((value, index) => setFrameU64(frame, FIRST_WORDS[index] ?? 0, value));
  return frame;
}

/** What the guest was given: each event of the port, and what the exit was completed with. */
function answered(words: Words, ...handlers: readonly X86Handler[]): { events: string[]; result: bigint | undefined } {
  const guest = new TestGuest(4 << 20, 0);
  let result: bigint | undefined;
  guest.complete = (low, high) => {
    result = (BigInt(high) << 32n) | BigInt(low);
  };
  const named = handlers.map((handle, index) => ({ name: `handler${index}`, handle }));
  void new HandlerChain(
    named,
    x86Calls({ noteUnanswered: () => undefined, answerBackdoor: () => undefined, answerAccess: () => undefined }),
  ).answer(exit(words), guest);
  return { events: guest.events, result };
}

const HV_CALL: Words = { kvmExit: KvmExit.hyperv, info: 2, args: [0x0002_0003_0006_8003n, 0x1000n, 0x2000n] };
const XMM_CALL: Words = { ...HV_CALL, info: 4 };
const MAP_RANGE: Words = { kvmExit: KvmExit.hypercall, info: 1, args: [12n, 0x1000n, 2n, 0x10n] };
/** 64-bit mode at CPL 3. */
const XEN: Words = { kvmExit: KvmExit.xen, info: 7, args: [17n, 6n] };
const RDMSR: Words = { kvmExit: KvmExit.x86Rdmsr, args: [0x1234n, 0n, 2n] };
const WRMSR: Words = { kvmExit: KvmExit.x86Wrmsr, args: [0x1234n, 0x5678n, 4n] };

function callOf(words: Words): unknown {
  let seen: unknown;
  answered(words, (call) => void (seen = call));
  return seen;
}

describe("a handler of an amd64 guest", () => {
  it("gets the parts of a hypercall's input value, and its parameters", () => {
    expect(callOf(HV_CALL)).toEqual({
      ...{ type: "hv-call", vcpu: 0, code: 0x8003, fast: false, variableHeaderSize: 3, repCount: 3, repStart: 2 },
      ...{ inputValue: 0x0002_0003_0006_8003n, params: [0x1000n, 0x2000n], input: 0x1000n, output: 0x2000n },
    });
    expect(callOf({ ...HV_CALL, args: [0x1_005dn] })).toMatchObject({ code: 0x5d, fast: true, repCount: 0 });
  });

  it("gets XMM registers where the exit carries them", () => {
    expect(callOf(XMM_CALL)).toMatchObject({ type: "hv-call-xmm", xmm: Array(6).fill({ low: 0n, high: 0n }) });
    expect(callOf(HV_CALL)).not.toHaveProperty("xmm");
  });

  it("gets all six parameters of a call of Xen's, of which the exit carries three, and the caller's level", () => {
    expect(callOf(XEN)).toEqual({
      ...{ type: "xen-call", vcpu: 0, nr: 17, params: [0n, 0n, 0n, 0n, 0n, 0n], longMode: true, cpl: 3 },
    });
    expect(callOf({ ...XEN, info: 0 })).toMatchObject({ longMode: false, cpl: 0 });
  });

  it("gets calls of KVM's and MSRs by kvm_run's names", () => {
    expect(callOf(MAP_RANGE)).toEqual({
      ...{ type: "kvm-call", vcpu: 0, nr: 12, args: [0x1000n, 2n, 0x10n], longMode: true },
    });
    expect(callOf(RDMSR)).toEqual({ type: "rdmsr", vcpu: 0, index: 0x1234, reason: "unknown" });
    expect(callOf(WRMSR)).toEqual({ type: "wrmsr", vcpu: 0, index: 0x1234, data: 0x5678n, reason: "filter" });
  });

  it("is told of the SynIC's registers with the one that is written as it will be", () => {
    const synic: Words = { kvmExit: KvmExit.hyperv, info: 1, args: [0x4000_0083n, 0x5001n] };
    expect(callOf(synic)).toEqual({
      ...{ type: "hv-synic", vcpu: 0, msr: 0x4000_0083, control: 0n, evtPage: 0n, msgPage: 0x5001n },
    });
    expect(answered(synic)).toEqual({ events: [], result: undefined });
  });

  it.each<[string, Words, X86Handler, bigint, readonly string[]]>([
    ["a result", HV_CALL, () => 0x3_0000_0000n, 0x3_0000_0000n, []],
    ["status and repetitions", HV_CALL, () => ({ status: 5, repsCompleted: 2 }), 0x2_0000_0005n, []],
    ["nothing to a hypercall", HV_CALL, () => undefined, 2n, []],
    ["nothing to a call of KVM's", MAP_RANGE, () => undefined, 0n, []],
    ["a negative result", MAP_RANGE, () => -22, 0xffff_ffff_ffff_ffean, []],
    ["a result of Xen's", XEN, () => 0x4000an, 0x4000an, []],
    ["nothing to a call of Xen's", XEN, () => undefined, 0n, []],
    ["that it is not its own, of Xen's", XEN, (_, vm) => vm.notHandled, 0xffff_ffff_ffff_ffdan, []],
    ["data", RDMSR, () => 7n, 7n, []],
    ["named data", RDMSR, () => ({ data: 7n }), 7n, []],
    ["nothing to RDMSR", RDMSR, () => undefined, 0n, []],
    ["an error to RDMSR", RDMSR, () => ({ error: 1 }), 0n, ["vcpu0 msr_error 0x1"]],
    ["nothing to WRMSR", WRMSR, () => undefined, 0n, []],
    ["an error to WRMSR", WRMSR, () => ({ error: 1 }), 0n, ["vcpu0 msr_error 0x1"]],
    ["that it is not its own, of a hypercall", HV_CALL, (_, vm) => vm.notHandled, 2n, []],
    ["that it is not its own, of KVM's", MAP_RANGE, (_, vm) => vm.notHandled, 0xffff_ffff_ffff_fc18n, []],
    ["that it is not its own, of an MSR", RDMSR, (_, vm) => vm.notHandled, 0n, ["vcpu0 msr_error 0x1"]],
  ])("answers %s", (_, words, handler, result, events) => {
    expect(answered(words, handler)).toEqual({ events, result });
  });

  it("gives back XMM registers, which reach the guest only if the call succeeds", () => {
    const xmm = [{ low: 1n, high: 2n }, undefined, { low: 3n, high: 4n }];
    const events = ["xmm0.q[0] 0x1", "xmm0.q[1] 0x2", "xmm2.q[0] 0x3", "xmm2.q[1] 0x4"].map(
      (each) => `vcpu0 hcall_${each}`,
    );
    expect(answered(XMM_CALL, () => ({ status: 0, xmm }))).toEqual({ events, result: 0n });
  });

  it("has to take an exit that the board does not know: nobody else may answer it", () => {
    expect(() => answered(XMM_CALL)).toThrow(HandlerError);
    expect(() => answered(XMM_CALL, (_, vm) => vm.notHandled)).toThrow(/board pc has no answer .* type 4/);
    expect(answered(XMM_CALL, () => ({ status: 2 })).result).toBe(2n);
  });

  it("has its call named as log and show name it: by number in hex", () => {
    const fails: X86Handler = () => {
      throw new Error("no");
    };
    const unknown: Words = { ...MAP_RANGE, args: [0x5102n] };
    expect(() => answered(unknown, fails)).toThrow(/no answer to KVM_EXIT_HYPERCALL 0x5102 of vcpu0/);
    expect(() => answered(MAP_RANGE, fails)).toThrow(/no answer to KVM_EXIT_HYPERCALL KVM_HC_MAP_GPA_RANGE \(0xc\) of/);
  });

  it.each<[string, Words, unknown, RegExp]>([
    [
      "fields to a call of KVM's",
      MAP_RANGE,
      { status: 0x55 },
      /it answered \{status: 85\}: a number or bigint for RAX, /,
    ],
    ["a list to a call of KVM's", MAP_RANGE, [1n, { a: 2 }], /it answered \[1, an object\]: a number or bigint/],
    ["text", HV_CALL, "0", /it answered "0": a result of 64 bits/],
    ["a status too large", HV_CALL, { status: 0x1_0000 }, /status = 65536: does not fit into 16 bits/],
    ["no status", HV_CALL, { repsCompleted: 1 }, /status = undefined/],
    ["a field of another call", HV_CALL, { status: 0, data: 1 }, /it answered data/],
    ["registers that are not there", HV_CALL, { status: 0, xmm: [] }, /this exit carries no XMM registers/],
    ["too many of them", XMM_CALL, { status: 0, xmm: Array(7).fill(undefined) }, /a list of up to 6/],
    ["data to WRMSR", WRMSR, { data: 1 }, /it answered data/],
    ["an error of no kind", RDMSR, { error: 2 }, /error = 2: 0, or 1 for #GP/],
  ])("is told what makes no sense: %s", (_, words, answer, message) => {
    expect(() => answered(words, (() => answer) as X86Handler)).toThrow(message);
  });
});
