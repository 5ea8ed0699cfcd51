/** A login session that was recorded on one build of a stock kernel, typed again on another: `verify --kernel`. */
import { afterAll, beforeAll, expect, it, jest } from "@jest/globals";
import { copyFileSync, writeFileSync } from "node:fs";
import { describeWhere } from "../testing/describe-where.js";
import { VmSandbox } from "../testing/vm-sandbox.js";
import { buildInitrd } from "./initrd.js";
import { secondKernelForTests } from "./second-kernel.js";
import { stockGuestForTests } from "./stock-guest.js";

jest.setTimeout(600_000);

const guest = await stockGuestForTests();
const second = await secondKernelForTests();

// busybox login asks for a name and a password, and starts a shell, whose prompt asks the terminal where its cursor is.
const session = String.raw`
at console /login: $/ send "root\n"
at console /Password: $/ send "secret\n"
at console /~ # (\x1b\[6n)?$/ send "uname -r; echo $((6 * 7)) in all\n"
at console /42 in all[^]*# (\x1b\[6n)?$/ send "exit\n"
`;

/** crypt(3) with MD5, of "secret". */
const PASSWORD = "$1$abcdefgh$cHJi5PXp/ki/ktXzqlk6I1";
const passwd = `root:${PASSWORD}:0:0:root:/:/bin/sh\n`;

describeWhere(guest !== undefined && second !== undefined)("a login session on a stock kernel", () => {
  if (guest === undefined || second === undefined) return;
  const sandbox = new VmSandbox();

  beforeAll(() => {
    const file = (path: string, text: string) => ({ kind: "file", path, content: Buffer.from(text) }) as const;
    const entries = [
      { kind: "directory", path: "/etc" } as const,
      file("/etc/passwd", passwd),
      file("/etc/group", "root:x:0:\n"),
    ];
    writeFileSync(sandbox.path("initrd"), buildInitrd(guest, { command: "busybox login", entries }));
    writeFileSync(sandbox.path("session.txt"), session);
    copyFileSync(guest.image, sandbox.path("Image"));
    copyFileSync(second.image, sandbox.path("Other"));
    const machine = ["Image", "--initrd", "initrd", "--append", "console=ttyAMA0", "--seed", "3"];
    sandbox.must("record", ...machine, "--headless", "-q", "--input", "session.txt", "-o", "good.hvj");
    expect(sandbox.console("good.hvj")).toContain(`${guest.release}\r\n42 in all\r\n`);
  });
  afterAll(() => sandbox.close());

  it("is typed again on another build, which says that it is another", () => {
    expect(second.release).not.toBe(guest.release);
    const escaped = second.release.replaceAll(".", String.raw`\.`);
    const expected = `console =~ /${escaped}\\r\\n42 in all/ && console =~ /command ended with status 0/`;
    const result = sandbox.run("verify", "good.hvj", "--kernel", "Other", "--expect", expected, "-o", "other.hvj");
    expect(result.stderr).not.toContain("never came up");
    expect(result.status).toBe(0);
    expect(sandbox.console("other.hvj")).toContain(`Linux version ${second.release}`);
    expect(sandbox.run("replay", "other.hvj")).toMatchObject({ status: 0 });
  });

  it("does not hold where the guest does something else, and what never came up is named", () => {
    const never = sandbox.run(
      "verify",
      "good.hvj",
      "--kernel",
      "Other",
      "--append",
      "console=ttyAMA0 rdinit=/bin/busybox panic=-1",
      "--expect",
      "console =~ /42 in all/",
    );
    expect(never.status).toBe(1);
    expect(never.stderr).toMatch(
      /acts from outside never came up: input 'root\\n' \(number 1\) waits for the text '[^']*login: '/,
    );
  });

  it("is the same session again on its own kernel: every exit that reaches the VMM half", () => {
    expect(sandbox.run("verify", "good.hvj", "--level", "exits")).toMatchObject({ status: 0 });
  });
});
