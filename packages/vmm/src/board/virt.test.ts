import { describe, expect, it } from "@jest/globals";
import { KvmExit } from "@hvjournal/core";
import { findNode, parseDeviceTree, strings } from "../boot/fdt.js";
import { TEST_MEMORY_BYTES, testBoard } from "../testing/test-board.js";
import { arm64Image } from "../testing/kernel-files.js";
import { TestGuest, countingEntropy, numberedImage } from "../testing/test-guest.js";
import { UnexpectedExitError } from "./unexpected-exit.js";
import type { VirtBoardOptions } from "./virt.js";

const MEBIBYTE = 1024 * 1024;
const UART = 0x0900_0000;
const MEMORY_BYTES = 8 * MEBIBYTE;

function bootedGuest(options: Partial<VirtBoardOptions> = {}): TestGuest {
  const guest = new TestGuest(MEMORY_BYTES);
  const kernel = { name: "Image", bytes: arm64Image(4096).fill(0x5a, 100) };
  testBoard({ memoryBytes: MEMORY_BYTES, kernel, append: "console=ttyAMA0 quiet", ...options }).boot(guest);
  return guest;
}

describe("boot on the virt board", () => {
  it("hands over kernel, initrd and device tree as Linux's boot protocol asks", () => {
    const guest = bootedGuest({ initrd: { name: "initrd", bytes: new Uint8Array(5000).fill(0x17) } });
    expect(guest.registers.get("vcpu0 pc")).toBe(0x4000_0000n);
    expect(guest.readMemory(0x4000_0000 + 100, 1)).toEqual(Uint8Array.of(0x5a));
    const deviceTree = Number(guest.registers.get("vcpu0 x0"));
    expect(deviceTree % (2 * MEBIBYTE)).toBe(0);
    const tree = parseDeviceTree(guest.memory.subarray(deviceTree - guest.memoryBase));
    const chosen = findNode(tree, "/chosen")?.properties;
    expect(chosen?.get("bootargs")).toEqual(strings("console=ttyAMA0 quiet"));
    const view = new DataView(chosen?.get("linux,initrd-start")?.buffer ?? new ArrayBuffer(8));
    const initrd = Number(view.getBigUint64(0));
    expect(guest.readMemory(initrd + 4999, 2)).toEqual(Uint8Array.of(0x17, 0));
    expect(chosen?.get("rng-seed")?.subarray(0, 8)).toEqual(Uint8Array.of(1, 0, 0, 0, 0, 0, 0, "boot/rng-seed".length));
  });

  it("does the same for the same seed, and seeds the guest from it", () => {
    const memory = Buffer.from(bootedGuest().memory);
    expect(memory.equals(bootedGuest().memory)).toBe(true);
    const entropy = countingEntropy();
    entropy.stream("boot/kaslr-seed").counter = 77n;
    expect(memory.equals(bootedGuest({ entropy }).memory)).toBe(false);
  });

  it("refuses to boot without a kernel, with an empty initrd, or with a command line that Linux would cut", () => {
    const kernel = { name: "Image", bytes: arm64Image(4096) };
    const guest = new TestGuest(MEMORY_BYTES);
    expect(() => testBoard().boot(guest)).toThrow(/no kernel was given/);
    expect(() => testBoard({ kernel, initrd: { name: "i", bytes: new Uint8Array(0) } }).boot(guest)).toThrow(
      /initrd i: the file is empty/,
    );
    expect(() => testBoard({ kernel, append: "x".repeat(2048) }).boot(guest)).toThrow(
      /2048 bytes, arm64 Linux takes 2047/,
    );
    expect(guest.events).toEqual([]);
  });
});

