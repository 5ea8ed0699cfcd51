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
    const it = machine();
    it.driver.submit(RECEIVE, [{ address: BUFFER, bytes: 4, write: true }]);
    expect(type(it, "abcdef")).toBe(true);
    expect(it.driver.collect(RECEIVE)).toEqual([{ head: 0, bytes: 4 }]);
    expect(it.guest.irq(SPI)).toBe(1);
    expect(type(it, "later")).toBe(false);
    it.driver.submit(RECEIVE, [{ address: BUFFER + 4, bytes: 4, write: true }]);
    expect(it.driver.collect(RECEIVE)).toEqual([{ head: 1, bytes: 2 }]);
    expect(Buffer.from(it.guest.readMemory(BUFFER, 6)).toString("latin1")).toBe("abcdef");
  });

  it("takes no input before the driver has given a buffer, and counts the times it found none", () => {
    const it = machine();
    expect(type(it, "x")).toBe(false);
    // Both the start of the driver and its notification looked for input.
    it.driver.submit(RECEIVE, [{ address: BUFFER, bytes: 4, write: true }]);
    expect(it.board.readCount(1)).toBe(2);
    expect(type(it, "x")).toBe(true);
  });

  it("writes emergency characters without a driver", () => {
    const it = machine();
    it.driver.setRegister(0x70, 0);
    it.driver.setRegister(0x108, 0x21);
    expect(it.guest.outputText(1)).toBe("!");
  });

  it("asks for a reset on a receive buffer that it can't write", () => {
    const it = machine();
    it.driver.submit(RECEIVE, [{ address: BUFFER, bytes: 4 }]);
    type(it, "x");
    expect(it.driver.register(0x70) & 64).toBe(64);
  });

  it("keeps input that waits in a restored machine", () => {
    const it = machine();
    it.driver.submit(RECEIVE, [{ address: BUFFER, bytes: 1, write: true }]);
    type(it, "xyz");
    const sections = it.board.save().filter(({ name }) => !name.includes("blk"));
    const copy = testBoard();
    copy.restore(sections);
    expect(copy.save()).toEqual(sections);
    it.driver.makeAvailable(RECEIVE, [it.driver.writeChain(RECEIVE, [{ address: BUFFER, bytes: 8, write: true }])]);
    it.guest.write(copy, 0x0a00_0050, RECEIVE);
    expect(Buffer.from(it.guest.readMemory(BUFFER, 2)).toString("latin1")).toBe("yz");
  });
});
