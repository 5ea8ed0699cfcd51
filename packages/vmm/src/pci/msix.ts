/** MSI-X of one function (PCI Local Bus Specification 3.0, 6.8.2): a table of messages, each with its mask and its pending bit. */
import type { VmmPort } from "@hvjournal/core";
import type { ConfigurationSpace } from "./configuration-space.js";
import { MSIX_ENTRY_MASKED, MsixControl, MsixEntry, MsixRegister, PciCapability } from "./registers.js";

export const MSIX_BAR_BYTES = 0x1000;
/** Behind the largest table of this BAR. */
const PENDING_OFFSET = 0x800;
export const MSIX_VECTORS_MAX: number = 64;

export class Msix {
  readonly vectorCount: number;
  readonly #space: ConfigurationSpace;
  readonly #at: number;
  /** The table as a guest sees it. */
  readonly table: Uint8Array;
  /** One bit a vector. */
  readonly pending: Uint8Array;
  readonly #view: DataView;

  /** Adds the capability; table and pending bits lie in BAR `bar`. */
  constructor(space: ConfigurationSpace, vectorCount: number, bar: number) {
    if (vectorCount > MSIX_VECTORS_MAX)
      throw new RangeError(`${vectorCount} MSI-X vectors: ${MSIX_VECTORS_MAX} are possible`);
    this.vectorCount = vectorCount;
    this.#space = space;
    this.#at = space.addCapability(PciCapability.msix, MsixRegister.bytes);
    space.set(this.#at + MsixRegister.control, 2, vectorCount - 1, MsixControl.enable | MsixControl.functionMask);
    space.set(this.#at + MsixRegister.table, 4, bar);
    space.set(this.#at + MsixRegister.pending, 4, PENDING_OFFSET | bar);
    this.table = new Uint8Array(vectorCount * MsixEntry.bytes);
    this.#view = new DataView(this.table.buffer);
    for (let vector = 0; vector < vectorCount; vector += 1)
      this.#view.setUint32(vector * MsixEntry.bytes + MsixEntry.control, MSIX_ENTRY_MASKED, true);
    this.pending = new Uint8Array(MSIX_VECTORS_MAX / 8);
  }

  get isEnabled(): boolean {
    return (this.#control & MsixControl.enable) !== 0;
  }

  get #control(): number {
    return this.#space.get(this.#at + MsixRegister.control, 2);
  }

  /** Of the BAR. The specification allows whole words only. */
  read(offset: number, bytes: number): number {
    if (bytes !== 4) return 0;
    if (offset + 4 <= this.table.length) return this.#view.getUint32(offset, true);
    const at = offset - PENDING_OFFSET;
    return at >= 0 && at + 4 <= this.pending.length ? new DataView(this.pending.buffer).getUint32(at, true) : 0;
  }

  write(offset: number, bytes: number, value: number, port: VmmPort): void {
    if (bytes !== 4 || offset + 4 > this.table.length) return;
    const isControl = offset % MsixEntry.bytes === MsixEntry.control;
    this.#view.setUint32(offset, isControl ? value & MSIX_ENTRY_MASKED : value, true);
    this.sendPending(port);
  }

  /** While its vector is masked, an interrupt is pending; while MSI-X is off, there is none. */
  raise(vector: number, port: VmmPort): void {
    if (!this.isEnabled || vector >= this.vectorCount) return;
    if (this.#isMasked(vector)) this.#setPending(vector, true);
    else this.#send(vector, port);
  }

  /** After what may have unmasked a vector. */
  sendPending(port: VmmPort): void {
    if (!this.isEnabled) return;
    for (let vector = 0; vector < this.vectorCount; vector += 1) {
      if (!this.#isPending(vector) || this.#isMasked(vector)) continue;
      this.#setPending(vector, false);
      this.#send(vector, port);
    }
  }

  /** A device that was reset has nothing to tell. */
  dropPending(): void {
    this.pending.fill(0);
  }

  #send(vector: number, port: VmmPort): void {
    const at = vector * MsixEntry.bytes;
    const [low, high] = [MsixEntry.addressLow, MsixEntry.addressHigh].map((offset) =>
      BigInt(this.#view.getUint32(at + offset, true)),
    );
    port.sendMsi(((high ?? 0n) << 32n) | (low ?? 0n), this.#view.getUint32(at + MsixEntry.data, true));
  }

  #isMasked(vector: number): boolean {
    const control = this.#view.getUint32(vector * MsixEntry.bytes + MsixEntry.control, true);
    return (this.#control & MsixControl.functionMask) !== 0 || (control & MSIX_ENTRY_MASKED) !== 0;
  }

  #isPending(vector: number): boolean {
    return (((this.pending[vector >> 3] ?? 0) >> (vector & 7)) & 1) === 1;
  }

  #setPending(vector: number, isPending: boolean): void {
    const [at, bit] = [vector >> 3, 1 << (vector & 7)];
    const byte = this.pending[at] ?? 0;
    this.pending[at] = isPending ? byte | bit : byte & ~bit;
  }
}
