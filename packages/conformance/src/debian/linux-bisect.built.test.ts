/** Debian's arm64 kernel, whose PSCI is taken from the kernel half. */
import { jest } from "@jest/globals";
import { testBisect } from "./bisect-tests.js";
import { linuxForTests } from "./linux-guest.js";

jest.setTimeout(300_000);

testBisect(await linuxForTests("arm64"), {
  changes: `
cap: [ARM_SYSTEM_SUSPEND]
smccc-filter:
  - 0xc4000000+0x20=forward
  - {base: 0xc6000000, count: 0x100, action: forward}
firmware-reg: {STD_HYP_BMAP: 0x0}
`,
  good: "SMP: Total of 2 processors",
  timeout: "300ms",
  cause:
    /^caused by 1 of 6: {2}SmcccFilterSet {2}0xc4000000\+0x20 {2}\(none\) -> forward\nfirst effect\n {2}good\.hvj {6}exit:\d+ +HVC64 0xc4000003 PSCI CPU_ON {2}kernel half, default rule +x0 <- 0, .*\n {2}bisect-\d\.hvj {2}exit:\d+ +HVC64 0xc4000003 PSCI CPU_ON {2}KVM_EXIT_HYPERCALL, filter event:\d+ {2}x0 <- -1\n {2}then {10}exit:\d+ {2}console '.*psci: failed to boot CPU1 \(-95\)'\n$/,
});
