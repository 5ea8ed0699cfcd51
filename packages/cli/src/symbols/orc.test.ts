import { describe, expect, it } from "@jest/globals";
import type { GuestSymbol, Machine, SymbolTable } from "@hvjournal/core";
import { orcCallers as callersWithMode } from "./orc.js";

/** Addresses alone. */
function orcCallers(...words: Parameters<typeof callersWithMode>): bigint[] | undefined {
  return callersWithMode(...words)?.map(({ address }) => address);
}

const BASE = 0xffff_ffff_8100_0000n;
const RAM_BYTES = 0x4000;
const IPS = BASE + 0x1000n;
const ENTRIES = BASE + 0x2000n;
const STACK = BASE + 0x3000n;

const Register = { none: 0, previousSp: 1, rbp: 4, rsp: 5, r10: 6 } as const;
const KERNEL_CS = 0x10n;
const USER_CS = 0x33n;

interface Entry {
  /** From `BASE` on. */
  readonly at: number;
  readonly sp?: readonly [register: number, offset: number];
  readonly bp?: readonly [register: number, offset: number];
  readonly type: "call" | "registers" | "interrupt" | "end";
}

/** How a type is written, by the kernel's version. */
const TYPES = {
  "6.1": { call: 0, registers: 1, interrupt: 2, end: 4 },
  "6.4": { call: 2, registers: 3, interrupt: 4, end: 1 },
} as const;
type Version = keyof typeof TYPES;

function machine(
  version: Version,
  entries: readonly Entry[],
  words: readonly (readonly [bigint, bigint])[],
  registers: Readonly<Record<string, bigint>>,
): { readonly machine: Machine; readonly symbols: SymbolTable } {
  const ram = new Uint8Array(RAM_BYTES);
  const view = new DataView(ram.buffer);
  entries.forEach(({ at, sp = [0, 0], bp = [0, 0], type }, index) => {
    const place = IPS + BigInt(4 * index);
    view.setInt32(Number(place - BASE), Number(BASE + BigInt(at) - place), true);
    const entry = Number(ENTRIES - BASE) + 6 * index;
    view.setInt16(entry, sp[1], true);
    view.setInt16(entry + 2, bp[1], true);
    view.setUint8(entry + 4, sp[0] | (bp[0] << 4));
    view.setUint8(entry + 5, TYPES[version][type]);
  });
  for (const [address, value] of words) view.setBigUint64(Number(address - BASE), value, true);
  const kernel = {
    memory: { base: 0, bytes: RAM_BYTES, read: (start: number, bytes: number) => ram.slice(start, start + bytes) },
    translate: (_vcpu: number, address: bigint) => {
      const offset = address - BASE;
      return offset >= 0n && offset < BigInt(RAM_BYTES) ? Number(offset) : undefined;
    },
    readRegister: (_vcpu: number, name: string) => registers[name] ?? 0n,
  };
  const addresses: Readonly<Record<string, bigint>> = {
    __start_orc_unwind_ip: IPS,
    __stop_orc_unwind_ip: IPS + BigInt(4 * entries.length),
    __start_orc_unwind: ENTRIES,
  };
  const find = (name: string): GuestSymbol | undefined => {
    const address = addresses[name];
    return address === undefined ? undefined : { name, address, bytes: 0 };
  };
  return { machine: { kernel } as unknown as Machine, symbols: { find, at: () => undefined } };
}

const code = (at: number): bigint => BASE + BigInt(at);
const stack = (words: number): bigint => STACK + BigInt(8 * words);

/** A leaf, its caller, which keeps its frame in RBP, an entry that an interrupt came by, and where all begins. */
const ENTRIES_OF_CODE: readonly Entry[] = [
  { at: 0x100, sp: [Register.rsp, 8], type: "call" },
  { at: 0x200, sp: [Register.rbp, 16], bp: [Register.previousSp, -16], type: "call" },
  { at: 0x300, sp: [Register.rsp, 0], type: "interrupt" },
  { at: 0x400, sp: [Register.rsp, 8], type: "registers" },
  { at: 0x500, type: "end" },
  { at: 0x600, type: "end" },
];

describe.each<Version>(["6.1", "6.4"])("the callers in a kernel of Linux %s", (version) => {
  it("are found by distances from RSP and from RBP, which is found again itself", () => {
    const made = machine(
      version,
      ENTRIES_OF_CODE,
      [
        // Of the leaf, which was called from 0x210, and that from 0x220 in a frame further out.
        [stack(0), code(0x210)],
        [stack(4), stack(8)],
        [stack(5), code(0x220)],
        [stack(8), 0n],
        [stack(9), code(0x510)],
      ],
      { rip: code(0x120), rsp: stack(0), rbp: stack(4) },
    );
    const callers = [code(0x210), code(0x220), code(0x510)];
    expect(orcCallers(made.machine, 0, made.symbols, 64)).toEqual(callers);
    expect(orcCallers(made.machine, 0, made.symbols, 2)).toEqual(callers.slice(0, 2));
  });

  it("go on behind an interrupt, at the instruction itself, with the stack that it had", () => {
    const made = machine(
      version,
      ENTRIES_OF_CODE,
      [
        // RIP, CS, RFLAGS, RSP, SS; the first word of a function is not behind a call.
        [stack(0), code(0x100)],
        [stack(1), KERNEL_CS],
        [stack(3), stack(20)],
        [stack(20), code(0x410)],
        // struct pt_regs behind one word: RBP, RIP, CS and RSP.
        [stack(22) + 32n, stack(60)],
        [stack(22) + 128n, code(0x230)],
        [stack(22) + 136n, KERNEL_CS],
        [stack(22) + 152n, stack(50)],
        [stack(60), 0n],
        [stack(61), code(0x510)],
      ],
      { rip: code(0x300), rsp: stack(0), rbp: 0n },
    );
    expect(orcCallers(made.machine, 0, made.symbols, 64)).toEqual([0x100, 0x410, 0x230, 0x510].map(code));
  });

  it("end with the instruction at which user mode was left, and where the stack is not mapped", () => {
    const words = [
      [stack(0), 0x40_1234n],
      [stack(1), USER_CS],
    ] as const;
    const interrupted = machine(version, ENTRIES_OF_CODE, words, { rip: code(0x300), rsp: stack(0) });
    expect(callersWithMode(interrupted.machine, 0, interrupted.symbols, 64)).toEqual([
      { address: 0x40_1234n, isUserMode: true },
    ]);
    const lost = machine(version, ENTRIES_OF_CODE, [], { rip: code(0x120), rsp: 0x1000n });
    expect(orcCallers(lost.machine, 0, lost.symbols, 64)).toEqual([]);
  });

  it("are not told of code that the tables do not have", () => {
    for (const rip of [0x10, 0x510, 0x1000]) {
      const made = machine(version, ENTRIES_OF_CODE, [], { rip: code(rip), rsp: stack(0) });
      expect(orcCallers(made.machine, 0, made.symbols, 64)).toBeUndefined();
    }
    const made = machine(version, ENTRIES_OF_CODE, [], { rip: code(0x120), rsp: stack(0) });
    expect(orcCallers(made.machine, 0, { find: () => undefined, at: () => undefined }, 64)).toBeUndefined();
  });
});
