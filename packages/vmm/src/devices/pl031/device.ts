/** PL031 real time clock (Arm DDI 0224): seconds of the recorded wall clock base plus guest time, and one alarm. */
import type { StateSection, VmmPort } from "@hvjournal/core";
import { restoreSection, saveSection } from "../../state-coding.js";
import { laneOfWord, type MmioDevice, type TakeSection } from "../mmio-device.js";
import { primecellIdentification } from "../primecell.js";
import { CONTROL_STARTED, COUNTER_PERIOD_SECONDS, PL031_PERIPHERAL_ID, Pl031Register } from "./registers.js";
import { pl031Format, type Pl031State } from "./state.js";

const NAME = "pl031";
const SECTION = `vmm.${NAME}`;
const NANOSECONDS_PER_SECOND = 1_000_000_000n;

export class Pl031 implements MmioDevice {
  readonly name = NAME;
  readonly #irqLine: number;
  #state: Pl031State;

  /** `baseNs`: wall clock at guest time 0, nanoseconds since 1970. */
  constructor(irqLine: number, baseNs: bigint) {
    this.#irqLine = irqLine;
    this.#state = {
      baseNs,
      offsetSeconds: 0,
      match: 0,
      load: 0,
      interruptMask: false,
      rawInterruptStatus: false,
      matchAtSecond: 0,
    };
    this.#arm(0);
  }

  /** When the alarm would interrupt the guest. A masked alarm asks for nothing: it is found when a register is next used. */
  get deadlineNs(): number | undefined {
    const { interruptMask, rawInterruptStatus, matchAtSecond, baseNs } = this.#state;
    if (!interruptMask || rawInterruptStatus) {
      return undefined;
    }
    const deadline = BigInt(matchAtSecond) * NANOSECONDS_PER_SECOND - baseNs;
    return deadline > BigInt(Number.MAX_SAFE_INTEGER) ? undefined : Number(deadline);
  }

  reachDeadline(port: VmmPort): void {
    this.#changing(port, () => undefined);
  }

  read(offset: number, bytes: number, port: VmmPort): number {
    this.#advance(port.guestTimeNs);
    return laneOfWord(this.#readRegister(offset & ~3, port.guestTimeNs), offset, bytes);
  }

  write(offset: number, _bytes: number, value: number, port: VmmPort): void {
    this.#changing(port, () => this.#writeRegister(offset, value, port.guestTimeNs));
  }

  save(): StateSection[] {
    return [saveSection(pl031Format, SECTION, this.#state)];
  }

  restore(take: TakeSection): void {
    this.#state = restoreSection(pl031Format, take(SECTION));
  }

  #readRegister(register: number, guestTimeNs: number): number {
    const state = this.#state;
    switch (register) {
      case Pl031Register.data:
        return this.#counter(guestTimeNs);
      case Pl031Register.match:
        return state.match;
      case Pl031Register.load:
        return state.load;
      case Pl031Register.control:
        return CONTROL_STARTED;
      case Pl031Register.interruptMask:
        return state.interruptMask ? 1 : 0;
      case Pl031Register.rawInterruptStatus:
        return state.rawInterruptStatus ? 1 : 0;
      case Pl031Register.maskedInterruptStatus:
        return this.#interruptLevel();
      default:
        return primecellIdentification(PL031_PERIPHERAL_ID, register) ?? 0;
    }
  }

  #writeRegister(register: number, value: number, guestTimeNs: number): void {
    const state = this.#state;
    switch (register) {
      case Pl031Register.match:
        state.match = value;
        this.#arm(guestTimeNs);
        break;
      case Pl031Register.load:
        state.load = value;
        state.offsetSeconds = (value - this.#wallSecond(guestTimeNs)) >>> 0;
        this.#arm(guestTimeNs);
        break;
      case Pl031Register.interruptMask:
        state.interruptMask = (value & 1) !== 0;
        break;
      case Pl031Register.interruptClear:
        if (value & 1) {
          state.rawInterruptStatus = false;
        }
        break;
      default:
        break;
    }
  }

  #wallSecond(guestTimeNs: number): number {
    return Number((this.#state.baseNs + BigInt(guestTimeNs)) / NANOSECONDS_PER_SECOND);
  }

  #counter(guestTimeNs: number): number {
    return (this.#state.offsetSeconds + this.#wallSecond(guestTimeNs)) % COUNTER_PERIOD_SECONDS;
  }

  /** Finds the next second at which counter and match are equal: now, or within one period. */
  #arm(guestTimeNs: number): void {
    const secondsLeft = (this.#state.match - this.#counter(guestTimeNs)) >>> 0;
    this.#state.matchAtSecond = this.#wallSecond(guestTimeNs) + secondsLeft;
  }

  #advance(guestTimeNs: number): void {
    const state = this.#state;
    while (this.#wallSecond(guestTimeNs) >= state.matchAtSecond) {
      state.rawInterruptStatus = true;
      state.matchAtSecond += COUNTER_PERIOD_SECONDS;
    }
  }

  /** RTCINTR is the masked status, so it is derived and never saved. */
  #interruptLevel(): 0 | 1 {
    return this.#state.rawInterruptStatus && this.#state.interruptMask ? 1 : 0;
  }

  #changing(port: VmmPort, change: () => void): void {
    const before = this.#interruptLevel();
    this.#advance(port.guestTimeNs);
    change();
    this.#advance(port.guestTimeNs);
    const after = this.#interruptLevel();
    if (after !== before) {
      port.setIrqLine(this.#irqLine, after);
    }
  }
}
