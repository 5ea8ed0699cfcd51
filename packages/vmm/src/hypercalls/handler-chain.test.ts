import { describe, expect, it } from "@jest/globals";
import {
  type CallAnswerer,
  EXIT_WORD_COUNT,
  type ExitFrame,
  ExitWord,
  setFrameU64,
  type StateSection,
} from "@hvjournal/core";
import { ConfiguredGuest } from "../testing/configured-guest.js";
import { HandlerChain } from "./handler-chain.js";
import type { HandlerVm } from "./handler-vm.js";
import type { HandlerAnswer } from "./answer-forms.js";
import { HandlerError, HandlerWithdrawnError, type HypercallHandler, type NamedHandler } from "./hypercall-handler.js";
import { smcccCalls } from "./smccc-calls.js";

const NR = 0xc600_0001;
const NOT_SUPPORTED = "vcpu0 x0 0xffffffffffffffff";

function exit(info = 0): ExitFrame {
  const frame = new Uint32Array(EXIT_WORD_COUNT);
  frame[ExitWord.info] = info;
  setFrameU64(frame, ExitWord.syndromeLow, 0x5a00_0007n);
  setFrameU64(frame, ExitWord.arg0Low, BigInt(NR));
  return frame;
}

function chainOfNamed(...handlers: readonly NamedHandler[]): HandlerChain {
  return new HandlerChain(handlers, smcccCalls);
}

function chainOf(...handlers: readonly HypercallHandler[]): HandlerChain {
  return chainOfNamed(...handlers.map((handle, index) => ({ name: `handler${index}`, handle })));
}

function guestWith(...handlers: readonly HypercallHandler[]): { guest: ConfiguredGuest; chain: HandlerChain } {
  return { guest: new ConfiguredGuest(1), chain: chainOf(...handlers) };
}

async function failureOf(chain: HandlerChain, guest: ConfiguredGuest): Promise<HandlerError> {
  try {
    await chain.answer(exit(), guest);
  } catch (error) {
    if (error instanceof HandlerError) return error;
    throw error;
  }
  throw new Error("it has answered");
}

