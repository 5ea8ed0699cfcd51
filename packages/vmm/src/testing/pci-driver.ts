/** The driver under test on PCI: it finds its registers as a driver does, by its function's capabilities. */
import type { VmmHalf } from "@hvjournal/core";
import type { TestGuest } from "./test-guest.js";
import { TestDriver } from "./virtio-driver.js";

/** By the register of virtio-mmio that means the same: its place in the common structure, and its bytes. */
const COMMON: ReadonlyMap<number, readonly [offset: number, bytes: number]> = new Map([
  [0x14, [0, 4]],
  [0x10, [4, 4]],
  [0x24, [8, 4]],
  [0x20, [12, 4]],
  [0x30, [22, 2]],
  [0x34, [24, 2]],
  [0x38, [24, 2]],
  [0x44, [28, 2]],
  [0x70, [20, 1]],
  [0x80, [32, 4]],
  [0x84, [36, 4]],
  [0x90, [40, 4]],
  [0x94, [44, 4]],
  [0xa0, [48, 4]],
  [0xa4, [52, 4]],
]);
const [NOTIFY, INTERRUPT_STATUS] = [0x50, 0x60];
const VENDOR_SPECIFIC = 9;
/** Status, where nobody answers. */
const NO_DEVICE = 0xffff;

export interface FoundCapability {
  readonly id: number;
  readonly at: number;
}

export class PciTestDriver extends TestDriver {
  readonly #guest: TestGuest;
  readonly #board: VmmHalf;
  readonly #device: number;
  readonly #structures = new Map<number, number>();
  #multiplier = 0;

  /** `device`: its number on bus 0. */
  constructor(guest: TestGuest, board: VmmHalf, device: number) {
    super(guest, board, 0);
    this.#guest = guest;
    this.#board = board;
    this.#device = device;
    for (const { id, at } of this.capabilities()) {
      if (id !== VENDOR_SPECIFIC) continue;
      const type = this.configuration(at + 3, 1);
      this.#structures.set(type, this.bar(this.configuration(at + 4, 1)) + this.configuration(at + 8, 4));
      if (type === 2) this.#multiplier = this.configuration(at + 16, 4);
    }
  }

  configuration(offset: number, bytes = 4): number {
    this.#address(offset);
    return this.#guest.readPort(this.#board, 0xcfc + (offset & 3), bytes);
  }

  setConfiguration(offset: number, value: number, bytes = 4): void {
    this.#address(offset);
    this.#guest.writePort(this.#board, 0xcfc + (offset & 3), value, bytes);
  }

  bar(index: number): number {
    return (this.configuration(0x10 + 4 * index) & ~0xf) >>> 0;
  }

  capabilities(): FoundCapability[] {
    const found: FoundCapability[] = [];
    if ((this.configuration(0x06, 2) & NO_DEVICE) === NO_DEVICE) return found;
    for (let at = this.configuration(0x34, 1); at !== 0; at = this.configuration(at + 1, 1))
      found.push({ id: this.configuration(at, 1), at });
    return found;
  }

  /** First address of the structure of a `cfg_type`. */
  structure(type: number): number {
    return this.#structures.get(type) ?? 0;
  }

  common(offset: number, bytes: number): number {
    return this.#guest.read(this.#board, this.structure(1) + offset, bytes);
  }

  setCommon(offset: number, value: number, bytes: number): void {
    this.#guest.write(this.#board, this.structure(1) + offset, value, bytes);
  }

  override register(offset: number): number {
    if (offset === INTERRUPT_STATUS) return this.#guest.read(this.#board, this.structure(3), 1);
    const [at, bytes] = COMMON.get(offset) ?? [0x40, 4];
    return this.common(at, bytes);
  }

  override setRegister(offset: number, value: number): void {
    if (offset === NOTIFY) {
      this.setCommon(22, value, 2);
      const queue = this.common(30, 2);
      this.#guest.write(this.#board, this.structure(2) + queue * this.#multiplier, value, 2);
      return;
    }
    const [at, bytes] = COMMON.get(offset) ?? [0x40, 4];
    this.setCommon(at, value, bytes);
  }

  /** Has a vector of MSI-X's table give this message, unmasked. */
  setMessage(vector: number, address: number, data: number): void {
    [address, 0, data, 0].forEach((word, index) => {
      this.#guest.write(this.#board, this.bar(1) + 16 * vector + 4 * index, word);
    });
  }

  /** MSI-X's control word. */
  setMsixControl(value: number): void {
    const at = this.capabilities().find(({ id }) => id === 0x11)?.at ?? 0;
    this.setConfiguration(at + 2, value, 2);
  }

  #address(offset: number): void {
    this.#guest.writePort(this.#board, 0xcf8, (0x8000_0000 | (this.#device << 11) | (offset & 0xfc)) >>> 0, 4);
  }
}
