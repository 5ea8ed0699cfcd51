import { describe, expect, it } from "@jest/globals";
import type { BlockBackend } from "@hvjournal/core";
import { numberedImage } from "../../testing/test-guest.js";
import { VERSION_1, machineWithDriver, testBoard, type TestMachine } from "../../testing/test-board.js";
import { TestDriver, type TestDescriptor } from "../../testing/virtio-driver.js";

const SLOT = 2;
const FLUSH = 1n << 9n;
const HEADER = 0x4020_0000;
const DATA = 0x4020_1000;
const STATUS = 0x4020_0800;
const READ = 0;
const WRITE = 1;

class Disk {
  readonly machine: TestMachine;

  constructor(drives?: readonly BlockBackend[], slot = SLOT) {
    this.machine = machineWithDriver(slot, VERSION_1 | FLUSH, [0], drives);
  }

  /** Status byte and length of the used entry. */
  request(
    type: number,
    sector: number | bigint,
    buffers: readonly TestDescriptor[],
  ): { status: number; bytes: number } {
    const { guest, driver } = this.machine;
    const header = new DataView(new ArrayBuffer(16));
    header.setUint32(0, type, true);
    header.setBigUint64(8, BigInt(sector), true);
    guest.memory.set(new Uint8Array(header.buffer), HEADER - guest.memoryBase);
    guest.memory[STATUS - guest.memoryBase] = 0xff;
    driver.submit(0, [{ address: HEADER, bytes: 16 }, ...buffers, { address: STATUS, bytes: 1, write: true }]);
    const [used] = driver.collect(0);
    return { status: guest.readMemory(STATUS, 1)[0] ?? -1, bytes: used?.bytes ?? -1 };
  }

  read(sector: number, bytes: number): Uint8Array {
    const { status } = this.request(READ, sector, [{ address: DATA, bytes, write: true }]);
    if (status !== 0) {
      throw new Error(`read of sector ${sector} ends with status ${status}`);
    }
    return this.machine.guest.readMemory(DATA, bytes);
  }

  write(sector: number | bigint, content: Uint8Array): number {
    this.machine.guest.memory.set(content, DATA - this.machine.guest.memoryBase);
    return this.request(WRITE, sector, [{ address: DATA, bytes: content.length }]).status;
  }
}

