/** Nested guests and enlightened VMCS on x86. */
import { expect } from "@jest/globals";
import { errno } from "./program.js";
import { type Row, testRows } from "./rows.js";

const NESTED = "no guest has VMX: nested guests are not simulated";

const rows: readonly Row[] = [
  ["J01", "a wrong revision in an enlightened VMCS makes VMLAUNCH fail", NESTED],
  ["J02", "a bad address of an enlightened VMCS is #UD", NESTED],
  ["J03", "intercepts change only once their field is marked as changed", NESTED],
  ["J04", "flushes of L2 are L0's with direct flush", NESTED],
  ["J05", "a save in L2 resumes in L2", NESTED],
  [
    "J06",
    "KVM_CAP_HYPERV_ENLIGHTENED_VMCS on a host without nested VMX: ENOTTY",
    (it) => {
      expect(errno(() => it.vcpu.enableCap({ cap: "HYPERV_ENLIGHTENED_VMCS" }))).toBe("ENOTTY");
    },
    { host: "amd" },
  ],
];

testRows("group J, x86", rows);
