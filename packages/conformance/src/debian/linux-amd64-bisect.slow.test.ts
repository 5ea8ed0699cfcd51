/** Debian's amd64 kernel, whose CPUID has no APIC any more. */
import { jest } from "@jest/globals";
import { testBisect } from "./bisect-tests.js";
import { linuxForTests } from "./linux-guest.js";

jest.setTimeout(600_000);

testBisect(await linuxForTests("amd64"), {
  changes: `
cap: [KVM_CAP_X86_USER_SPACE_MSR=1]
cpuid: {"0x1:EDX": 0x178bf9fd}
msr-filter: {"0x10+1": r}
policy: {x86.hypercall.patch: ud}
`,
  good: "Brought up 1 node, 2 CPUs",
  timeout: "600ms",
  cause:
    /^caused by 1 of 6: {2}CpuidWordSet {2}0x1\.EDX {2}0x178bfbfd -> 0x178bf9fd\nfirst effect\n {2}good\.hvj {6}exit:\d+ +MSR_READ IA32_APIC_BASE +kernel half {2}<- 0xfee00900\n {2}bisect-\d\.hvj {2}exit:\d+ .*\n {2}then {10}exit:\d+ {2}console '.*No local APIC present'\n$/,
});
