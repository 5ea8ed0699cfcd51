/** A stock Linux with its virtio devices on PCI: MSI-X, and the pins where it is told to use no messages. */
import { afterAll, expect, it, jest } from "@jest/globals";
import { createHash } from "node:crypto";
import { copyFileSync, writeFileSync } from "node:fs";
import { describeWhere } from "../testing/describe-where.js";
import { keepOnFailure } from "../testing/keep-recording.js";
import { randomSectors } from "../testing/memory-drive.js";
import { VmSandbox } from "../testing/vm-sandbox.js";
import { buildInitrd } from "./initrd.js";
import { TROUBLE } from "./linux-guest.js";
import { stockGuestForTests } from "./stock-guest.js";

jest.setTimeout(600_000);

const guest = await stockGuestForTests("amd64");
const COMMAND = `
for d in /sys/bus/pci/devices/*; do echo "pci \${d##*/} $(cat $d/vendor) $(cat $d/device) $(readlink $d/driver)"; done
sha256sum /dev/vda
echo written > /dev/vda; sync; echo 3 > /proc/sys/vm/drop_caches; head -c 8 /dev/vda
grep virtio /proc/interrupts
`;

describeWhere(guest !== undefined)("a stock amd64 Linux with --virtio-bus pci", () => {
  if (guest === undefined) return;
  const sandbox = new VmSandbox();
  afterAll(() => sandbox.close());

  it.each([
    ["messages", "", /PCI-MSI.*virtio\d-req/, "MsiSent"],
    ["its pin", " pci=nomsi", /IO-APIC.*18-fasteoi.*virtio\d/, "IrqLineSet"],
  ])("finds its disk, and is interrupted by %s", async (_, words, interrupt, event) => {
    const name = `${event}.hvj`;
    await keepOnFailure([sandbox.path(name)], () => {
      const disk = randomSectors(2048, 7);
      copyFileSync(guest.image, sandbox.path("bzImage"));
      writeFileSync(sandbox.path("disk.img"), disk);
      const modules = ["virtio_pci", "virtio_blk", "virtio-rng", "virtio_console"];
      writeFileSync(sandbox.path("initrd"), buildInitrd(guest, { modules, command: COMMAND }));
      sandbox.must(
        ...["record", "bzImage", "--initrd", "initrd", "--append", `console=ttyS0${words}`, "--virtio-bus", "pci"],
        ...["--drive", "file=disk.img", "--seed", "3", "--rtc", "base=2026-01-01", "--headless", "-q", "-o", name],
      );
      const console = sandbox.console(name);
      expect(console).toMatch(/pci 0000:00:00\.0 0x1b36 0x0008/);
      expect(console).toMatch(/pci 0000:00:03\.0 0x1af4 0x1042 .*virtio-pci/);
      expect(console).toContain(`${createHash("sha256").update(disk).digest("hex")}  /dev/vda`);
      expect(console).toMatch(/\nwritten\r?\n/);
      expect(console).toMatch(interrupt);
      expect(console).not.toMatch(TROUBLE);
      expect(sandbox.must("log", name, "--kind", event).split("\n").length).toBeGreaterThan(10);
      expect(sandbox.must("replay", name)).toContain("equal");
      expect(sandbox.must("verify", name)).toContain("equal");
    });
  });
});
