import { describe, expect, it } from "@jest/globals";
import { testPc, type TestPc } from "../../testing/test-board.js";
import { POLLS_THAT_MEAN_LISTENING } from "./device.js";
import {
  FIFOS_ENABLED,
  InterruptIdentification as Iir,
  LineControl,
  LineStatus,
  ModemControl,
  ModemStatus,
  UartRegister as Register,
} from "./registers.js";

const COM1 = 0x3f8;
const IRQ = 4;

interface Machine extends TestPc {
  read(register: number): number;
  write(register: number, value: number): void;
  type(text: string): boolean;
}

function machine(): Machine {
  const pc = testPc();
  return {
    ...pc,
    read: (register) => pc.in(COM1 + register),
    write: (register, value) => pc.out(COM1 + register, value),
    type: (text) => pc.board.takeInput({ port: 0, bytes: Buffer.from(text) }, pc.guest),
  };
}

/** As Linux's serial8250_do_startup leaves it. */
function startUp({ read, write }: Machine): void {
  write(Register.interruptIdentification, 0x07);
  write(Register.interruptIdentification, 0x81);
  write(Register.lineControl, 0x03);
  write(Register.modemControl, ModemControl.out2 | ModemControl.dataTerminalReady | ModemControl.requestToSend);
  write(Register.interruptEnable, 0x05);
  for (const register of [Register.lineStatus, Register.data, Register.interruptIdentification, Register.modemStatus])
    read(register);
}

/** As Linux's serial8250_handle_irq does. */
function interruptHandler({ read }: Machine): string {
  let text = "";
  while ((read(Register.interruptIdentification) & 1) === 0)
    while ((read(Register.lineStatus) & LineStatus.dataReady) !== 0) text += String.fromCharCode(read(Register.data));
  return text;
}

