/**
 * 16550A UART (National Semiconductor PC16550D), a PC's serial port.
 *
 * The line is infinitely fast: the transmitter is always empty, and the four character times of the receiver's timeout have
 * always passed. The modem inputs say that a terminal is connected. As on a PC, OUT2 connects the interrupt to its line.
 */
import type { StateSection, VmmPort } from "@hvjournal/core";
import { restoreSection, saveSection } from "../../state-coding.js";
import type { TakeSection } from "../mmio-device.js";
import type { PortDevice } from "../port-device.js";
import {
  FIFO_BYTES,
  FIFOS_ENABLED,
  FifoControl,
  INTERRUPT_ENABLE_BITS,
  InterruptEnable,
  InterruptIdentification,
  LineControl,
  LineStatus,
  MODEM_CONTROL_BITS,
  ModemControl,
  ModemStatus,
  RECEIVE_TRIGGER_BYTES,
  UartRegister,
} from "./registers.js";
import { resetUartState, uartFormat, type UartState } from "./state.js";

/**
 * A guest that reads LSR this often without sending waits for a character. One that only sends looks once or twice between
 * two characters, because the transmitter is never busy.
 */
export const POLLS_THAT_MEAN_LISTENING = 16;

const SINGLE_BYTES: readonly Uint8Array[] = Array.from({ length: 256 }, (_, value) => Uint8Array.of(value));
const MODEM_INPUTS = ModemStatus.clearToSend | ModemStatus.dataSetReady | ModemStatus.carrierDetect;
/** From an input of MSR to the bit that says it has changed. */
const DELTA_SHIFT = 4;

export interface UartWiring {
  readonly name: string;
  readonly irqLine: number;
  /** Where transmitted bytes leave the machine. */
  readonly outputPort: number;
}

export class Uart16550 implements PortDevice {
  readonly name: string;
  readonly offsets = Object.values(UartRegister);
  readonly #wiring: UartWiring;
  readonly #section: string;
  #state: UartState = resetUartState();

  constructor(wiring: UartWiring) {
    this.name = wiring.name;
    this.#wiring = wiring;
    this.#section = `vmm.${wiring.name}`;
  }

  /** Reads that told the guest that no character is there. */
  get readCount(): number {
    return this.#state.emptyReads;
  }

  /** False while earlier input still waits, or the guest does not listen: what it drained on opening the port would be lost. */
  takeInput(bytes: Uint8Array, port: VmmPort): boolean {
    if (this.#state.line.length > 0 || !this.#listens()) {
      return false;
    }
    this.#state.line = bytes.slice();
    this.#changing(port, () => this.#fillFromLine());
    return true;
  }

  read(offset: number, port: VmmPort): number {
    const state = this.#state;
    switch (offset) {
      case UartRegister.data:
        return this.#hasDivisorLatch() ? state.divisor & 0xff : this.#receive(port);
      case UartRegister.interruptEnable:
        return this.#hasDivisorLatch() ? state.divisor >> 8 : state.interruptEnable;
      case UartRegister.interruptIdentification:
        return this.#identify(port);
      case UartRegister.lineControl:
        return state.lineControl;
      case UartRegister.modemControl:
        return state.modemControl;
      case UartRegister.lineStatus:
        return this.#readLineStatus(port);
      case UartRegister.modemStatus:
        return this.#readModemStatus(port);
      default:
        return state.scratch;
    }
  }

