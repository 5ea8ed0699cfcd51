/** Hyper-V's calls on x86: their gates, and what the kernel makes of them. Hyper-V TLFS; arch/x86/kvm/hyperv.c. */
import { expect } from "@jest/globals";
import { callBytes, enforce, FAST, hvCall, hvExit, identify, putWords, Status } from "./hyperv-calls.js";
import { DATA } from "./program.js";
import { type Row, testRows } from "./rows.js";
import { enterCompatibilityMode, enterRealMode, enterUserMode } from "./user-mode.js";

const Call = {
  flushSpace: 0x2n,
  flushList: 0x3n,
  spinWait: 0x8n,
  sendIpi: 0xbn,
  flushSpaceEx: 0x13n,
  flushListEx: 0x14n,
  sendIpiEx: 0x15n,
  postMessage: 0x5cn,
  signalEvent: 0x5dn,
  postDebugData: 0x69n,
  resetDebugSession: 0x6bn,
} as const;

const INPUT = BigInt(DATA);
const DEBUG_OPTIONS = 0x4000_00ff;
const BY_CALLS = 4n;
const reps = (count: number, start = 0): bigint => (BigInt(count) << 32n) | (BigInt(start) << 48n);
const header = (words: number): bigint => BigInt(words) << 17n;

/** Of Hyper-V's leaves no more than these words say. */
function offering(...words: readonly string[]): { readonly configuration: readonly (readonly [string, string])[] } {
  return {
    configuration: [["hv", "relaxed"], ...words.map((word): readonly [string, string] => ["cpuid", word])],
  };
}

const ALL = { configuration: [["hv", "all"]] } as const;
const FLUSH = "0x40000004:eax=0x4";
const FLUSH_EX = "0x40000004:eax=0x804";

