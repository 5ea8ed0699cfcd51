/** XMM registers of Hyper-V's calls on x86: input, and the designs of output that upstream did not take. Hyper-V TLFS. */
import { expect } from "@jest/globals";
import { type KvmRun, outputBlock } from "@hvjournal/cpu-x86";
import { callBytes, enforce, FAST, hvCall, hvExit, identify, putWords, Status, wordAt } from "./hyperv-calls.js";
import { move, spin, storeRax } from "./instructions.js";
import { DATA, errno, outcomeOf, type Program, type ProgramOptions } from "./program.js";
import { type Row, testRows } from "./rows.js";
import { enterCompatibilityMode } from "./user-mode.js";

const GET_VP_REGISTERS = 0x50n;
const TRANSLATE = 0x52n;
const SEND_IPI_EX = 0x15n;
const FLUSH_LIST_EX = 0x14n;
const FLUSH_SPACE = 0x2n;
const SIGNAL_EVENT = 0x5dn;
const VP_INDEX = 0x4000_0002;
const reps = (count: number, start = 0): bigint => (BigInt(count) << 32n) | (BigInt(start) << 48n);
const header = (words: number): bigint => BigInt(words) << 17n;

const INPUTS = DATA + 0x1000;
const OUTPUTS = DATA + 0x2000;
const little = (value: number): number[] => [0, 8, 16, 24].map((shift) => (value >>> shift) & 0xff);
/** MOVUPS of XMM0 to XMM5 from memory, and into it. */
const sixXmm = (opcode: number, address: number): number[] =>
  [0, 1, 2, 3, 4, 5].flatMap((register) => [
    0x0f,
    opcode,
    (register << 3) | 4,
    0x25,
    ...little(address + 16 * register),
  ]);
const loadXmm = sixXmm(0x10, INPUTS);
const storeXmm = sixXmm(0x11, OUTPUTS);

/** A fast call with words of input behind its two parameters, after which the guest stores its XMM registers. */
function fastCall(it: Program, input: bigint, words: readonly bigint[]): number[] {
  identify(it);
  const [first = 0n, second = 0n, ...others] = words;
  putWords(it, INPUTS, ...others, ...Array.from({ length: 12 - others.length }, (_, at) => 0x1000n + BigInt(at)));
  return [...loadXmm, ...callBytes(input | FAST, first, second), ...storeRax(DATA), ...storeXmm];
}

type HypervRun = Extract<KvmRun, { exitReason: "HYPERV" }>;

function exitOf(it: Program, input: bigint, words: readonly bigint[]): HypervRun {
  const run = it.exit(fastCall(it, input, words));
  if (run.exitReason !== "HYPERV") throw new Error(`${run.exitReason} where the call was to be the VMM's`);
  return run;
}

/** What the guest has in the 12 words of XMM0 to XMM5 after the call. */
function xmmWords(it: Program): bigint[] {
  return Array.from({ length: 12 }, (_, index) => wordAt(it, OUTPUTS + 8 * index));
}

/** A VMM that knows of output: fills all six registers. */
function answerXmm(run: HypervRun, result: bigint): void {
  const { hyperv } = run;
  if (hyperv.type !== 2 && hyperv.type !== 4) throw new Error("no hypercall");
  hyperv.xmm?.forEach((register, index) => {
    register.low = 0xa0n + BigInt(index);
    register.high = 0xb0n + BigInt(index);
  });
  hyperv.result = result;
}

/** A VMM of before: types up to 3, and no register but the result. */
function answerAsBefore({ hyperv }: HypervRun): void {
  if (hyperv.type !== 2) throw new Error(`unknown Hyper-V exit sub-type ${hyperv.type}`);
  hyperv.result = reps(1);
}

function design(name: string, more: readonly (readonly [string, string])[] = []): ProgramOptions {
  return { configuration: [["hv", "all"], ["policy", `hv.xmmOutput=${name}`], ...more] };
}

/** 16 bytes of header, then one name of 4 bytes. */
const ONE_NAME = [~0n, 0n, 0x9_0003n] as const;
const NO_OUTPUT = design("new-type", [["cpuid", "0x40000003:edx=0x10"]]);

