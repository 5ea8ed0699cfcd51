/** The commands of the command line with Debian's amd64 kernel. They run as users run them, from the build. */
import { jest } from "@jest/globals";
import { linuxForTests } from "../debian/linux-guest.js";
import { testLinuxCommands } from "./linux-command-tests.js";

jest.setTimeout(900_000);

testLinuxCommands(await linuxForTests("amd64"), {
  image: "bzImage",
  banner: /^recording vm\.hvj: amd64 pc, /m,
  poweredOff: /guest powered off \(ACPI S5\) at exit:\d+ icount:\d+ time:[23]\.\d+s/,
  lastStack:
    /stack +acpi_os_write_port\+0x[0-9a-f]+ < .*acpi_power_off.* < native_machine_power_off.* < entry_SYSCALL_64/,
  consoleWrite: "serial8250_console_write",
  exitPosition: "exit:MSR_READ#-1",
});
