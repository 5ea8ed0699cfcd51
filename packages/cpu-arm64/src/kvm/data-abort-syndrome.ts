/** ESR_EL2 of a stage 2 data abort (Arm ARM D13.2.37, ISS encoding for an exception from a Data Abort). */
import { EsrClass } from "./exit-model.js";

const IL = 1 << 25;
const ISV = 1 << 24;
const WRITE = 1 << 6;
/** Translation fault, level 3. */
const STATUS = 0x07;

/** Load and store exclusive or ordered: LDAR, STLR, LDAXR ...; bits 29 to 24 of the encoding. */
const EXCLUSIVE_CLASS = 0b001000;

interface SingleAccess {
  readonly size: number;
  readonly signExtend: boolean;
  readonly is64Bit: boolean;
  readonly acquireRelease: boolean;
}

/**
 * The instruction's part of a valid syndrome: one general register, no write-back (Arm ARM D13.2.37, ISV).
 * undefined: the hardware would report none.
 */
function singleAccess(encoding: number): SingleAccess | undefined {
  const size = encoding >>> 30;
  if (((encoding >>> 24) & 0x3f) === EXCLUSIVE_CLASS) {
    const isOrderedOnly = ((encoding >>> 23) & 1) === 1 && ((encoding >>> 21) & 1) === 0;
    return isOrderedOnly ? { size, signExtend: false, is64Bit: size === 3, acquireRelease: true } : undefined;
  }
  const isGeneralRegister = ((encoding >>> 27) & 7) === 0b111 && ((encoding >>> 26) & 1) === 0;
  if (!isGeneralRegister || ((encoding >>> 25) & 1) !== 0) return undefined;
  const unsignedOffset = ((encoding >>> 24) & 1) === 1;
  const mode = (encoding >>> 10) & 3;
  const registerOffset = ((encoding >>> 21) & 1) === 1;
  // Without an unsigned offset: unscaled 0, post-indexed 1, unprivileged or register offset 2, pre-indexed 3.
  if (!unsignedOffset && (mode === 1 || mode === 3 || (registerOffset && mode !== 2))) return undefined;
  const opc = (encoding >>> 22) & 3;
  const signExtend = opc >= 2;
  return { size, signExtend, is64Bit: signExtend ? opc === 2 : size === 3, acquireRelease: false };
}

/** `encoding` is the instruction's, if it could be read. */
export function dataAbortSyndrome(encoding: number | undefined, isWrite: boolean): number {
  const base = ((EsrClass.dabtLow << 26) | IL | (isWrite ? WRITE : 0) | STATUS) >>> 0;
  const access = encoding === undefined ? undefined : singleAccess(encoding);
  if (access === undefined || encoding === undefined) return base;
  const iss =
    ISV |
    (access.size << 22) |
    (access.signExtend ? 1 << 21 : 0) |
    ((encoding & 31) << 16) |
    (access.is64Bit ? 1 << 15 : 0) |
    (access.acquireRelease ? 1 << 14 : 0);
  return (base | iss) >>> 0;
}
