/** Routes accesses to I/O ports to devices. */
import type { VmmPort } from "@hvjournal/core";
import type { PortDevice, WidePortDevice } from "../devices/port-device.js";

interface Mapping {
  readonly device: PortDevice;
  readonly base: number;
}

const PORT_MASK = 0xffff;
const ACCESS_BYTES = [1, 2, 4] as const;
/** A bus that nobody drives: what probing code takes for an absent device. */
const FLOATING = 0xff;

export class PortBus {
  readonly #mappings = new Map<number, Mapping>();
  readonly #wide: WidePortDevice[] = [];
  readonly #unclaimed = new Map<number, number>();

  /** `base` is the device's port 0. Throws RangeError for one that is taken. */
  map(device: PortDevice, base: number): void {
    for (const offset of device.offsets) {
      const port = base + offset;
      const taken = this.#mappings.get(port);
      if (taken !== undefined) {
        throw new RangeError(`can't map ${device.name} at port 0x${port.toString(16)}: ${taken.device.name} is there`);
      }
      this.#mappings.set(port, { device, base });
    }
  }

  /** Its accesses go past the devices of 8 bits. */
  mapWide(device: WidePortDevice): void {
    this.#wide.push(device);
  }

  deviceAt(port: number): PortDevice | WidePortDevice | undefined {
    const narrow = this.#mappings.get(port)?.device;
    return narrow ?? this.#wide.find((device) => ACCESS_BYTES.some((bytes) => device.claims(port, bytes)));
  }

  /** Accesses that no device claimed, by port; a statistic, no part of the machine's state. */
  get unclaimed(): ReadonlyMap<number, number> {
    return this.#unclaimed;
  }

  /** Ports that nobody claims read as ones. */
  read(first: number, bytes: number, vmm: VmmPort): number {
    checkLength(bytes);
    const wide = this.#wideAt(first, bytes);
    if (wide !== undefined) return wide.read(first, bytes, vmm);
    let value = 0;
    for (let index = 0; index < bytes; index += 1) {
      const port = (first + index) & PORT_MASK;
      const mapping = this.#find(port, bytes);
      const byte = mapping === undefined ? FLOATING : mapping.device.read(port - mapping.base, vmm);
      value |= byte << (8 * index);
    }
    return value >>> 0;
  }

  /** What is written to a port that nobody claims is lost. */
  write(first: number, bytes: number, value: number, vmm: VmmPort): void {
    checkLength(bytes);
    const wide = this.#wideAt(first, bytes);
    if (wide !== undefined) return wide.write(first, bytes, value, vmm);
    for (let index = 0; index < bytes; index += 1) {
      const port = (first + index) & PORT_MASK;
      const mapping = this.#find(port, bytes);
      mapping?.device.write(port - mapping.base, (value >>> (8 * index)) & 0xff, vmm);
    }
  }

  #wideAt(port: number, bytes: number): WidePortDevice | undefined {
    return this.#wide.find((device) => device.claims(port, bytes));
  }

  #find(port: number, bytes: number): Mapping | undefined {
    const mapping = this.#mappings.get(port);
    if (mapping !== undefined && !(bytes > 1 && mapping.device.takesSingleBytesOnly === true)) return mapping;
    this.#unclaimed.set(port, (this.#unclaimed.get(port) ?? 0) + 1);
    return undefined;
  }
}

function checkLength(bytes: number): void {
  if (!ACCESS_BYTES.some((each) => each === bytes)) {
    throw new RangeError(`a port access of ${bytes} bytes: 1, 2 and 4 are possible`);
  }
}
