import { describe, expect, it } from "@jest/globals";
import { TestGuest, numberedImage } from "../testing/test-guest.js";
import {
  EVENT_INDEX,
  INDIRECT,
  VERSION_1,
  machineWithDriver,
  testBoard,
  type TestMachine,
} from "../testing/test-board.js";
import { TestDriver, type TestDescriptor } from "../testing/virtio-driver.js";

const BLOCK_SLOT = 2;
const BLOCK_SPI = 18;
const HEADER = 0x4020_0000;
const DATA = 0x4020_1000;
const STATUS = 0x4020_3000;
const NEEDS_RESET = 64;

function fresh(): TestMachine {
  const guest = new TestGuest();
  const board = testBoard({ drives: [numberedImage("disk0", 64 * 1024)] });
  return { guest, board, driver: new TestDriver(guest, board, BLOCK_SLOT) };
}

/** A read of one sector, its header in memory. */
function readRequest({ guest }: TestMachine, sector: number, offset = 0): TestDescriptor[] {
  const header = new DataView(new ArrayBuffer(16));
  header.setBigUint64(8, BigInt(sector), true);
  guest.memory.set(new Uint8Array(header.buffer), HEADER - guest.memoryBase + offset);
  return [
    { address: HEADER + offset, bytes: 16 },
    { address: DATA + 32 * offset, bytes: 512, write: true },
    { address: STATUS + offset, bytes: 1, write: true },
  ];
}

describe("virtio-mmio transport", () => {
  it("identifies itself as a modern virtio device, and leaves empty slots without the magic value", () => {
    const { driver, guest, board } = fresh();
    expect([0x0, 0x4, 0x8].map((offset) => driver.register(offset))).toEqual([0x7472_6976, 2, 2]);
    expect([0, 1].map((slot) => new TestDriver(guest, board, slot).register(0x8))).toEqual([3, 4]);
    expect(new TestDriver(guest, board, 31).register(0)).toBe(0);
  });

  it("keeps FEATURES_OK only for a subset of what it offers, with VERSION_1 in it", () => {
    const { driver } = fresh();
    const offered = driver.offeredFeatures();
    expect(offered & (VERSION_1 | INDIRECT | EVENT_INDEX)).toBe(VERSION_1 | INDIRECT | EVENT_INDEX);
    expect(driver.negotiate(offered)).toBe(true);
    expect(driver.negotiate(offered & ~VERSION_1)).toBe(false);
    expect(driver.negotiate(VERSION_1 | (1n << 13n))).toBe(false);
    driver.setRegister(0x14, 2);
    expect(driver.register(0x10)).toBe(0);
  });

  it("ignores features that are written after FEATURES_OK", () => {
    const it = machineWithDriver(BLOCK_SLOT, VERSION_1, [0]);
    it.driver.setRegister(0x24, 0);
    it.driver.setRegister(0x20, Number(INDIRECT));
    const table = it.driver.writeIndirectTable(0x4030_0000, readRequest(it, 1));
    it.driver.submit(0, [table]);
    expect(it.driver.register(0x70) & NEEDS_RESET).toBe(NEEDS_RESET);
  });

  it("answers requests with data, a used entry and an interrupt that the driver acknowledges", () => {
    const it = machineWithDriver(BLOCK_SLOT, VERSION_1, [0]);
    it.driver.submit(0, readRequest(it, 5));
    expect(it.guest.irq(BLOCK_SPI)).toBe(1);
    expect(it.driver.register(0x60)).toBe(1);
    expect(it.driver.collect(0)).toEqual([{ head: 0, bytes: 513 }]);
    expect(it.guest.readMemory(DATA, 2)).toEqual(Uint8Array.of(5, 5));
    it.driver.setRegister(0x64, 1);
    expect(it.guest.irq(BLOCK_SPI)).toBe(0);
  });

  it("does not touch queues before DRIVER_OK, and then looks at what became available", () => {
    const it = fresh();
    it.driver.negotiate(VERSION_1);
    it.driver.setUpQueue(0, 8);
    it.driver.submit(0, readRequest(it, 1));
    expect(it.driver.collect(0)).toEqual([]);
    it.driver.driverOk();
    expect(it.driver.collect(0)).toHaveLength(1);
  });

  it("forgets everything but the configuration generation on a reset", () => {
    const it = machineWithDriver(BLOCK_SLOT, VERSION_1, [0]);
    it.driver.submit(0, readRequest(it, 1));
    it.driver.setRegister(0x70, 0);
    expect([0x70, 0x60, 0x44].map((offset) => it.driver.register(offset))).toEqual([0, 0, 0]);
    expect(it.guest.irq(BLOCK_SPI)).toBe(0);
    expect(it.board.save()).toEqual(
      testBoard({ drives: [numberedImage("disk0", 64 * 1024), numberedImage("cd", 8192, true)] }).save(),
    );
  });

  it("has queue 0 only, and fixes its size and areas while it is ready", () => {
    const it = machineWithDriver(BLOCK_SLOT, VERSION_1, [0]);
    expect(it.driver.register(0x34)).toBe(256);
    it.driver.setRegister(0x38, 4);
    it.driver.setRegister(0x80, 0);
    it.driver.submit(0, readRequest(it, 1));
    expect(it.driver.collect(0)).toHaveLength(1);
    it.driver.setRegister(0x30, 1);
    expect([it.driver.register(0x34), it.driver.register(0x44)]).toEqual([0, 0]);
    it.driver.setRegister(0x44, 1);
    it.driver.notify(1);
    expect(it.driver.register(0x70)).toBe(15);
  });

  it.each([
    ["0 entries", 0],
    ["entries that are no power of 2", 6],
    ["more entries than it can have", 512],
  ])("asks for a reset when a queue of %s is made ready", (_, size) => {
    const it = fresh();
    it.driver.negotiate(VERSION_1);
    it.driver.setUpQueue(0, size);
    expect(it.driver.register(0x70) & NEEDS_RESET).toBe(NEEDS_RESET);
    expect(it.board.driverErrors().get("virtio-blk0")).toContain(`${size} entries`);
  });

  it("reads registers only as aligned words, and shows no shared memory", () => {
    const it = fresh();
    expect([it.guest.read(it.board, 0x0a00_0400, 1), it.guest.read(it.board, 0x0a00_0402, 2)]).toEqual([0, 0]);
    expect([it.driver.register(0xb0), it.driver.register(0xbc)]).toEqual([0xffff_ffff, 0xffff_ffff]);
  });
});

