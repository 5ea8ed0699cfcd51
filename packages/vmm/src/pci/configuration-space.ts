/** The configuration space of one function: bytes, and which of their bits a guest may change. */
import { CONFIGURATION_BYTES, PciRegister, PciStatus } from "./registers.js";

export class ConfigurationSpace {
  readonly bytes: Uint8Array = new Uint8Array(CONFIGURATION_BYTES);
  readonly #view = new DataView(this.bytes.buffer);
  /** Set bits can be written. */
  readonly #writable = new Uint8Array(CONFIGURATION_BYTES);
  #lastCapability: number = PciRegister.capabilities;
  #end = 0x40;

  /** Little endian, `bytes` of 1, 2 or 4. */
  get(offset: number, bytes: number): number {
    let value = 0;
    for (let index = 0; index < bytes; index += 1) value |= (this.bytes[offset + index] ?? 0xff) << (8 * index);
    return value >>> 0;
  }

  /** What the function itself says; `writable`: bits that the guest may change. */
  set(offset: number, bytes: number, value: number, writable = 0): void {
    for (let index = 0; index < bytes; index += 1) {
      this.bytes[offset + index] = value >>> (8 * index);
      this.#writable[offset + index] = writable >>> (8 * index);
    }
  }

  /** What the guest writes: read-only bits stay as they are. */
  write(offset: number, bytes: number, value: number): void {
    for (let index = 0; index < bytes; index += 1) {
      const at = offset + index;
      const mask = this.#writable[at] ?? 0;
      this.bytes[at] = ((this.bytes[at] ?? 0) & ~mask) | ((value >>> (8 * index)) & mask);
    }
  }

  setBits(offset: number, bits: number, isSet: boolean): void {
    const value = this.#view.getUint16(offset, true);
    this.#view.setUint16(offset, isSet ? value | bits : value & ~bits, true);
  }

  /** Appends a capability of so many bytes, its header among them; gives where it lies. */
  addCapability(id: number, bytes: number): number {
    const at = this.#end;
    this.#end = Math.ceil((at + bytes) / 4) * 4;
    this.set(at, 1, id);
    this.set(this.#lastCapability, 1, at);
    this.#lastCapability = at + 1;
    this.setBits(PciRegister.status, PciStatus.capabilityList, true);
    return at;
  }

  /** A BAR of 32-bit memory (6.2.5.1). `bytes`: a power of two, at least 16. */
  addMemoryBar(index: number, bytes: number, address: number): void {
    this.set(PciRegister.bar0 + 4 * index, 4, address, ~(bytes - 1));
  }

  bar(index: number): number {
    return this.get(PciRegister.bar0 + 4 * index, 4);
  }
}
