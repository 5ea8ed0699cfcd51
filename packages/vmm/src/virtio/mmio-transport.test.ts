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
import { restoreSection, saveSection } from "../state-coding.js";
import { TestDriver, type TestDescriptor } from "../testing/virtio-driver.js";
import { transportCodec } from "./state.js";

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
    const vm = machineWithDriver(BLOCK_SLOT, VERSION_1, [0]);
    vm.driver.setRegister(0x24, 0);
    vm.driver.setRegister(0x20, Number(INDIRECT));
    const table = vm.driver.writeIndirectTable(0x4030_0000, readRequest(vm, 1));
    vm.driver.submit(0, [table]);
    expect(vm.driver.register(0x70) & NEEDS_RESET).toBe(NEEDS_RESET);
  });

  it("answers requests with data, a used entry and an interrupt that the driver acknowledges", () => {
    const vm = machineWithDriver(BLOCK_SLOT, VERSION_1, [0]);
    vm.driver.submit(0, readRequest(vm, 5));
    expect(vm.guest.irq(BLOCK_SPI)).toBe(1);
    expect(vm.driver.register(0x60)).toBe(1);
    expect(vm.driver.collect(0)).toEqual([{ head: 0, bytes: 513 }]);
    expect(vm.guest.readMemory(DATA, 2)).toEqual(Uint8Array.of(5, 5));
    vm.driver.setRegister(0x64, 1);
    expect(vm.guest.irq(BLOCK_SPI)).toBe(0);
  });

  it("does not touch queues before DRIVER_OK, and then looks at what became available", () => {
    const vm = fresh();
    vm.driver.negotiate(VERSION_1);
    vm.driver.setUpQueue(0, 8);
    vm.driver.submit(0, readRequest(vm, 1));
    expect(vm.driver.collect(0)).toEqual([]);
    vm.driver.driverOk();
    expect(vm.driver.collect(0)).toHaveLength(1);
  });

  it("forgets everything on a reset", () => {
    const vm = machineWithDriver(BLOCK_SLOT, VERSION_1, [0]);
    vm.driver.submit(0, readRequest(vm, 1));
    vm.driver.setRegister(0x70, 0);
    expect([0x70, 0x60, 0x44].map((offset) => vm.driver.register(offset))).toEqual([0, 0, 0]);
    expect(vm.guest.irq(BLOCK_SPI)).toBe(0);
    expect(vm.board.save()).toEqual(
      testBoard({ drives: [numberedImage("disk0", 64 * 1024), numberedImage("cd", 8192, true)] }).save(),
    );
  });

  it("has queue 0 only, and fixes its size and areas while it is ready", () => {
    const vm = machineWithDriver(BLOCK_SLOT, VERSION_1, [0]);
    expect(vm.driver.register(0x34)).toBe(256);
    vm.driver.setRegister(0x38, 4);
    vm.driver.setRegister(0x80, 0);
    vm.driver.submit(0, readRequest(vm, 1));
    expect(vm.driver.collect(0)).toHaveLength(1);
    vm.driver.setRegister(0x30, 1);
    expect([vm.driver.register(0x34), vm.driver.register(0x44)]).toEqual([0, 0]);
    vm.driver.setRegister(0x44, 1);
    vm.driver.notify(1);
    expect(vm.driver.register(0x70)).toBe(15);
  });

  it.each([
    ["0 entries", 0],
    ["entries that are no power of 2", 6],
    ["more entries than it can have", 512],
  ])("asks for a reset when a queue of %s is made ready", (_, size) => {
    const vm = fresh();
    vm.driver.negotiate(VERSION_1);
    vm.driver.setUpQueue(0, size);
    expect(vm.driver.register(0x70) & NEEDS_RESET).toBe(NEEDS_RESET);
    expect(vm.board.driverErrors().get("virtio-blk0")).toContain(`${size} entries`);
  });

  it.each([
    ["descriptor table", 0x80, 8],
    ["driver area", 0x90, 1],
    ["device area", 0xa0, 2],
  ])("asks for a reset when the %s of a queue is not aligned", (_, register, offset) => {
    const vm = fresh();
    vm.driver.negotiate(VERSION_1);
    vm.driver.setUpQueue(0, 8);
    vm.driver.setRegister(0x44, 0);
    vm.driver.setRegister(register, 0x4010_0000 + offset);
    vm.driver.setRegister(0x44, 1);
    expect([vm.driver.register(0x70) & NEEDS_RESET, vm.driver.register(0x44)]).toEqual([NEEDS_RESET, 0]);
    expect(vm.board.driverErrors().get("virtio-blk0")).toContain("is not aligned");
  });

  it("reads registers only as aligned words, and shows no shared memory", () => {
    const vm = fresh();
    expect([vm.guest.read(vm.board, 0x0a00_0400, 1), vm.guest.read(vm.board, 0x0a00_0402, 2)]).toEqual([0, 0]);
    expect([vm.driver.register(0xb0), vm.driver.register(0xbc)]).toEqual([0xffff_ffff, 0xffff_ffff]);
  });
});

