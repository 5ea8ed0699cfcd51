/** Invariant 4 as a guest sees it: changed code and changed page tables have the effect that they have without any cache. */
import { describe, expect, it } from "@jest/globals";
import type { CacheOptions } from "@hvjournal/core";
import { recordGuest } from "../testing/guest-recording.js";
import { memoryDrive } from "../testing/memory-drive.js";
import { recordingDirectory } from "../testing/recording-directory.js";

const pathOf = recordingDirectory();

const cacheChoices: readonly CacheOptions[] = [
  {},
  { tlbEntries: 16 },
  { tlbEntries: 4096 },
  { tier: "blocks", tlbEntries: 16 },
  { tier: "blocks", tlbEntries: 4096 },
  { tier: "regions", tlbEntries: 16 },
  { tier: "regions", tlbEntries: 4096 },
];

async function linesOf(scenario: "tlb" | "code", caches: CacheOptions): Promise<string[]> {
  const drives = scenario === "code" ? [memoryDrive("disk0", new Uint8Array(4096))] : [];
  const name = `${scenario}-${JSON.stringify(caches)}`;
  const { stop, console } = await recordGuest({ append: `scenario=${scenario}`, drives, caches }, pathOf(name));
  expect(stop).toEqual({ what: "powered off", by: "PSCI SYSTEM_OFF" });
  return console.split(/\r?\n/).filter((line) => line.startsWith(`${scenario}: `));
}

/** What the guest's last line of `scenario=tlb` sums up: both pages in turn, with what was written to the first. */
function sumOfBothPages(): bigint {
  const FNV_PRIME = 0x100_0000_01b3n;
  const first = (index: number): bigint =>
    index === 2 ? 0x2222n : index === 3 ? 0x3333n : 0xaaaa_0000n + BigInt(index);
  let sum = 0xcbf2_9ce4_8422_2325n;
  for (let i = 0; i < 1000; i++) {
    const value = i % 2 === 0 ? first(i % 512) : 0xbbbb_0000n + BigInt(i % 512);
    for (let byte = 0n; byte < 8n; byte++)
      sum = BigInt.asUintN(64, (sum ^ ((value >> (8n * byte)) & 0xffn)) * FNV_PRIME);
  }
  return sum;
}

const hex = (value: bigint): string => `0x${value.toString(16).padStart(16, "0")}`;

describe.each(cacheChoices)("with caches %j", (caches) => {
  it("page tables that change without a TLBI show at the very next access", async () => {
    expect(await linesOf("tlb", caches)).toEqual([
      `tlb: first use of a page that is not mapped: value ${hex(0xaaaa0000n)}, 1 faults (1)`,
      `tlb: accessed flag cleared: value ${hex(0xaaaa0001n)}, 1 faults (1)`,
      `tlb: made read-only, then written: value ${hex(0x2222n)}, 1 faults (1)`,
      `tlb: made writable, then written: value ${hex(0x3333n)}, 0 faults (0)`,
      `tlb: mapped elsewhere: value ${hex(0xbbbb0004n)}, 0 faults (0)`,
      `tlb: unmapped: value ${hex(0xaaaa0005n)}, 1 faults (1)`,
      `tlb: another table: value ${hex(0xbbbb0006n)}, 0 faults (0)`,
      `tlb: the table before: value ${hex(0xaaaa0006n)}, 0 faults (0)`,
      `tlb: mapped here and there a thousand times: value ${hex(sumOfBothPages())}, 0 faults (0)`,
    ]);
  });

  it("code that changes is run as it stands: by an alias, in its own block, the next instruction, by DMA", async () => {
    expect(await linesOf("code", caches)).toEqual([
      "code: through an alias: 380000 (380000)",
      "code: through an alias, not synchronised: 380000 (380000)",
      "code: in the same block: 499500 (499500)",
      "code: the next instruction: 499500 (499500)",
      "code: a hot loop: 15004 (15004)",
      "code: by dma: 812000 (812000)",
    ]);
  });
});
