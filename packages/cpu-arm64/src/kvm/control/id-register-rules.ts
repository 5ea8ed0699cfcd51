/**
 * Identification registers that a VMM may write before the first run (KVM since 6.7): a field may say less than the CPU
 * has, never more. Field by field as `arm64_check_features` compares them; Arm ARM D19.2.
 */
import { idRegisters } from "../../isa/id-registers.js";
import { selectorOf } from "../../isa/system-registers.js";

export interface WritableIdRegister {
  readonly name: string;
  readonly selector: number;
  /** The CPU model's value: the limit of each field. */
  readonly host: bigint;
  /** Low bits of the 4-bit fields that may be written. */
  readonly fields: readonly number[];
  /** Of these, the fields in which 0xf stands for "not there" and so for less than 0. */
  readonly signed: readonly number[];
}

const FIELD_BITS = 4;
const FIELD_MASK = 0xfn;
const ABSENT = 0xfn;

/** By name: the fields that stay the CPU's, and the signed ones. */
const RULES: Readonly<Record<string, { readonly fixed: readonly number[]; readonly signed: readonly number[] }>> = {
  // FP and AdvSIMD are the CPU's; so is whether there is an interface to the GIC.
  ID_AA64PFR0_EL1: { fixed: [16, 20, 24], signed: [] },
  ID_AA64PFR1_EL1: { fixed: [], signed: [] },
  // PMUVer follows from the vCPU's features.
  ID_AA64DFR0_EL1: { fixed: [8], signed: [] },
  ID_AA64ISAR0_EL1: { fixed: [], signed: [] },
  ID_AA64ISAR1_EL1: { fixed: [], signed: [] },
  ID_AA64ISAR2_EL1: { fixed: [], signed: [] },
  // ASIDBits, and the granules of stage 2.
  ID_AA64MMFR0_EL1: { fixed: [4, 32, 36, 40], signed: [24, 28] },
  ID_AA64MMFR1_EL1: { fixed: [], signed: [] },
  ID_AA64MMFR2_EL1: { fixed: [], signed: [] },
};

function fieldsBut(fixed: readonly number[]): number[] {
  const all = Array.from({ length: 64 / FIELD_BITS }, (_, index) => index * FIELD_BITS);
  return all.filter((low) => !fixed.includes(low));
}

export const WRITABLE_ID_REGISTERS: readonly WritableIdRegister[] = idRegisters.flatMap(({ name, crm, op2, value }) => {
  const rule = RULES[name];
  if (rule === undefined) return [];
  const selector = selectorOf(3, 0, 0, crm, op2);
  return [{ name, selector, host: value, fields: fieldsBut(rule.fixed), signed: rule.signed }];
});

/** What is wrong with a value; undefined: the register takes it. */
export function checkIdRegister(register: WritableIdRegister, value: bigint): string | undefined {
  for (let low = 0; low < 64; low += FIELD_BITS) {
    const [had, wanted] = [register.host, value].map((bits) => (bits >> BigInt(low)) & FIELD_MASK);
    if (had === undefined || wanted === undefined || had === wanted) continue;
    if (!register.fields.includes(low)) return `bits ${low + FIELD_BITS - 1}:${low} are the CPU's`;
    if (rank(register, low, wanted) > rank(register, low, had))
      return `bits ${low + FIELD_BITS - 1}:${low} ask for ${wanted}, the CPU has ${had}`;
  }
  return undefined;
}

function rank({ signed }: WritableIdRegister, low: number, value: bigint): bigint {
  return signed.includes(low) && value === ABSENT ? -1n : value;
}
