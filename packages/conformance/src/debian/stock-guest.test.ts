import { expect, it } from "@jest/globals";
import { closeSync, existsSync, openSync, readFileSync, readSync } from "node:fs";
import { describeWhere } from "../testing/describe-where.js";
import { buildInitrd, initrdTree, virtioModules } from "./initrd.js";
import { stockGuestForTests } from "./stock-guest.js";

const guest = await stockGuestForTests();

describeWhere(guest !== undefined)("the stock guest", () => {
  if (guest === undefined) return;

  it("is an unmodified arm64 Image with its modules and a static busybox", () => {
    const header = Buffer.alloc(64);
    const file = openSync(guest.image, "r");
    readSync(file, header);
    closeSync(file);
    expect(header.toString("latin1", 56, 60)).toBe("ARM\x64");
    expect(existsSync(guest.modulesDir)).toBe(true);
    const PT_INTERP_PATH = "/lib/ld-linux";
    expect(readFileSync(guest.busybox).includes(PT_INTERP_PATH)).toBe(false);
  });

  it("gets an initrd whose init loads the virtio modules behind what they need", () => {
    const init = initrdTree(guest, { modules: virtioModules, command: "uname -a" }).find(
      ({ path }) => path === "/init",
    );
    const script = init?.kind === "file" ? Buffer.from(init.content).toString() : "";
    const loaded = [...script.matchAll(/^insmod \/lib\/modules\/(\S+)\.ko$/gm)].map((match) => match[1]);
    expect(loaded).toEqual(expect.arrayContaining(["virtio", "virtio_ring", "virtio_mmio", "virtio_blk"]));
    expect(loaded.indexOf("virtio_ring")).toBeLessThan(loaded.indexOf("virtio_mmio"));
    expect(script).toContain("poweroff -f");
  });

  it("gets the same initrd for the same options", () => {
    const build = (): Buffer => Buffer.from(buildInitrd(guest, { modules: virtioModules }));
    expect(build().equals(build())).toBe(true);
  });
});