describe("16550A UART", () => {
  it("is what Linux's probing takes for a 16550A", () => {
    const { read, write } = machine();
    // autoconfig: four bits of interrupt enables, and modem inputs that follow the outputs in loopback.
    write(Register.interruptEnable, 0xff);
    expect(read(Register.interruptEnable)).toBe(0x0f);
    write(Register.interruptEnable, 0);
    write(Register.modemControl, ModemControl.loopback | 0x0a);
    expect(read(Register.modemStatus) & 0xf0).toBe(ModemStatus.carrierDetect | ModemStatus.clearToSend);
    write(Register.modemControl, 0);
    // FIFOs that say that they work, and have no more than 16 bytes.
    write(Register.interruptIdentification, 0x01);
    expect(read(Register.interruptIdentification)).toBe(FIFOS_ENABLED | Iir.none);
    write(Register.lineControl, LineControl.divisorLatch);
    write(Register.interruptIdentification, 0x21);
    expect(read(Register.interruptIdentification) & 0x20).toBe(0);
    write(Register.lineControl, 0);
    write(Register.scratch, 0x5a);
    expect(read(Register.scratch)).toBe(0x5a);
  });

  it("keeps the divisor behind DLAB, apart from data and interrupt enables", () => {
    const { guest, read, write } = machine();
    write(Register.lineControl, LineControl.divisorLatch | 3);
    write(Register.data, 0x34);
    write(Register.interruptEnable, 0x12);
    expect([read(Register.data), read(Register.interruptEnable), read(Register.lineControl)]).toEqual([
      0x34, 0x12, 0x83,
    ]);
    write(Register.lineControl, 3);
    expect(read(Register.interruptEnable)).toBe(0);
    expect(guest.outputText(0)).toBe("");
  });

  it("sends each character at once, and its transmitter is always empty", () => {
    const { guest, read, write } = machine();
    for (const character of "Hi!") write(Register.data, character.charCodeAt(0));
    expect(guest.outputText(0)).toBe("Hi!");
    expect(read(Register.lineStatus)).toBe(LineStatus.holdingEmpty | LineStatus.transmitterEmpty);
  });

  it("tells once that its transmitter is empty, when asked and behind each character", () => {
    const { guest, read, write } = machine();
    write(Register.modemControl, ModemControl.out2);
    write(Register.interruptEnable, 2);
    expect(guest.irq(IRQ)).toBe(1);
    expect(read(Register.interruptIdentification)).toBe(Iir.transmitterEmpty);
    expect(guest.irq(IRQ)).toBe(0);
    expect(read(Register.interruptIdentification)).toBe(Iir.none);
    write(Register.interruptEnable, 0);
    write(Register.interruptEnable, 2);
    expect(guest.irq(IRQ)).toBe(1);
    read(Register.interruptIdentification);
    write(Register.data, 0x41);
    expect(read(Register.interruptIdentification)).toBe(Iir.transmitterEmpty);
  });

  it("interrupts only while OUT2 connects it", () => {
    const { guest, write } = machine();
    write(Register.interruptEnable, 2);
    expect(guest.irq(IRQ)).toBe(0);
    write(Register.modemControl, ModemControl.out2);
    expect(guest.irq(IRQ)).toBe(1);
    write(Register.modemControl, ModemControl.out2 | ModemControl.loopback);
    expect(guest.irq(IRQ)).toBe(0);
  });

  it("hands typed input to a guest that works as Linux does, however long the input is", () => {
    const vm = machine();
    startUp(vm);
    const typed = "cat /proc/interrupts; poweroff -f\r".repeat(5);
    expect(vm.type(typed)).toBe(true);
    expect(vm.guest.irq(IRQ)).toBe(1);
    expect(interruptHandler(vm)).toBe(typed);
    expect(vm.guest.irq(IRQ)).toBe(0);
    expect(vm.type("x")).toBe(true);
  });

  it("says whether the trigger level is reached", () => {
    const vm = machine();
    startUp(vm);
    vm.type("1234567");
    expect(vm.read(Register.interruptIdentification)).toBe(FIFOS_ENABLED | Iir.characterTimeout);
    vm.type("8");
    expect(vm.read(Register.interruptIdentification)).toBe(FIFOS_ENABLED | Iir.received);
    vm.read(Register.data);
    expect(vm.read(Register.interruptIdentification)).toBe(FIFOS_ENABLED | Iir.characterTimeout);
  });

  it("takes no input before the guest listens, by interrupt or by polling, and not while earlier input waits", () => {
    const vm = machine();
    expect(vm.type("early")).toBe(false);
    for (let poll = 0; poll < POLLS_THAT_MEAN_LISTENING; poll += 1) vm.read(Register.lineStatus);
    expect(vm.board.readCount(0)).toBe(POLLS_THAT_MEAN_LISTENING);
    expect(vm.type("ab")).toBe(true);
    expect(vm.type("c")).toBe(false);
    expect([vm.read(Register.data), vm.read(Register.lineStatus) & 1, vm.read(Register.data)]).toEqual([0x61, 1, 0x62]);
  });

  it("receives its own characters in loopback, and loses what has no room", () => {
    const { guest, read, write } = machine();
    write(Register.modemControl, ModemControl.loopback);
    write(Register.data, 0x41);
    write(Register.data, 0x42);
    expect(read(Register.lineStatus)).toBe(0x60 | LineStatus.dataReady | LineStatus.overrun);
    expect(read(Register.lineStatus)).toBe(0x60 | LineStatus.dataReady);
    expect(read(Register.data)).toBe(0x41);
    expect(guest.outputText(0)).toBe("");
  });

  it("empties its FIFO on request, and when the FIFOs are turned on or off", () => {
    const vm = machine();
    startUp(vm);
    vm.type("abc");
    vm.write(Register.interruptIdentification, 0x03);
    expect(vm.read(Register.lineStatus) & 1).toBe(0);
    vm.type("d");
    vm.write(Register.interruptIdentification, 0);
    expect(vm.read(Register.lineStatus) & 1).toBe(0);
    expect(vm.guest.irq(IRQ)).toBe(0);
  });

  it("saves all that it remembers", () => {
    const vm = machine();
    startUp(vm);
    vm.type("x".repeat(20));
    const saved = vm.board.save();
    const other = machine();
    other.board.restore(saved);
    expect(other.board.save()).toEqual(saved);
    expect(interruptHandler(other)).toBe("x".repeat(20));
  });
});
