/** The commands of the command line with Debian's arm64 kernel. */
import { jest } from "@jest/globals";
import { linuxForTests } from "../debian/linux-guest.js";
import { testLinuxCommands } from "./linux-command-tests.js";

jest.setTimeout(300_000);

testLinuxCommands(await linuxForTests("arm64"), {
  image: "Image",
  banner: /^recording vm\.hvj: arm64 virt, /m,
  poweredOff: /guest powered off \(PSCI SYSTEM_OFF\) at exit:\d+ icount:\d+ time:1\.\d+s/,
  lastStack: /stack +__arm_smccc_hvc\+0x[0-9a-f]+ < .*kernel_power_off|stack .*psci_/,
  consoleWrite: "pl011_console_write",
  exitPosition: "exit:HVC64#-1",
});