  write(offset: number, value: number, port: VmmPort): void {
    this.#changing(port, () => {
      if (this.#hasDivisorLatch() && offset <= UartRegister.interruptEnable) this.#setDivisor(offset, value);
      else if (offset === UartRegister.data) this.#transmit(value, port);
      else this.#writeRegister(offset, value);
      this.#fillFromLine();
    });
  }

  save(): StateSection[] {
    return [saveSection(uartFormat, this.#section, this.#state)];
  }

  restore(take: TakeSection): void {
    this.#state = restoreSection(uartFormat, take(this.#section));
  }

  #writeRegister(offset: number, value: number): void {
    const state = this.#state;
    switch (offset) {
      case UartRegister.interruptEnable:
        this.#setInterruptEnable(value & INTERRUPT_ENABLE_BITS);
        break;
      case UartRegister.interruptIdentification:
        this.#setFifoControl(value);
        break;
      case UartRegister.lineControl:
        state.lineControl = value;
        break;
      case UartRegister.modemControl:
        this.#setModemControl(value & MODEM_CONTROL_BITS);
        break;
      case UartRegister.scratch:
        state.scratch = value;
        break;
      default:
        // LSR and MSR are for reading.
        break;
    }
  }

  #hasDivisorLatch(): boolean {
    return (this.#state.lineControl & LineControl.divisorLatch) !== 0;
  }

  #setDivisor(offset: number, value: number): void {
    const shift = 8 * offset;
    this.#state.divisor = (this.#state.divisor & ~(0xff << shift)) | (value << shift);
  }

  /** An interrupt that is enabled while the transmitter is empty comes at once. */
  #setInterruptEnable(value: number): void {
    const added = value & ~this.#state.interruptEnable;
    if (added & InterruptEnable.transmitterEmpty) this.#state.transmitterEmptied = true;
    this.#state.interruptEnable = value;
  }

  #setFifoControl(value: number): void {
    const state = this.#state;
    const enable = (value & FifoControl.enable) !== 0;
    if (enable !== state.fifosEnabled || (enable && (value & FifoControl.resetReceiver) !== 0)) state.receiveFifo = [];
    state.fifosEnabled = enable;
    state.receiveTrigger = enable ? value >> 6 : 0;
  }

  #setModemControl(value: number): void {
    const before = this.#modemInputs();
    this.#state.modemControl = value;
    const after = this.#modemInputs();
    const changed = (before ^ after) & ~ModemStatus.ringIndicator;
    const rang = before & ~after & ModemStatus.ringIndicator;
    this.#state.modemDeltas |= (changed | rang) >> DELTA_SHIFT;
  }

  /** In loopback the modem's inputs are its outputs (data sheet, 8.6.7). */
  #modemInputs(): number {
    const control = this.#state.modemControl;
    if ((control & ModemControl.loopback) === 0) return MODEM_INPUTS;
    return (
      (control & ModemControl.requestToSend ? ModemStatus.clearToSend : 0) |
      (control & ModemControl.dataTerminalReady ? ModemStatus.dataSetReady : 0) |
      (control & ModemControl.out1 ? ModemStatus.ringIndicator : 0) |
      (control & ModemControl.out2 ? ModemStatus.carrierDetect : 0)
    );
  }

  #readLineStatus(port: VmmPort): number {
    const state = this.#state;
    const ready = state.receiveFifo.length > 0;
    if (!ready) state.emptyReads += 1;
    const status =
      (ready ? LineStatus.dataReady : 0) |
      (state.overrun ? LineStatus.overrun : 0) |
      LineStatus.holdingEmpty |
      LineStatus.transmitterEmpty;
    this.#changing(port, () => {
      state.overrun = false;
      if (state.statusPolls >= POLLS_THAT_MEAN_LISTENING) return;
      state.statusPolls += 1;
      this.#fillFromLine();
    });
    return status;
  }

  #readModemStatus(port: VmmPort): number {
    const status = this.#modemInputs() | this.#state.modemDeltas;
    this.#changing(port, () => {
      this.#state.modemDeltas = 0;
    });
    return status;
  }

  /** Who is told of an empty transmitter won't be told again before the next character. */
  #identify(port: VmmPort): number {
    const found = this.#pendingInterrupt();
    if (found === InterruptIdentification.transmitterEmpty)
      this.#changing(port, () => {
        this.#state.transmitterEmptied = false;
      });
    return found | (this.#state.fifosEnabled ? FIFOS_ENABLED : 0);
  }

  #transmit(byte: number, port: VmmPort): void {
    const state = this.#state;
    state.statusPolls = 0;
    if (state.modemControl & ModemControl.loopback) this.#pushReceived(byte);
    else port.output(this.#wiring.outputPort, SINGLE_BYTES[byte] ?? Uint8Array.of(byte));
    state.transmitterEmptied = true;
  }

  #receive(port: VmmPort): number {
    const state = this.#state;
    const character = state.receiveFifo[0];
    if (character === undefined) {
      state.emptyReads += 1;
      return 0;
    }
    this.#changing(port, () => {
      state.receiveFifo.shift();
      this.#fillFromLine();
    });
    return character;
  }

  #pushReceived(byte: number): void {
    if (this.#state.receiveFifo.length >= this.#fifoDepth()) this.#state.overrun = true;
    else this.#state.receiveFifo.push(byte);
  }

  #fillFromLine(): void {
    const state = this.#state;
    if (state.line.length === 0 || !this.#listens()) return;
    const room = Math.max(Math.min(this.#fifoDepth() - state.receiveFifo.length, state.line.length), 0);
    for (const byte of state.line.subarray(0, room)) this.#pushReceived(byte);
    state.line = state.line.subarray(room);
  }

  /** Whether a character would be seen: the guest takes receive interrupts, or polls. */
  #listens(): boolean {
    const { interruptEnable, modemControl, statusPolls } = this.#state;
    if (modemControl & ModemControl.loopback) return false;
    return (interruptEnable & InterruptEnable.received) !== 0 || statusPolls >= POLLS_THAT_MEAN_LISTENING;
  }

  #fifoDepth(): number {
    return this.#state.fifosEnabled ? FIFO_BYTES : 1;
  }

  #pendingInterrupt(): number {
    const { interruptEnable, overrun, receiveFifo, transmitterEmptied, modemDeltas } = this.#state;
    if (overrun && interruptEnable & InterruptEnable.lineStatus) return InterruptIdentification.lineStatus;
    if (receiveFifo.length > 0 && interruptEnable & InterruptEnable.received)
      return receiveFifo.length >= this.#receiveTrigger()
        ? InterruptIdentification.received
        : InterruptIdentification.characterTimeout;
    if (transmitterEmptied && interruptEnable & InterruptEnable.transmitterEmpty)
      return InterruptIdentification.transmitterEmpty;
    return modemDeltas !== 0 && interruptEnable & InterruptEnable.modemStatus
      ? InterruptIdentification.modemStatus
      : InterruptIdentification.none;
  }

  #receiveTrigger(): number {
    const { fifosEnabled, receiveTrigger } = this.#state;
    return fifosEnabled ? (RECEIVE_TRIGGER_BYTES[receiveTrigger] ?? 1) : 1;
  }

  /** Derived, and never saved. In loopback OUT2 stays inside the chip. */
  #interruptLevel(): 0 | 1 {
    const wired = ModemControl.out2 | ModemControl.loopback;
    const isWired = (this.#state.modemControl & wired) === ModemControl.out2;
    return isWired && this.#pendingInterrupt() !== InterruptIdentification.none ? 1 : 0;
  }

  #changing(port: VmmPort, change: () => void): void {
    const before = this.#interruptLevel();
    change();
    const after = this.#interruptLevel();
    if (after !== before) port.setIrqLine(this.#wiring.irqLine, after);
  }
}