const rows: readonly Row[] = [
  [
    "F01",
    "0xbeef: 2",
    (it) => {
      expect(hvCall(it, 0xbeefn)).toBe(Status.invalidCode);
    },
  ],
  [
    "F02",
    "POST_MESSAGE without EBX[4]: 6",
    (it) => {
      enforce(it);
      expect(hvCall(it, Call.postMessage, INPUT)).toBe(Status.accessDenied);
    },
    offering(),
  ],
  [
    "F03",
    "POST_MESSAGE with EBX[4] where the SynIC is not active: 3",
    (it) => {
      enforce(it);
      expect(hvCall(it, Call.postMessage, INPUT)).toBe(Status.invalidInput);
    },
    offering("0x40000003:ebx=0x10"),
  ],
  [
    "F04",
    "SIGNAL_EVENT without EBX[5]: 6",
    (it) => {
      enforce(it);
      expect(hvCall(it, Call.signalEvent | FAST, 1n)).toBe(Status.accessDenied);
    },
    offering(),
  ],
  [
    "F04a",
    "SIGNAL_EVENT with EBX[5] where the SynIC is not active: 3",
    (it) => {
      enforce(it);
      expect(hvCall(it, Call.signalEvent | FAST, 1n)).toBe(Status.invalidInput);
    },
    offering("0x40000003:ebx=0x20"),
  ],
  [
    "F05",
    "RESET_DEBUG_SESSION without a debugger: 2",
    (it) => {
      enforce(it);
      expect(hvCall(it, Call.resetDebugSession)).toBe(Status.invalidCode);
      expect(hvCall(it, Call.postDebugData | FAST)).toBe(Status.invalidParameter);
    },
    offering(),
  ],
  [
    "F05a",
    "with one, without EBX[11]: 6",
    (it) => {
      enforce(it);
      expect(hvCall(it, Call.resetDebugSession)).toBe(Status.accessDenied);
    },
    offering("0x40000082:eax=2"),
  ],
  [
    "F05b",
    "with both, where calls were not chosen: 8; where they were, the VMM's",
    (it) => {
      enforce(it);
      expect(hvCall(it, Call.resetDebugSession)).toBe(Status.operationDenied);
      it.vcpu.setMsrs([{ index: DEBUG_OPTIONS, data: BY_CALLS }]);
      expect(hvExit(it, Call.resetDebugSession).hyperv).toMatchObject({ type: 2, input: Call.resetDebugSession });
    },
    offering("0x40000082:eax=2", "0x40000003:ebx=0x800"),
  ],
  [
    "F06",
    "FLUSH_SPACE without EAX[2]: 6",
    (it) => {
      enforce(it);
      expect(hvCall(it, Call.flushSpace, INPUT)).toBe(Status.accessDenied);
    },
    offering(),
  ],
  [
    "F06a",
    "FLUSH_SPACE with it: 0",
    (it) => {
      enforce(it);
      expect(hvCall(it, Call.flushSpace, INPUT)).toBe(Status.success);
    },
    offering(FLUSH),
  ],
  [
    "F07",
    "FLUSH_SPACE_EX without EAX[11]: 6",
    (it) => {
      enforce(it);
      expect(hvCall(it, Call.flushSpaceEx, INPUT)).toBe(Status.accessDenied);
    },
    offering(FLUSH),
  ],
  [
    "F07a",
    "FLUSH_SPACE_EX with it: 0",
    (it) => {
      enforce(it);
      expect(hvCall(it, Call.flushSpaceEx, INPUT)).toBe(Status.success);
    },
    offering(FLUSH_EX),
  ],
  [
    "F08",
    "SEND_IPI without EAX[10]: 6",
    (it) => {
      enforce(it);
      expect(hvCall(it, Call.sendIpi, INPUT)).toBe(Status.accessDenied);
    },
    offering(),
  ],
  [
    "F08a",
    "SEND_IPI with it, of vector 0: 3",
    (it) => {
      enforce(it);
      expect(hvCall(it, Call.sendIpi, INPUT)).toBe(Status.invalidInput);
    },
    offering("0x40000004:eax=0x400"),
  ],
  [
    "F09",
    "SEND_IPI_EX with EAX[11], to nobody: 0",
    (it) => {
      enforce(it);
      expect(hvCall(it, Call.sendIpiEx, INPUT)).toBe(Status.success);
    },
    offering("0x40000004:eax=0xc00"),
  ],
  [
    "F10",
    "NOTIFY_LONG_SPIN_WAIT where CPUID says never: 6",
    (it) => {
      enforce(it);
      expect(hvCall(it, Call.spinWait | FAST)).toBe(Status.accessDenied);
    },
    offering("0x40000004:ebx=0xffffffff"),
  ],
  [
    "F10a",
    "NOTIFY_LONG_SPIN_WAIT with a count: 0",
    (it) => {
      enforce(it);
      expect(hvCall(it, Call.spinWait | FAST)).toBe(Status.success);
    },
    offering("0x40000004:ebx=0xfff"),
  ],
  [
    "F12",
    "bits 63 to 60 set: 3",
    (it) => {
      expect(hvCall(it, Call.spinWait | (1n << 60n))).toBe(Status.invalidInput);
    },
    ALL,
  ],
  [
    "F13",
    "a denied call with reserved bits: 6",
    (it) => {
      enforce(it);
      expect(hvCall(it, Call.flushSpace | (1n << 60n))).toBe(Status.accessDenied);
    },
    offering(),
  ],
  [
    "F14",
    "LONG_SPIN_WAIT with a rep count: 3",
    (it) => {
      expect(hvCall(it, Call.spinWait | reps(1))).toBe(Status.invalidInput);
    },
    ALL,
  ],
  [
    "F16",
    "FLUSH_LIST that starts at 1: 3; without elements: 3; with a header: 3",
    (it) => {
      expect(hvCall(it, Call.flushList | reps(2, 1), INPUT)).toBe(Status.invalidInput);
      expect(hvCall(it, Call.flushList, INPUT)).toBe(Status.invalidInput);
      expect(hvCall(it, Call.flushList | reps(2) | header(1), INPUT)).toBe(Status.invalidInput);
    },
    ALL,
  ],
  [
    "F17",
    "FLUSH_LIST of two: both are done",
    (it) => {
      expect(hvCall(it, Call.flushList | reps(2), INPUT)).toBe(0x2_0000_0000n);
    },
    ALL,
  ],
  [
    "F18",
    "SEND_IPI of 0x0f: 3, of 0x10: 0, of 0x100: 3",
    (it) => {
      const results = [0x0fn, 0x10n, 0x100n].map((vector) => hvCall(it, Call.sendIpi | FAST, vector, 0n));
      expect(results).toEqual([Status.invalidInput, Status.success, Status.invalidInput]);
    },
    ALL,
  ],
  [
    "F19",
    "SEND_IPI fast with the upper half of its first parameter set: 3",
    (it) => {
      expect(hvCall(it, Call.sendIpi | FAST, 0x1_0000_0010n, 0n)).toBe(Status.invalidInput);
    },
    ALL,
  ],
  [
    "F20",
    "SEND_IPI_EX whose header does not count the banks: 3, to all of them too",
    (it) => {
      putWords(it, DATA, 0x10n, 0n, 1n, 1n);
      expect(hvCall(it, Call.sendIpiEx | header(2), INPUT)).toBe(Status.invalidInput);
      putWords(it, DATA, 0x10n, 1n, 1n, 1n);
      expect(hvCall(it, Call.sendIpiEx, INPUT)).toBe(Status.invalidInput);
    },
    ALL,
  ],
  [
    "F21",
    "flushes and IPIs whose input is not in RAM: 3",
    (it) => {
      const nowhere = 0x8000_0000n;
      const calls = [Call.flushSpace, Call.flushList | reps(1), Call.flushSpaceEx, Call.sendIpi, Call.sendIpiEx];
      expect(calls.map((call) => hvCall(it, call, nowhere))).toEqual(calls.map(() => Status.invalidInput));
    },
    ALL,
  ],
  [
    "F22",
    "SIGNAL_EVENT with bits 31 to 24 of its connection: 3; slow and not aligned: 4",
    (it) => {
      expect(hvCall(it, Call.signalEvent | FAST, 0x100_0000n)).toBe(Status.invalidInput);
      expect(hvCall(it, Call.signalEvent, INPUT + 4n)).toBe(Status.invalidAlignment);
    },
    ALL,
  ],
  [
    "F23",
    "SIGNAL_EVENT with a flag number is the VMM's; of a slow one it has the value, not its address",
    (it) => {
      putWords(it, DATA, 0x2_0000_0007n);
      const { hyperv } = hvExit(it, Call.signalEvent, INPUT);
      expect(hyperv).toMatchObject({ type: 2, input: Call.signalEvent, params: [0x2_0000_0007n, 0n] });
    },
    ALL,
  ],
  [
    "F25",
    "at CPL 3: #UD",
    (it) => {
      identify(it);
      enterUserMode(it);
      expect(it.outcome(callBytes(Call.spinWait))).toBe("#UD");
    },
    ALL,
  ],
  [
    "F25a",
    "in real mode: #UD",
    (it) => {
      identify(it);
      // Vector 6 of real mode: an HLT is enough, for RIP tells that it came here.
      it.vm.writeMemory(6 * 4, Uint8Array.of(0x00, 0x05, 0x00, 0x00));
      it.vm.writeMemory(0x500, Uint8Array.of(0xe6, 0x80, 0xeb, 0xfe));
      it.load([0x0f, 0x01, 0xc1, 0xeb, 0xfe]);
      enterRealMode(it);
      it.vcpu.setReg("rip", 0x8000);
      it.vm.writeMemory(0x8000, Uint8Array.of(0x0f, 0x01, 0xc1, 0xeb, 0xfe));
      expect(it.run()).toMatchObject({ exitReason: "IO", io: { port: 0x80 } });
    },
    ALL,
  ],
  [
    "F26",
    "a guest of 32 bits: input in EDX:EAX, result in EDX:EAX",
    (it) => {
      identify(it);
      enterCompatibilityMode(it);
      // 0x2_00000003 in EDX:EAX, the input's address in EBX:ECX.
      const bytes = [0xba, 2, 0, 0, 0, 0xb8, 3, 0, 0, 0, 0x31, 0xdb, 0xb9, 0, 0, 0x20, 0, 0x0f, 0x01, 0xc1];
      const done = [0xc6, 0x05, 0, 0, 0, 0x10, 0, 0xeb, 0xfe];
      it.load([...bytes, ...done]);
      expect(it.outcomeNow()).toBe("done");
      expect([it.vcpu.getReg("rax"), it.vcpu.getReg("rdx")]).toEqual([0n, 2n]);
    },
    ALL,
  ],
  [
    "F28",
    "a fast SIGNAL_EVENT asks whether there are connections: anything but 2 says so",
    (it) => {
      const run = hvExit(it, Call.signalEvent | FAST, 0x1234n);
      if (run.hyperv.type !== 2) throw new Error("another type");
      run.hyperv.result = 0x12n;
      expect(it.outcomeNow()).toBe("done");
      expect(it.vcpu.getReg("rax")).toBe(0x12n);
    },
    ALL,
  ],
  [
    "F32",
    "a result that the VMM does not set is 2, where upstream gives the guest what the union held before",
    (it) => {
      hvExit(it, Call.postMessage, INPUT);
      expect(it.outcomeNow()).toBe("done");
      expect(it.vcpu.getReg("rax")).toBe(Status.invalidCode);
    },
    ALL,
  ],
];

testRows("group F, x86", rows, offering());
