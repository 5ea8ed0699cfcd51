/**
 * Writing control registers and EFER: which values are refused, and what follows. Intel SDM volume 3, 2.5, 4.1, 10.8.5;
 * volume 2, MOV control registers. Each function checks, and gives what carries it out.
 */
import type { Stage, Value } from "@hvjournal/engine";
import { contextChanged, privilegeChanged } from "./context.js";
import { raiseIf, Vector } from "./exceptions.js";
import { pagingChanged } from "./paging.js";
import { Cr0, CR0_PG, CR0_PG_BIT, Cr4, CR4_BITS, Efer } from "./registers.js";
import { isLongModeActive } from "./segments.js";
import { cr0, cr3, cr4, efer } from "./state.js";
import { PHYSICAL_ADDRESS_BITS, pointersAreReserved } from "./translation.js";

const CR0_BITS =
  BigInt(Cr0.PE | Cr0.MP | Cr0.EM | Cr0.TS | Cr0.ET | Cr0.NE | Cr0.WP | Cr0.AM | Cr0.NW | Cr0.CD) | CR0_PG;

/** Truth: a bit of a register, by its mask. */
function has(stage: Stage, register: Value<64>, mask: number): Value<32> {
  return stage.truncate32(stage.extractBits(register, Math.log2(mask), 1));
}

function isSet(stage: Stage, register: Value<64>, bits: bigint): Value<32> {
  return stage.compare("ne", stage.and(register, stage.constant64(bits)), stage.constant64(0));
}

/** Truth: paging is on, and not that of long mode. */
function pagesLegacy(stage: Stage): Value<32> {
  const pages = stage.truncate32(stage.extractBits(stage.read(cr0), CR0_PG_BIT, 1));
  return stage.and(pages, stage.isZero(isLongModeActive(stage)));
}

/** PAE paging loads four pointers where `loads`: #GP(0) for reserved bits. 4.4.1. */
function refusePointers(stage: Stage, loads: Value<32>, root: Value<64>): void {
  stage.if(loads, () => raiseIf(stage, stage.call(pointersAreReserved, root), Vector.generalProtection));
}

/** `is64`: the code is 64-bit code, where paging can't end. */
export function checkCr0(stage: Stage, value: Value<64>, is64: boolean): () => void {
  const old = stage.read(cr0);
  const control4 = stage.read(cr4);
  const extended = stage.read(efer);
  const pages = stage.truncate32(stage.extractBits(value, CR0_PG_BIT, 1));
  const paged = stage.truncate32(stage.extractBits(old, CR0_PG_BIT, 1));
  const begins = stage.and(pages, stage.isZero(paged));
  const ends = stage.and(paged, stage.isZero(pages));
  const entersLong = stage.and(begins, has(stage, extended, Efer.LME));
  const refused = [
    stage.and(pages, stage.isZero(has(stage, value, Cr0.PE))),
    stage.and(has(stage, value, Cr0.NW), stage.isZero(has(stage, value, Cr0.CD))),
    isSet(stage, value, 0xffff_ffffn << 32n),
    stage.and(entersLong, stage.isZero(has(stage, control4, Cr4.PAE))),
    stage.and(ends, is64 ? stage.constant32(1) : has(stage, control4, Cr4.PCIDE)),
  ].reduce((all, one) => stage.or(all, one));
  raiseIf(stage, refused, Vector.generalProtection);
  const reloads = isSet(stage, stage.xor(value, old), CR0_PG | BigInt(Cr0.CD | Cr0.NW));
  const usesPointers = stage.and(
    pages,
    stage.and(has(stage, control4, Cr4.PAE), stage.isZero(has(stage, extended, Efer.LME))),
  );
  refusePointers(stage, stage.and(reloads, usesPointers), stage.read(cr3));
  return () => {
    const written = stage.or(stage.and(value, stage.constant64(CR0_BITS)), stage.constant64(Cr0.ET));
    const active = stage.shiftLeft(
      stage.zeroExtend64(stage.and(pages, has(stage, extended, Efer.LME))),
      Math.log2(Efer.LMA),
    );
    stage.write(cr0, written);
    stage.write(efer, stage.or(stage.and(extended, stage.constant64(~BigInt(Efer.LMA))), active));
    pagingChanged(stage);
    contextChanged(stage);
  };
}

/** Bit 63 asks for no flush where there are PCIDs, and is not kept. */
export function checkCr3(stage: Stage, value: Value<64>): () => void {
  const hasPcids = has(stage, stage.read(cr4), Cr4.PCIDE);
  const noFlush = stage.select(hasPcids, stage.constant64(1n << 63n), stage.constant64(0));
  const kept = stage.and(value, stage.not(noFlush));
  const beyond = isSet(stage, kept, -1n << BigInt(PHYSICAL_ADDRESS_BITS));
  raiseIf(stage, beyond, Vector.generalProtection);
  refusePointers(stage, stage.and(pagesLegacy(stage), has(stage, stage.read(cr4), Cr4.PAE)), kept);
  return () => {
    stage.write(cr3, kept);
    pagingChanged(stage);
  };
}

export function checkCr4(stage: Stage, value: Value<64>): () => void {
  const old = stage.read(cr4);
  const isLong = isLongModeActive(stage);
  const beginsPcids = stage.and(has(stage, value, Cr4.PCIDE), stage.isZero(has(stage, old, Cr4.PCIDE)));
  const mayNot = stage.or(stage.isZero(isLong), isSet(stage, stage.read(cr3), 0xfffn));
  const refused = [
    isSet(stage, value, ~BigInt(CR4_BITS)),
    stage.and(isLong, stage.isZero(has(stage, value, Cr4.PAE))),
    stage.and(beginsPcids, mayNot),
  ].reduce((all, one) => stage.or(all, one));
  raiseIf(stage, refused, Vector.generalProtection);
  const reloads = isSet(stage, stage.xor(value, old), BigInt(Cr4.PAE | Cr4.PGE | Cr4.PSE | Cr4.SMEP));
  const usesPointers = stage.and(pagesLegacy(stage), has(stage, value, Cr4.PAE));
  refusePointers(stage, stage.and(reloads, usesPointers), stage.read(cr3));
  return () => {
    stage.write(cr4, value);
    pagingChanged(stage);
    privilegeChanged(stage);
  };
}

/** LMA follows from CR0.PG and LME: it is not written. */
export function checkEfer(stage: Stage, value: Value<64>): () => void {
  const old = stage.read(efer);
  const bits = BigInt(Efer.SCE | Efer.LME | Efer.LMA | Efer.NXE);
  const changesMode = isSet(stage, stage.xor(value, old), BigInt(Efer.LME));
  const pages = stage.truncate32(stage.extractBits(stage.read(cr0), CR0_PG_BIT, 1));
  raiseIf(stage, stage.or(isSet(stage, value, ~bits), stage.and(changesMode, pages)), Vector.generalProtection);
  return () => {
    const active = stage.and(old, stage.constant64(Efer.LMA));
    stage.write(efer, stage.or(stage.and(value, stage.constant64(~BigInt(Efer.LMA))), active));
    pagingChanged(stage);
  };
}
