import { describe, expect, it } from "@jest/globals";
import { MEBIBYTE, testPc, type TestPc } from "../../testing/test-board.js";
import { BACKDOOR_MAGIC } from "./registers.js";

const PORT = 0x5658;

/** An IN with registers set, and what it leaves in them. */
function call(pc: TestPc, command: number, { eax = BACKDOOR_MAGIC, port = PORT } = {}): Record<string, bigint> {
  const { guest } = pc;
  guest.events.length = 0;
  guest.registers.set("vcpu0 eax", BigInt(eax));
  guest.registers.set("vcpu0 ecx", BigInt(command));
  const result = { eax: BigInt(pc.in(port, 4)) };
  return Object.assign(result, Object.fromEntries(guest.events.map((event) => event.split(" ").slice(1, 3)))) as never;
}

describe("the VMware backdoor", () => {
  it.each([
    ["GETVERSION", 0x0a, { eax: 6n, rbx: "0x564d5868", rcx: "0x2" }],
    ["GETVERSION with more than a command in ECX", 0xabcd_000a, { eax: 6n, rbx: "0x564d5868", rcx: "0x2" }],
    ["GETUUID", 0x13, { eax: 0n, rbx: "0x0", rcx: "0x0", rdx: "0x0" }],
    ["GETMEMSIZE", 0x14, { eax: 4n * 1024n * 1024n, rbx: "0x1177" }],
    ["GETHZ", 0x2d, { eax: 1_000_000_000n, rbx: "0x0", rcx: "0x3b9aca00" }],
    ["GETVCPUINFO", 0x44, { eax: 8n }],
    ["a command that nobody knows", 0x7f, { eax: 0xffff_ffffn }],
  ])("answers %s", (_, command, registers) => {
    expect(call(testPc({ vmport: true, memoryBytes: 4 * MEBIBYTE }), command)).toEqual(registers);
  });

  it("knows nothing without its magic number, nor at the port of remote calls", () => {
    const pc = testPc({ vmport: true });
    expect([call(pc, 0x0a, { eax: 1 }), call(pc, 0x0a, { port: PORT + 1 })]).toEqual(
      Array(2).fill({ eax: 0xffff_ffffn }),
    );
  });

  it("gives an OUT its EAX as well", () => {
    const { guest, out } = testPc({ vmport: true });
    guest.registers.set("vcpu0 eax", BigInt(BACKDOOR_MAGIC));
    guest.registers.set("vcpu0 ecx", 0x0an);
    out(PORT, BACKDOOR_MAGIC, 4);
    expect(guest.events).toEqual(["vcpu0 rbx 0x564d5868", "vcpu0 rcx 0x2", "vcpu0 rax 0x6"]);
  });

  it("asks handlers first, which may change what is told", () => {
    const seen: unknown[] = [];
    const handle = (asked: object): object => {
      seen.push(asked);
      return { eax: 7, ebx: 1 };
    };
    const pc = testPc({ vmport: true, handlers: [{ name: "mine.mjs", handle }] });
    expect(call(pc, 0x0a)).toEqual({ eax: 7n, rbx: "0x1" });
    expect(seen).toMatchObject([{ type: "vmport", port: PORT, isWrite: false, bytes: 4, ecx: 0x0a }]);
  });

  it("is not there unless it was asked for", () => {
    const pc = testPc();
    expect([call(pc, 0x0a), pc.board.portDeviceAt(PORT)]).toEqual([{ eax: 0xffff_ffffn }, undefined]);
    expect(testPc({ vmport: true }).board.portDeviceAt(PORT)).toBe("vmport");
    expect(pc.board.unclaimedAccesses().has("port 0x5658")).toBe(true);
  });
});
