/** Memory type range registers: kept for the guest, of no effect, as memory has no types here. Intel SDM volume 3, 12.11. */
import type { MsrAccess } from "./msr-access.js";
import { FIXED_MTRRS, MTRR_NUMBERS } from "./mtrr-numbers.js";
import { Msr } from "./msr-names.js";

/** Eight variable ranges, fixed ranges, write combining. */
export const MTRR_CAP = 0x508n;

const TYPES: ReadonlySet<bigint> = new Set([0n, 1n, 4n, 5n, 6n]);
/** FE and E of the default type register. */
const DEFAULT_TYPE_FLAGS = 0xc00n;
const MASK_VALID = 0x800n;
const PHYSICAL_PAGES = ((1n << 46n) - 1n) & ~0xfffn;

function areTypes(value: bigint): boolean {
  return Array.from({ length: 8 }, (_, index) => (value >> BigInt(8 * index)) & 0xffn).every((type) => TYPES.has(type));
}

function accepts(msr: number, value: bigint): boolean {
  if (msr === Msr.IA32_MTRR_DEF_TYPE) return TYPES.has(value & 0xffn) && (value & ~(DEFAULT_TYPE_FLAGS | 0xffn)) === 0n;
  if (FIXED_MTRRS.includes(msr)) return areTypes(value);
  const isMask = (msr & 1) === 1;
  if (isMask) return (value & ~(PHYSICAL_PAGES | MASK_VALID)) === 0n;
  return TYPES.has(value & 0xffn) && (value & ~(PHYSICAL_PAGES | 0xffn)) === 0n;
}

export const MTRR_MSRS: readonly (readonly [number, MsrAccess])[] = MTRR_NUMBERS.map((msr, index) => [
  msr,
  {
    read: (vm) => vm.mtrrsOf(vm.current)[index] ?? 0n,
    accepts: (_vm, value) => accepts(msr, value),
    write(vm, value) {
      if (!accepts(msr, value)) return false;
      vm.mtrrsOf(vm.current)[index] = value;
      return true;
    },
  },
]);
