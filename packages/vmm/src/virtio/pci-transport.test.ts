import { describe, expect, it } from "@jest/globals";
import { PciTestDriver } from "../testing/pci-driver.js";
import { testPc, VERSION_1, type TestPc } from "../testing/test-board.js";
import { numberedImage } from "../testing/test-guest.js";
import type { TestDescriptor } from "../testing/virtio-driver.js";

const BLOCK = 3;
const BLOCK_GSI = 18;
const HEADER = 0x20_0000;
const DATA = 0x20_1000;
const STATUS = 0x20_3000;
const MSIX_ENABLE = 0x8000;
const FUNCTION_MASK = 0x4000;
const MESSAGE = `msi 0xfee01000 0x41`;

interface PciMachine extends TestPc {
  readonly driver: PciTestDriver;
}

function fresh(): PciMachine {
  const pc = testPc({ virtioBus: "pci", drives: [numberedImage("disk0", 64 * 1024)] });
  return { ...pc, driver: new PciTestDriver(pc.guest, pc.board, BLOCK) };
}

/** Negotiated, with queue 0 of 8 entries. */
function live(): PciMachine {
  const vm = fresh();
  expect(vm.driver.negotiate(VERSION_1)).toBe(true);
  vm.driver.setUpQueue(0, 8);
  vm.driver.driverOk();
  return vm;
}

/** With vector 1 for queue 0. */
function withMessages(): PciMachine {
  const vm = live();
  vm.driver.setMessage(1, 0xfee0_1000, 0x41);
  vm.driver.setMsixControl(MSIX_ENABLE);
  vm.driver.setCommon(22, 0, 2);
  vm.driver.setCommon(26, 1, 2);
  vm.guest.events.length = 0;
  return vm;
}

function readRequest({ guest }: TestPc, sector: number): TestDescriptor[] {
  const header = new DataView(new ArrayBuffer(16));
  header.setBigUint64(8, BigInt(sector), true);
  guest.memory.set(new Uint8Array(header.buffer), HEADER);
  return [
    { address: HEADER, bytes: 16 },
    { address: DATA, bytes: 512, write: true },
    { address: STATUS, bytes: 1, write: true },
  ];
}

function messages({ guest }: TestPc): string[] {
  return guest.events.filter((event) => event.startsWith("msi"));
}