describe("the handlers of a VM", () => {
  it("get the call with its conduit, immediate and the caller's registers", () => {
    const seen: unknown[] = [];
    const { guest, chain } = guestWith((call) => void seen.push(call));
    guest.registers.set("vcpu0 x17", 17n);
    void chain.answer(exit(1), guest);
    expect(seen).toEqual([
      { nr: NR, conduit: "smc", is16Bit: false, immediate: 7, vcpu: 0, args: [...Array<bigint>(17).fill(0n), 17n] },
    ]);
  });

  it("see the caller's registers as they were, though they have set them meanwhile", () => {
    const seen: unknown[] = [];
    const handle: HypercallHandler = (call, vm) => {
      vm.vcpu(0).setOneReg("x5", 50n);
      seen.push(call.args[5]);
    };
    const chain = chainOfNamed({ name: "builtin:test", isBuiltin: true, handle });
    const guest = new ConfiguredGuest(1);
    guest.registers.set("vcpu0 x5", 5n);
    void chain.answer(exit(), guest);
    expect(seen).toEqual([5n]);
  });

  it("leave the registers as they are where nothing is answered, as KVM does", () => {
    const { guest, chain } = guestWith(() => undefined);
    expect(chain.answer(exit(), guest)).toBeUndefined();
    expect(guest.events).toEqual([]);
  });

  it("are asked in turn, the board last", () => {
    const asked: number[] = [];
    const pass =
      (index: number): HypercallHandler =>
      (_, vm) => {
        asked.push(index);
        return vm.notHandled;
      };
    const { guest, chain } = guestWith(pass(0), pass(1));
    void chain.answer(exit(), guest);
    expect([asked, guest.events]).toEqual([[0, 1], [NOT_SUPPORTED]]);
  });

  it.each<[string, readonly string[], CallAnswerer]>([
    ["the handler that answers", ["declines", "demo.mjs"], { by: "handler", name: "demo.mjs" }],
    ["a builtin", ["builtin:psci"], { by: "builtin", name: "builtin:psci" }],
    ["the board, where all decline", ["declines"], { by: "board" }],
  ])("say whose answer it is: %s", (_, names, answerer) => {
    const guest = new ConfiguredGuest(1);
    const handle =
      (name: string): HypercallHandler =>
      (_call, vm) =>
        name === "declines" ? vm.notHandled : 1;
    void chainOfNamed(...names.map((name) => ({ name, handle: handle(name) }))).answer(exit(), guest);
    expect(guest.answerer).toEqual(answerer);
  });

  it("compose where one answers late", async () => {
    const { guest, chain } = guestWith(
      (_, vm) => Promise.resolve(vm.notHandled),
      () => Promise.resolve([1, 2]),
    );
    await chain.answer(exit(), guest);
    expect(guest.events).toEqual(["vcpu0 x0 0x1", "vcpu0 x1 0x2"]);
  });

  it.each<[string, () => HandlerAnswer | Promise<HandlerAnswer>, string, RegExp]>([
    [
      "throws",
      () => {
        throw new TypeError("no");
      },
      "handler-failed",
      /handler0 has no answer to HVC 0xc6000001 of vcpu0: it threw TypeError: no/,
    ],
    ["is rejected", () => Promise.reject(new Error("later")), "handler-failed", /it threw later/],
    ["answers nonsense", () => "5" as never, "handler-answer", /it answered "5"/],
    ["answers nonsense late", () => Promise.resolve(1.5), "handler-answer", /x0 = 1\.5/],
  ])("leave the VM as it was where one %s", async (_, answer, code, message) => {
    const { guest, chain } = guestWith((_call, vm) => {
      vm.vcpu(0).setOneReg("x5", 7n);
      vm.writeMemory(guest.memoryBase, Uint8Array.of(1));
      vm.state["kept"] = 1;
      vm.stop({ what: "reset", by: "a handler" });
      expect(vm.vcpu(0).getOneReg("x5")).toBe(7n);
      return answer();
    });
    const failure = await failureOf(chain, guest);
    expect([failure.code, failure.message]).toEqual([code, expect.stringMatching(message)]);
    expect([guest.events, guest.registers.get("vcpu0 x5"), guest.memory[0]]).toEqual([[], undefined, 0]);
    expect([guest.stopped, chain.save()]).toEqual([undefined, []]);
  });

  it.each<[string, (answer: number) => HandlerAnswer | Promise<HandlerAnswer>]>([
    ["at once", (answer) => answer],
    ["late", (answer) => Promise.resolve(answer)],
  ])(
    "are not to blame, and have nothing undone, where an answer given %s is refused as it is kept",
    async (_, give) => {
      const { guest, chain } = guestWith((_call, vm) => {
        vm.state["kept"] = 1;
        return give(5);
      });
      const ended: string[] = [];
      guest.begin = () => ({ keep: () => void ended.push("keep"), undo: () => void ended.push("undo") });
      guest.setRegister = () => {
        throw new RangeError("another answer was recorded");
      };
      await expect(async () => chain.answer(exit(), guest)).rejects.toThrow(
        new RangeError("another answer was recorded"),
      );
      expect([ended, chain.save()]).toEqual([["keep"], []]);
    },
  );

  it("leave the VM as it was where the question is withdrawn, which is put again later", async () => {
    let [giveUp, asked] = [(_why: Error): void => undefined, 0];
    const guest = new ConfiguredGuest(1);
    const handle: HypercallHandler = (_, vm) => {
      asked += 1;
      vm.vcpu(0).setOneReg("x5", 7n);
      return asked > 1 ? 6 : new Promise((_kept, reject) => (giveUp = reject));
    };
    const withdraw = (): void => giveUp(new HandlerWithdrawnError("something else came up"));
    const chain = chainOfNamed({ name: "slow.mjs", withdraw, handle });
    const failing = failureOf(chain, guest);
    expect(chain.waitsFor).toBe("slow.mjs, HVC 0xc6000001");
    chain.withdraw();
    expect([(await failing).code, guest.events, chain.waitsFor]).toEqual(["handler-withdrawn", [], undefined]);
    void chain.answer(exit(), guest);
    expect(guest.events).toEqual(["vcpu0 x5 0x7", "vcpu0 x0 0x6"]);
  });

  it("can do nothing any more once they have answered", async () => {
    let kept: HandlerVm | undefined;
    const { guest, chain } = guestWith((_, vm) => {
      kept = vm;
      return 0;
    });
    await chain.answer(exit(), guest);
    expect(() => kept?.vcpu(0).setOneReg("x1", 1n)).toThrow(/the call is over/);
  });

  it("keep plain data with the VM, byte by byte the same after it was restored", () => {
    const count: HypercallHandler = (_, vm) => (vm.state["count"] = Number(vm.state["count"] ?? 0) + 1);
    const { guest, chain } = guestWith(count);
    void chain.answer(exit(), guest);
    void chain.answer(exit(), guest);
    const saved = chain.save();
    expect(saved).toHaveLength(1);
    const other = chainOf(count);
    const left = new Map<string, StateSection>(saved.map((section) => [section.name, section]));
    other.restore((name) => left.get(name));
    expect(other.save()).toEqual(saved);
    void other.answer(exit(), guest);
    expect(guest.events.at(-1)).toBe("vcpu0 x0 0x3");
  });

  it("take addresses as the guest passes them, in registers", () => {
    const seen: unknown[] = [];
    const { guest, chain } = guestWith((call, vm) => {
      vm.writeMemory(call.args[1] ?? 0n, Uint8Array.of(1, 2, 3));
      seen.push(vm.readMemory(call.args[1] ?? 0n, call.args[2] ?? 0n), vm.readMemory(guest.memoryBase, 1));
      return vm.vcpu(call.args[3] ?? 0n).index;
    });
    guest.registers.set("vcpu0 x1", BigInt(guest.memoryBase));
    guest.registers.set("vcpu0 x2", 3n);
    void chain.answer(exit(), guest);
    expect(seen).toEqual([Uint8Array.of(1, 2, 3), Uint8Array.of(1)]);
  });

  it.each<[string, (vm: HandlerVm) => void, string]>([
    [
      "text for bytes",
      (vm) => vm.writeMemory(0n, "hello" as never),
      'writeMemory: bytes is a Uint8Array, not the text "hello"',
    ],
    [
      "text for an address",
      (vm) => void vm.readMemory("0x40" as never, 1),
      'readMemory: physical is a whole number or bigint from 0 up, not the text "0x40"',
    ],
    ["half a byte", (vm) => void vm.readMemory(0, 0.5), "readMemory: bytes, a count, is a whole number"],
    ["text to print", (vm) => vm.output(0, "hello" as never), "output: bytes is a Uint8Array"],
    ["nothing for a register", (vm) => vm.vcpu(0).setOneReg("x1", undefined as never), "setOneReg: value is a bigint"],
  ])("are told which argument is wrong: %s", async (_, act, message) => {
    const { guest, chain } = guestWith((_call, vm) => act(vm));
    expect((await failureOf(chain, guest)).message).toContain(`it threw TypeError: ${message}`);
  });

  it("fail where they would keep what can't be saved", async () => {
    const { guest, chain } = guestWith((_, vm) => {
      vm.state["when"] = (() => 1) as never;
    });
    expect((await failureOf(chain, guest)).message).toContain("vm.state.when: function is not plain data");
  });
});
