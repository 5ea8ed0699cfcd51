/** `hvjournal attest`: measured pages, and what wrote to them. */
import { afterAll, beforeAll, describe, expect, it, jest } from "@jest/globals";
import { writeFileSync } from "node:fs";
import { bareMetalAmd64, bareMetalElf } from "../guests/bare-metal.js";
import { VmSandbox } from "../testing/vm-sandbox.js";

jest.setTimeout(300_000);

const sandbox = new VmSandbox();
afterAll(() => sandbox.close());

function record(name: string, image: string, append: string, ...words: readonly string[]): void {
  const fixed = ["--headless", "-q", "--seed", "7", "--rtc", "base=2026-01-01", "--timeout", "5s"];
  sandbox.must("record", image, "--append", append, ...fixed, ...words, "-o", name);
}

interface Change {
  readonly position: string;
  readonly writer: { readonly by: string; readonly kind?: string; readonly seq?: number; readonly pc?: string };
  readonly at: string;
  readonly before: string;
  readonly after: string;
}

interface Page {
  readonly page: string;
  readonly sha256: string;
  readonly was: string;
  readonly changed: boolean;
  readonly changes: number;
  readonly first?: Change;
  readonly last?: Change;
}

function attested(status: number, ...words: readonly string[]): Page[] {
  const finished = sandbox.run("attest", ...words, "--json");
  expect([finished.stderr, finished.status]).toEqual(["", status]);
  const lines = finished.stdout.trim().split("\n");
  return lines.slice(0, -1).map((line) => JSON.parse(line) as Page);
}

function changedPages(pages: readonly Page[]): Page[] {
  return pages.filter(({ changed }) => changed);
}

const TEXT = "0x100000-0x101fff";

describe("an amd64 guest that calls by Intel's VMCALL", () => {
  const image = bareMetalAmd64;

  beforeAll(() => {
    record("amd.hvj", image, "scenario=hypercalls", "--exit-model", "kvm-amd");
    record("off.hvj", image, "scenario=hypercalls", "--exit-model", "kvm-amd", "--policy", "x86.hypercall.patch=ud");
    record("intel.hvj", image, "scenario=hypercalls", "--exit-model", "kvm-intel");
  });

  it("has a page of text that differs on AMD, by the event that patched the call", () => {
    const [page, ...others] = changedPages(attested(1, "amd.hvj", "--pages", TEXT));
    expect(others).toEqual([]);
    expect(page?.first).toMatchObject({ writer: { by: "event", kind: "CodePatched" }, before: "c1", after: "d9" });
    const event = `event:${page?.first?.writer.seq}`;
    const log = sandbox.must("log", "amd.hvj", "--kind", "CodePatched");
    expect(log).toMatch(new RegExp(`^${event} .*0f01c1 -> 0f01d9$`, "m"));
    const text = sandbox.run("attest", "amd.hvj", "--pages", TEXT).stdout;
    expect(text).toMatch(new RegExp(`${event}, CodePatched in finishing exit:\\d+ .*: 0f01c1 -> 0f01d9 at 0x`));
  });

  it("holds what it held before that event, and what differs behind it", () => {
    const [page] = changedPages(attested(1, "amd.hvj", "--pages", TEXT));
    const { seq = 0 } = page?.first?.writer ?? {};
    const place = page?.page ?? "";
    expect(attested(0, "amd.hvj", "--pages", place, "--at", `event:${seq - 1}`)[0]?.sha256).toBe(page?.was);
    expect(attested(1, "amd.hvj", "--pages", place, "--at", `event:${seq}`)[0]?.sha256).toBe(page?.sha256);
    expect(attested(0, "amd.hvj", "--pages", place, "--since", `event:${seq}`)[0]?.changes).toBe(0);
  });

  it("keeps its text on Intel, and on AMD with the policy off", () => {
    const measured = ["intel.hvj", "off.hvj"].map((name) => attested(0, name, "--pages", TEXT));
    expect(measured[0]).toEqual(measured[1]);
    expect(measured.flat().map(({ changes }) => changes)).toEqual([0, 0, 0, 0]);
  });
});

