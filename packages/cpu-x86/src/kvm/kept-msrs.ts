/** MSRs that the vCPU's state has (`isa/msr.ts`), read and written outside guest mode. */
import { Efer } from "../isa/registers.js";
import { type Msr, msrs } from "../isa/msr.js";
import { cr0, efer } from "../isa/state.js";
import { isCanonical } from "./canonical-address.js";
import type { MsrAccess } from "./msr-access.js";
import type { Vm } from "./vm.js";

/** Memory types that IA32_PAT takes: UC, WC, WT, WP, WB, UC-. */
const MEMORY_TYPES: ReadonlySet<bigint> = new Set([0n, 1n, 4n, 5n, 6n, 7n]);
/** CR0.PG. */
const PAGING = 0x8000_0000n;
const EFER_BITS = BigInt(Efer.SCE | Efer.LME | Efer.LMA | Efer.NXE);
const LOW_32 = 0xffff_ffffn;

function fits({ rule }: Msr, value: bigint): boolean {
  switch (rule) {
    case "any":
      return true;
    case "canonical":
      return isCanonical(value);
    case "low32":
      return value <= LOW_32;
    case "memoryTypes":
      return Array.from({ length: 8 }, (_, index) => (value >> BigInt(8 * index)) & 0xffn).every((type) =>
        MEMORY_TYPES.has(type),
      );
    case "efer":
      return (value & ~EFER_BITS) === 0n;
    default:
      return rule satisfies never;
  }
}

function write(vm: Vm, msr: Msr, value: bigint): boolean {
  if (!fits(msr, value)) return false;
  vm.states.writeState(msr.field, value);
  return true;
}

/** As WRMSR: LMA is not written, and LME does not change while there is paging. */
function guestEfer(vm: Vm, value: bigint): bigint | undefined {
  const old = vm.engine.readField(efer);
  const pages = (vm.engine.readField(cr0) & PAGING) !== 0n;
  if ((value & ~EFER_BITS) !== 0n) return undefined;
  if (pages && ((value ^ old) & BigInt(Efer.LME)) !== 0n) return undefined;
  return (value & ~BigInt(Efer.LMA)) | (old & BigInt(Efer.LMA));
}

function accessTo(msr: Msr): MsrAccess {
  const read = (vm: Vm): bigint => vm.engine.readField(msr.field);
  const hostWrite = (vm: Vm, value: bigint): boolean => write(vm, msr, value);
  if (msr.rule !== "efer") return { read, write: hostWrite, accepts: (_vm, value) => fits(msr, value) };
  return {
    ...{ read, hostWrite },
    accepts: (vm, value) => guestEfer(vm, value) !== undefined,
    write(vm, value) {
      const written = guestEfer(vm, value);
      return written !== undefined && write(vm, msr, written);
    },
  };
}

/** By number. */
export const KEPT_MSRS: readonly (readonly [msr: number, access: MsrAccess])[] = msrs.map((msr) => [
  msr.number,
  accessTo(msr),
]);
