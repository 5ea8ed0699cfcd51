/** What expressions see of a machine that stands still. Nothing here changes the guest. */
import type { Digester } from "../ports/digester.js";
import type { GuestSymbol, SymbolTable } from "../ports/symbols.js";
import { PAGE_BYTES } from "../ports/guest-memory.js";
import { ExitWord, type ExitFrame } from "../event/exit-frame.js";
import { HypercallExits } from "../position/hypercall-exits.js";
import { KVM_EXIT_NAMES } from "../event/kvm-exit-names.js";
import type { Machine } from "../machine/machine.js";
import type { ExpressionEnvironment } from "./evaluate.js";
import type { LastPlaces } from "./last-places.js";

const OFFSET_MASK = BigInt(PAGE_BYTES - 1);
const KVM_PREFIX = "KVM_EXIT_";

/** By the current translation; where it has nothing, where the page was last seen. */
export function physicalPlace(
  { kernel }: Machine,
  vcpu: number,
  virtual: bigint,
  places: LastPlaces | undefined,
): number | undefined {
  const physical = kernel.translate(vcpu, virtual);
  if (places === undefined) return physical;
  const inPage = Number(virtual & OFFSET_MASK);
  const page = virtual - BigInt(inPage);
  if (physical !== undefined) {
    places.note(page, physical - inPage);
    return physical;
  }
  const last = places.get(page);
  return last === undefined ? undefined : last + inPage;
}

/**
 * Guest memory by a vCPU's current translation, and where that has nothing by `places`; undefined where a byte is not
 * mapped to RAM.
 */
export function readVirtual(
  machine: Machine,
  vcpu: number,
  address: bigint,
  bytes: number,
  places?: LastPlaces,
): Uint8Array | undefined {
  const result = new Uint8Array(bytes);
  for (let at = 0; at < bytes;) {
    const virtual = (address + BigInt(at)) & 0xffff_ffff_ffff_ffffn;
    const inPage = PAGE_BYTES - Number(virtual % BigInt(PAGE_BYTES));
    const count = Math.min(inPage, bytes - at);
    const physical = physicalPlace(machine, vcpu, virtual, places);
    const content = physical === undefined ? undefined : readPhysical(machine, physical, count);
    if (content === undefined) return undefined;
    result.set(content, at);
    at += count;
  }
  return result;
}

/** undefined outside RAM. */
export function readPhysical(machine: Machine, physical: number, bytes: number): Uint8Array | undefined {
  const { memory } = machine.kernel;
  if (physical < memory.base || physical + bytes > memory.base + memory.bytes) return undefined;
  return memory.read(physical, bytes);
}

export class MachineEnvironment implements ExpressionEnvironment {
  readonly #machine: Machine;
  readonly #symbols: SymbolTable | undefined;
  #registers: ReadonlySet<string> | undefined;
  #calls: HypercallExits | undefined;

  constructor(machine: Machine, symbols?: SymbolTable) {
    this.#machine = machine;
    this.#symbols = symbols;
  }

  get digester(): Digester {
    return this.#machine.digester;
  }

  get vcpu(): number {
    return this.exit?.[ExitWord.vcpu] ?? this.#machine.kernel.currentVcpu ?? 0;
  }

  get icount(): number {
    return this.#machine.icount;
  }

  get guestTimeNs(): number {
    return this.#machine.guestTimeNs;
  }

  get exitNumber(): number {
    return this.#machine.exitNumber;
  }

  get exit(): ExitFrame | undefined {
    return this.#machine.exitPending ? this.#machine.kernel.exit : undefined;
  }

  callNumber(frame: ExitFrame): bigint {
    const { exitModel, architecture } = this.#machine;
    this.#calls ??= new HypercallExits(
      exitModel.reasons.map(({ name }) => name),
      architecture,
    );
    return this.#calls.numberOf(frame);
  }

  register(name: string): bigint | undefined {
    return this.registerNames().has(name) ? this.#machine.kernel.readRegister(this.vcpu, name) : undefined;
  }

  registerNames(): ReadonlySet<string> {
    const { registers, registerAliases = [] } = this.#machine.kernel;
    this.#registers ??= new Set([...registers.map(({ name }) => name), ...registerAliases]);
    return this.#registers;
  }

  read(address: bigint, bytes: number, isPhysical: boolean, places?: LastPlaces): Uint8Array | undefined {
    if (!isPhysical) return readVirtual(this.#machine, this.vcpu, address, bytes, places);
    return address > BigInt(Number.MAX_SAFE_INTEGER) ? undefined : readPhysical(this.#machine, Number(address), bytes);
  }

  symbol(name: string): GuestSymbol | undefined {
    return this.#symbols?.find(name);
  }

  symbolAdvice(name: string): string | undefined {
    return this.#symbols?.adviceOn?.(name);
  }

  exitName(space: "reason" | "kvm", name: string): bigint | undefined {
    return exitNumberByName(this.#machine.exitModel.reasons, space, name);
  }

  config(what: "cap" | "smccc" | "reg", name: string | bigint): bigint | undefined {
    const { architecture, control } = this.#machine;
    return architecture.control.query?.(control.architecture, what, name);
  }
}

/** A row of the exit model, or a KVM_EXIT_* number, by name in any case. */
export function exitNumberByName(
  reasons: readonly { readonly name: string }[],
  space: "reason" | "kvm",
  name: string,
): bigint | undefined {
  const wanted = name.toUpperCase();
  if (space === "reason") {
    const row = reasons.findIndex((reason) => reason.name.toUpperCase() === wanted);
    return row < 0 ? undefined : BigInt(row);
  }
  const bare = wanted.startsWith(KVM_PREFIX) ? wanted.slice(KVM_PREFIX.length) : wanted;
  const found = [...KVM_EXIT_NAMES].find(([, each]) => each === bare);
  return found === undefined ? undefined : BigInt(found[0]);
}
