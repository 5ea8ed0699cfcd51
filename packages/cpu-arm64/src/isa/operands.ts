/** Register operands: where a 5-bit field of the encoding finds its register in the state. */
import { sp, v, x, zeroSink, zeroSource } from "./state.js";

type From<Name extends string> = { readonly u16: (fields: Readonly<Record<Name, number>>) => number };

/** A general register that is read; 31 is the zero register. */
export function sourceX<const Name extends string>(name: Name): From<Name> {
  return { u16: (fields) => (fields[name] === 31 ? zeroSource.offset : x.offset + 8 * fields[name]) };
}

/** A general register that is written; 31 discards. Always write all 64 bits: a W result zero-extends. */
export function destinationX<const Name extends string>(name: Name): From<Name> {
  return { u16: (fields) => (fields[name] === 31 ? zeroSink.offset : x.offset + 8 * fields[name]) };
}

/** A general register, read or written; 31 is the stack pointer. */
export function xOrSp<const Name extends string>(name: Name): From<Name> {
  return { u16: (fields) => (fields[name] === 31 ? sp.offset : x.offset + 8 * fields[name]) };
}

/** A SIMD and FP register; `plus` registers further on, modulo 32. */
export function vector<const Name extends string>(name: Name, plus = 0): From<Name> {
  return { u16: (fields) => v.offset + 16 * ((fields[name] + plus) & 31) };
}