describe("virt board", () => {
  it("answers exits that no device claims with zero, and counts them by page", () => {
    const guest = new TestGuest(TEST_MEMORY_BYTES);
    const board = testBoard();
    expect(guest.readWide(board, 0x0b00_0008, 8)).toBe(0n);
    expect(guest.read(board, 0x80_0000_1000, 4)).toBe(0);
    guest.write(board, 0x0b00_0ffc, 5);
    expect([...board.unclaimedAccesses()]).toEqual([
      ["0xb000000", 3],
      ["0x8000001000", 1],
    ]);
    expect(guest.events).toEqual([]);
  });

  it("counts accesses to many unclaimed pages together", () => {
    const guest = new TestGuest(TEST_MEMORY_BYTES);
    const board = testBoard();
    for (let page = 0; page < 100; page += 1) {
      guest.read(board, 0x1000_0000 + page * 0x1000);
    }
    expect(board.unclaimedAccesses().size).toBe(65);
    expect(board.unclaimedAccesses().get("other")).toBe(36);
  });

  it("splits wide and unaligned accesses into what the bus carries", () => {
    const guest = new TestGuest(TEST_MEMORY_BYTES);
    const board = testBoard();
    guest.write(board, UART + 0x24, 0x3f_0000_1234n, 8);
    expect(guest.readWide(board, UART + 0x24, 8)).toBe(0x3f_0000_1234n);
    expect(guest.read(board, UART + 0x25, 2)).toBe(0x12);
    expect(guest.readWide(board, UART + 0x22, 7)).toBe(0x3f_0000_1234_0000n);
  });

  it("answers a forwarded hypercall that nobody handles with NOT_SUPPORTED", () => {
    const guest = new TestGuest(TEST_MEMORY_BYTES);
    guest.exit(testBoard(), { kvmExit: KvmExit.hypercall, arg0: 0xc600_0001n });
    expect(guest.events).toEqual(["vcpu0 x0 0xffffffffffffffff"]);
  });

  it.each([
    [1, 0, "powered off", "PSCI SYSTEM_OFF"],
    [1, 1, "powered off", "PSCI SYSTEM_OFF2"],
    [2, 0, "reset", "PSCI SYSTEM_RESET"],
    [2, 1, "reset", "PSCI SYSTEM_RESET2"],
    [3, 0, "crashed", "KVM_SYSTEM_EVENT_CRASH"],
    [5, 0, "suspended", "PSCI SYSTEM_SUSPEND"],
  ])("ends the run on system event %d with flags %d", (type, flags, what, by) => {
    const guest = new TestGuest(TEST_MEMORY_BYTES);
    guest.exit(testBoard(), { kvmExit: KvmExit.systemEvent, info: type | (flags << 8) });
    expect(guest.stopped).toEqual({ what, by });
  });

  it("refuses exits that no VMM can answer", () => {
    const guest = new TestGuest(TEST_MEMORY_BYTES);
    const board = testBoard();
    expect(() => guest.exit(board, { kvmExit: KvmExit.internalError })).toThrow(UnexpectedExitError);
    expect(() => guest.exit(board, { kvmExit: KvmExit.systemEvent, info: 6 })).toThrow(/of type 6/);
    expect(() => board.takeInput({ port: 2, bytes: new Uint8Array(1) }, guest)).toThrow(/no input port 2/);
  });

  it("names what lies at an address", () => {
    const board = testBoard({ drives: [numberedImage("a", 512)] });
    const addresses = [
      0x0800_0000,
      0x080a_0000,
      UART + 0xfff,
      0x0901_0000,
      0x0a00_0000,
      0x0a00_0200,
      0x0a00_05ff,
      0x0a00_0600,
      0x4000_0000,
    ];
    expect(addresses.map((address) => board.deviceAt(address))).toEqual([
      "gicd",
      "gicr",
      "pl011",
      "pl031",
      "virtio-console",
      "virtio-rng",
      "virtio-blk0",
      undefined,
      undefined,
    ]);
  });

  it("refuses machines that can't be built", () => {
    expect(() => testBoard({ memoryBytes: 1000 })).toThrow(/1000 bytes of memory/);
    expect(() => testBoard({ memoryBytes: 4 * 1024 * MEBIBYTE })).toThrow(/up to 3221225472/);
    expect(() => testBoard({ vcpuCount: 124 })).toThrow(/1 to 123 are possible/);
    expect(() => testBoard({ append: "a\0b" })).toThrow(/zero byte/);
    expect(() => testBoard({ drives: [numberedImage("a", 512), numberedImage("a", 512)] })).toThrow(
      /two drives have the id a/,
    );
    const drives = Array.from({ length: 31 }, (_, index) => numberedImage(`d${index}`, 512));
    expect(() => testBoard({ drives })).toThrow(/31 drives: there are slots for 30/);
  });

  it("saves every device in its own section, and refuses sections of a machine it is not", () => {
    const board = testBoard();
    const names = board.save().map(({ name }) => name);
    expect(names).toEqual([
      "vmm.pl011",
      "vmm.pl031",
      "vmm.virtio-console.transport",
      "vmm.virtio-console",
      "vmm.virtio-rng.transport",
      "vmm.virtio-rng",
    ]);
    expect(() => board.restore(board.save().slice(1))).toThrow(/vmm.pl011: the saved machine does not have it/);
    expect(() => board.restore([...board.save(), { name: "vmm.tpm", version: 1, bytes: new Uint8Array(0) }])).toThrow(
      /no such device/,
    );
  });
});
