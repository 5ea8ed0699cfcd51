/**
 * Alignment checks: with CR0.AM and EFLAGS.AC code at CPL 3 must align its operands of 2, 4 and 8 bytes. #AC(0). Intel SDM
 * volume 3, 6.15 "interrupt 17". Operands of 16 bytes have rules of their own (#GP).
 */
import type { AccessOptions, Instruction, Stage, Value } from "@hvjournal/engine";

/** Bit of `AccessOptions.faultDetail`: the access is checked, and what fails is #AC. The rest is a segment, as without it. */
export const ALIGNMENT_CHECKED = 1 << 30;

const CHECKED_BYTES: readonly number[] = [2, 4, 8];

function checkedOptions(stage: Stage, bytes: number, options: AccessOptions | undefined): AccessOptions {
  const detail: Value<32> = options?.faultDetail ?? stage.constant32(0);
  return { ...options, alignment: bytes, faultDetail: stage.or(detail, stage.constant32(ALIGNMENT_CHECKED)) };
}

/** The same definition, whose accesses as a user's are checked. */
export function alignmentChecked(instruction: Instruction): Instruction {
  return {
    ...instruction,
    mnemonic: `${instruction.mnemonic}, aligned`,
    execute(form, operands, stage) {
      const access: Stage["access"] = (address, bytes, mode, options) => {
        const isChecked = options?.privileged !== true && CHECKED_BYTES.includes(bytes);
        return stage.access(address, bytes, mode, isChecked ? checkedOptions(stage, bytes, options) : options);
      };
      const checked = new Proxy(stage, {
        get(target, key) {
          if (key === "access") return access;
          const member: unknown = Reflect.get(target, key);
          return typeof member === "function" ? member.bind(target) : member;
        },
      });
      instruction.execute(form, operands, checked);
    },
  };
}