describe("PCI's configuration space", () => {
  it("shows a host bridge and modern virtio devices on bus 0, and ones where nobody is", () => {
    const { guest, board, in: read, out } = fresh();
    const found = [0, 1, 2, 3, 4].map((device) => new PciTestDriver(guest, board, device).configuration(0));
    expect(found).toEqual([0x0008_1b36, 0x1043_1af4, 0x1044_1af4, 0x1042_1af4, 0xffff_ffff]);
    out(0xcf8, 0x8001_1800, 4);
    expect([read(0xcfc, 4), read(0xcfe, 2), read(0xcfc, 1)]).toEqual([0xffff_ffff, 0xffff, 0xff]);
    out(0xcf8, 0x0000_1800, 4);
    expect(read(0xcfc, 4)).toBe(0xffff_ffff);
    out(0xcf8, 0xffff_ffff, 4);
    expect(read(0xcf8, 4)).toBe(0x80ff_fffc);
    expect(board.portDeviceAt(0xcfd)).toBe("pci-host");
  });

  it("leaves the reset control register at 0xcf9 where it is", () => {
    const { guest, out } = fresh();
    out(0xcf8, 0x8000_0600, 4);
    expect(guest.stopped).toBeUndefined();
    out(0xcf9, 6);
    expect(guest.stopped).toEqual({ what: "reset", by: "reset control register" });
  });

  it("lists MSI-X and the five structures of virtio", () => {
    const { driver } = fresh();
    const found = driver
      .capabilities()
      .map(({ id, at }) => (id === 9 ? `virtio ${driver.configuration(at + 3, 1)}` : id));
    expect(found).toEqual([0x11, "virtio 1", "virtio 3", "virtio 4", "virtio 2", "virtio 5"]);
    expect(driver.configuration(0x06, 2) & 0x10).toBe(0x10);
    expect(driver.configuration(0x08)).toBe(0x0100_0001);
  });

  it("keeps read-only registers, and says how large a BAR is", () => {
    const { driver } = fresh();
    driver.setConfiguration(0, 0);
    driver.setConfiguration(0x20, 0xffff_ffff);
    driver.setConfiguration(0x10, 0xffff_ffff);
    expect([driver.configuration(0), driver.configuration(0x20), driver.configuration(0x10)]).toEqual([
      0x1042_1af4, 0xffff_c000, 0,
    ]);
  });

  it("decodes a BAR where the guest moves it, and nowhere while memory space is off", () => {
    const { guest, board, driver } = fresh();
    const before = driver.bar(4);
    expect(guest.read(board, before + 18, 2)).toBe(1);
    driver.setConfiguration(0x20, 0xe800_0000);
    expect([guest.read(board, before + 18, 2), guest.read(board, 0xe800_0012, 2)]).toEqual([0, 1]);
    expect(board.deviceAt(0xe800_0000)).toBe("virtio-blk0");
    expect(board.devices()).toContainEqual({ name: "virtio-blk0", base: 0xe800_0000, bytes: 0x4000 });
    driver.setConfiguration(4, 0, 2);
    expect(guest.read(board, 0xe800_0012, 2)).toBe(0);
    expect(board.deviceAt(0xe800_0000)).toBeUndefined();
  });

  it("is not there without --virtio-bus pci", () => {
    const { in: read, out } = testPc();
    out(0xcf8, 0x8000_0000, 4);
    expect([read(0xcf8, 4), read(0xcfc, 4)]).toEqual([0xffff_ffff, 0xffff_ffff]);
  });
});

