import { describe, expect, it } from "@jest/globals";
import { boardRows } from "./board-text.js";

describe("what a machine was made with", () => {
  it("reads as names, sizes and dates", () => {
    const rows = boardRows({
      append: "console=ttyAMA0",
      kernel: { name: "Image", bytes: 27_302_400, sha256: "d381" },
      drives: [
        { id: "drive0", name: "disk.img", bytes: 512, readOnly: false, sha256: "7cbb" },
        { id: "drive1", name: "root.img", bytes: 1 << 20, readOnly: true, sha256: "0afd" },
      ],
      rtcBaseNs: 1_767_225_600_000_000_000n,
    });
    expect(rows).toEqual([
      ["append", "console=ttyAMA0"],
      ["kernel", "Image, 26.0 MiB, sha256:d381"],
      ["drive", "drive0 disk.img, 0.5 KiB, sha256:7cbb"],
      ["drive", "drive1 root.img, 1.0 MiB, read-only, sha256:0afd"],
      ["rtc", "2026-01-01T00:00:00Z"],
    ]);
  });
});
