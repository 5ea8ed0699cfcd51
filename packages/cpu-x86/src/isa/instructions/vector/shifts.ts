/** Shifts of the elements of MMX and XMM registers, and of whole XMM registers by bytes. References: Intel SDM volume 2. */
import type { Instruction, Stage, Value } from "@hvjournal/engine";
import { assembly } from "../../assembly-text.js";
import { defineEncoded } from "../../encoding.js";
import {
  type Bank,
  enterMmx,
  fromSource,
  lanes,
  readBank,
  requireBank,
  requireSse,
  type Vector,
  vectorName,
  vectorRegister,
  writeBank,
} from "../../vector-unit.js";
import { byteIndices } from "./integer.js";

type Kind = "shl" | "shr_u" | "shr_s";
type ShiftBits = 16 | 32 | 64;

interface Shift {
  readonly name: string;
  readonly kind: Kind;
  readonly bits: ShiftBits;
  /** The opcode with a count in a register or memory. */
  readonly opcode: string;
  /** Opcode and digit with an immediate count. */
  readonly immediate: string;
}

const SHIFTS: readonly Shift[] = [
  { name: "psrlw", kind: "shr_u", bits: 16, opcode: "0F D1", immediate: "0F 71 /2" },
  { name: "psraw", kind: "shr_s", bits: 16, opcode: "0F E1", immediate: "0F 71 /4" },
  { name: "psllw", kind: "shl", bits: 16, opcode: "0F F1", immediate: "0F 71 /6" },
  { name: "psrld", kind: "shr_u", bits: 32, opcode: "0F D2", immediate: "0F 72 /2" },
  { name: "psrad", kind: "shr_s", bits: 32, opcode: "0F E2", immediate: "0F 72 /4" },
  { name: "pslld", kind: "shl", bits: 32, opcode: "0F F2", immediate: "0F 72 /6" },
  { name: "psrlq", kind: "shr_u", bits: 64, opcode: "0F D3", immediate: "0F 73 /2" },
  { name: "psllq", kind: "shl", bits: 64, opcode: "0F F3", immediate: "0F 73 /6" },
];

/** A count of the elements' width or more shifts everything out; arithmetically, the sign stays. */
function shifted(stage: Stage, { kind, bits }: Shift, value: Vector, count: Value<32>, tooLarge: Value<32>): Vector {
  if (kind === "shr_s")
    return lanes(stage, bits, kind, value, stage.select(tooLarge, stage.constant32(bits - 1), count));
  return stage.select(tooLarge, stage.constant128(0n, 0n), lanes(stage, bits, kind, value, count));
}

/** The count is the low 64 bits of the source. */
function byRegister(shift: Shift, bank: Bank): Instruction {
  const { name, opcode, bits } = shift;
  return fromSource({ name, opcode, prefix: bank === "xmm" ? "66" : "np", bank }, (stage, destination, source) => {
    const count = stage.extractLane("i64x2", 0, source);
    const tooLarge = stage.compare("gt_u", count, stage.constant64(bits - 1));
    return shifted(stage, shift, destination, stage.truncate32(count), tooLarge);
  });
}

function byImmediate(shift: Shift, bank: Bank): Instruction {
  const { name, immediate, bits } = shift;
  return defineEncoded({
    mnemonic: `${name.toUpperCase()} (${bank}, imm8)`,
    reference: `4.3 ${name.toUpperCase()}`,
    pattern: `${bank === "xmm" ? "66" : "np"} ${immediate} ib reg`,
    formFields: [],
    operands: { rm: vectorRegister(bank, "rm"), count: { u16: ({ immediate: count }) => count & 0xff } },
    text: (fields, pc) => assembly(fields, pc, name, vectorName(bank, fields.rm), byteText(fields.immediate)),
    execute(_form, operands, stage) {
      requireBank(stage, bank);
      const tooLarge = stage.compare("gt_u", operands.count, stage.constant32(bits - 1));
      const result = shifted(stage, shift, readBank(stage, bank, operands.rm), operands.count, tooLarge);
      if (bank === "mm") enterMmx(stage);
      writeBank(stage, bank, operands.rm, result);
    },
  });
}

export function byteText(immediate: number): string {
  return `0x${(immediate & 0xff).toString(16)}`;
}

/** The bytes of a register from `first` on, which may be negative; those that it does not have are 0. */
export function bytesFrom(stage: Stage, value: Vector, first: Value<32>): Vector {
  const indices = lanes(stage, 8, "add", byteIndices(stage), stage.splat("i8x16", first));
  return lanes(stage, 8, "swizzle", value, indices);
}

/** PSLLDQ, PSRLDQ. */
function byBytes(name: string, digit: 3 | 7, sense: 1 | -1): Instruction {
  return defineEncoded({
    mnemonic: name.toUpperCase(),
    reference: `4.3 ${name.toUpperCase()}`,
    pattern: `66 0F 73 /${digit} ib reg`,
    formFields: [],
    operands: {
      rm: vectorRegister("xmm", "rm"),
      first: { i32: ({ immediate }) => sense * Math.min(immediate & 0xff, 16) },
    },
    text: (fields, pc) => assembly(fields, pc, name, vectorName("xmm", fields.rm), byteText(fields.immediate)),
    execute(_form, operands, stage) {
      requireSse(stage);
      stage.writeAt(operands.rm, bytesFrom(stage, stage.readAt(128, operands.rm), operands.first));
    },
  });
}

export const vectorShiftInstructions: readonly Instruction[] = [
  ...SHIFTS.flatMap((shift) =>
    (["xmm", "mm"] as const).flatMap((bank) => [byRegister(shift, bank), byImmediate(shift, bank)]),
  ),
  byBytes("psrldq", 3, 1),
  byBytes("pslldq", 7, -1),
];
