import { describe, expect, it } from "@jest/globals";
import type { GuestSymbol, Machine, SymbolTable } from "@hvjournal/core";
import { arm64UserPc } from "./arm64-user-frame.js";

const STACK = 0xffff_8000_1000_0000n;
const RAM_BYTES = 0x1000;
const USER_PC = 0xaaaa_0000_1234n;
const EL0T = 0x6000_0000n;
const EL1H = 0x6000_0005n;

/** The handler's frame at the stack's start leads to `pt_regs` at 0x200, whose record lies at `record`. */
function pcOf(record: number, pcAt: number, [pc, pstate]: readonly [bigint, bigint], symbol = "el0t_64_sync") {
  const ram = new Uint8Array(RAM_BYTES);
  const view = new DataView(ram.buffer);
  view.setBigUint64(0, STACK + BigInt(record), true);
  view.setBigUint64(8, 0xffff_8000_0801_1234n, true);
  view.setBigUint64(pcAt, pc, true);
  view.setBigUint64(pcAt + 8, pstate, true);
  const machine = {
    kernel: {
      memory: { base: 0, bytes: RAM_BYTES, read: (start: number, bytes: number) => ram.slice(start, start + bytes) },
      translate: (_vcpu: number, address: bigint) => {
        const offset = address - STACK;
        return offset >= 0n && offset < BigInt(RAM_BYTES) ? Number(offset) : undefined;
      },
      readRegister: () => STACK,
    },
  } as unknown as Machine;
  const found: GuestSymbol = { name: symbol, address: 0n, bytes: 0 };
  const symbols: SymbolTable = { find: (name) => (name === symbol ? found : undefined), at: () => undefined };
  return arm64UserPc(machine, 0, symbols);
}

describe("the pc at which user mode was left", () => {
  it.each([
    ["up to 6.12", 0x200 + 304],
    ["from 6.13 on", 0x200 + 296],
  ])("lies in pt_regs of Linux %s, in front of the last frame record", (_, record) => {
    expect(pcOf(record, 0x200 + 256, [USER_PC, EL0T])).toBe(USER_PC);
  });

  it("is none of a kernel thread's, whose frame says EL1 or nothing", () => {
    expect(pcOf(0x200 + 304, 0x200 + 256, [0xffff_8000_0801_0000n, EL1H])).toBeUndefined();
    expect(pcOf(0x200 + 304, 0x200 + 256, [0n, 0n])).toBeUndefined();
  });

  it("is looked for in Linux alone", () => {
    expect(pcOf(0x200 + 304, 0x200 + 256, [USER_PC, EL0T], "main")).toBeUndefined();
  });
});
