/** Routes memory-mapped accesses to devices. */
import type { BoardDevice, VmmPort } from "@hvjournal/core";
import type { MmioDevice } from "../devices/mmio-device.js";

export interface Mapping {
  readonly device: MmioDevice;
  readonly base: number;
}

/** Every device's base and length is a multiple of this, so one look-up finds it. */
const GRANULE_BYTES = 0x200;
const WORD_BYTES = 4;
const ACCESS_BYTES_MAX = 8;
/** Pages that are counted apart; accesses to more are counted together. */
const UNCLAIMED_PAGES_MAX = 64;
const PAGE_MASK = 0xfff;
const OTHER_PAGES = "other";

/** Natural alignment, at most a word: what devices are asked for. */
function pieceBytes(address: number, left: number): number {
  let bytes = WORD_BYTES;
  while (bytes > left || address % bytes !== 0) {
    bytes /= 2;
  }
  return bytes;
}

export class MmioBus {
  readonly #mappings = new Map<number, Mapping>();
  #moving: ((address: number) => Mapping | undefined) | undefined;
  readonly #unclaimed = new Map<string, number>();

  /** Throws RangeError when the range is not aligned, or taken. */
  map(device: MmioDevice, base: number, bytes: number): void {
    if (base % GRANULE_BYTES !== 0 || bytes % GRANULE_BYTES !== 0) {
      throw new RangeError(`can't map ${device.name} at 0x${base.toString(16)}+0x${bytes.toString(16)}: not aligned`);
    }
    for (let address = base; address < base + bytes; address += GRANULE_BYTES) {
      const taken = this.#mappings.get(address / GRANULE_BYTES);
      if (taken !== undefined) {
        throw new RangeError(`can't map ${device.name} at 0x${base.toString(16)}: ${taken.device.name} is there`);
      }
      this.#mappings.set(address / GRANULE_BYTES, { device, base });
    }
  }

  /** Who answers where no device is mapped, for devices that a guest moves: asked at each access. */
  mapMoving(find: (address: number) => Mapping | undefined): void {
    this.#moving = find;
  }

  deviceAt(address: number): MmioDevice | undefined {
    return this.#mappingAt(address)?.device;
  }

  #mappingAt(address: number): Mapping | undefined {
    return this.#mappings.get(Math.floor(address / GRANULE_BYTES)) ?? this.#moving?.(address);
  }

  /** Every device, where it was mapped first. */
  ranges(): BoardDevice[] {
    const found = new Map<number, BoardDevice>();
    for (const { device, base } of this.#mappings.values()) {
      const bytes = (found.get(base)?.bytes ?? 0) + GRANULE_BYTES;
      found.set(base, { name: device.name, base, bytes });
    }
    return [...found.values()];
  }

  /** Accesses that no device claimed, by page of 4 KiB; a statistic, no part of the machine's state. */
  get unclaimed(): ReadonlyMap<string, number> {
    return this.#unclaimed;
  }

  /** Reads `bytes` bytes (1 to 8) into `into` from its start; bytes that no device claims are zero. */
  read(address: number, bytes: number, into: Uint8Array, port: VmmPort): void {
    this.#checkLength(bytes);
    for (let done = 0; done < bytes;) {
      const at = address + done;
      const length = pieceBytes(at, bytes - done);
      const mapping = this.#find(at);
      const value = mapping === undefined ? 0 : mapping.device.read(at - mapping.base, length, port);
      for (let index = 0; index < length; index += 1) {
        into[done + index] = value >>> (8 * index);
      }
      done += length;
    }
  }

  /** Writes the first `bytes` bytes (1 to 8) of `from`; bytes that no device claims are lost. */
  write(address: number, bytes: number, from: Uint8Array, port: VmmPort): void {
    this.#checkLength(bytes);
    for (let done = 0; done < bytes;) {
      const at = address + done;
      const length = pieceBytes(at, bytes - done);
      let value = 0;
      for (let index = 0; index < length; index += 1) {
        value |= (from[done + index] ?? 0) << (8 * index);
      }
      const mapping = this.#find(at);
      mapping?.device.write(at - mapping.base, length, value >>> 0, port);
      done += length;
    }
  }

  #checkLength(bytes: number): void {
    if (!Number.isInteger(bytes) || bytes < 1 || bytes > ACCESS_BYTES_MAX) {
      throw new RangeError(`an MMIO exit of ${bytes} bytes: 1 to ${ACCESS_BYTES_MAX} are possible`);
    }
  }

  #find(address: number): Mapping | undefined {
    const mapping = this.#mappingAt(address);
    if (mapping === undefined) {
      const page = `0x${(address - (address % (PAGE_MASK + 1))).toString(16)}`;
      const key = this.#unclaimed.has(page) || this.#unclaimed.size < UNCLAIMED_PAGES_MAX ? page : OTHER_PAGES;
      this.#unclaimed.set(key, (this.#unclaimed.get(key) ?? 0) + 1);
    }
    return mapping;
  }
}
