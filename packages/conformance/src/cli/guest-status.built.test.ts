/** A guest's own status as the command's: whose a status is, a script can tell. */
import { afterAll, expect, it, jest } from "@jest/globals";
import { writeFileSync } from "node:fs";
import { VmSandbox, type Finished } from "../testing/vm-sandbox.js";

jest.setTimeout(120_000);

const sandbox = new VmSandbox();
afterAll(() => sandbox.close());

const LOAD = 0x10_0000;
const word = (value: number): number[] => [0, 8, 16, 24].map((shift) => (value >>> shift) & 0xff);

/** Multiboot with the addresses in its header (flag 16): MOV AL, number; OUT 0xf4, AL. Without a number it halts for ever. */
function kernel(number: number | undefined): Uint8Array {
  const code = number === undefined ? [0xfa, 0xf4, 0xeb, 0xfd] : [0xb0, number, 0xe6, 0xf4, 0xf4];
  const [magic, flags, headerBytes] = [0x1bad_b002, 1 << 16, 32];
  const end = LOAD + headerBytes + code.length;
  const header = [magic, flags, -(magic + flags), LOAD, LOAD, end, end, LOAD + headerBytes];
  return Uint8Array.from([...header.flatMap(word), ...code]);
}

function record(number: number | undefined, ...options: readonly string[]): Finished {
  writeFileSync(sandbox.path("kernel.bin"), kernel(number));
  const fixed = ["--arch", "amd64", "--seed", "1", "--rtc", "base=2026-01-01", "--headless", "-o", "vm.hvj", "--force"];
  return sandbox.run("record", "kernel.bin", ...fixed, ...options);
}

// 1, 125, 129 and 139: each is also a status of the command's or of a shell's.
it.each([0, 62, 64, 69])(
  "a guest that writes %d to isa-debug-exit ends the command with 2N + 1, and says so",
  (number) => {
    const own = 2 * number + 1;
    const { status, stderr } = record(number, "--exit-status");
    expect(status).toBe(own);
    expect(stderr).toContain(`guest powered off (isa-debug-exit, status ${own}) at exit:`);
    expect(stderr).toContain(`note: exit status ${own} is the guest's own (--exit-status)\n`);
    const json = record(number, "--exit-status", "--json", "-q");
    expect(JSON.parse(json.stdout)).toMatchObject({ status: own, guestStatus: own });
    expect(record(number).status).toBe(0);
  },
);

it("a guest that gives none leaves the status the command's, without guestStatus", () => {
  const { status, stdout } = record(undefined, "--exit-status", "--json", "-q");
  expect(status).toBe(1);
  expect(JSON.parse(stdout)).not.toHaveProperty("guestStatus");
});
