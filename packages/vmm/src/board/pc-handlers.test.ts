/** What board `pc` asks its handlers beside calls: accesses that no device claims, and signals of eventfds. */
import { describe, expect, it } from "@jest/globals";
import { KvmExit } from "@hvjournal/core";
import type { NamedHandler } from "../hypercalls/hypercall-handler.js";
import type { X86Call } from "../hypercalls/x86/exit-call.js";
import { testPc } from "../testing/test-board.js";

const WRITE = 0x100;
const NOWHERE = 0xd000_0000n;

/** Keeps what it was asked, and answers by `answer`. */
function listening(answer: (call: X86Call) => unknown): { readonly asked: X86Call[]; readonly handler: NamedHandler } {
  const asked: X86Call[] = [];
  const handle = (call: X86Call): unknown => {
    asked.push(call);
    return answer(call);
  };
  return { asked, handler: { name: "listening", handle: handle as NamedHandler["handle"] } };
}

describe("handlers of the pc board", () => {
  it("answer accesses that no device claims, and are not asked about others", () => {
    const { asked, handler } = listening((call) => (call.type === "io" && !call.isWrite ? 0x5a : undefined));
    const { guest, board, in: read, out: write } = testPc({ handlers: [handler] });
    expect([read(0x510, 1), read(0x3fd, 1)]).toEqual([0x5a, 0x60]);
    write(0x510, 0x1234, 2);
    guest.exit(board, { kvmExit: KvmExit.mmio, info: WRITE | 4, arg0: NOWHERE, arg1: 7n });
    expect(guest.exit(board, { kvmExit: KvmExit.mmio, info: 2, arg0: NOWHERE })).toBe(0xffffn);
    const common = { vcpu: 0, isWrite: false };
    expect(asked).toEqual([
      { ...common, type: "io", port: 0x510, bytes: 1, data: 0n },
      { ...common, type: "io", port: 0x510, bytes: 2, data: 0x1234n, isWrite: true },
      { ...common, type: "mmio", address: 0xd000_0000, bytes: 4, data: 7n, isWrite: true },
      { ...common, type: "mmio", address: 0xd000_0000, bytes: 2, data: 0n },
    ]);
  });

  it("are told of a signal at a deadline that has come already, once however often it was given, also after a move", () => {
    const { asked, handler } = listening(() => undefined);
    const { board } = testPc({ handlers: [handler] });
    for (const fd of [4, 3, 4]) board.noteSignal?.(fd);
    const moved = testPc({ handlers: [handler] });
    moved.board.restore(board.save());
    expect(moved.board.save()).toEqual(board.save());
    moved.guest.signals.set(4, 2);
    for (let times = 0; times < 2; times++) {
      expect(moved.board.deadlineNs).toBe(0);
      moved.board.reachDeadline(moved.guest);
    }
    expect(asked).toEqual([
      { type: "eventfd", vcpu: 0, fd: 4, count: 2 },
      { type: "eventfd", vcpu: 0, fd: 3, count: 0 },
    ]);
    expect(moved.board.deadlineNs).not.toBe(0);
    expect(moved.board.save().map(({ name }) => name)).not.toContain("vmm.signals");
  });

  it("must take a signal at once, and one that fails is told again", () => {
    let fails = true;
    const { asked, handler } = listening(() => {
      if (fails) throw new Error("not now");
    });
    const { guest, board } = testPc({ handlers: [handler] });
    board.noteSignal?.(3);
    expect(() => board.reachDeadline(guest)).toThrow("not now");
    fails = false;
    expect(board.deadlineNs).toBe(0);
    board.reachDeadline(guest);
    expect(asked).toHaveLength(2);
    const late = testPc({ handlers: [listening(() => Promise.resolve()).handler] });
    late.board.noteSignal?.(3);
    expect(() => late.board.reachDeadline(late.guest)).toThrow(/gave a promise/);
  });

  it("are missed by nobody where there are none: a signal is nothing to do", () => {
    const { board } = testPc();
    const before = [board.deadlineNs, board.save()];
    board.noteSignal?.(3);
    expect([board.deadlineNs, board.save()]).toEqual(before);
  });
});
