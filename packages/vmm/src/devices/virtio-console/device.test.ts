import { describe, expect, it } from "@jest/globals";
import { VERSION_1, machineWithDriver, testBoard, type TestMachine } from "../../testing/test-board.js";

const SLOT = 0;
const SPI = 16;
const RECEIVE = 0;
const TRANSMIT = 1;
const BUFFER = 0x4020_0000;

function machine(): TestMachine {
  return machineWithDriver(SLOT, VERSION_1, [RECEIVE, TRANSMIT]);
}

function type({ board, guest }: TestMachine, text: string): boolean {
  return board.takeInput({ port: 1, bytes: Buffer.from(text) }, guest);
}

describe("virtio console", () => {
  it("sends what the guest writes to port 1, and nothing to the board's console", () => {
    const { guest, driver } = machine();
    guest.memory.set(Buffer.from("hello, hvc0"), BUFFER - guest.memoryBase);
    driver.submit(TRANSMIT, [
      { address: BUFFER, bytes: 7 },
      { address: BUFFER + 7, bytes: 4 },
    ]);
    expect(driver.collect(TRANSMIT)).toEqual([{ head: 0, bytes: 0 }]);
    expect([guest.outputText(0), guest.outputText(1)]).toEqual(["", "hello, hvc0"]);
    expect(guest.irq(SPI)).toBe(1);
  });

  it("sends long buffers in pieces that an event can hold", () => {
    const { guest, driver } = machine();
    guest.events.length = 0;
    driver.submit(TRANSMIT, [{ address: BUFFER, bytes: 9000 }]);
    expect(guest.events.filter((event) => event.startsWith("output"))).toEqual([
      "output 1 4096",
      "output 1 4096",
      "output 1 808",
    ]);
  });

  it("delivers input into receive buffers, and the rest when more buffers come", () => {
    const vm = machine();
    vm.driver.submit(RECEIVE, [{ address: BUFFER, bytes: 4, write: true }]);
    expect(type(vm, "abcdef")).toBe(true);
    expect(vm.driver.collect(RECEIVE)).toEqual([{ head: 0, bytes: 4 }]);
    expect(vm.guest.irq(SPI)).toBe(1);
    expect(type(vm, "later")).toBe(false);
    vm.driver.submit(RECEIVE, [{ address: BUFFER + 4, bytes: 4, write: true }]);
    expect(vm.driver.collect(RECEIVE)).toEqual([{ head: 1, bytes: 2 }]);
    expect(Buffer.from(vm.guest.readMemory(BUFFER, 6)).toString("latin1")).toBe("abcdef");
  });

  it("takes no input before the driver has given a buffer, and counts the times it found none", () => {
    const vm = machine();
    expect(type(vm, "x")).toBe(false);
    // Both the start of the driver and its notification looked for input.
    vm.driver.submit(RECEIVE, [{ address: BUFFER, bytes: 4, write: true }]);
    expect(vm.board.readCount(1)).toBe(2);
    expect(type(vm, "x")).toBe(true);
  });

  it("writes emergency characters without a driver", () => {
    const vm = machine();
    vm.driver.setRegister(0x70, 0);
    vm.driver.setRegister(0x108, 0x21);
    expect(vm.guest.outputText(1)).toBe("!");
  });

  it("asks for a reset on a receive buffer that it can't write", () => {
    const vm = machine();
    vm.driver.submit(RECEIVE, [{ address: BUFFER, bytes: 4 }]);
    type(vm, "x");
    expect(vm.driver.register(0x70) & 64).toBe(64);
  });

  it("asks for a reset when input meets a broken ring, and takes no more", () => {
    const vm = machine();
    vm.driver.setAvailableIndex(RECEIVE, 100);
    expect(type(vm, "x")).toBe(true);
    expect(vm.guest.events.at(-1)).toBe("irq 16 1");
    vm.guest.events.length = 0;
    expect(type(vm, "y")).toBe(false);
    expect(vm.guest.events).toEqual([]);
  });

  it("drops input that waits when the driver resets the device", () => {
    const vm = machine();
    vm.driver.submit(RECEIVE, [{ address: BUFFER, bytes: 1, write: true }]);
    type(vm, "xyz");
    vm.driver.negotiate(VERSION_1);
    vm.guest.memory.fill(0, 0x10_0000, 0x10_8000);
    vm.driver.setUpQueue(RECEIVE, 8);
    vm.driver.driverOk();
    vm.driver.submit(RECEIVE, [{ address: BUFFER, bytes: 8, write: true }]);
    expect(vm.driver.collect(RECEIVE)).toEqual([]);
  });

  it("keeps input that waits in a restored machine", () => {
    const vm = machine();
    vm.driver.submit(RECEIVE, [{ address: BUFFER, bytes: 1, write: true }]);
    type(vm, "xyz");
    const sections = vm.board.save().filter(({ name }) => !name.includes("blk"));
    const copy = testBoard();
    copy.restore(sections);
    expect(copy.save()).toEqual(sections);
    vm.driver.makeAvailable(RECEIVE, [vm.driver.writeChain(RECEIVE, [{ address: BUFFER, bytes: 8, write: true }])]);
    vm.guest.write(copy, 0x0a00_0050, RECEIVE);
    expect(Buffer.from(vm.guest.readMemory(BUFFER, 2)).toString("latin1")).toBe("yz");
  });
});
