import { describe, expect, it } from "@jest/globals";
import { filterExport, readFilterExport } from "./filter-export.js";
import type { FilterRange } from "./smccc-filter.js";

const ranges: readonly FilterRange[] = [
  { base: 0xc600_0000, count: 0x100, action: "forward", seq: 5 },
  { base: 0xc500_0100, count: 2, action: "deny", seq: 900_000_000_000, conduits: "smc" },
  { base: 0xffff_ffff, count: 1, action: "handle", seq: 7, conduits: "hvc" },
];

function reasonOf(bytes: Uint8Array): string {
  const read = readFilterExport(bytes);
  return "refused" in read ? `${read.refused.errno}: ${read.refused.reason}` : "read";
}

describe("the export of a filter", () => {
  it("gives back every range with its conduit and the number of its event, and of an empty filter none", () => {
    expect(readFilterExport(filterExport(ranges))).toEqual({ ranges });
    expect(readFilterExport(filterExport([]))).toEqual({ ranges: [] });
  });

  it("is refused with EINVAL when any bit of it is another", () => {
    const good = filterExport(ranges);
    for (let bit = 0; bit < good.length * 8; bit++) {
      const bad = good.slice();
      bad[bit >> 3] = (bad[bit >> 3] ?? 0) ^ (1 << (bit & 7));
      expect([bit, reasonOf(bad)]).toEqual([bit, expect.stringMatching(/^EINVAL: export of a filter: /)]);
    }
  });

  it("is refused when it is cut off, and when another version made it", () => {
    const good = filterExport(ranges);
    for (let length = 0; length < good.length; length++)
      expect([length, reasonOf(good.slice(0, length))]).toEqual([length, expect.stringMatching(/^EINVAL/)]);
    const newer = good.slice();
    newer[4] = 2;
    expect(reasonOf(newer)).toBe("EINVAL: export of a filter: version 2, this build knows 1");
  });
});