/** An APIC that takes interrupts: the spurious vector's register. */
const enableApic = [...move("rax", 0xfee0_00f0), 0xc7, 0x00, ...little(0x1ff)];
const TOLD_VECTOR = 0x1e;

/** Which vCPUs a call has interrupted, each as often as it was: they wait with interrupts on, and tell by an exit. */
function interrupted(it: Program, words: readonly bigint[], input: bigint): number[] {
  for (const { index } of it.vm.vcpus.slice(1)) {
    it.load([...enableApic, 0xfb, 0xf4, ...spin], index);
    it.vm.vcpu(index).setMpState(0);
  }
  // The others come first, by the pauses of this one: each enables its APIC and halts.
  it.load([...Array.from({ length: 64 }, () => [0xf3, 0x90]).flat(), ...fastCall(it, input, words), ...spin]);
  const told: number[] = [];
  const isOver = errno(() => {
    for (;;) {
      const run = it.run({ units: 200_000 });
      expect(outcomeOf(run)).toBe(`exception ${TOLD_VECTOR}`);
      told.push(run.vcpu);
    }
  });
  expect(isOver).toBe("EINTR");
  return told.sort((a, b) => a - b);
}

const banks = (mask: bigint): number => mask.toString(2).replaceAll("0", "").length;
function ipi(mask: bigint, contents: readonly bigint[], format = 0n): [bigint[], bigint] {
  return [[BigInt(TOLD_VECTOR), format, mask, ...contents], SEND_IPI_EX | header(banks(mask))];
}