/** All of the guest's file: what it makes code of lies among its data. */
const LOADED = "0x40200000-0x40208fff";

describe("an arm64 guest that writes its own code, and has it written by a disk", () => {
  beforeAll(() => {
    writeFileSync(sandbox.path("disk.img"), new Uint8Array(65536));
    record("code.hvj", bareMetalElf, "scenario=code", "--drive", "file=disk.img,id=d");
  });

  const measured = (...words: readonly string[]): Page[] =>
    changedPages(attested(1, "code.hvj", "--pages", LOADED, "--symbols", bareMetalElf, ...words));

  it("tells the instructions that wrote first and last, with their positions", () => {
    const first = measured()[0]?.first;
    expect(first?.writer).toMatchObject({ by: "instruction" });
    // The moment right behind the instruction: the byte is there, and one unit before it is not.
    const byteAt = (position: string): string =>
      sandbox.must("attest", "code.hvj", "--pages", first?.at ?? "", "--at", position);
    expect(() => byteAt(first?.position ?? "")).toThrow(/status 1\n/);
    const [, exit, units] = /^exit:(\d+)\+(\d+)$/.exec(first?.position ?? "") ?? [];
    expect(byteAt(`exit:${exit}+${Number(units) - 1}`)).toContain("as at start");
  });

  it("tells a DMA by its event and the exit that asked for it", () => {
    const finished = sandbox.run(
      "attest",
      "code.hvj",
      "--pages",
      LOADED,
      "--symbols",
      bareMetalElf,
      "--since",
      "console:/not synchronised/",
    );
    expect(finished.status).toBe(1);
    expect(finished.stdout).toMatch(
      /event:\d+, the answer to exit:\d+ \(virtio-blk0 MMIO write .*\): DMA of 512 bytes to 0x[0-9a-f]+$/m,
    );
  });
});

describe("what can't be measured", () => {
  beforeAll(() => record("bad.hvj", bareMetalAmd64, "scenario=hypercalls"));

  it.each([
    [["--pages", "0x100001000"], 129, "is not in RAM, 0x0-0xfffffff"],
    [["--pages", "0x2000-0x1fff"], 129, "'0x2000-0x1fff' holds no byte"],
    [["--pages", "txt"], 129, "'txt': expected text, or guest-physical ADDR"],
    [["--since", "exit:9", "--at", "exit:8"], 129, "--since exit:9 lies behind --at exit:8"],
    [["--at", "exit:99999"], 1, "bad.hvj ends at exit:"],
  ])("%j is refused", (words, status, message) => {
    const finished = sandbox.run("attest", "bad.hvj", ...words);
    expect([finished.status, finished.stdout]).toEqual([status, ""]);
    expect(finished.stderr).toContain(message);
    expect(finished.stderr).toMatch(/^next: hvjournal /m);
  });
});

describe("a bare-metal ELF guest without symbols at hand", () => {
  // "readelf -S": .text of either guest, in whole pages.
  it.each([
    ["amd64", bareMetalAmd64, 0x10_0000],
    ["arm64", bareMetalElf, 0x4020_0000],
  ] as const)(
    "of %s has its code measured, and no page tables, data or device tree, which it may write",
    (_, image, start) => {
      record("main.hvj", image, "scenario=main input=none ticks=5", "--force");
      const pages = attested(0, "main.hvj").map(({ page }) => Number(page));
      expect(pages).toEqual(Array.from({ length: pages.length }, (_page, index) => start + 4096 * index));
      expect(pages.length).toBeGreaterThan(2);
      // Its data stands behind the code, and is written.
      const behind = `0x${((pages.at(-1) ?? 0) + 4096).toString(16)}+0x8000`;
      expect(changedPages(attested(1, "main.hvj", "--pages", behind)).length).toBeGreaterThan(0);
    },
  );

  it("is told of code that is written", () => {
    const changed = changedPages(attested(1, "amd.hvj"));
    expect(changed.map(({ first }) => first?.writer.kind)).toEqual(["CodePatched"]);
  });
});