describe("virtqueue", () => {
  it("follows indirect tables", () => {
    const vm = machineWithDriver(BLOCK_SLOT, VERSION_1 | INDIRECT, [0]);
    vm.driver.submit(0, [vm.driver.writeIndirectTable(0x4030_0000, readRequest(vm, 9))]);
    expect(vm.driver.collect(0)).toEqual([{ head: 0, bytes: 513 }]);
    expect(vm.guest.readMemory(DATA + 511, 1)).toEqual(Uint8Array.of(9));
  });

  it("goes round its ring, and wraps its indices at 2^16", () => {
    const drives = [numberedImage("disk0", 64 * 1024)];
    const vm = machineWithDriver(BLOCK_SLOT, VERSION_1, [0], drives);
    const format = { version: 1, codec: transportCodec };
    const sections = vm.board.save().map((section) => {
      if (section.name !== "vmm.virtio-blk0.transport") {
        return section;
      }
      const state = restoreSection(format, section);
      const queues = state.queues.map((queue) => ({ ...queue, nextAvailable: 0xfff0, nextUsed: 0xfff0 }));
      return saveSection(format, section.name, { ...state, queues });
    });
    vm.board.restore(sections);
    vm.driver.startAt(0, 0xfff0);
    for (let request = 0; request < 40; request += 1) {
      vm.driver.submit(0, readRequest(vm, request));
      expect(vm.driver.collect(0)).toEqual([{ head: (request * 3) % 8, bytes: 513 }]);
      expect(vm.guest.readMemory(DATA, 1)).toEqual(Uint8Array.of(request));
    }
    expect(vm.driver.register(0x70)).toBe(15);
  });

  it("publishes the answers of one notification together", () => {
    const vm = machineWithDriver(BLOCK_SLOT, VERSION_1, [0]);
    vm.guest.events.length = 0;
    vm.driver.submit(0, readRequest(vm, 1), readRequest(vm, 2, 64));
    expect(vm.driver.collect(0)).toEqual([
      { head: 0, bytes: 513 },
      { head: 3, bytes: 513 },
    ]);
    const used = 0x4010_3000;
    expect(vm.guest.events.slice(-3)).toEqual([
      `memory 0x${(used + 4).toString(16)}+16`,
      `memory 0x${(used + 2).toString(16)}+2`,
      "irq 18 1",
    ]);
  });

  it("raises no interrupt while the driver suppresses it by the flag", () => {
    const vm = machineWithDriver(BLOCK_SLOT, VERSION_1, [0]);
    vm.driver.setAvailableFlags(0, 1);
    vm.driver.submit(0, readRequest(vm, 1));
    expect(vm.guest.irq(BLOCK_SPI)).toBe(0);
    vm.driver.setAvailableFlags(0, 0);
    vm.driver.submit(0, readRequest(vm, 1));
    expect(vm.guest.irq(BLOCK_SPI)).toBe(1);
  });

  it("interrupts under EVENT_IDX when the used index passes used_event, and not before", () => {
    const vm = machineWithDriver(BLOCK_SLOT, VERSION_1 | EVENT_INDEX, [0]);
    vm.driver.setUsedEvent(0, 2);
    const levels = [1, 2, 3, 4].map((sector) => {
      vm.driver.submit(0, readRequest(vm, sector));
      const level = vm.guest.irq(BLOCK_SPI);
      vm.driver.setRegister(0x64, 1);
      return level;
    });
    expect(levels).toEqual([0, 0, 1, 0]);
    expect(vm.driver.availableEvent(0)).toBe(4);
    // A batch that steps over the event interrupts once.
    vm.driver.setUsedEvent(0, 5);
    vm.driver.submit(0, readRequest(vm, 1), readRequest(vm, 2, 64));
    expect(vm.guest.irq(BLOCK_SPI)).toBe(1);
  });

  const broken: readonly (readonly [string, RegExp, (vm: TestMachine) => readonly TestDescriptor[]])[] = [
    [
      "a buffer outside RAM",
      /lies outside RAM/,
      (vm) => [...readRequest(vm, 1).slice(0, 2), { address: 0x1000, bytes: 1, write: true }],
    ],
    [
      "a buffer that ends behind RAM",
      /lies outside RAM/,
      (vm) => [...readRequest(vm, 1).slice(0, 1), { address: 0x403f_ff00, bytes: 512, write: true }],
    ],
    [
      "an empty buffer",
      /0 bytes/,
      (vm) => [...readRequest(vm, 1).slice(0, 1), { address: DATA, bytes: 0, write: true }],
    ],
    [
      "a loop",
      /more entries than its table/,
      (vm) => readRequest(vm, 1).map((part, index) => (index === 2 ? { ...part, next: 5 } : part)),
    ],
    [
      "a link to a descriptor that is not there",
      /descriptor 8 of a table of 8/,
      (vm) => readRequest(vm, 1).map((part) => ({ ...part, next: 8 })),
    ],
    [
      "a readable descriptor behind a writable one",
      /device-readable/,
      (vm) => [...readRequest(vm, 1), { address: HEADER, bytes: 16 }],
    ],
    ["no room for the status", /0 writable bytes/, (vm) => readRequest(vm, 1).slice(0, 1)],
    [
      "a header that is too short",
      /8 readable/,
      (vm) => [{ address: HEADER, bytes: 8 }, ...readRequest(vm, 1).slice(1)],
    ],
    [
      "an indirect table in an indirect table",
      /within an indirect table/,
      (vm) => [
        vm.driver.writeIndirectTable(0x4030_0000, [vm.driver.writeIndirectTable(0x4030_1000, readRequest(vm, 1))]),
      ],
    ],
    [
      "an indirect table of half an entry",
      /table of 8 bytes/,
      () => [{ address: 0x4030_0000, bytes: 8, indirect: true }],
    ],
    [
      "an indirect table of more entries than a chain may have",
      /table of 16400 bytes/,
      () => [{ address: 0x4030_0000, bytes: 1025 * 16, indirect: true }],
    ],
    [
      "an indirect table with a link behind it",
      /VIRTQ_DESC_F_NEXT/,
      (vm) => [
        vm.driver.writeIndirectTable(0x4030_0000, readRequest(vm, 1)),
        { address: STATUS, bytes: 1, write: true },
      ],
    ],
    ["an indirect table outside RAM", /lies outside RAM/, () => [{ address: 0x10, bytes: 48, indirect: true }]],
  ];

  it.each(broken)("asks for a reset on %s, and works again after it", (_, reason, chain) => {
    const vm = machineWithDriver(BLOCK_SLOT, VERSION_1 | INDIRECT, [0]);
    vm.driver.submit(0, readRequest(vm, 1, 64));
    vm.driver.setRegister(0x64, 1);
    vm.driver.collect(0);
    vm.driver.submit(0, chain(vm));
    expect(vm.driver.register(0x70)).toBe(15 | NEEDS_RESET);
    expect(vm.driver.register(0x60)).toBe(2);
    expect(vm.guest.irq(BLOCK_SPI)).toBe(1);
    expect(vm.board.driverErrors().get("virtio-blk0")).toMatch(reason);
    vm.driver.notify(0);
    expect(vm.driver.collect(0)).toEqual([]);
    expect(vm.driver.negotiate(VERSION_1)).toBe(true);
    vm.guest.memory.fill(0, 0x10_0000, 0x10_4000);
    vm.driver.setUpQueue(0, 8);
    vm.driver.driverOk();
    vm.driver.submit(0, readRequest(vm, 7));
    expect(vm.driver.collect(0)).toHaveLength(1);
  });

  it("asks for a reset when the available index runs ahead of the queue, and when a ring lies outside RAM", () => {
    const vm = machineWithDriver(BLOCK_SLOT, VERSION_1, [0]);
    vm.driver.setAvailableIndex(0, 9);
    vm.driver.notify(0);
    expect(vm.board.driverErrors().get("virtio-blk0")).toContain("9 ahead of 0 in a queue of 8");
    vm.driver.negotiate(VERSION_1);
    vm.driver.setUpQueue(0, 8);
    vm.driver.setRegister(0x44, 0);
    vm.driver.setRegister(0x94, 1);
    vm.driver.setRegister(0x44, 1);
    vm.driver.driverOk();
    expect(vm.board.driverErrors().get("virtio-blk0")).toContain("lies outside RAM");
  });

  it("answers what came before a broken request", () => {
    const vm = machineWithDriver(BLOCK_SLOT, VERSION_1, [0]);
    vm.driver.submit(0, readRequest(vm, 3), [{ address: 0, bytes: 16 }]);
    expect(vm.driver.collect(0)).toEqual([{ head: 0, bytes: 513 }]);
    expect(vm.driver.register(0x60)).toBe(3);
  });

  it("goes on in a restored machine where the saved one stood", () => {
    const drives = [numberedImage("disk0", 64 * 1024)];
    const vm = machineWithDriver(BLOCK_SLOT, VERSION_1, [0], drives);
    vm.driver.submit(0, readRequest(vm, 1));
    const sections = vm.board.save();
    const copy = testBoard({ drives });
    copy.restore(sections);
    expect(copy.save()).toEqual(sections);
    vm.driver.makeAvailable(0, [vm.driver.writeChain(0, readRequest(vm, 6))]);
    vm.guest.write(copy, 0x0a00_0450, 0);
    expect(vm.driver.collect(0)).toHaveLength(2);
    expect(vm.guest.readMemory(DATA, 1)).toEqual(Uint8Array.of(6));
  });
});
