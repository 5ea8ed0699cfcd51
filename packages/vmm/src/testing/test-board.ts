/** A small board with two drives, and a driver for one of its virtio slots. */
import type { BlockBackend } from "@hvjournal/core";
import { createPcBoard, type PcBoard, type PcBoardOptions } from "../board/pc.js";
import { createVirtBoard, type VirtBoard, type VirtBoardOptions } from "../board/virt.js";
import { TestGuest, countingEntropy, numberedImage } from "./test-guest.js";
import { TestDriver } from "./virtio-driver.js";

export const MEBIBYTE: number = 1024 * 1024;
export const TEST_MEMORY_BYTES: number = 4 * MEBIBYTE;
export const VERSION_1 = 1n << 32n;
export const INDIRECT = 1n << 28n;
export const EVENT_INDEX = 1n << 29n;

export interface TestMachine {
  readonly guest: TestGuest;
  readonly board: VirtBoard;
  readonly driver: TestDriver;
}

/** A `pc` board, a guest of it, and its ports. */
export interface TestPc {
  readonly guest: TestGuest;
  readonly board: PcBoard;
  in(port: number, bytes?: number): number;
  out(port: number, value: number, bytes?: number): void;
}

export function testPc(options: Partial<PcBoardOptions> = {}): TestPc {
  const guest = new TestGuest(options.memoryBytes ?? TEST_MEMORY_BYTES, 0);
  const board = createPcBoard({
    memoryBytes: TEST_MEMORY_BYTES,
    vcpuCount: 1,
    drives: [],
    rtcBaseNs: 0n,
    entropy: countingEntropy(),
    ...options,
  });
  return {
    guest,
    board,
    in: (port, bytes) => guest.readPort(board, port, bytes),
    out: (port, value, bytes) => guest.writePort(board, port, value, bytes),
  };
}

export function testBoard(options: Partial<VirtBoardOptions> = {}): VirtBoard {
  return createVirtBoard({
    memoryBytes: TEST_MEMORY_BYTES,
    vcpuCount: 1,
    drives: [],
    rtcBaseNs: 0n,
    entropy: countingEntropy(),
    ...options,
  });
}

/** A machine whose driver for `slot` has negotiated `features`, and set up `queues` of 8 entries. */
export function machineWithDriver(
  slot: number,
  features: bigint,
  queues: readonly number[],
  drives: readonly BlockBackend[] = [numberedImage("disk0", 64 * 1024), numberedImage("cd", 8 * 1024, true)],
): TestMachine {
  const guest = new TestGuest(TEST_MEMORY_BYTES);
  const board = testBoard({ drives });
  const driver = new TestDriver(guest, board, slot);
  if (!driver.negotiate(features)) {
    throw new Error(`the device refuses features 0x${features.toString(16)}`);
  }
  for (const queue of queues) {
    driver.setUpQueue(queue, 8);
  }
  driver.driverOk();
  return { guest, board, driver };
}