describe("virtio block device", () => {
  it("tells capacity, segments and block size, also by bytes and halfwords", () => {
    const disk = new Disk();
    const { guest, board, driver } = disk.machine;
    expect(driver.register(0x100)).toBe(128);
    expect(driver.register(0x10c)).toBe(254);
    expect(driver.register(0x114)).toBe(512);
    expect([guest.read(board, 0x0a00_0515, 1), guest.read(board, 0x0a00_0514, 2)]).toEqual([2, 512]);
    expect(guest.readWide(board, 0x0a00_0500, 8)).toBe(128n);
  });

  it("reads sectors of the image into scattered buffers", () => {
    const disk = new Disk();
    const result = disk.request(READ, 10, [
      { address: DATA, bytes: 100, write: true },
      { address: DATA + 0x1000, bytes: 924, write: true },
    ]);
    expect(result).toEqual({ status: 0, bytes: 1025 });
    const { guest } = disk.machine;
    expect(new Set(guest.readMemory(DATA, 100))).toEqual(new Set([10]));
    expect(guest.readMemory(DATA + 0x1000 + 411, 2)).toEqual(Uint8Array.of(10, 11));
  });

  it("keeps writes in the machine and leaves the image as it is", () => {
    const image = numberedImage("disk0", 64 * 1024);
    const before = image.read(0, image.bytes);
    const disk = new Disk([image]);
    const content = Uint8Array.from({ length: 3 * 512 }, (_, index) => (index * 7) & 0xff);
    expect(disk.write(7, content)).toBe(0);
    expect(disk.read(7, 3 * 512)).toEqual(content);
    expect(disk.read(6, 512)[0]).toBe(6);
    expect(disk.read(10, 512)[0]).toBe(10);
    // One read over image, written and image again.
    const whole = disk.read(0, 24 * 512);
    expect([whole[0], whole[6 * 512], whole[7 * 512 + 1], whole[10 * 512], whole[23 * 512]]).toEqual([0, 6, 7, 10, 23]);
    expect(image.read(0, image.bytes)).toEqual(before);
  });

  it("agrees with a plain array after random reads and writes", () => {
    const seed = 0x2f6e_2b1;
    let random = seed;
    const next = (below: number): number => {
      random = (Math.imul(random, 1_103_515_245) + 12_345) >>> 0;
      return (random >>> 8) % below;
    };
    const disk = new Disk();
    const model = numberedImage("model", 64 * 1024).read(0, 64 * 1024);
    for (let round = 0; round < 300; round += 1) {
      const sector = next(128);
      const bytes = Math.min(1 + next(8), 128 - sector) * 512;
      if (next(2) === 0) {
        const content = Uint8Array.from({ length: bytes }, () => next(256));
        disk.write(sector, content);
        model.set(content, sector * 512);
      } else {
        const got = disk.read(sector, bytes);
        const equal = Buffer.from(got).equals(model.subarray(sector * 512, sector * 512 + bytes));
        expect({ seed, round, equal }).toEqual({ seed, round, equal: true });
      }
    }
  });

  it("answers requests beyond the medium, or of odd sizes, with an I/O error and writes nothing", () => {
    const disk = new Disk();
    const buffer = { address: DATA, bytes: 1024, write: true };
    expect(disk.request(READ, 127, [buffer])).toEqual({ status: 1, bytes: 0 });
    expect(disk.request(READ, 0xffff_ffff_ffff_ffffn, [buffer])).toEqual({ status: 1, bytes: 0 });
    expect(disk.request(READ, 0, [{ ...buffer, bytes: 100 }])).toEqual({ status: 1, bytes: 0 });
    expect(disk.write(127n, new Uint8Array(1024))).toBe(1);
    expect(disk.write(0x7f_ffff_ffff_fffen, new Uint8Array(512))).toBe(1);
    expect(disk.machine.guest.readMemory(DATA, 4)).toEqual(new Uint8Array(4));
    expect(disk.machine.driver.register(0x70)).toBe(15);
  });

  it("flushes, gives its id, and does not support what it does not offer", () => {
    const disk = new Disk();
    expect(disk.request(4, 0, [])).toEqual({ status: 0, bytes: 1 });
    expect(disk.request(8, 0, [{ address: DATA, bytes: 20, write: true }])).toEqual({ status: 0, bytes: 21 });
    expect(Buffer.from(disk.machine.guest.readMemory(DATA, 6)).toString("latin1")).toBe("disk0\0");
    expect(disk.request(11, 0, [{ address: DATA, bytes: 16 }]).status).toBe(2);
  });

  it("refuses writes to a read-only drive, which it announces", () => {
    const disk = new Disk(undefined, SLOT + 1);
    expect(disk.machine.driver.offeredFeatures() & (1n << 5n)).toBe(1n << 5n);
    expect(disk.write(0, new Uint8Array(512))).toBe(1);
    expect(disk.read(1, 512)[0]).toBe(1);
  });

  it("pads an image that ends within a sector with zeros", () => {
    const disk = new Disk([numberedImage("odd", 1000)]);
    expect(disk.machine.driver.register(0x100)).toBe(2);
    const sector = disk.read(1, 512);
    expect([sector[487], sector[488], sector[511]]).toEqual([1, 0, 0]);
    expect(disk.write(1, new Uint8Array(512).fill(9))).toBe(0);
    expect(disk.read(1, 512)[511]).toBe(9);
  });

  it("keeps its content over a reset of the device", () => {
    const disk = new Disk();
    disk.write(3, new Uint8Array(512).fill(0xab));
    disk.machine.guest.memory.fill(0, 0x10_0000, 0x10_4000);
    disk.machine.driver.negotiate(VERSION_1);
    disk.machine.driver.setUpQueue(0, 8);
    disk.machine.driver.driverOk();
    expect(disk.read(3, 512)[0]).toBe(0xab);
  });

  it("takes its content to a restored machine, but only over the same image", () => {
    const drives = [numberedImage("disk0", 64 * 1024)];
    const disk = new Disk(drives);
    disk.write(3, new Uint8Array(512).fill(0xab));
    const sections = disk.machine.board.save();
    const copy = testBoard({ drives });
    copy.restore(sections);
    expect(copy.save()).toEqual(sections);
    const other: BlockBackend = { ...numberedImage("disk0", 64 * 1024), fingerprint: () => "other" };
    expect(() => testBoard({ drives: [other] }).restore(sections)).toThrow(
      /vmm.virtio-blk0.image: drive disk0 has fingerprint other, the saved machine disk0-65536/,
    );
    expect(() => testBoard({ drives: [] }).restore(sections)).toThrow(/this board has no such device/);
    expect(() => testBoard({ drives: [...drives, numberedImage("b", 512)] }).restore(sections)).toThrow(
      /does not have it/,
    );
  });

  it("is one device a drive, in order", () => {
    const disk = new Disk();
    const { guest, board } = disk.machine;
    expect(new TestDriver(guest, board, SLOT + 1).register(0x100)).toBe(16);
    expect(board.deviceAt(0x0a00_0600)).toBe("virtio-blk1");
  });
});
