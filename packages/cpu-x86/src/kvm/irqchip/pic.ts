/** The pair of interrupt controllers of a PC: Intel 8259A datasheet, and the edge/level registers of the PIIX. */
import { PayloadFields, type PlainValue } from "@hvjournal/core";

export const PIC_PORTS: readonly number[] = [0x20, 0x21, 0xa0, 0xa1, 0x4d0, 0x4d1];

const CASCADE_PIN = 2;
const ALL_PINS = 0xff;
/** What answers an acknowledgement when the request has gone. */
const SPURIOUS_PIN = 7;
/** Pins 0 to 2 of the first one, and 0 and 5 of the second one (RTC, coprocessor), are of edge type for ever. */
const LEVEL_WRITABLE = [0xf8, 0xde] as const;

class Pic {
  lines = 0;
  requested = 0;
  inService = 0;
  mask = 0;
  vectorBase = 0;
  /** The pin of the highest priority. */
  priorityTop = 0;
  readsInService = false;
  polls = false;
  specialMask = false;
  autoEnd = false;
  rotatesOnAutoEnd = false;
  specialFullyNested = false;
  hasIcw4 = false;
  /** The next word of initialisation: 2 to 4; 0: none is expected. */
  initialisation = 0;
  level = 0;
  readonly #isFirst: boolean;
  readonly #levelWritable: number;

  constructor(isFirst: boolean) {
    this.#isFirst = isFirst;
    this.#levelWritable = LEVEL_WRITABLE[isFirst ? 0 : 1];
  }

  setLine(pin: number, isHigh: boolean): void {
    const bit = 1 << pin;
    if ((this.level & bit) !== 0) this.requested = isHigh ? this.requested | bit : this.requested & ~bit;
    else if (isHigh && (this.lines & bit) === 0) this.requested |= bit;
    this.lines = isHigh ? this.lines | bit : this.lines & ~bit;
  }

  #priorityOf(pins: number): number {
    if (pins === 0) return 8;
    let priority = 0;
    while ((pins & (1 << ((priority + this.priorityTop) & 7))) === 0) priority += 1;
    return priority;
  }

  /** The pin that is to interrupt; undefined: none. */
  get pending(): number | undefined {
    const priority = this.#priorityOf(this.requested & ~this.mask);
    if (priority === 8) return undefined;
    let inService = this.inService;
    if (this.specialMask) inService &= ~this.mask;
    if (this.specialFullyNested && this.#isFirst) inService &= ~(1 << CASCADE_PIN);
    return priority < this.#priorityOf(inService) ? (priority + this.priorityTop) & 7 : undefined;
  }

  acknowledge(pin: number): void {
    const bit = 1 << pin;
    if (!this.autoEnd) this.inService |= bit;
    else if (this.rotatesOnAutoEnd) this.priorityTop = (pin + 1) & 7;
    if ((this.level & bit) === 0) this.requested &= ~bit;
  }

  writeCommand(value: number): void {
    if ((value & 0x10) !== 0) this.#initialise(value);
    else if ((value & 0x08) !== 0) this.#writeOcw3(value);
    else this.#writeOcw2(value);
  }

  #initialise(value: number): void {
    this.requested &= this.level;
    this.inService = 0;
    this.mask = 0;
    this.priorityTop = 0;
    this.readsInService = false;
    this.polls = false;
    this.specialMask = false;
    this.autoEnd = false;
    this.rotatesOnAutoEnd = false;
    this.specialFullyNested = false;
    this.hasIcw4 = (value & 1) !== 0;
    this.initialisation = 2;
  }

  #writeOcw3(value: number): void {
    if ((value & 0x04) !== 0) this.polls = true;
    if ((value & 0x02) !== 0) this.readsInService = (value & 1) !== 0;
    if ((value & 0x40) !== 0) this.specialMask = (value & 0x20) !== 0;
  }

  #writeOcw2(value: number): void {
    const pin = value & 7;
    switch (value >> 5) {
      case 0:
      case 4:
        this.rotatesOnAutoEnd = value >> 5 === 4;
        return;
      case 1:
      case 5:
        return this.#endHighest(value >> 5 === 5);
      case 3:
        this.inService &= ~(1 << pin);
        return;
      case 6:
        this.priorityTop = (pin + 1) & 7;
        return;
      case 7:
        this.inService &= ~(1 << pin);
        this.priorityTop = (pin + 1) & 7;
        return;
      default:
        return;
    }
  }

  #endHighest(rotates: boolean): void {
    const priority = this.#priorityOf(this.inService);
    if (priority === 8) return;
    const pin = (priority + this.priorityTop) & 7;
    this.inService &= ~(1 << pin);
    if (rotates) this.priorityTop = (pin + 1) & 7;
  }

  writeData(value: number): void {
    switch (this.initialisation) {
      case 2:
        this.vectorBase = value & 0xf8;
        this.initialisation = 3;
        return;
      case 3:
        this.initialisation = this.hasIcw4 ? 4 : 0;
        return;
      case 4:
        this.specialFullyNested = (value & 0x10) !== 0;
        this.autoEnd = (value & 0x02) !== 0;
        this.initialisation = 0;
        return;
      default:
        this.mask = value;
    }
  }

  readCommand(): number {
    return this.readsInService ? this.inService : this.requested;
  }

  /** After a poll command, the next read acknowledges. */
  takePoll(): number {
    this.polls = false;
    const pin = this.pending;
    if (pin === undefined) return SPURIOUS_PIN;
    this.acknowledge(pin);
    return 0x80 | pin;
  }

  writeLevel(value: number): void {
    this.level = value & this.#levelWritable;
  }

  plain(): PlainValue {
    const { lines, requested, inService, mask, vectorBase, priorityTop, initialisation, level } = this;
    const { readsInService, polls, specialMask, autoEnd, rotatesOnAutoEnd, specialFullyNested, hasIcw4 } = this;
    return {
      ...{ lines, requested, inService, mask, vectorBase, priorityTop, initialisation, level },
      ...{ readsInService, polls, specialMask, autoEnd, rotatesOnAutoEnd, specialFullyNested, hasIcw4 },
    };
  }

  restore(fields: PayloadFields): void {
    this.lines = fields.number("lines");
    this.requested = fields.number("requested");
    this.inService = fields.number("inService");
    this.mask = fields.number("mask");
    this.vectorBase = fields.number("vectorBase");
    this.priorityTop = fields.number("priorityTop");
    this.initialisation = fields.number("initialisation");
    this.level = fields.number("level");
    this.readsInService = fields.boolean("readsInService");
    this.polls = fields.boolean("polls");
    this.specialMask = fields.boolean("specialMask");
    this.autoEnd = fields.boolean("autoEnd");
    this.rotatesOnAutoEnd = fields.boolean("rotatesOnAutoEnd");
    this.specialFullyNested = fields.boolean("specialFullyNested");
    this.hasIcw4 = fields.boolean("hasIcw4");
  }
}

