/**
 * PL011 UART (Arm DDI 0183), the board's console.
 *
 * The line is infinitely fast: the transmit FIFO is always empty, and the 32 bit periods of the
 * receive timeout have always passed. Characters have 8 bits, and are sent whether or not the
 * transmitter is enabled, because boot code for emulators often leaves UARTLCR_H and UARTCR as they are.
 * The modem inputs say that a terminal is connected.
 */
import type { StateSection, VmmPort } from "@hvjournal/core";
import { restoreSection, saveSection } from "../../state-coding.js";
import { laneOfWord, type MmioDevice, type TakeSection } from "../mmio-device.js";
import { primecellIdentification } from "../primecell.js";
import {
  DataError,
  FIFO_BYTES,
  LineControl,
  PL011_PERIPHERAL_ID,
  Pl011Control,
  Pl011Flag,
  Pl011Interrupt,
  Pl011Register,
  RECEIVE_TRIGGER_BYTES,
  WritableBits,
} from "./registers.js";
import { pl011Format, resetPl011State, type Pl011State } from "./state.js";

const NAME = "pl011";
const SECTION = `vmm.${NAME}`;

/**
 * A guest that reads UARTFR this often without sending waits for a character. One that only sends
 * looks once or twice between two characters, because the transmitter is never busy.
 */
export const POLLS_THAT_MEAN_LISTENING = 16;

const SINGLE_BYTES: readonly Uint8Array[] = Array.from({ length: 256 }, (_, value) => Uint8Array.of(value));

export class Pl011 implements MmioDevice {
  readonly name = NAME;
  readonly #irqLine: number;
  readonly #outputPort: number;
  #state: Pl011State = resetPl011State();

  /** `irqLine`: an SPI number from 0. `outputPort`: where transmitted bytes leave the machine. */
  constructor(irqLine: number, outputPort: number) {
    this.#irqLine = irqLine;
    this.#outputPort = outputPort;
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

  read(offset: number, bytes: number, port: VmmPort): number {
    return laneOfWord(this.#readRegister(offset & ~3, port), offset, bytes);
  }

  write(offset: number, _bytes: number, value: number, port: VmmPort): void {
    if (offset === Pl011Register.data) {
      this.#changing(port, () => this.#transmit(value & 0xff, port));
    } else {
      this.#changing(port, () => this.#writeRegister(offset, value));
    }
  }

  save(): StateSection[] {
    return [saveSection(pl011Format, SECTION, this.#state)];
  }

  restore(take: TakeSection): void {
    this.#state = restoreSection(pl011Format, take(SECTION));
  }

  #readRegister(register: number, port: VmmPort): number {
    const state = this.#state;
    switch (register) {
      case Pl011Register.data:
        return this.#receive(port);
      case Pl011Register.receiveStatus:
        return state.overrun ? DataError.overrunInStatus : 0;
      case Pl011Register.flags:
        return this.#readFlags(port);
      case Pl011Register.irdaCounter:
        return state.irdaCounter;
      case Pl011Register.integerBaudRate:
        return state.integerBaudRate;
      case Pl011Register.fractionalBaudRate:
        return state.fractionalBaudRate;
      case Pl011Register.lineControl:
        return state.lineControl;
      case Pl011Register.control:
        return state.control;
      case Pl011Register.fifoLevelSelect:
        return state.fifoLevelSelect;
      case Pl011Register.interruptMask:
        return state.interruptMask;
      case Pl011Register.rawInterruptStatus:
        return state.rawInterruptStatus;
      case Pl011Register.maskedInterruptStatus:
        return state.rawInterruptStatus & state.interruptMask;
      case Pl011Register.dmaControl:
        return state.dmaControl;
      default:
        return primecellIdentification(PL011_PERIPHERAL_ID, register) ?? 0;
    }
  }

  #writeRegister(register: number, value: number): void {
    const state = this.#state;
    switch (register) {
      case Pl011Register.receiveStatus:
        state.overrun = false;
        break;
      case Pl011Register.irdaCounter:
        state.irdaCounter = value & WritableBits.irdaCounter;
        break;
      case Pl011Register.integerBaudRate:
        state.integerBaudRate = value & WritableBits.integerBaudRate;
        break;
      case Pl011Register.fractionalBaudRate:
        state.fractionalBaudRate = value & WritableBits.fractionalBaudRate;
        break;
      case Pl011Register.lineControl:
        this.#setLineControl(value & WritableBits.lineControl);
        break;
      case Pl011Register.control:
        state.control = value & WritableBits.control;
        break;
      case Pl011Register.fifoLevelSelect:
        state.fifoLevelSelect = value & WritableBits.fifoLevelSelect;
        break;
      case Pl011Register.interruptMask:
        state.interruptMask = value & WritableBits.interrupts;
        break;
      case Pl011Register.interruptClear:
        this.#clearInterrupts(value);
        break;
      case Pl011Register.dmaControl:
        state.dmaControl = value & WritableBits.dmaControl;
        break;
      default:
        return;
    }
    this.#fillFromLine();
  }

  #readFlags(port: VmmPort): number {
    const state = this.#state;
    if (state.receiveFifo.length === 0) {
      state.emptyReads += 1;
    }
    const flags = this.#modemFlags() | Pl011Flag.transmitEmpty | this.#receiveFlags();
    if (state.flagPolls < POLLS_THAT_MEAN_LISTENING) {
      state.flagPolls += 1;
      this.#changing(port, () => this.#fillFromLine());
    }
    return flags;
  }

  #receiveFlags(): number {
    const held = this.#state.receiveFifo.length;
    return (held === 0 ? Pl011Flag.receiveEmpty : 0) | (held >= this.#fifoDepth() ? Pl011Flag.receiveFull : 0);
  }

  /** In loopback the modem inputs follow the modem outputs (DDI 0183, 2.4.3). */
  #modemFlags(): number {
    const control = this.#state.control;
    if ((control & Pl011Control.loopback) === 0) {
      return Pl011Flag.clearToSend | Pl011Flag.dataSetReady | Pl011Flag.dataCarrierDetect;
    }
    return (
      (control & Pl011Control.requestToSend ? Pl011Flag.clearToSend : 0) |
      (control & Pl011Control.dataTransmitReady ? Pl011Flag.dataSetReady : 0) |
      (control & Pl011Control.out1 ? Pl011Flag.dataCarrierDetect : 0) |
      (control & Pl011Control.out2 ? Pl011Flag.ringIndicator : 0)
    );
  }

