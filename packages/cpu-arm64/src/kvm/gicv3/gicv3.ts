/** The VM's GICv3: address map, interrupts, saved state. */
import { decodeCanonicalMap, encodeCanonical, PayloadFields } from "@hvjournal/core";
import { readDistributor, writeDistributor } from "./distributor.js";
import { Interrupts } from "./interrupts.js";
import { readRedistributor, writeRedistributor } from "./redistributor.js";
import { DISTRIBUTOR_BYTES, REDISTRIBUTOR_BYTES } from "./registers.js";

/** Guest-physical addresses of the frames: the board's choice. */
export interface GicAddresses {
  readonly distributor: number;
  /** First of the redistributors, which follow each other, 128 KiB for each vCPU. */
  readonly redistributors: number;
}

export class Gicv3 {
  readonly interrupts: Interrupts;
  readonly #addresses: GicAddresses;

  constructor(vcpuCount: number, addresses: GicAddresses) {
    this.interrupts = new Interrupts(vcpuCount);
    this.#addresses = addresses;
  }

  /** Whether an access of `bytes` at a guest-physical address is the GIC's. */
  contains(physical: number, bytes: number): boolean {
    return this.#inDistributor(physical, bytes) || this.#inRedistributors(physical, bytes);
  }

  #inDistributor(physical: number, bytes: number): boolean {
    const start = this.#addresses.distributor;
    return physical >= start && physical + bytes <= start + DISTRIBUTOR_BYTES;
  }

  #inRedistributors(physical: number, bytes: number): boolean {
    const start = this.#addresses.redistributors;
    return physical >= start && physical + bytes <= start + REDISTRIBUTOR_BYTES * this.interrupts.vcpuCount;
  }

  /** [low word, high word] of an access that `contains` says is ours. */
  read(physical: number, bytes: number): readonly [number, number] {
    return this.#inDistributor(physical, bytes)
      ? readDistributor(this.interrupts, physical - this.#addresses.distributor, bytes)
      : readRedistributor(this.interrupts, physical - this.#addresses.redistributors, bytes);
  }

  /** High words carry nothing: the only 64-bit registers that can be written are routes without Aff3. */
  write(physical: number, bytes: number, low: number): void {
    if (this.#inDistributor(physical, bytes))
      writeDistributor(this.interrupts, physical - this.#addresses.distributor, bytes, low);
    else writeRedistributor(this.interrupts, physical - this.#addresses.redistributors, bytes, low);
  }

  /** "GICD+0x100", for people. */
  describe(physical: number): string {
    if (this.#inDistributor(physical, 1)) return `GICD+0x${(physical - this.#addresses.distributor).toString(16)}`;
    const offset = physical - this.#addresses.redistributors;
    return `GICR${Math.floor(offset / REDISTRIBUTOR_BYTES)}+0x${(offset % REDISTRIBUTOR_BYTES).toString(16)}`;
  }

  /** `derivedPrivateLevels`: PPIs whose line follows from other saved state. */
  save(derivedPrivateLevels: number): Uint8Array {
    const gic = this.interrupts;
    const routes = new Uint8Array(gic.routes.length * 4);
    const view = new DataView(routes.buffer);
    gic.routes.forEach((route, index) => {
      view.setUint32(index * 4, route);
    });
    return encodeCanonical({
      distributorEnabled: gic.distributorEnabled,
      privateBanks: gic.privateBanks.map((bank) => bank.save(derivedPrivateLevels)),
      sharedBanks: gic.sharedBanks.map((bank) => bank.save(0)),
      interfaces: gic.interfaces.map((each) => each.save()),
      routes,
    });
  }

  /** Throws RangeError or PayloadError when the bytes don't fit this VM. */
  restore(bytes: Uint8Array): void {
    const fields = new PayloadFields("arm64.gicv3", decodeCanonicalMap(bytes));
    const gic = this.interrupts;
    gic.distributorEnabled = fields.boolean("distributorEnabled");
    restoreEach(fields, "privateBanks", gic.privateBanks);
    restoreEach(fields, "sharedBanks", gic.sharedBanks);
    restoreEach(fields, "interfaces", gic.interfaces);
    const routes = fields.bytes("routes");
    if (routes.length !== gic.routes.length * 4)
      throw new RangeError(`${gic.routes.length * 4} bytes of routes expected, found ${routes.length}`);
    const view = new DataView(routes.buffer, routes.byteOffset, routes.byteLength);
    for (let index = 0; index < gic.routes.length; index++) gic.routes[index] = view.getUint32(index * 4);
  }
}

function restoreEach(
  fields: PayloadFields,
  name: string,
  parts: readonly { restore(bytes: Uint8Array): void }[],
): void {
  const saved = fields.array(name);
  if (saved.length !== parts.length) throw new RangeError(`${parts.length} ${name} expected, found ${saved.length}`);
  parts.forEach((part, index) => {
    const bytes = saved[index];
    if (!(bytes instanceof Uint8Array)) throw new RangeError(`${name}[${index}] is not bytes`);
    part.restore(bytes);
  });
}
