import { describe, expect, it } from "@jest/globals";
import { createVirtBoard, type VirtBoard } from "../../board/virt.js";
import { TestGuest, countingEntropy } from "../../testing/test-guest.js";
import { POLLS_THAT_MEAN_LISTENING } from "./device.js";
import { Pl011Control, Pl011Flag, Pl011Interrupt, Pl011Register as Register } from "./registers.js";

const UART = 0x0900_0000;
const SPI = 1;
const ENABLED = Pl011Control.uartEnable | Pl011Control.transmitEnable | Pl011Control.receiveEnable;

interface Machine {
  readonly guest: TestGuest;
  readonly board: VirtBoard;
  read(register: number, bytes?: number): number;
  write(register: number, value: number, bytes?: number): void;
  type(text: string): boolean;
}

function board(): VirtBoard {
  return createVirtBoard({
    memoryBytes: 4 << 20,
    vcpuCount: 1,
    drives: [],
    rtcBaseNs: 0n,
    entropy: countingEntropy(),
  });
}

function machine(): Machine {
  const guest = new TestGuest();
  const virt = board();
  return {
    guest,
    board: virt,
    read: (register, bytes) => guest.read(virt, UART + register, bytes),
    write: (register, value, bytes) => guest.write(virt, UART + register, value, bytes),
    type: (text) => virt.takeInput({ port: 0, bytes: Buffer.from(text) }, guest),
  };
}

/** As Linux's pl011_startup and pl011_enable_interrupts do. */
function startUp({ read, write }: Machine): void {
  write(Register.interruptClear, 0x7ff);
  write(Register.fifoLevelSelect, 0x12);
  write(Register.lineControl, 0x70);
  write(Register.control, ENABLED);
  write(Register.interruptClear, Pl011Interrupt.receiveTimeout | Pl011Interrupt.receive);
  while ((read(Register.flags) & Pl011Flag.receiveEmpty) === 0) {
    read(Register.data);
  }
  write(Register.interruptMask, Pl011Interrupt.receiveTimeout | Pl011Interrupt.receive);
}

/** As Linux's pl011_int and pl011_rx_chars do: reads until the FIFO is empty. */
function interruptHandler({ read, write }: Machine): string {
  let text = "";
  for (let status = read(Register.maskedInterruptStatus); status !== 0; status = read(Register.maskedInterruptStatus)) {
    write(
      Register.interruptClear,
      status & ~(Pl011Interrupt.receive | Pl011Interrupt.receiveTimeout | Pl011Interrupt.transmit),
    );
    while ((read(Register.flags) & Pl011Flag.receiveEmpty) === 0) {
      text += String.fromCharCode(read(Register.data) & 0xff);
    }
  }
  return text;
}

