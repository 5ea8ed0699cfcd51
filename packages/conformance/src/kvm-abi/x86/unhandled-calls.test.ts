/** The policy `x86.hypercall.unhandled`, which is not upstream: calls of KVM's ABI with a number that KVM does not know. */
import { expect } from "@jest/globals";
import { move, vmcall } from "./instructions.js";
import { type Row, testRows } from "./rows.js";

const UNKNOWN = 0x4e00;
const SCHED_YIELD = 11;
const ENOSYS = BigInt.asUintN(64, -1000n);

const call = (number: number): number[] => [...move("rax", number), ...move("rbx", 7), ...vmcall];

const rows: readonly Row[] = [
  [
    "SIM",
    "a number that KVM does not know is -KVM_ENOSYS, with no exit to the VMM, as upstream",
    (it) => {
      expect(it.outcome(call(UNKNOWN))).toBe("done");
      expect(it.vcpu.getReg("rax")).toBe(ENOSYS);
    },
  ],
  [
    "SIM",
    "with forward it is the VMM's, and what the kernel knows stays its own",
    (it) => {
      const run = it.exit(call(UNKNOWN));
      expect(run).toMatchObject({ exitReason: "HYPERCALL", hypercall: { nr: BigInt(UNKNOWN) } });
      expect(it.outcome(call(SCHED_YIELD))).toBe("done");
      expect(it.vcpu.getReg("rax")).toBe(0n);
    },
    { configuration: [["policy", "x86.hypercall.unhandled=forward"]] },
  ],
];

testRows("calls that KVM does not know, x86", rows);
