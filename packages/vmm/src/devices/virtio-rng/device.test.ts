import { describe, expect, it } from "@jest/globals";
import { VERSION_1, machineWithDriver, testBoard } from "../../testing/test-board.js";
import { countingEntropy } from "../../testing/test-guest.js";

const SLOT = 1;
const BUFFER = 0x4020_0000;

describe("virtio entropy device", () => {
  it("fills buffers from its stream of the recorded seed, and never gives bytes twice", () => {
    const { guest, driver } = machineWithDriver(SLOT, VERSION_1, [0]);
    driver.submit(0, [{ address: BUFFER, bytes: 12, write: true }], [{ address: BUFFER + 16, bytes: 8, write: true }]);
    expect(driver.collect(0)).toEqual([
      { head: 0, bytes: 12 },
      { head: 1, bytes: 8 },
    ]);
    const length = "virtio-rng".length;
    expect([...guest.readMemory(BUFFER, 24)]).toEqual(
      [
        [1, 0, 0, 0, 0, 0, 0, length],
        [2, 0, 0, 0, 0, 0, 0, 0],
        [3, 0, 0, 0, 0, 0, 0, length],
      ].flat(),
    );
  });

  it("fills a long buffer in part", () => {
    const { driver } = machineWithDriver(SLOT, VERSION_1, [0]);
    driver.submit(0, [{ address: BUFFER, bytes: 10_000, write: true }]);
    expect(driver.collect(0)).toEqual([{ head: 0, bytes: 4096 }]);
  });

  it("asks for a reset when the driver gives it something to read", () => {
    const { driver, board } = machineWithDriver(SLOT, VERSION_1, [0]);
    driver.submit(0, [{ address: BUFFER, bytes: 8 }]);
    expect(driver.register(0x70) & 64).toBe(64);
    expect(board.driverErrors().get("virtio-rng")).toContain("8 readable");
  });

  it("goes on in a restored machine where the saved one stood", () => {
    const vm = machineWithDriver(SLOT, VERSION_1, [0]);
    vm.driver.submit(0, [{ address: BUFFER, bytes: 24, write: true }]);
    const sections = vm.board.save().filter(({ name }) => !name.includes("blk"));
    const entropy = countingEntropy();
    const copy = testBoard({ entropy });
    copy.restore(sections);
    expect(entropy.stream("virtio-rng").counter).toBe(3n);
    expect(copy.save()).toEqual(sections);
  });
});
