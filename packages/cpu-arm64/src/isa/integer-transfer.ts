/** What a load or store of one general register does with the data. */
import type { AccessHandle, Stage, Value } from "@hvjournal/engine";

export interface IntegerTransfer {
  /** `LDR`, `LDRSB` and so on, without addressing mode. */
  readonly mnemonic: string;
  readonly size: "00" | "01" | "10" | "11";
  readonly opcode: "00" | "01" | "10" | "11";
  readonly bytes: 1 | 2 | 4 | 8;
  readonly isLoad: boolean;
  /** Sign extension of the loaded data, to the width of the register. */
  readonly isSigned: boolean;
  /** 1: the register is shown, and sign-extended to, 64 bits. */
  readonly sf: 0 | 1;
}

type Row = readonly [mnemonic: string, size: IntegerTransfer["size"], opcode: IntegerTransfer["opcode"], sf: 0 | 1];

/** Arm ARM C4.1: the "Load/store register" classes share these sizes and opcodes. Signed ones to W are distinct instructions of one name. */
const ROWS: readonly Row[] = [
  ["STRB", "00", "00", 0],
  ["LDRB", "00", "01", 0],
  ["LDRSB", "00", "10", 1],
  ["LDRSB", "00", "11", 0],
  ["STRH", "01", "00", 0],
  ["LDRH", "01", "01", 0],
  ["LDRSH", "01", "10", 1],
  ["LDRSH", "01", "11", 0],
  ["STR", "10", "00", 0],
  ["LDR", "10", "01", 0],
  ["LDRSW", "10", "10", 1],
  ["STR", "11", "00", 1],
  ["LDR", "11", "01", 1],
];

const BYTES = { "00": 1, "01": 2, "10": 4, "11": 8 } as const;

export const INTEGER_TRANSFERS: readonly IntegerTransfer[] = ROWS.map(([mnemonic, size, opcode, sf]) => ({
  mnemonic,
  size,
  opcode,
  bytes: BYTES[size],
  isLoad: opcode !== "00",
  isSigned: opcode === "10" || opcode === "11",
  sf,
}));

type DataBits = 8 | 16 | 32 | 64;

export function bitsOf({ bytes }: Pick<IntegerTransfer, "bytes">): DataBits {
  return (bytes * 8) as DataBits;
}

/** The 64 bits that a load leaves in its register, from `offset` bytes into the access. */
export function loadedRegister(
  stage: Stage,
  { bytes, isSigned, sf }: Pick<IntegerTransfer, "bytes" | "isSigned" | "sf">,
  handle: AccessHandle,
  offset = 0,
): Value<64> {
  const bits = bitsOf({ bytes });
  if (!isSigned || bits === 64) return stage.load(64, handle, offset, bits);
  if (sf === 1) return stage.signExtendFrom(bits, stage.load(64, handle, offset, bits));
  return stage.zeroExtend64(stage.signExtendFrom(bits, stage.load(32, handle, offset, bits)));
}

/** Stores the low bytes of a register operand at `offset` bytes into the access. */
export function storeRegister(
  stage: Stage,
  { bytes }: Pick<IntegerTransfer, "bytes">,
  handle: AccessHandle,
  register: Value<32>,
  offset = 0,
): void {
  stage.store(handle, offset, bitsOf({ bytes }), stage.readAt(bytes === 8 ? 64 : 32, register));
}
