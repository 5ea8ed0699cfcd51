/** Hyper-V's extended calls on x86: whose they are, by upstream's rule and by the policies that its discussion wanted. */
import { expect } from "@jest/globals";
import { callBytes, enforce, FAST, hvCall, hvExit, identify, putWords, Status, wordAt } from "./hyperv-calls.js";
import { DATA, errno } from "./program.js";
import { type Row, testRows } from "./rows.js";
import { enterUserMode } from "./user-mode.js";

const QUERY = 0x8001n;
const HEAT_HINT = 0x8003n;
const OUTPUT = BigInt(DATA);
const COLD_DISCARD = 2n;
/** What the kernel of these tests serves itself: 0x8001 and 0x8003. */
const KERNEL_MASK = "0x5";
const IN_KERNEL = {
  configuration: [
    ["hv", "all"],
    ["policy", "hv.ext.route=mask"],
    ["policy", `hv.ext.kernelMask=${KERNEL_MASK}`],
  ],
} as const;
const reps = (count: number, start = 0): bigint => (BigInt(count) << 32n) | (BigInt(start) << 48n);

const rows: readonly Row[] = [
  [
    "D01",
    "0x8001 leaves as KVM_EXIT_HYPERV type 2 with its output's address, without a page of calls",
    (it) => {
      expect(hvExit(it, QUERY, 0n, OUTPUT)).toMatchObject({
        hyperv: { type: 2, input: QUERY, params: [0n, OUTPUT] },
      });
    },
  ],
  [
    "D02",
    "the VMM writes the mask and the result, and the guest has both",
    (it) => {
      const run = hvExit(it, QUERY, 0n, OUTPUT);
      if (run.hyperv.type !== 2) throw new Error("another type");
      putWords(it, DATA, 0xbn);
      run.hyperv.result = Status.success;
      expect(it.outcomeNow()).toBe("done");
      expect([it.vcpu.getReg("rax"), wordAt(it, DATA)]).toEqual([0n, 0xbn]);
    },
  ],
  [
    "D03",
    "enforced, without EBX[20]: 6, and not enforced it leaves all the same",
    (it) => {
      expect(hvExit(it, QUERY, 0n, OUTPUT).hyperv).toMatchObject({ type: 2 });
      expect(it.outcomeNow()).toBe("done");
      enforce(it);
      expect(hvCall(it, QUERY, 0n, OUTPUT)).toBe(Status.accessDenied);
    },
    { configuration: [["hv", "relaxed"]] },
  ],
  [
    "D04",
    "enforced, with EBX[20], fast: 5",
    (it) => {
      enforce(it);
      expect(hvCall(it, QUERY | FAST, 0n, OUTPUT)).toBe(Status.invalidParameter);
    },
  ],
  [
    "D06",
    "0x8041 leaves",
    (it) => {
      expect(hvExit(it, 0x8041n).hyperv).toMatchObject({ type: 2, input: 0x8041n });
    },
  ],
  [
    "D07",
    "0x8042: 2",
    (it) => {
      expect(hvCall(it, 0x8042n)).toBe(Status.invalidCode);
    },
  ],
  [
    "D08",
    "0x8000: 2",
    (it) => {
      expect(hvCall(it, 0x8000n)).toBe(Status.invalidCode);
    },
  ],
  [
    "D09",
    "0x8003 with three elements leaves with its counts, and what the VMM has completed reaches RAX",
    (it) => {
      const run = hvExit(it, HEAT_HINT | reps(3), OUTPUT);
      if (run.hyperv.type !== 2) throw new Error("another type");
      expect(run.hyperv.input).toBe(0x3_0000_8003n);
      run.hyperv.result = 0x3_0000_0000n;
      expect(it.outcomeNow()).toBe("done");
      expect(it.vcpu.getReg("rax")).toBe(0x3_0000_0000n);
    },
  ],
  [
    "D10",
    "reserved bit 27: 3",
    (it) => {
      expect(hvCall(it, QUERY | (1n << 27n), 0n, OUTPUT)).toBe(Status.invalidInput);
    },
  ],
  [
    "D11",
    "at CPL 3: #UD",
    (it) => {
      identify(it);
      enterUserMode(it);
      expect(it.outcome(callBytes(QUERY, 0n, OUTPUT))).toBe("#UD");
    },
  ],
  [
    "D12",
    "a VMM that sets nothing has answered 2",
    (it) => {
      hvExit(it, 0x8002n, 0n, OUTPUT);
      expect(it.outcomeNow()).toBe("done");
      expect(it.vcpu.getReg("rax")).toBe(Status.invalidCode);
    },
  ],
  [
    "D13",
    "0x8001 in the kernel: output that is not aligned is 4, without RAM 8, and memory stays",
    (it) => {
      putWords(it, DATA, 0x55n, 0x66n);
      expect(hvCall(it, QUERY, 0n, OUTPUT + 4n)).toBe(Status.invalidAlignment);
      expect(hvCall(it, QUERY, 0n, 0x8000_0000n)).toBe(Status.operationDenied);
      expect([wordAt(it, DATA), wordAt(it, DATA + 8)]).toEqual([0x55n, 0x66n]);
    },
    IN_KERNEL,
  ],
  [
    "D17",
    "calls of the mask are the kernel's, which tells of them; all others leave",
    (it) => {
      expect(hvCall(it, QUERY, 0n, OUTPUT)).toBe(Status.success);
      // 0x8003 by TLFS's bit, and Linux's for cold hints.
      expect(wordAt(it, DATA)).toBe(0x102n);
      expect(hvExit(it, 0x8002n, 0n, OUTPUT).hyperv).toMatchObject({ type: 2, input: 0x8002n });
    },
    IN_KERNEL,
  ],
  [
    "D17a",
    "the mask: foreign bits EINVAL, and EINVAL once a vCPU has run",
    (it) => {
      const cap = "HVJ_CAP_HV_EXT_KERNEL_MASK";
      expect(errno(() => it.vm.enableCap({ cap, args: [2n] }))).toBe("EINVAL");
      expect(errno(() => it.vm.enableCap({ cap, args: [1n] }))).toBe("0");
      it.runOnce();
      expect(errno(() => it.vm.enableCap({ cap, args: [5n] }))).toBe("EINVAL");
    },
  ],
  [
    "D17b",
    "a VMM learns which calls the kernel serves only where discovery is asked for, and else nothing changes",
    (it) => {
      const cap = "HVJ_CAP_HV_EXT_KERNEL_MASK";
      expect(it.vm.checkExtension(cap)).toBe(0);
      it.vm.configure("policy", "hv.ext.discover=cap-mask");
      expect(it.vm.checkExtension(cap)).toBe(5);
      expect(hvExit(it, QUERY, 0n, OUTPUT).hyperv).toMatchObject({ type: 2 });
    },
  ],
  [
    "D17c",
    "a rep call of the kernel's goes on where it stopped: each go is an exit, and the count is of all",
    (it) => {
      putWords(it, DATA, COLD_DISCARD, ...Array.from({ length: 200 }, (_, index) => BigInt(index) << 12n));
      identify(it);
      // Not at the address of what comes next: the VMM has moved the guest, and the store is not made again.
      const before = it.exit([0x90]).exitNumber;
      // Four goes, and the store that ends the guest.
      const { exitNumber } = it.exit(callBytes(HEAT_HINT | reps(200), OUTPUT));
      expect([it.vcpu.getReg("rax"), exitNumber - before]).toEqual([reps(200), 5]);
      expect(it.vcpu.getReg("rcx")).toBe(HEAT_HINT | reps(200, 192));
      expect(hvCall(it, HEAT_HINT | reps(2), OUTPUT + 0xff0n)).toBe(Status.invalidAlignment);
      putWords(it, DATA, 1n);
      expect(hvCall(it, HEAT_HINT | reps(2), OUTPUT)).toBe(Status.invalidParameter);
    },
    IN_KERNEL,
  ],
  [
    "D18",
    "the route off: an extended call is one that nobody knows; changed while the VM runs it leaves again",
    (it) => {
      expect(hvCall(it, QUERY, 0n, OUTPUT)).toBe(Status.invalidCode);
      it.vm.configure("policy", "hv.ext.route=forward-all");
      expect(hvExit(it, QUERY, 0n, OUTPUT).hyperv).toMatchObject({ type: 2 });
    },
    {
      configuration: [
        ["hv", "all"],
        ["policy", "hv.ext.route=off"],
      ],
    },
  ],
];

testRows("group D, x86", rows, { configuration: [["hv", "all"]] });
