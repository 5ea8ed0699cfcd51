import { describe, expect, it } from "@jest/globals";
import { KvmExit } from "@hvjournal/core";
import { numberedImage, TestGuest } from "../testing/test-guest.js";
import { bzImage } from "../testing/x86-kernel-files.js";
import { testPc } from "../testing/test-board.js";
import { UnexpectedExitError } from "./unexpected-exit.js";

const MEBIBYTE = 1024 * 1024;

describe("pc board", () => {
  it("answers ports that nobody claims with ones, so that probing ends, and counts them", () => {
    const { guest, board, in: read, out: write } = testPc();
    expect([read(0x2f8), read(0xcfc, 4), read(0xcf8, 2)]).toEqual([0xff, 0xffff_ffff, 0xffff]);
    // An address in PCI's configuration space: function 4 is no reset.
    write(0xcf8, 0x8000_0400, 4);
    expect(read(0xcf8, 4)).toBe(0xffff_ffff);
    expect(guest.stopped).toBeUndefined();
    expect(Object.fromEntries(board.unclaimedAccesses())).toMatchObject({ "port 0x2f8": 1, "port 0xcfc": 1 });
    expect(guest.events).toEqual([]);
  });

  it("gives wide accesses to devices byte by byte", () => {
    const { guest, in: read, out: write } = testPc();
    write(0x3f8, 0x0000_0048, 1);
    write(0x3fe, 0x1234, 2);
    expect(read(0x3fe, 2)).toBe(0x12b0);
    expect(guest.outputText(0)).toBe("H");
  });

  it.each([
    ["ACPI's SLP_EN with the type of S5", 0x604, 0x2000, 2, { what: "powered off", by: "ACPI S5" }],
    ["isa-debug-exit", 0xf4, 0x10, 4, { what: "powered off", by: "isa-debug-exit", status: 0x21 }],
    ["the reset control register", 0xcf9, 0x06, 1, { what: "reset", by: "reset control register" }],
    ["the keyboard controller", 0x64, 0xfe, 1, { what: "reset", by: "keyboard controller" }],
  ] as const)("ends the run by %s", (_, port, value, bytes, stop) => {
    const { guest, out } = testPc();
    out(port, value, bytes);
    expect(guest.stopped).toEqual(stop);
  });

  it("does not end by what only looks like it", () => {
    const { guest, in: read, out } = testPc();
    out(0x604, 0x2400, 2);
    out(0x604, 0x0000, 2);
    out(0xcf9, 0x02);
    out(0x64, 0xff);
    out(0x60, 0xfe);
    out(0x80, 0x55);
    expect(guest.stopped).toBeUndefined();
    expect([read(0x604, 2), read(0xcf9), read(0x64) & 3, read(0x60), read(0x80)]).toEqual([1, 2, 0, 0, 0]);
  });

  it("keeps which ACPI events are enabled, and none ever happens", () => {
    const { in: read, out } = testPc();
    out(0x602, 0x0520, 2);
    out(0x600, 0xffff, 2);
    expect([read(0x600, 2), read(0x602, 2)]).toEqual([0, 0x0520]);
  });

  it("answers calls and MSRs that nobody has with KVM's and Hyper-V's errors, and #GP", () => {
    const { guest, board } = testPc();
    expect(guest.exit(board, { kvmExit: KvmExit.hypercall, arg0: 12n })).toBe(0xffff_ffff_ffff_fc18n);
    expect(guest.exit(board, { kvmExit: KvmExit.hyperv, info: 2, arg0: 0x8001n })).toBe(2n);
    for (const kvmExit of [KvmExit.x86Rdmsr, KvmExit.x86Wrmsr]) {
      expect(guest.exit(board, { kvmExit, arg0: 0x10n })).toBe(0n);
      expect(guest.registers.get("vcpu0 msr_error")).toBe(1n);
    }
    expect(Object.fromEntries(board.unansweredCalls())).toEqual({
      "KVM_EXIT_HYPERCALL KVM_HC_MAP_GPA_RANGE (0xc)": 1,
      "KVM_EXIT_HYPERV HvExtCallQueryCapabilities (0x8001)": 1,
      "KVM_EXIT_X86_RDMSR IA32_TIME_STAMP_COUNTER": 1,
      "KVM_EXIT_X86_WRMSR IA32_TIME_STAMP_COUNTER": 1,
    });
  });

  it("answers messages and events as a VMM that has no connections", () => {
    const { guest, board } = testPc();
    const call = (arg0: bigint, arg1: bigint): bigint | undefined =>
      guest.exit(board, { kvmExit: KvmExit.hyperv, info: 2, arg0, arg1 });
    const message = new DataView(guest.memory.buffer);
    expect(call(0x5cn, 0x1000n)).toBe(0x12n);
    message.setUint32(0x100c, 241, true);
    expect([call(0x5cn, 0x1000n), call(0x5cn, 0x1004n), call(0x5cn, 0x1f08n)]).toEqual([3n, 4n, 4n]);
    expect([call(0x5cn, 1n << 40n), call(0x1005cn, 0x1000n)]).toEqual([8n, 2n]);
    expect([call(0x1005dn, 0x1234n), call(0x5dn, 0x1_0000_1234n)]).toEqual([0x12n, 0x11n]);
    expect(board.unansweredCalls().size).toBe(0);
  });

  it("stops at an exit of Hyper-V's of a type that it does not know, and the guest's registers are as they were", () => {
    const { guest, board } = testPc();
    const exit = (info: number): unknown => guest.exit(board, { kvmExit: KvmExit.hyperv, info, arg0: 0x1_0050n });
    expect(() => exit(4)).toThrow(
      /^board pc has no answer to KVM_EXIT_HYPERV type 4, HvCallGetVpRegisters \(0x0050\) of vcpu0/,
    );
    expect(() => exit(5)).toThrow(
      /^board pc has no answer to KVM_EXIT_HYPERV type 5 of vcpu0: this build does not know it/,
    );
    expect(guest.events).toEqual([]);
  });

  it("ends on a triple fault and on system events, and refuses exits that no VMM can answer", () => {
    const { guest, board } = testPc();
    guest.exit(board, { kvmExit: KvmExit.shutdown });
    expect(guest.stopped).toEqual({ what: "crashed", by: "triple fault" });
    guest.exit(board, { kvmExit: KvmExit.systemEvent, info: 3 });
    expect(guest.stopped).toEqual({ what: "crashed", by: "KVM_SYSTEM_EVENT_CRASH" });
    expect(() => guest.exit(board, { kvmExit: KvmExit.systemEvent, info: 6 })).toThrow(UnexpectedExitError);
    expect(() => guest.exit(board, { kvmExit: KvmExit.internalError })).toThrow(UnexpectedExitError);
    expect(() => board.takeInput({ port: 2, bytes: new Uint8Array(1) }, guest)).toThrow(/no input port 2/);
    expect(() => board.readCount(2)).toThrow(/no input port 2/);
  });

  it("names what lies at an address and at a port", () => {
    const { board } = testPc({ drives: [numberedImage("a", 512)] });
    const addresses = [0xfec0_0010, 0xfee0_0fff, 0xfeb0_0000, 0xfeb0_0200, 0xfeb0_0400, 0xfeb0_0600, 0];
    expect(addresses.map((address) => board.deviceAt(address))).toEqual([
      "ioapic",
      "lapic",
      "virtio-console",
      "virtio-rng",
      "virtio-blk0",
      undefined,
      undefined,
    ]);
    const ports = [0x60, 0x64, 0x61, 0x70, 0x71, 0x80, 0xf4, 0x3f8, 0x3ff, 0x400, 0x600, 0x605, 0xcf9];
    expect(ports.map((port) => board.portDeviceAt(port))).toEqual([
      "i8042",
      "i8042",
      undefined,
      "cmos",
      "cmos",
      "post-code",
      "isa-debug-exit",
      "com1",
      "com1",
      undefined,
      "acpi-pm1",
      "acpi-pm1",
      "reset-control",
    ]);
    expect(board.devices().map(({ name }) => name)).toEqual([
      "virtio-console",
      "virtio-rng",
      "virtio-blk0",
      "ioapic",
      "lapic",
    ]);
  });

  it("raises a virtio device's own line", () => {
    const { guest, board } = testPc({ drives: [numberedImage("a", 512)] });
    const base = 0xfeb0_0400;
    expect([guest.read(board, base), guest.read(board, base + 8)]).toEqual([0x7472_6976, 2]);
    // A queue that is too large breaks the device, which tells its driver so.
    for (const [offset, value] of [
      [0x70, 1],
      [0x70, 3],
      [0x24, 1],
      [0x20, 1],
      [0x70, 11],
      [0x70, 15],
      [0x38, 3],
      [0x44, 1],
    ] as const)
      guest.write(board, base + offset, value);
    expect(guest.irq(18)).toBe(1);
    expect([...board.driverErrors().keys()]).toEqual(["virtio-blk0"]);
  });

  it("refuses machines that can't be built, and to boot without a kernel or with an empty initrd", () => {
    const { guest, board } = testPc();
    const kernel = { name: "bzImage", bytes: bzImage(4096) };
    expect(() => board.boot(guest)).toThrow(/no kernel was given/);
    expect(() => testPc({ kernel, initrd: { name: "i", bytes: new Uint8Array(0) } }).board.boot(guest)).toThrow(
      /initrd i: the file is empty/,
    );
    expect(() => testPc({ memoryBytes: 512 * 1024 })).toThrow(/from 1048576 up to 3221225472/);
    expect(() => testPc({ vcpuCount: 9 })).toThrow(/pc board with 9 vCPUs: 1 to 8/);
    const drives = Array.from({ length: 15 }, (_, index) => numberedImage(`d${index}`, 512));
    expect(() => testPc({ drives })).toThrow(/15 drives: there are slots for 14/);
  });

  it("saves every device in its own section, and refuses sections of a machine it is not", () => {
    const { board } = testPc();
    expect(board.save().map(({ name }) => name)).toEqual([
      "vmm.cmos",
      "vmm.com1",
      "vmm.acpi-pm1",
      "vmm.reset-control",
      "vmm.virtio-console.transport",
      "vmm.virtio-console",
      "vmm.virtio-rng.transport",
      "vmm.virtio-rng",
    ]);
    expect(() => board.restore(board.save().slice(1))).toThrow(/vmm.cmos: the saved machine does not have it/);
    const changed = testPc();
    changed.out(0x602, 0x20);
    changed.out(0xcf9, 2);
    const saved = changed.board.save();
    board.restore(saved);
    expect(board.save()).toEqual(saved);
    expect(saved).not.toEqual(testPc().board.save());
  });

  it("boots the same for the same seed", () => {
    const memory = (): TestGuest => {
      const { guest, board } = testPc({ memoryBytes: 64 * MEBIBYTE, kernel: { name: "k", bytes: bzImage(4096) } });
      board.boot(guest);
      return guest;
    };
    expect(memory().events).toEqual(memory().events);
    expect(Buffer.from(memory().memory).equals(memory().memory)).toBe(true);
  });
});