  #transmit(byte: number, port: VmmPort): void {
    const state = this.#state;
    state.flagPolls = 0;
    if (state.control & Pl011Control.loopback) {
      this.#pushReceived(byte);
    } else {
      port.output(this.#outputPort, SINGLE_BYTES[byte] ?? Uint8Array.of(byte));
    }
    // The FIFO has gone through its trigger level and is empty again.
    state.rawInterruptStatus |= Pl011Interrupt.transmit;
  }

  #receive(port: VmmPort): number {
    const state = this.#state;
    const character = state.receiveFifo.shift();
    if (character === undefined) {
      state.emptyReads += 1;
      return state.overrun ? DataError.overrunInData : 0;
    }
    this.#changing(port, () => {
      if (state.receiveFifo.length < this.#receiveTrigger()) {
        state.rawInterruptStatus &= ~Pl011Interrupt.receive;
      }
      if (state.receiveFifo.length === 0) {
        state.rawInterruptStatus &= ~Pl011Interrupt.receiveTimeout;
      }
      this.#fillFromLine();
    });
    return character | (state.overrun ? DataError.overrunInData : 0);
  }

  #pushReceived(byte: number): void {
    const state = this.#state;
    if (state.receiveFifo.length >= this.#fifoDepth()) {
      state.overrun = true;
      state.rawInterruptStatus |= Pl011Interrupt.overrun;
      return;
    }
    state.receiveFifo.push(byte);
    state.rawInterruptStatus |= Pl011Interrupt.receiveTimeout;
    if (state.receiveFifo.length === this.#receiveTrigger()) {
      state.rawInterruptStatus |= Pl011Interrupt.receive;
    }
  }

  #fillFromLine(): void {
    const state = this.#state;
    if (state.line.length === 0 || !this.#listens()) {
      return;
    }
    const room = Math.min(this.#fifoDepth() - state.receiveFifo.length, state.line.length);
    for (let index = 0; index < room; index += 1) {
      this.#pushReceived(state.line[index] ?? 0);
    }
    state.line = state.line.subarray(Math.max(room, 0));
  }

  /** Whether a character would be seen: the receiver is on, and the guest takes receive interrupts or polls. */
  #listens(): boolean {
    const { control, interruptMask, flagPolls } = this.#state;
    const receiver = Pl011Control.uartEnable | Pl011Control.receiveEnable;
    if ((control & (receiver | Pl011Control.loopback)) !== receiver) {
      return false;
    }
    const interrupts = Pl011Interrupt.receive | Pl011Interrupt.receiveTimeout;
    return (interruptMask & interrupts) !== 0 || flagPolls >= POLLS_THAT_MEAN_LISTENING;
  }

  /** A character that still waits raises the timeout again: another 32 bit periods have passed. */
  #clearInterrupts(value: number): void {
    const state = this.#state;
    state.rawInterruptStatus &= ~value & WritableBits.interrupts;
    if (state.receiveFifo.length > 0) {
      state.rawInterruptStatus |= Pl011Interrupt.receiveTimeout;
    }
  }

  #setLineControl(value: number): void {
    const state = this.#state;
    if ((state.lineControl ^ value) & LineControl.fifoEnable) {
      state.receiveFifo = [];
      state.rawInterruptStatus &= ~(Pl011Interrupt.receive | Pl011Interrupt.receiveTimeout);
    }
    state.lineControl = value;
  }

  #fifoDepth(): number {
    return this.#state.lineControl & LineControl.fifoEnable ? FIFO_BYTES : 1;
  }

  #receiveTrigger(): number {
    const { lineControl, fifoLevelSelect } = this.#state;
    return lineControl & LineControl.fifoEnable ? (RECEIVE_TRIGGER_BYTES[(fifoLevelSelect >> 3) & 7] ?? 1) : 1;
  }

  /** UARTINTR is the OR of the masked interrupts, so it is derived and never saved. */
  #interruptLevel(): 0 | 1 {
    return this.#state.rawInterruptStatus & this.#state.interruptMask ? 1 : 0;
  }

  #changing(port: VmmPort, change: () => void): void {
    const before = this.#interruptLevel();
    change();
    const after = this.#interruptLevel();
    if (after !== before) {
      port.setIrqLine(this.#irqLine, after);
    }
  }
}
