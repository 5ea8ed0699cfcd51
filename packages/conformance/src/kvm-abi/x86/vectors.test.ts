/** Worked vectors of x86: input and result values of Hyper-V's calls (TLFS, "Hypercall Interface"), signatures of CPUID. */
import { HypervMsr as H, HvCall, HvStatus } from "@hvjournal/cpu-x86";
import { expect } from "@jest/globals";
import { vmcall } from "./instructions.js";
import { DATA, type Program } from "./program.js";
import { type Row, testRows } from "./rows.js";

const LINUX = 0x8100_0000_0000_0000n;
const PAGE = BigInt(DATA);
const SUCCESS = 0n;

/** The guest calls by an input value, with a block of zeros as parameters or, fast, with zeros: RAX, or the exit's input value. */
function call(it: Program, input: bigint, parameters: readonly [bigint, bigint] = [PAGE, PAGE + 0x800n]): unknown {
  if (it.readMsr(H.HV_X64_MSR_GUEST_OS_ID) === 0n) it.writeMsr(H.HV_X64_MSR_GUEST_OS_ID, LINUX);
  it.vcpu.setRegs({ rcx: input, rdx: parameters[0], r8: parameters[1] });
  const run = it.exit(vmcall);
  if (run.exitReason === "HYPERV" && run.hyperv.type === 2) return { forwarded: run.hyperv.input };
  return it.vcpu.getReg("rax");
}

/** An answer of the VMM's as the guest gets it. */
function answered(it: Program, input: bigint, result: bigint): bigint {
  it.writeMsr(H.HV_X64_MSR_GUEST_OS_ID, LINUX);
  it.vcpu.setRegs({ rcx: input, rdx: PAGE, r8: 0n });
  const run = it.exit(vmcall);
  if (run.exitReason !== "HYPERV" || run.hyperv.type !== 2) throw new Error(run.exitReason);
  run.hyperv.result = result;
  expect(it.outcomeNow()).toBe("done");
  return it.vcpu.getReg("rax");
}

function textOf(words: readonly number[]): string {
  return String.fromCharCode(...words.flatMap((word) => [0, 8, 16, 24].map((shift) => (word >>> shift) & 0xff)));
}

const IPI_VECTOR = 0x40n;

const rows: readonly Row[] = [
  [
    "A.1",
    "FLUSH_SPACE, slow and fast",
    (it) => {
      expect(call(it, 0x2n)).toBe(SUCCESS);
      expect(call(it, 0x1_0002n, [0n, 0n])).toBe(SUCCESS);
    },
  ],
  [
    "A.1",
    "FLUSH_LIST of 2 entries: both are done",
    (it) => expect(call(it, 0x0000_0002_0000_0003n)).toBe(0x0000_0002_0000_0000n),
  ],
  [
    "A.1",
    "FLUSH_LIST_EX with two words of header and 3 entries",
    (it) => {
      // Address space, flags, format, banks 0 and 1, and their contents.
      it.vm.writeMemory(DATA + 24, Uint8Array.of(3));
      expect(call(it, 0x0000_0003_0004_0014n)).toBe(0x0000_0003_0000_0000n);
    },
  ],
  [
    "A.1",
    "SEND_IPI fast; SEND_IPI_EX slow and fast",
    (it) => {
      expect(call(it, 0x1_000bn, [IPI_VECTOR, 0n])).toBe(SUCCESS);
      it.vm.writeMemory(DATA, Uint8Array.of(Number(IPI_VECTOR)));
      it.vm.writeMemory(DATA + 16, Uint8Array.of(3));
      expect(call(it, 0x4_0015n)).toBe(SUCCESS);
      // The mask is in XMM0, whose banks are none: not what the header says.
      expect(call(it, 0x5_0015n, [IPI_VECTOR, 0n])).toBe(BigInt(HvStatus.INVALID_HYPERCALL_INPUT));
    },
  ],
  [
    "A.1",
    "POST_MESSAGE; SIGNAL_EVENT fast",
    (it) => {
      expect(call(it, 0x5cn)).toEqual({ forwarded: 0x5cn });
      expect(call(it, 0x1_005dn, [5n, 0n])).toEqual({ forwarded: 0x1_005dn });
    },
  ],
  [
    "A.1",
    "QueryCapabilities, slow and, refused, fast",
    (it) => {
      expect(call(it, 0x8001n)).toEqual({ forwarded: 0x8001n });
      expect(call(it, 0x1_8001n)).toBe(BigInt(HvStatus.INVALID_PARAMETER));
    },
  ],
  [
    "A.1",
    "MemoryHeatHint with 511 entries, and resumed at the second of 3",
    (it) => {
      for (const input of [0x0000_01ff_0000_8003n, 0x0001_0003_0000_8003n])
        expect(call(it, input)).toEqual({ forwarded: input });
    },
  ],
  [
    "A.1",
    "results: 2 are done; a parameter is bad behind the first",
    (it) => {
      expect(answered(it, 0x0000_0002_0000_8003n, 0x0000_0002_0000_0000n)).toBe(0x0000_0002_0000_0000n);
      expect(answered(it, 0x0000_0002_0000_8003n, 0x0000_0001_0000_0005n)).toBe(0x0000_0001_0000_0005n);
    },
  ],
  [
    "A.1",
    "codes are those of the input values",
    () => {
      expect([HvCall.FLUSH_VIRTUAL_ADDRESS_SPACE, HvCall.FLUSH_VIRTUAL_ADDRESS_LIST_EX]).toEqual([0x2, 0x14]);
      expect([HvCall.SEND_IPI, HvCall.SEND_IPI_EX, HvCall.POST_MESSAGE, HvCall.SIGNAL_EVENT]).toEqual([
        ...[0x0b, 0x15],
        ...[0x5c, 0x5d],
      ]);
    },
  ],
  [
    "A.6",
    "signatures: Microsoft's and the interface's in the guest's leaves, KVM's behind them and in KVM's own answer",
    (it) => {
      expect(textOf(it.cpuid(0x4000_0000).slice(1))).toBe("Microsoft Hv");
      expect(textOf(it.cpuid(0x4000_0001).slice(0, 1))).toBe("Hv#1");
      expect(textOf(it.cpuid(0x4000_0100).slice(1))).toBe("KVMKVMKVM\0\0\0");
      const { entries } = it.vm.system.getSupportedHvCpuid();
      const words = entries.map(({ eax, ebx, ecx, edx }) => [eax, ebx, ecx, edx]);
      expect(textOf(words[0]?.slice(1) ?? [])).toBe("Linux KVM Hv");
      expect(words[7]?.[0]).toBe(0x3123_5356);
    },
  ],
];

testRows("vectors of x86", rows, {
  configuration: [
    ["hv", "all"],
    ["policy", "x86.cpuid.hypervisor=kvm"],
  ],
});