describe("virtio-pci transport", () => {
  it("answers requests, and raises INTA# until ISR status is read", () => {
    const vm = live();
    vm.driver.submit(0, readRequest(vm, 5));
    expect(vm.driver.collect(0)).toEqual([{ head: 0, bytes: 513 }]);
    expect(vm.guest.readMemory(DATA, 2)).toEqual(Uint8Array.of(5, 5));
    expect([vm.guest.irq(BLOCK_GSI), vm.driver.configuration(6, 2) & 8]).toEqual([1, 8]);
    expect([vm.driver.register(0x60), vm.driver.register(0x60)]).toEqual([1, 0]);
    expect([vm.guest.irq(BLOCK_GSI), vm.driver.configuration(6, 2) & 8]).toEqual([0, 0]);
    expect(messages(vm)).toEqual([]);
  });

  it("holds INTA# back while the command register says so", () => {
    const vm = live();
    vm.driver.setConfiguration(4, 0x406, 2);
    vm.driver.submit(0, readRequest(vm, 1));
    expect(vm.guest.irq(BLOCK_GSI)).toBe(0);
    vm.driver.setConfiguration(4, 6, 2);
    expect(vm.guest.irq(BLOCK_GSI)).toBe(1);
  });

  it("sends a queue's message instead, and keeps ISR status clear", () => {
    const vm = withMessages();
    vm.driver.submit(0, readRequest(vm, 1));
    expect([messages(vm), vm.guest.irq(BLOCK_GSI), vm.driver.register(0x60)]).toEqual([[MESSAGE], 0, 0]);
  });

  it.each([
    [
      "its vector is",
      (vm: PciMachine, isMasked: boolean) => vm.guest.write(vm.board, vm.driver.bar(1) + 28, isMasked ? 1 : 0),
    ],
    [
      "the function is",
      (vm: PciMachine, isMasked: boolean) => vm.driver.setMsixControl(MSIX_ENABLE | (isMasked ? FUNCTION_MASK : 0)),
    ],
  ])("keeps a message pending while %s masked", (_, mask) => {
    const vm = withMessages();
    const pending = (): number => vm.guest.read(vm.board, vm.driver.bar(1) + 0x800);
    mask(vm, true);
    vm.driver.submit(0, readRequest(vm, 1));
    vm.driver.submit(0, readRequest(vm, 2));
    expect([messages(vm), pending()]).toEqual([[], 2]);
    mask(vm, false);
    expect([messages(vm), pending()]).toEqual([[MESSAGE], 0]);
  });

  it("sends nothing for a queue without a vector, and takes none that is not there", () => {
    const vm = withMessages();
    vm.driver.setCommon(26, 2, 2);
    vm.driver.setCommon(16, 2, 2);
    expect([vm.driver.common(26, 2), vm.driver.common(16, 2)]).toEqual([0xffff, 0xffff]);
    vm.driver.submit(0, readRequest(vm, 1));
    expect([messages(vm), vm.driver.collect(0).length]).toEqual([[], 1]);
  });

  it("tells a driver that breaks a queue by the vector of configuration changes", () => {
    const vm = withMessages();
    vm.driver.setMessage(0, 0xfee0_0000, 0x30);
    vm.driver.setCommon(16, 0, 2);
    vm.driver.setAvailableIndex(0, 9);
    vm.driver.notify(0);
    expect(messages(vm)).toEqual(["msi 0xfee00000 0x30"]);
    expect(vm.board.driverErrors().get("virtio-blk0")).toContain("9 ahead of 0");
  });

  it("is reached by way of its configuration space as well", () => {
    const { driver } = fresh();
    const at = driver.capabilities().at(-1)?.at ?? 0;
    driver.setConfiguration(at + 4, 4, 1);
    driver.setConfiguration(at + 8, 18);
    driver.setConfiguration(at + 12, 2);
    expect(driver.configuration(at + 16, 2)).toBe(1);
    driver.setConfiguration(at + 8, 20);
    driver.setConfiguration(at + 12, 1);
    driver.setConfiguration(at + 16, 3, 1);
    expect(driver.register(0x70)).toBe(3);
    driver.setConfiguration(at + 8, 0x3fff_fffc);
    driver.setConfiguration(at + 12, 4);
    expect(driver.configuration(at + 16)).toBe(0);
  });

  it("forgets queues and vectors on a reset, and not where its BARs are", () => {
    const vm = withMessages();
    vm.driver.submit(0, readRequest(vm, 1));
    vm.driver.setRegister(0x70, 0);
    expect([0x70, 0x44].map((offset) => vm.driver.register(offset))).toEqual([0, 0]);
    expect([vm.driver.common(16, 2), vm.driver.common(26, 2), vm.driver.common(18, 2)]).toEqual([0xffff, 0xffff, 1]);
  });

  it("goes on in a restored machine where the saved one stood, its messages and what is masked among it", () => {
    const vm = withMessages();
    vm.driver.setMsixControl(MSIX_ENABLE | FUNCTION_MASK);
    vm.driver.setConfiguration(0x20, 0xe900_0000);
    const driver = new PciTestDriver(vm.guest, vm.board, BLOCK);
    vm.driver.makeAvailable(0, [vm.driver.writeChain(0, readRequest(vm, 6))]);
    driver.notify(0);
    const saved = vm.board.save();
    const copy = testPc({ virtioBus: "pci", drives: [numberedImage("disk0", 64 * 1024)] });
    copy.board.restore(saved);
    expect(copy.board.save()).toEqual(saved);
    new PciTestDriver(vm.guest, copy.board, BLOCK).setMsixControl(MSIX_ENABLE);
    expect(messages(vm)).toEqual([MESSAGE]);
    expect(() => testPc({ drives: [numberedImage("disk0", 64 * 1024)] }).board.restore(saved)).toThrow(/pci/);
  });
});