export class PicPair {
  readonly #first = new Pic(true);
  readonly #second = new Pic(false);

  /** `line`: 0 to 15. */
  setLine(line: number, level: 0 | 1): void {
    const pic = line < 8 ? this.#first : this.#second;
    pic.setLine(line & 7, level === 1);
    this.#cascade();
  }

  #cascade(): void {
    this.#first.setLine(CASCADE_PIN, this.#second.pending !== undefined);
  }

  /** INTR. */
  get isRequesting(): boolean {
    return this.#first.pending !== undefined;
  }

  /** Some line could raise INTR: not all are masked. */
  get canRequest(): boolean {
    return this.isRequesting || this.#first.mask !== ALL_PINS;
  }

  /** INTA: the vector. */
  acknowledge(): number {
    const pin = this.#first.pending;
    if (pin === undefined) return this.#first.vectorBase + SPURIOUS_PIN;
    this.#first.acknowledge(pin);
    if (pin !== CASCADE_PIN) return this.#first.vectorBase + pin;
    const second = this.#second.pending;
    if (second !== undefined) this.#second.acknowledge(second);
    this.#cascade();
    return this.#second.vectorBase + (second ?? SPURIOUS_PIN);
  }

  #at(port: number): Pic {
    return (port & 0x80) === 0 && port !== 0x4d1 ? this.#first : this.#second;
  }

  read(port: number): number {
    const pic = this.#at(port);
    if (port === 0x4d0 || port === 0x4d1) return pic.level;
    if (pic.polls) {
      const found = pic.takePoll();
      this.#cascade();
      return found;
    }
    return (port & 1) === 0 ? pic.readCommand() : pic.mask;
  }

  write(port: number, value: number): void {
    const pic = this.#at(port);
    if (port === 0x4d0 || port === 0x4d1) pic.writeLevel(value);
    else if ((port & 1) === 0) pic.writeCommand(value);
    else pic.writeData(value);
    this.#cascade();
  }

  plain(): PlainValue {
    return [this.#first.plain(), this.#second.plain()];
  }

  restore([first, second]: readonly PayloadFields[]): void {
    if (first === undefined || second === undefined) throw new RangeError("two PICs expected");
    this.#first.restore(first);
    this.#second.restore(second);
  }
}
