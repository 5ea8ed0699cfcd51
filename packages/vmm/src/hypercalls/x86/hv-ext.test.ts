import { describe, expect, it } from "@jest/globals";
import { TestGuest } from "../../testing/test-guest.js";
import type { HandlerState } from "../answer-forms.js";
import { NOT_HANDLED } from "../answer-forms.js";
import type { HvCall } from "./exit-call.js";
import { EXT_CAPABILITIES } from "./hv-ext.js";
import { X86HandlerVm } from "./x86-handler-vm.js";

const MEBIBYTE = 1 << 20;
const OUTPUT = 0x2000n;
const INPUT = 0x1000n;

interface Machine {
  readonly guest: TestGuest;
  readonly state: HandlerState;
  readonly call: (code: number, parts?: Partial<HvCall>, capabilities?: bigint) => ReturnType<X86HandlerVm["hvExt"]>;
}

function machine(memoryBytes = 8 * MEBIBYTE): Machine {
  const guest = new TestGuest(memoryBytes, 0);
  const state: HandlerState = {};
  const vm = new X86HandlerVm(guest, () => state);
  return {
    guest,
    state,
    call: (code, parts = {}, capabilities = EXT_CAPABILITIES) =>
      vm.hvExt(
        {
          ...{ type: "hv-call", vcpu: 0, code, fast: false, variableHeaderSize: 0, repCount: 0, repStart: 0 },
          ...{ inputValue: BigInt(code), params: [INPUT, OUTPUT], input: INPUT, output: OUTPUT },
          ...parts,
        },
        capabilities,
      ),
  };
}

function words({ memory }: TestGuest, at: bigint, count: number): bigint[] {
  const view = new DataView(memory.buffer);
  return Array.from({ length: count }, (_, index) => view.getBigUint64(Number(at) + 8 * index, true));
}

function put({ memory }: TestGuest, at: bigint, values: readonly bigint[]): void {
  const view = new DataView(memory.buffer);
  values.forEach((value, index) => view.setBigUint64(Number(at) + 8 * index, value, true));
}

describe("HvExtCallQueryCapabilities", () => {
  it("writes the mask that was chosen", () => {
    const { guest, call } = machine();
    expect([call(0x8001, {}, 0x102n), words(guest, OUTPUT, 2)]).toEqual([{ status: 0 }, [0x102n, 0n]]);
  });

  it.each([
    ["is misaligned", { output: OUTPUT + 4n }, 4],
    ["is beyond RAM", { output: 8n * BigInt(MEBIBYTE) }, 8],
    ["is far beyond it", { output: 0xffff_ffff_ffff_fff8n }, 8],
    ["comes with repetitions", { repCount: 1 }, 3],
  ])("writes nothing where it %s", (_, parts, status) => {
    const { guest, call } = machine();
    expect(call(0x8001, parts)).toMatchObject({ status });
    expect(guest.events).toEqual([]);
  });
});

describe("HvExtCallGetBootZeroedMemory", () => {
  it("gives the pages that nobody has written, the largest range first", () => {
    const { guest, call } = machine(64 * 4096);
    guest.memory[10 * 4096 + 5] = 1;
    guest.memory[60 * 4096] = 1;
    expect(call(0x8002)).toEqual({ status: 0 });
    expect(words(guest, OUTPUT, 8)).toEqual([3n, 11n, 49n, 0n, 10n, 61n, 3n, 0n]);
  });

  it("gives 255 ranges, for there is no room for more", () => {
    const { guest, call } = machine(1024 * 4096);
    for (let page = 3; page < 1024; page += 3) guest.memory[page * 4096] = 1;
    expect([call(0x8002), words(guest, OUTPUT, 1)]).toEqual([{ status: 0 }, [255n]]);
    expect(guest.memory[Number(OUTPUT) + 0xff8]).toBe(0);
  });

  it("is unknown where the mask does not offer it, and takes a block within one page alone", () => {
    const { call } = machine();
    expect(call(0x8002, {}, 2n)).toBe(NOT_HANDLED);
    expect([call(0x8002, { output: OUTPUT + 16n }), call(0x8002, { output: OUTPUT + 8n })]).toMatchObject([
      { status: 4 },
      { status: 0 },
    ]);
  });
});

describe("HvExtCallMemoryHeatHint", () => {
  const large = (page: bigint, additional = 0n): bigint => (page << 21n) | (1n << 11n) | additional;
  const small = (page: bigint, additional = 0n): bigint => (page << 12n) | additional;

  it("takes back what was discarded, and counts what was hinted", () => {
    const { guest, state, call } = machine();
    guest.memory.fill(1);
    put(guest, INPUT, [2n, large(1n, 1n), small(0x601n)]);
    expect(call(0x8003, { repCount: 2 })).toEqual({ status: 0, repsCompleted: 2 });
    const at = [0x1f_ffff, 0x20_0000, 0x5f_ffff, 0x60_0fff, 0x60_1000, 0x60_1fff, 0x60_2000];
    expect(at.map((address) => guest.memory[address])).toEqual([1, 0, 0, 1, 0, 0, 1]);
    expect(state).toEqual({ "hv-ext": { hints: 2, pages: 1025 } });
  });

  it("ends at an element beyond RAM: those before it are done, and it goes on from a later one", () => {
    const { guest, call } = machine();
    put(guest, INPUT, [2n, small(5n), large(4n), small(6n)]);
    expect(call(0x8003, { repCount: 3 })).toEqual({ status: 5, repsCompleted: 1 });
    expect(call(0x8003, { repCount: 3, repStart: 2 })).toEqual({ status: 0, repsCompleted: 3 });
    put(guest, INPUT, [2n, (1n << 12n) | large(0n)]);
    expect(call(0x8003, { repCount: 1 })).toEqual({ status: 5, repsCompleted: 0 });
  });

  it.each([
    ["no element", { repCount: 0 }, 3],
    ["none left", { repCount: 2, repStart: 2 }, 3],
    ["a list that crosses a page", { repCount: 512 }, 4],
    ["a misaligned list", { repCount: 1, input: INPUT + 1n }, 4],
    ["no RAM behind it", { repCount: 1, input: 1n << 50n }, 8],
    ["a hint of another kind", { repCount: 1, input: 0x3000n }, 5],
  ])("does nothing for %s", (_, parts, status) => {
    const { guest, state, call } = machine();
    put(guest, 0x3000n, [1n, small(1n)]);
    expect(call(0x8003, parts)).toMatchObject({ status });
    expect([guest.events, state]).toEqual([[], {}]);
  });

  it("takes a list of 511 elements, which fills its page", () => {
    const { guest, call } = machine();
    put(guest, INPUT, [2n, ...Array.from({ length: 511 }, () => small(8n))]);
    expect(call(0x8003, { repCount: 511 })).toEqual({ status: 0, repsCompleted: 511 });
  });
});