describe("PL011", () => {
  it("identifies itself as Arm's part 0x011, revision 1, which has 16-byte FIFOs", () => {
    const { read } = machine();
    const bytes = Array.from({ length: 8 }, (_, index) => read(0xfe0 + index * 4));
    expect(bytes).toEqual([0x11, 0x10, 0x14, 0x00, 0x0d, 0xf0, 0x05, 0xb1]);
  });

  it("sends every written character to the console port, also as byte and halfword accesses", () => {
    const { guest, read, write } = machine();
    write(Register.data, 0x48, 1);
    write(Register.data, 0x169, 2);
    write(Register.data, 0x21);
    expect(guest.outputText(0)).toBe("Hi!");
    expect(read(Register.flags) & (Pl011Flag.transmitEmpty | Pl011Flag.receiveEmpty | 8)).toBe(
      Pl011Flag.transmitEmpty | Pl011Flag.receiveEmpty,
    );
  });

  it("keeps what the driver programs, within each register's bits", () => {
    const { read, write } = machine();
    const kept: readonly [number, number][] = [
      [Register.irdaCounter, 0xff],
      [Register.integerBaudRate, 0xffff],
      [Register.fractionalBaudRate, 0x3f],
      [Register.lineControl, 0xff],
      [Register.control, 0xff87],
      [Register.fifoLevelSelect, 0x3f],
      [Register.interruptMask, 0x7ff],
      [Register.dmaControl, 0x7],
    ];
    for (const [register, mask] of kept) {
      write(register, 0xffff_ffff);
      expect([register, read(register)]).toEqual([register, mask]);
    }
    expect(read(Register.control + 1, 1)).toBe(0xff);
  });

  it("raises the transmit interrupt while it is enabled, until the guest clears it", () => {
    const { guest, read, write } = machine();
    write(Register.data, 0x41);
    expect(guest.irq(SPI)).toBe(0);
    write(Register.interruptMask, Pl011Interrupt.transmit);
    expect(guest.irq(SPI)).toBe(1);
    expect(read(Register.maskedInterruptStatus)).toBe(Pl011Interrupt.transmit);
    write(Register.interruptClear, Pl011Interrupt.transmit);
    expect(guest.irq(SPI)).toBe(0);
    expect(guest.events.filter((event) => event.startsWith("irq"))).toEqual(["irq 1 1", "irq 1 0"]);
  });

  it("hands typed input to a guest that works as Linux does, however long the input is", () => {
    const vm = machine();
    startUp(vm);
    const typed = "cat /proc/interrupts; poweroff -f\r".repeat(5);
    expect(vm.type(typed)).toBe(true);
    expect(vm.guest.irq(SPI)).toBe(1);
    expect(interruptHandler(vm)).toBe(typed);
    expect(vm.guest.irq(SPI)).toBe(0);
  });

  it("raises the receive interrupt at the trigger level and the timeout below it", () => {
    const vm = machine();
    startUp(vm);
    vm.type("1234567");
    expect(vm.read(Register.rawInterruptStatus)).toBe(Pl011Interrupt.receiveTimeout);
    expect(vm.type("8")).toBe(true);
    expect(vm.read(Register.rawInterruptStatus)).toBe(Pl011Interrupt.receiveTimeout | Pl011Interrupt.receive);
    vm.read(Register.data);
    expect(vm.read(Register.rawInterruptStatus)).toBe(Pl011Interrupt.receiveTimeout);
  });

  it("takes no input before the guest listens, so that nothing is lost when the port is opened", () => {
    const vm = machine();
    expect(vm.type("early")).toBe(false);
    startUp(vm);
    expect(vm.type("early")).toBe(true);
    expect(interruptHandler(vm)).toBe("early");
  });

  it("takes no input behind input that still waits", () => {
    const vm = machine();
    startUp(vm);
    expect(vm.type("more than the sixteen bytes of the FIFO")).toBe(true);
    expect(vm.type("x")).toBe(false);
    interruptHandler(vm);
    expect(vm.type("x")).toBe(true);
  });

  it("feeds a guest that polls the flags without interrupts", () => {
    const vm = machine();
    vm.write(Register.control, ENABLED);
    expect(vm.type("y")).toBe(false);
    for (let poll = 0; poll < POLLS_THAT_MEAN_LISTENING; poll += 1) {
      expect(vm.read(Register.flags) & Pl011Flag.receiveEmpty).not.toBe(0);
    }
    expect(vm.type("y")).toBe(true);
    expect(vm.read(Register.flags) & Pl011Flag.receiveEmpty).toBe(0);
    expect(vm.read(Register.data)).toBe(0x79);
    expect(vm.board.readCount(0)).toBe(POLLS_THAT_MEAN_LISTENING);
  });

  it("does not take a guest that looks at the flags between two characters for one that listens", () => {
    const vm = machine();
    vm.write(Register.control, ENABLED);
    for (let sent = 0; sent < 2 * POLLS_THAT_MEAN_LISTENING; sent += 1) {
      vm.read(Register.flags);
      vm.write(Register.data, 0x2e);
    }
    expect(vm.type("y")).toBe(false);
  });

  it("keeps the timeout interrupt while a character waits, though the guest clears it", () => {
    const vm = machine();
    startUp(vm);
    vm.type("y");
    vm.write(Register.interruptClear, Pl011Interrupt.receiveTimeout);
    expect(vm.guest.irq(SPI)).toBe(1);
    vm.read(Register.data);
    expect(vm.guest.irq(SPI)).toBe(0);
  });

  it("holds one character without FIFOs, and forgets what it holds when they are switched", () => {
    const vm = machine();
    vm.write(Register.control, ENABLED);
    vm.write(Register.interruptMask, Pl011Interrupt.receive);
    vm.type("ab");
    expect(vm.read(Register.flags) & Pl011Flag.receiveFull).not.toBe(0);
    expect(vm.read(Register.rawInterruptStatus) & Pl011Interrupt.receive).not.toBe(0);
    expect(vm.read(Register.data)).toBe(0x61);
    vm.write(Register.lineControl, 0x10);
    expect(vm.read(Register.flags) & Pl011Flag.receiveEmpty).not.toBe(0);
  });

  it("loops characters and modem signals back, and reports an overrun until the error is cleared", () => {
    const vm = machine();
    vm.write(Register.control, ENABLED | Pl011Control.loopback | Pl011Control.requestToSend);
    vm.write(Register.data, 0x31);
    vm.write(Register.data, 0x32);
    expect(vm.guest.outputText(0)).toBe("");
    expect(vm.read(Register.flags) & 0x107).toBe(Pl011Flag.clearToSend);
    expect(vm.read(Register.rawInterruptStatus) & Pl011Interrupt.overrun).not.toBe(0);
    expect(vm.read(Register.data)).toBe(0x31 | (1 << 11));
    expect(vm.read(Register.receiveStatus)).toBe(8);
    vm.write(Register.receiveStatus, 0);
    expect(vm.read(Register.receiveStatus)).toBe(0);
  });

  it("goes on after a restore as the saved one does", () => {
    const vm = machine();
    startUp(vm);
    vm.type("a line that is longer than the FIFO\r");
    vm.read(Register.data);
    const sections = vm.board.save();
    const copy = board();
    copy.restore(sections);
    expect(copy.save()).toEqual(sections);
    const there = { ...vm, guest: new TestGuest(), board: copy };
    const other: Machine = {
      ...there,
      read: (register, bytes) => there.guest.read(copy, UART + register, bytes),
      write: (register, value, bytes) => there.guest.write(copy, UART + register, value, bytes),
    };
    expect(interruptHandler(other)).toBe(" line that is longer than the FIFO\r");
    // The line was high when it was saved, and the interrupt controller knows that.
    expect(there.guest.events).toEqual(["irq 1 0"]);
  });
});
