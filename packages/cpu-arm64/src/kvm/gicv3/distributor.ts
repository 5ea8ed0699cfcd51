/** GICD: the distributor's frame (IHI 0069 12.9), as KVM's vgic answers it with affinity routing on and one security state. */
import { type BankWord, InterruptBank } from "./interrupt-bank.js";
import type { Interrupts } from "./interrupts.js";
import {
  Gicd,
  GICD_IIDR,
  GICD_TYPER,
  GicdCtlr,
  GIC_PIDR2,
  INTERRUPT_COUNT,
  PRIVATE_INTERRUPT_COUNT,
} from "./registers.js";

const BIT_REGISTER_BYTES = INTERRUPT_COUNT / 8;

/** How a register with one bit per interrupt is written. */
type BitWrite = "assign" | "set" | "clear";

interface BitRegister {
  readonly offset: number;
  readonly word: BankWord;
  readonly write: BitWrite;
}

/** Shared by GICD and the SGI frame of GICR: same offsets, same meaning. */
const BIT_REGISTERS: readonly BitRegister[] = [
  { offset: Gicd.igroupr, word: "group", write: "assign" },
  { offset: Gicd.isenabler, word: "enabled", write: "set" },
  { offset: Gicd.icenabler, word: "enabled", write: "clear" },
  { offset: Gicd.ispendr, word: "pending", write: "set" },
  { offset: Gicd.icpendr, word: "pending", write: "clear" },
  { offset: Gicd.isactiver, word: "active", write: "set" },
  { offset: Gicd.icactiver, word: "active", write: "clear" },
];

/** The banks behind a frame by index (INTID / 32); undefined reads as zero and ignores writes. */
export type BankLookup = (index: number) => InterruptBank | undefined;

function bitRegisterAt(offset: number): { readonly register: BitRegister; readonly bank: number } | undefined {
  const register = BIT_REGISTERS.find((each) => offset >= each.offset && offset < each.offset + BIT_REGISTER_BYTES);
  return register && { register, bank: (offset - register.offset) >> 2 };
}

/** Two bits for each of 16 interrupts; the odd bit says edge. */
function readConfiguration(bank: InterruptBank | undefined, half: number): number {
  const edges = ((bank?.edge ?? 0) >>> (half * 16)) & 0xffff;
  let value = 0;
  for (let bit = 0; bit < 16; bit++) if (((edges >>> bit) & 1) === 1) value |= 2 << (bit * 2);
  return value >>> 0;
}

function writeConfiguration(bank: InterruptBank, half: number, value: number): void {
  for (let bit = 0; bit < 16; bit++) {
    const mask = (1 << (half * 16 + bit)) >>> 0;
    if (((value >>> (bit * 2 + 1)) & 1) === 1) bank.setBits("edge", mask);
    else bank.clearBits("edge", mask);
  }
}

/**
 * Reads a register that describes interrupts: bit registers, priorities, configuration.
 * undefined: there is none at this offset with this width.
 */
export function readInterruptRegister(banks: BankLookup, offset: number, bytes: number): number | undefined {
  if (offset >= Gicd.ipriorityr && offset < Gicd.ipriorityr + INTERRUPT_COUNT && (bytes === 1 || bytes === 4)) {
    let value = 0;
    for (let byte = 0; byte < bytes; byte++) {
      const intid = offset - Gicd.ipriorityr + byte;
      value |= (banks(intid >> 5)?.priority[intid & 31] ?? 0) << (byte * 8);
    }
    return value >>> 0;
  }
  if (bytes !== 4) return undefined;
  const bits = bitRegisterAt(offset);
  if (bits !== undefined) return banks(bits.bank)?.read(bits.register.word) ?? 0;
  if (offset >= Gicd.icfgr && offset < Gicd.icfgr + INTERRUPT_COUNT / 4) {
    const half = (offset - Gicd.icfgr) >> 2;
    return readConfiguration(banks(half >> 1), half & 1);
  }
  return undefined;
}

/** Writes such a register. False: there is none at this offset with this width. */
export function writeInterruptRegister(banks: BankLookup, offset: number, bytes: number, value: number): boolean {
  if (offset >= Gicd.ipriorityr && offset < Gicd.ipriorityr + INTERRUPT_COUNT && (bytes === 1 || bytes === 4)) {
    for (let byte = 0; byte < bytes; byte++) {
      const intid = offset - Gicd.ipriorityr + byte;
      banks(intid >> 5)?.setPriority(intid & 31, (value >>> (byte * 8)) & 0xff);
    }
    return true;
  }
  if (bytes !== 4) return false;
  const bits = bitRegisterAt(offset);
  if (bits !== undefined) {
    const bank = banks(bits.bank);
    if (bits.register.write === "assign") bank?.clearBits(bits.register.word, ~value >>> 0);
    if (bits.register.write === "clear") bank?.clearBits(bits.register.word, value);
    else bank?.setBits(bits.register.word, value);
    return true;
  }
  if (offset >= Gicd.icfgr + 8 && offset < Gicd.icfgr + INTERRUPT_COUNT / 4) {
    const half = (offset - Gicd.icfgr) >> 2;
    const bank = banks(half >> 1);
    if (bank !== undefined) writeConfiguration(bank, half & 1, value);
    return true;
  }
  return false;
}

/** A read: [low word, high word]. Registers that are not there, or not with this width, read as zero, as in KVM. */
export function readDistributor(interrupts: Interrupts, offset: number, bytes: number): readonly [number, number] {
  const route = routeIndex(offset, bytes);
  // Affinities have no Aff3, so the high word of a route is always zero.
  if (route !== undefined) return [(offset & 4) === 0 ? (interrupts.routes[route] ?? 0) : 0, 0];
  const value = readInterruptRegister((index) => sharedBank(interrupts, index), offset, bytes);
  if (value !== undefined) return [value, 0];
  return [bytes === 4 ? readIdentification(interrupts, offset) : 0, 0];
}

function readIdentification(interrupts: Interrupts, offset: number): number {
  switch (offset) {
    case Gicd.ctlr:
      return (
        (interrupts.distributorEnabled ? GicdCtlr.enableGroup1 : 0) |
        GicdCtlr.affinityRouting |
        GicdCtlr.disableSecurity
      );
    case Gicd.typer:
      return GICD_TYPER;
    case Gicd.iidr:
      return GICD_IIDR;
    case Gicd.pidr2:
      return GIC_PIDR2;
    default:
      return 0;
  }
}

export function writeDistributor(interrupts: Interrupts, offset: number, bytes: number, low: number): void {
  const route = routeIndex(offset, bytes);
  if (route !== undefined) {
    if ((offset & 4) === 0) interrupts.routes[route] = low & 0xff_ffff;
    return;
  }
  if (writeInterruptRegister((index) => sharedBank(interrupts, index), offset, bytes, low)) return;
  if (offset === Gicd.ctlr && bytes === 4) interrupts.distributorEnabled = (low & GicdCtlr.enableGroup1) !== 0;
}

/** With affinity routing, private interrupts are the redistributors'. */
function sharedBank(interrupts: Interrupts, index: number): InterruptBank | undefined {
  return index === 0 ? undefined : interrupts.sharedBanks[index - 1];
}

function routeIndex(offset: number, bytes: number): number | undefined {
  const intid = (offset - Gicd.irouter) >> 3;
  if (intid < PRIVATE_INTERRUPT_COUNT || intid >= INTERRUPT_COUNT) return undefined;
  return (bytes === 8 && (offset & 7) === 0) || (bytes === 4 && (offset & 3) === 0)
    ? intid - PRIVATE_INTERRUPT_COUNT
    : undefined;
}