describe("virtqueue", () => {
  it("follows indirect tables", () => {
    const it = machineWithDriver(BLOCK_SLOT, VERSION_1 | INDIRECT, [0]);
    it.driver.submit(0, [it.driver.writeIndirectTable(0x4030_0000, readRequest(it, 9))]);
    expect(it.driver.collect(0)).toEqual([{ head: 0, bytes: 513 }]);
    expect(it.guest.readMemory(DATA + 511, 1)).toEqual(Uint8Array.of(9));
  });

  it("goes round its ring, and wraps its indices at 2^16", () => {
    const it = machineWithDriver(BLOCK_SLOT, VERSION_1, [0]);
    let answered = 0;
    for (let request = 0; request < 0x1_0003; request += 1) {
      it.driver.submit(0, readRequest(it, request % 100));
      answered += it.driver.collect(0).length;
    }
    expect(answered).toBe(0x1_0003);
    expect(it.guest.readMemory(DATA, 1)).toEqual(Uint8Array.of(0x1_0002 % 100));
  });

  it("publishes the answers of one notification together", () => {
    const it = machineWithDriver(BLOCK_SLOT, VERSION_1, [0]);
    it.guest.events.length = 0;
    it.driver.submit(0, readRequest(it, 1), readRequest(it, 2, 64));
    expect(it.driver.collect(0)).toEqual([
      { head: 0, bytes: 513 },
      { head: 3, bytes: 513 },
    ]);
    const used = 0x4010_3000;
    expect(it.guest.events.slice(-3)).toEqual([
      `memory 0x${(used + 4).toString(16)}+16`,
      `memory 0x${(used + 2).toString(16)}+2`,
      "irq 18 1",
    ]);
  });

  it("raises no interrupt while the driver suppresses it by the flag", () => {
    const it = machineWithDriver(BLOCK_SLOT, VERSION_1, [0]);
    it.driver.setAvailableFlags(0, 1);
    it.driver.submit(0, readRequest(it, 1));
    expect(it.guest.irq(BLOCK_SPI)).toBe(0);
    it.driver.setAvailableFlags(0, 0);
    it.driver.submit(0, readRequest(it, 1));
    expect(it.guest.irq(BLOCK_SPI)).toBe(1);
  });

  it("interrupts under EVENT_IDX when the used index passes used_event, and not before", () => {
    const it = machineWithDriver(BLOCK_SLOT, VERSION_1 | EVENT_INDEX, [0]);
    it.driver.setUsedEvent(0, 2);
    const levels = [1, 2, 3, 4].map((sector) => {
      it.driver.submit(0, readRequest(it, sector));
      const level = it.guest.irq(BLOCK_SPI);
      it.driver.setRegister(0x64, 1);
      return level;
    });
    expect(levels).toEqual([0, 0, 1, 0]);
    expect(it.driver.availableEvent(0)).toBe(4);
    // A batch that steps over the event interrupts once.
    it.driver.setUsedEvent(0, 5);
    it.driver.submit(0, readRequest(it, 1), readRequest(it, 2, 64));
    expect(it.guest.irq(BLOCK_SPI)).toBe(1);
  });

  const broken: readonly (readonly [string, RegExp, (it: TestMachine) => readonly TestDescriptor[]])[] = [
    [
      "a buffer outside RAM",
      /lies outside RAM/,
      (it) => [...readRequest(it, 1).slice(0, 2), { address: 0x1000, bytes: 1, write: true }],
    ],
    [
      "a buffer that ends behind RAM",
      /lies outside RAM/,
      (it) => [...readRequest(it, 1).slice(0, 1), { address: 0x403f_ff00, bytes: 512, write: true }],
    ],
    [
      "an empty buffer",
      /0 bytes/,
      (it) => [...readRequest(it, 1).slice(0, 1), { address: DATA, bytes: 0, write: true }],
    ],
    [
      "a loop",
      /more entries than its table/,
      (it) => readRequest(it, 1).map((part, index) => (index === 2 ? { ...part, next: 1 } : part)),
    ],
    [
      "a link to a descriptor that is not there",
      /descriptor 8 of a table of 8/,
      (it) => readRequest(it, 1).map((part) => ({ ...part, next: 8 })),
    ],
    [
      "a readable descriptor behind a writable one",
      /device-readable/,
      (it) => [...readRequest(it, 1), { address: HEADER, bytes: 16 }],
    ],
    ["no room for the status", /0 writable bytes/, (it) => readRequest(it, 1).slice(0, 1)],
    [
      "a header that is too short",
      /8 readable/,
      (it) => [{ address: HEADER, bytes: 8 }, ...readRequest(it, 1).slice(1)],
    ],
    [
      "an indirect table in an indirect table",
      /within an indirect table/,
      (it) => [
        it.driver.writeIndirectTable(0x4030_0000, [it.driver.writeIndirectTable(0x4030_1000, readRequest(it, 1))]),
      ],
    ],
    [
      "an indirect table of half an entry",
      /table of 8 bytes/,
      () => [{ address: 0x4030_0000, bytes: 8, indirect: true }],
    ],
    [
      "an indirect table with a link behind it",
      /VIRTQ_DESC_F_NEXT/,
      (it) => [
        it.driver.writeIndirectTable(0x4030_0000, readRequest(it, 1)),
        { address: STATUS, bytes: 1, write: true },
      ],
    ],
    ["an indirect table outside RAM", /lies outside RAM/, () => [{ address: 0x10, bytes: 48, indirect: true }]],
  ];

  it.each(broken)("asks for a reset on %s, and works again after it", (_, reason, chain) => {
    const it = machineWithDriver(BLOCK_SLOT, VERSION_1 | INDIRECT, [0]);
    it.driver.submit(0, readRequest(it, 1, 64));
    it.driver.setRegister(0x64, 1);
    it.driver.collect(0);
    it.driver.submit(0, chain(it));
    expect(it.driver.register(0x70)).toBe(15 | NEEDS_RESET);
    expect(it.driver.register(0x60)).toBe(2);
    expect(it.guest.irq(BLOCK_SPI)).toBe(1);
    expect(it.board.driverErrors().get("virtio-blk0")).toMatch(reason);
    it.driver.notify(0);
    expect(it.driver.collect(0)).toEqual([]);
    expect(it.driver.negotiate(VERSION_1)).toBe(true);
    it.guest.memory.fill(0, 0x10_0000, 0x10_4000);
    it.driver.setUpQueue(0, 8);
    it.driver.driverOk();
    it.driver.submit(0, readRequest(it, 7));
    expect(it.driver.collect(0)).toHaveLength(1);
  });

  it("asks for a reset when the available index runs ahead of the queue, and when a ring lies outside RAM", () => {
    const it = machineWithDriver(BLOCK_SLOT, VERSION_1, [0]);
    it.driver.setAvailableIndex(0, 9);
    it.driver.notify(0);
    expect(it.board.driverErrors().get("virtio-blk0")).toContain("9 ahead of 0 in a queue of 8");
    it.driver.negotiate(VERSION_1);
    it.driver.setUpQueue(0, 8);
    it.driver.setRegister(0x44, 0);
    it.driver.setRegister(0x94, 1);
    it.driver.setRegister(0x44, 1);
    it.driver.driverOk();
    expect(it.board.driverErrors().get("virtio-blk0")).toContain("lies outside RAM");
  });

  it("answers what came before a broken request", () => {
    const it = machineWithDriver(BLOCK_SLOT, VERSION_1, [0]);
    it.driver.submit(0, readRequest(it, 3), [{ address: 0, bytes: 16 }]);
    expect(it.driver.collect(0)).toEqual([{ head: 0, bytes: 513 }]);
    expect(it.driver.register(0x60)).toBe(3);
  });

  it("goes on in a restored machine where the saved one stood", () => {
    const drives = [numberedImage("disk0", 64 * 1024)];
    const it = machineWithDriver(BLOCK_SLOT, VERSION_1, [0], drives);
    it.driver.submit(0, readRequest(it, 1));
    const sections = it.board.save();
    const copy = testBoard({ drives });
    copy.restore(sections);
    expect(copy.save()).toEqual(sections);
    it.driver.makeAvailable(0, [it.driver.writeChain(0, readRequest(it, 6))]);
    it.guest.write(copy, 0x0a00_0450, 0);
    expect(it.driver.collect(0)).toHaveLength(2);
    expect(it.guest.readMemory(DATA, 1)).toEqual(Uint8Array.of(6));
  });
});
