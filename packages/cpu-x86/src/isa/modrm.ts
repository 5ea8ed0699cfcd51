/** ModRM, SIB and displacement. Intel SDM volume 2, 2.1.5, 2.2.1. */
import { type FieldName, Mode, NO_REGISTER } from "./fields.js";
import { Register, Segment } from "./state.js";

/** The fields that ModRM and what follows give. */
export type Address = Readonly<
  Record<
    Extract<
      FieldName,
      "memory" | "modrm" | "reg" | "rm" | "base" | "index" | "scale" | "displacement" | "relative" | "segment"
    >,
    number
  >
>;

/** Where the bytes come from. */
export interface Bytes {
  next(): number;
  signed(bytes: number): number;
}

const REX_R = 4;
const REX_X = 2;
const REX_B = 1;

const NOTHING: Address = {
  memory: 0,
  modrm: 0,
  reg: 0,
  rm: 0,
  base: NO_REGISTER,
  index: NO_REGISTER,
  scale: 0,
  displacement: 0,
  relative: 0,
  segment: Segment.ds,
};

/** Base and index of 16-bit addresses, by ModRM.rm. */
const ADDRESSES_16: readonly (readonly [number, number])[] = [
  [Register.rbx, Register.rsi],
  [Register.rbx, Register.rdi],
  [Register.rbp, Register.rsi],
  [Register.rbp, Register.rdi],
  [Register.rsi, NO_REGISTER],
  [Register.rdi, NO_REGISTER],
  [Register.rbp, NO_REGISTER],
  [Register.rbx, NO_REGISTER],
];

/** Reads ModRM and what belongs to it. */
export function readAddress(bytes: Bytes, addressSize: 1 | 2 | 3, rex: number, mode: Mode): Address {
  const modrm = bytes.next();
  const mod = modrm >> 6;
  const reg = ((modrm >> 3) & 7) | ((rex & REX_R) << 1);
  const rm = modrm & 7;
  if (mod === 3) return registersOf(modrm, rex);
  const address = addressSize === 1 ? read16(bytes, mod, rm) : readWide(bytes, mod, rm, rex, mode);
  return { ...address, memory: 1, modrm, reg };
}

/** What a ModRM byte means that names registers. */
export function registersOf(modrm: number, rex: number): Address {
  const reg = ((modrm >> 3) & 7) | ((rex & REX_R) << 1);
  return { ...NOTHING, modrm, reg, rm: (modrm & 7) | ((rex & REX_B) << 3) };
}

function read16(bytes: Bytes, mod: number, rm: number): Address {
  if (mod === 0 && rm === 6) return { ...NOTHING, displacement: bytes.signed(2) };
  const [base, index] = ADDRESSES_16[rm] ?? [NO_REGISTER, NO_REGISTER];
  const displacement = bytes.signed(mod === 0 ? 0 : mod === 1 ? 1 : 2);
  return { ...NOTHING, base, index, displacement, segment: segmentOf(base) };
}

function readWide(bytes: Bytes, mod: number, rm: number, rex: number, mode: Mode): Address {
  if (rm === Register.rsp) return readSib(bytes, mod, rex);
  // Without a base: in 64-bit mode the displacement counts from the next instruction.
  if (mod === 0 && rm === Register.rbp)
    return { ...NOTHING, displacement: bytes.signed(4), relative: mode === Mode.long ? 1 : 0 };
  const base = rm | ((rex & REX_B) << 3);
  return { ...NOTHING, base, segment: segmentOf(base), displacement: readDisplacement(bytes, mod) };
}

function readSib(bytes: Bytes, mod: number, rex: number): Address {
  const sib = bytes.next();
  const indexNumber = ((sib >> 3) & 7) | ((rex & REX_X) << 2);
  const index = indexNumber === Register.rsp ? NO_REGISTER : indexNumber;
  const scale = index === NO_REGISTER ? 0 : sib >> 6;
  if (mod === 0 && (sib & 7) === Register.rbp) return { ...NOTHING, index, scale, displacement: bytes.signed(4) };
  const base = (sib & 7) | ((rex & REX_B) << 3);
  return { ...NOTHING, base, index, scale, segment: segmentOf(base), displacement: readDisplacement(bytes, mod) };
}

function readDisplacement(bytes: Bytes, mod: number): number {
  return bytes.signed(mod === 0 ? 0 : mod === 1 ? 1 : 4);
}

/** The segment of an address without override. */
function segmentOf(base: number): number {
  return base === Register.rsp || base === Register.rbp ? Segment.ss : Segment.ds;
}
