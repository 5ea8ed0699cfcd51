/** PCI bus 0 behind configuration mechanism #1 (PCI Local Bus Specification 3.0, 3.2.2.3.2): an address at 0xcf8, data at 0xcfc. */
import type { StateSection, VmmPort } from "@hvjournal/core";
import type { TakeSection } from "../devices/mmio-device.js";
import type { WidePortDevice } from "../devices/port-device.js";
import { restoreSection, saveSection, structure, u32 } from "../state-coding.js";
import type { DecodedBar, PciFunction } from "./function.js";
import { HostBridgeFunction } from "./host-bridge-function.js";

const ADDRESS_PORT = 0xcf8;
const ADDRESS_BYTES = 4;
const DATA_PORT = 0xcfc;
const DATA_BYTES = 4;
/** CONFIG_ADDRESS: enable, bus, device, function, register; the reserved bits read as zero. */
const ENABLE = 0x8000_0000;
const WRITABLE = 0x80ff_fffc;
const DEVICES_MAX = 32;
/** Where nobody is, a master abort ends the cycle. */
const ABORTED = 0xffff_ffff;

const SECTION = "vmm.pci-host";
export const pciHostFormat = { version: 1, codec: structure({ address: u32 }) };

export class PciHost implements WidePortDevice {
  readonly name = "pci-host";
  readonly #functions: PciFunction[] = [new HostBridgeFunction()];
  #state = { address: 0 };

  /** Gives it the next device number, function 0. */
  add(added: PciFunction): number {
    if (this.#functions.length === DEVICES_MAX) throw new RangeError(`PCI bus 0 has no place for ${added.name}`);
    return this.#functions.push(added) - 1;
  }

  /** The address is a register of 32 bits: narrower accesses are for other devices (0xcf9). */
  claims(port: number, bytes: number): boolean {
    if (port === ADDRESS_PORT) return bytes === ADDRESS_BYTES;
    return port >= DATA_PORT && port + bytes <= DATA_PORT + DATA_BYTES;
  }

  read(port: number, bytes: number, vmm: VmmPort): number {
    if (port === ADDRESS_PORT) return this.#state.address;
    const place = this.#addressed(port);
    if (place === undefined) return (ABORTED >>> (32 - 8 * bytes)) >>> 0;
    let value = 0;
    for (const { at, length, shift } of pieces(place.offset, bytes))
      value |= place.of.readConfiguration(at, length, vmm) << shift;
    return value >>> 0;
  }

  write(port: number, bytes: number, value: number, vmm: VmmPort): void {
    if (port === ADDRESS_PORT) {
      this.#state.address = (value & WRITABLE) >>> 0;
      return;
    }
    const place = this.#addressed(port);
    if (place === undefined) return;
    for (const { at, length, shift } of pieces(place.offset, bytes))
      place.of.writeConfiguration(at, length, value >>> shift, vmm);
  }

  /** The BAR that is decoded at a guest-physical address. */
  barAt(address: number): DecodedBar | undefined {
    for (const each of this.#functions)
      for (const bar of each.decodedBars()) if (address >= bar.base && address < bar.base + bar.bytes) return bar;
    return undefined;
  }

  bars(): DecodedBar[] {
    return this.#functions.flatMap((each) => [...each.decodedBars()]);
  }

  #addressed(port: number): { readonly of: PciFunction; readonly offset: number } | undefined {
    const { address } = this.#state;
    if ((address & ENABLE) === 0) return undefined;
    const [bus, device, functionNumber] = [(address >> 16) & 0xff, (address >> 11) & 0x1f, (address >> 8) & 7];
    const of = bus === 0 && functionNumber === 0 ? this.#functions[device] : undefined;
    return of === undefined ? undefined : { of, offset: (address & 0xfc) + (port - DATA_PORT) };
  }

  save(): StateSection[] {
    return [saveSection(pciHostFormat, SECTION, this.#state), ...this.#functions.flatMap((each) => each.save())];
  }

  restore(take: TakeSection): void {
    const state = restoreSection(pciHostFormat, take(SECTION));
    for (const each of this.#functions) each.restore(take);
    this.#state = state;
  }
}

interface Piece {
  readonly at: number;
  readonly length: number;
  readonly shift: number;
}

/** Naturally aligned accesses for one that need not be: a word at 0xcfd is two bytes. */
function pieces(offset: number, bytes: number): Piece[] {
  if (offset % bytes === 0) return [{ at: offset, length: bytes, shift: 0 }];
  return Array.from({ length: bytes }, (_, index) => ({ at: offset + index, length: 1, shift: 8 * index }));
}