const rows: readonly Row[] = [
  ...(
    [
      ["VP 2", ipi(1n, [4n]), [1]],
      ["VP 65", ipi(2n, [2n]), [2]],
      ["both", ipi(3n, [4n, 2n]), [1, 2]],
    ] as const
  ).map(([name, [words, input], vcpus]): Row => [
    "G01",
    `SEND_IPI_EX fast to ${name}, by VP indices in XMM registers: each has one interrupt`,
    (it) => {
      it.vm.vcpu(1).setMsrs([{ index: VP_INDEX, data: 2n }]);
      it.vm.vcpu(2).setMsrs([{ index: VP_INDEX, data: 65n }]);
      expect(interrupted(it, words, input)).toEqual(vcpus);
      expect(wordAt(it, DATA)).toBe(Status.success);
    },
    { vcpuCount: 3, configuration: [["hv", "all"]] },
  ]),
  [
    "G02",
    "flushes, slow and fast, with banks and to all: 0, and of a list its count",
    (it) => {
      expect(it.outcome(fastCall(it, FLUSH_SPACE, [0n, 3n, 0n]))).toBe("done");
      expect(wordAt(it, DATA)).toBe(Status.success);
      // Address space, flags, format and mask of banks; the bank; two addresses.
      expect(
        it.outcome(fastCall(it, FLUSH_LIST_EX | header(1) | reps(2), [0n, 0n, 0n, 1n, 1n, 0x1000n, 0x2000n])),
      ).toBe("done");
      expect(wordAt(it, DATA)).toBe(reps(2));
      putWords(it, INPUTS, 0n, 0n, 0n, 1n, 1n, 0x1000n, 0x2000n);
      expect(hvCall(it, FLUSH_LIST_EX | header(1) | reps(2), BigInt(INPUTS))).toBe(reps(2));
    },
  ],
  [
    "G03",
    "the fast block is RDX, R8, XMM0 to XMM5: 112 bytes, and what needs more is refused",
    (it) => {
      const full = [0n, 0n, 0n, 1n, 1n, ...Array.from({ length: 9 }, () => 0x1000n)];
      expect(full).toHaveLength(14);
      expect(it.outcome(fastCall(it, FLUSH_LIST_EX | header(1) | reps(9), full))).toBe("done");
      expect(wordAt(it, DATA)).toBe(reps(9));
      expect(it.outcome(fastCall(it, FLUSH_LIST_EX | header(1) | reps(10), full))).toBe("done");
      expect(wordAt(it, DATA)).toBe(Status.invalidInput);
    },
  ],
  [
    "G04",
    "input takes whole registers: of 20 bytes 32, and 80 are left; output comes behind it",
    (it) => {
      expect(outputBlock(20)).toEqual({ inputBytes: 32, outputBytes: 80, firstXmm: 1 });
      expect([0, 1, 16, 17, 32, 112].map((bytes) => outputBlock(bytes)?.firstXmm)).toEqual([-1, 0, 0, 1, 1, 6]);
      expect(outputBlock(113)).toBeUndefined();
      const run = exitOf(it, GET_VP_REGISTERS | reps(1), ONE_NAME);
      expect(run.hyperv).toMatchObject({ type: 4, params: [BigInt.asUintN(64, ~0n), 0n] });
      answerXmm(run, reps(1));
      expect(it.outcomeNow()).toBe("done");
      expect(wordAt(it, DATA)).toBe(reps(1));
      // XMM0 holds the name, and stays.
      const expected = [0x9_0003n, 0x1001n, 0xa1n, 0xb1n, 0xa2n, 0xb2n, 0xa3n, 0xb3n, 0xa4n, 0xb4n, 0xa5n, 0xb5n];
      expect(xmmWords(it)).toEqual(expected.map((word, at) => (at === 1 ? 0x1000n : word)));
    },
    design("new-type"),
  ],
  [
    "G04a",
    "what does not fit into the registers is 3, and so is a call of the wrong form",
    (it) => {
      const results = [GET_VP_REGISTERS | reps(5), GET_VP_REGISTERS, TRANSLATE | reps(1), TRANSLATE | header(1)].map(
        (input) => {
          expect(it.outcome(fastCall(it, input, ONE_NAME))).toBe("done");
          return wordAt(it, DATA);
        },
      );
      expect(results).toEqual([3n, 3n, 3n, 3n]);
      // Four names are 32 bytes of input and 64 of output; five would be 36, which are 48, and 80.
      expect(exitOf(it, GET_VP_REGISTERS | reps(4), ONE_NAME).hyperv.type).toBe(4);
    },
    design("new-type"),
  ],
  [
    "G05",
    "a guest whose CPUID lacks EDX[15]: #UD where enforced, and else a call that nobody knows",
    (it) => {
      expect(it.outcome(fastCall(it, GET_VP_REGISTERS | reps(1), ONE_NAME))).toBe("done");
      expect(wordAt(it, DATA)).toBe(Status.invalidCode);
      enforce(it);
      expect(it.outcome(fastCall(it, GET_VP_REGISTERS | reps(1), ONE_NAME))).toBe("#UD");
    },
    NO_OUTPUT,
  ],
  [
    "G06",
    "a call that fails changes no register; one that has completed elements keeps those",
    (it) => {
      answerXmm(exitOf(it, GET_VP_REGISTERS | reps(2), ONE_NAME), Status.invalidParameter);
      expect(it.outcomeNow()).toBe("done");
      expect([wordAt(it, DATA), ...xmmWords(it).slice(2, 4)]).toEqual([5n, 0x1001n, 0x1002n]);
      answerXmm(exitOf(it, GET_VP_REGISTERS | reps(2), ONE_NAME), reps(1) | Status.invalidParameter);
      expect(it.outcomeNow()).toBe("done");
      expect([wordAt(it, DATA), ...xmmWords(it).slice(2, 4)]).toEqual([reps(1) | 5n, 0xa1n, 0xb1n]);
    },
    design("new-type"),
  ],
  [
    "G07",
    "a VMM of before meets type 4: it fails loudly, the vCPU stands at its call, and no register has changed",
    (it) => {
      const run = exitOf(it, GET_VP_REGISTERS | reps(1), ONE_NAME);
      const before = ["rip", "rax", "rcx", "xmm1"].map((name) => it.vcpu.getReg(name));
      expect(() => {
        answerAsBefore(run);
      }).toThrow("unknown Hyper-V exit sub-type 4");
      expect(["rip", "rax", "rcx", "xmm1"].map((name) => it.vcpu.getReg(name))).toEqual(before);
    },
    design("new-type"),
  ],
  [
    "G07a",
    "a VMM of before meets the struct that has grown: it answers, and the guest silently reads what it had before",
    (it) => {
      const run = exitOf(it, GET_VP_REGISTERS | reps(1), ONE_NAME);
      expect(run.hyperv).toMatchObject({ type: 2 });
      expect(run.hyperv).not.toHaveProperty("validFields");
      answerAsBefore(run);
      expect(it.outcomeNow()).toBe("done");
      expect([wordAt(it, DATA), ...xmmWords(it).slice(2, 4)]).toEqual([reps(1), 0x1001n, 0x1002n]);
      answerXmm(exitOf(it, GET_VP_REGISTERS | reps(1), ONE_NAME), reps(1));
      expect(it.outcomeNow()).toBe("done");
      expect(xmmWords(it).slice(2, 4)).toEqual([0xa1n, 0xb1n]);
    },
    design("grow-struct"),
  ],
  [
    "G07b",
    "a struct that says which fields are valid says so of these calls, and of no other",
    (it) => {
      expect(exitOf(it, TRANSLATE, [~0n, 0n, 0n, 0n]).hyperv).toMatchObject({ type: 2, validFields: 1n });
      expect(it.outcomeNow()).toBe("done");
      expect(hvExit(it, SIGNAL_EVENT | FAST, 1n).hyperv).not.toHaveProperty("validFields");
    },
    design("valid-fields"),
  ],
  [
    "G08",
    "a VMM that has not asked never sees type 4: the guest is not offered it, and the call is unknown",
    (it) => {
      expect((it.cpuid(0x4000_0003)[3] ?? 0) & 0x8000).toBe(0);
      expect(it.outcome(fastCall(it, GET_VP_REGISTERS | reps(1), ONE_NAME))).toBe("done");
      expect(wordAt(it, DATA)).toBe(Status.invalidCode);
    },
  ],
  [
    "G09",
    "a guest outside 64-bit mode has no output in registers: #UD where enforced",
    (it) => {
      expect((it.cpuid(0x4000_0003)[3] ?? 0) & 0x8000).toBe(0x8000);
      identify(it);
      enforce(it);
      enterCompatibilityMode(it);
      // 0x1_00010050 in EDX:EAX.
      it.load([0xba, 1, 0, 0, 0, 0xb8, 0x50, 0, 1, 0, 0x0f, 0x01, 0xc1, ...spin]);
      expect(outcomeOf(it.run())).toBe("#UD");
    },
    design("new-type"),
  ],
  [
    "G10",
    "fast calls that take no XMM registers leave with RDX and R8 alone",
    (it) => {
      const { hyperv } = hvExit(it, SIGNAL_EVENT | FAST, 7n, 9n);
      expect(hyperv).toMatchObject({ type: 2, params: [7n, 9n] });
      expect(hyperv).not.toHaveProperty("xmm");
    },
    design("new-type"),
  ],
  [
    "G11",
    "SIGNAL_EVENT fast is 0x1005d with the connection in RDX",
    (it) => {
      expect(hvExit(it, 0x1_005dn, 7n).hyperv).toMatchObject({ type: 2, input: 0x1_005dn, params: [7n, 0n] });
    },
  ],
  [
    "G12",
    "what a VMM has given back before it completes the exit moves with the VM",
    (it) => {
      const run = exitOf(it, GET_VP_REGISTERS | reps(1), ONE_NAME);
      expect(run.hyperv.type).toBe(4);
      it.vcpu.setReg("hcall_xmm1.q[0]", 0x77n);
      expect(it.vcpu.getReg("hcall_xmm1.q[0]")).toBe(0x77n);
      const there = it.moved();
      expect(there.vcpu.getReg("hcall_xmm1.q[0]")).toBe(0x77n);
      expect(there.vcpu.getReg("hcall_xmm1.q[1]")).toBe(0x1002n);
    },
    design("new-type"),
  ],
];

testRows("group G, x86", rows, { configuration: [["hv", "all"]] });
