/**
 * Stage 1 of the EL1&0 translation regime: Arm ARM D5. VMSAv8-64, 4 KiB granule, 40-bit physical addresses, no
 * hardware management of the access flag. Memory types are not looked at: an unaligned access to Device memory
 * does not fault.
 */
import { AccessKind, Rights, type Routine, type Stage, type Value, type Variable } from "@hvjournal/engine";
import { operations } from "./engine-operations.js";
import { PHYSICAL_ADDRESS_BITS } from "./id-registers.js";
import { layout } from "./state.js";
import { Sctlr, sctlrEl1, tcrEl1, ttbr0El1, ttbr1El1 } from "./system-registers.js";

/** Fault status codes of ESR_EL1.ISS, bits 5 to 0; a level from 0 to 3 is added to the first five. Arm ARM D13, ESR_EL1. */
export const FaultStatus = {
  addressSize: 0x00,
  translation: 0x04,
  accessFlag: 0x08,
  permission: 0x0c,
  externalOnWalk: 0x14,
  external: 0x10,
  alignment: 0x21,
} as const;

/** What `translate` gives is a fault status with this bit, so that it is never 0. */
export const FAULT = 0x40;
/** A fetch from an address whose top byte is a tag (TCR_EL1.TBIn): no fault, `fetchFault` takes the tag off pc. */
export const TAGGED_FETCH = 0x80;
/** The level is in these bits of a code. */
const LEVEL_BITS = 3;

/** Descriptor of the last translation that was granted, for AT and PAR_EL1; 0 when the MMU is off. */
export const translatedDescriptor = layout.cacheField("translatedDescriptor", 64);

const ADDRESS_MASK = 0x0000_ffff_ffff_f000n;
/** Within TCR_EL1, or its upper half for TTBR1: TxSZ, EPDx. */
const TCR_EPD = 7;
const TCR_TTBR1_SHIFT = 16n;
const TCR_IPS = 32;
const TCR_TBI0 = 37;
const TCR_TBI1 = 38;
/** TxSZ outside this range is taken as the nearest end of it, as Arm ARM D5 permits. */
const SIZE_OFFSET_MIN = 16;
const SIZE_OFFSET_MAX = 39;

const Descriptor = { valid: 0, table: 1, ap1: 6, ap2: 7, accessFlag: 10, pxn: 53, uxn: 54 } as const;
const TableDescriptor = { pxn: 59, uxn: 60, ap0: 61, ap1: 62 } as const;

/** What a walk knows before it reads the first table. */
interface Regime {
  /** The address without its tag. */
  readonly address: Value<64>;
  readonly inputBits: Value<64>;
  readonly table: Value<64>;
  /** Bits of a physical address that must be 0. */
  readonly beyond: Value<64>;
}

interface Walk {
  readonly level: Variable<32>;
  readonly shift: Variable<64>;
  readonly table: Variable<64>;
  readonly descriptor: Variable<64>;
  /** Attributes of all table descriptors, or-ed. */
  readonly inherited: Variable<64>;
}

/** (virtual address, `AccessKind`, privilege). See `CpuDefinition.translate`. */
export const translate: Routine & { readonly result: 32 } = {
  name: "translate",
  parameters: [64, 32, 32],
  result: 32,
  body(stage, [virtual, kind, privilege]) {
    const address = virtual as Value<64>;
    const accessKind = kind as Value<32>;
    const enabled = bit(stage, stage.read(sctlrEl1), Sctlr.M);
    const untagged = withoutTag(stage, address);
    const fetch = stage.compare("eq", accessKind, stage.constant32(AccessKind.execute));
    stage.if(stage.and(fetch, stage.compare("ne", untagged, address)), () => {
      stage.return(stage.constant32(TAGGED_FETCH));
    });
    stage.if(stage.isZero(enabled), () => {
      grantFlat(stage, untagged);
    });
    const regime = selectRegime(stage, untagged);
    const walk = walkTables(stage, regime);
    grant(stage, regime, walk, accessKind, privilege as Value<32>);
  },
};

/** The address that the translation regime sees: with TCR_EL1.TBIn, bit 55 in place of the top byte. */
export function withoutTag(stage: Stage, address: Value<64>): Value<64> {
  const tcr = stage.read(tcrEl1);
  const ignoresTop = stage.select(bit(stage, address, 55), bit(stage, tcr, TCR_TBI1), bit(stage, tcr, TCR_TBI0));
  const extended = stage.shiftRightSigned(stage.shiftLeft(address, 8), 8);
  return stage.select(ignoresTop, extended, address);
}

/** MMU off: virtual is physical; an address that no physical one equals has a size fault at level 0. */
function grantFlat(stage: Stage, address: Value<64>): void {
  const beyond = stage.compare("ne", stage.shiftRight(address, PHYSICAL_ADDRESS_BITS), stage.constant64(0));
  stage.if(beyond, () => {
    stage.return(stage.constant32(FAULT | FaultStatus.addressSize));
  });
  stage.write(operations.fields.translatedPhysical, address);
  stage.write(operations.fields.translatedRights, stage.constant32(Rights.read | Rights.write | Rights.execute));
  stage.write(translatedDescriptor, stage.constant64(0));
  stage.return(stage.constant32(0));
}

function selectRegime(stage: Stage, address: Value<64>): Regime {
  const tcr = stage.read(tcrEl1);
  const upper = bit(stage, address, 55);
  const half = stage.select(upper, stage.binary("shr_u", tcr, stage.constant64(TCR_TTBR1_SHIFT)), tcr);
  const inputBits = stage.zeroExtend64(inputBitsOf(stage, stage.truncate32(stage.extractBits(half, 0, 6))));
  const high = stage.binary("shr_s", address, inputBits);
  const sign = stage.sub(stage.constant64(0), stage.zeroExtend64(upper));
  const disabled = bit(stage, half, TCR_EPD);
  stage.if(stage.or(stage.compare("ne", high, sign), disabled), () => {
    stage.return(stage.constant32(FAULT | FaultStatus.translation));
  });
  const base = stage.select(upper, stage.read(ttbr1El1), stage.read(ttbr0El1));
  return { address, inputBits, table: base, beyond: beyondOutput(stage, tcr) };
}

/** Bits of the input address: 64 minus TxSZ, which is kept in its range. */
function inputBitsOf(stage: Stage, offset: Value<32>): Value<32> {
  const low = stage.constant32(SIZE_OFFSET_MIN);
  const high = stage.constant32(SIZE_OFFSET_MAX);
  const atLeast = stage.select(stage.compare("lt_u", offset, low), low, offset);
  const kept = stage.select(stage.compare("gt_u", atLeast, high), high, atLeast);
  return stage.sub(stage.constant32(64), kept);
}

/** Bits 47 and down to the output size: 32 or 36 bits by TCR_EL1.IPS, else what the CPU has. */
function beyondOutput(stage: Stage, tcr: Value<64>): Value<64> {
  const ips = stage.truncate32(stage.extractBits(tcr, TCR_IPS, 3));
  const above = (bits: number): Value<64> => stage.constant64(ADDRESS_MASK & ~((1n << BigInt(bits)) - 1n));
  const wide = stage.select(stage.compare("eq", ips, stage.constant32(1)), above(36), above(PHYSICAL_ADDRESS_BITS));
  return stage.select(ips, wide, above(32));
}

function walkTables(stage: Stage, regime: Regime): Walk {
  const { inputBits, beyond } = regime;
  const start = firstLevel(stage, inputBits);
  const startShift = stage.zeroExtend64(
    stage.sub(stage.constant32(39), stage.binary("mul", start, stage.constant32(9))),
  );
  // The first table has 8 bytes for every entry the input address can choose, and is aligned to its size.
  const tableBits = stage.add(stage.sub(inputBits, startShift), stage.constant64(3));
  const unaligned = stage.sub(stage.binary("shl", stage.constant64(1), tableBits), stage.constant64(1));
  const firstTable = stage.and(stage.and(regime.table, stage.constant64(ADDRESS_MASK | 0xfffn)), stage.not(unaligned));
  stage.if(stage.compare("ne", stage.and(firstTable, beyond), stage.constant64(0)), () => {
    stage.return(stage.constant32(FAULT | FaultStatus.addressSize));
  });
  const inputMask = stage.sub(stage.binary("shl", stage.constant64(1), inputBits), stage.constant64(1));
  const input = stage.and(regime.address, inputMask);
  const walk: Walk = {
    level: stage.variable(start),
    shift: stage.variable(startShift),
    table: stage.variable(firstTable),
    descriptor: stage.variable(stage.constant64(0)),
    inherited: stage.variable(stage.constant64(0)),
  };
  stage.repeatWhile(() => {
    const isTable = readDescriptor(stage, walk, input, beyond);
    stage.if(isTable, () => {
      const descriptor = stage.get(walk.descriptor);
      stage.set(walk.inherited, stage.or(stage.get(walk.inherited), descriptor));
      stage.set(walk.table, stage.and(descriptor, stage.constant64(ADDRESS_MASK)));
      stage.set(walk.level, stage.add(stage.get(walk.level), stage.constant32(1)));
      stage.set(walk.shift, stage.sub(stage.get(walk.shift), stage.constant64(9)));
    });
    return isTable;
  });
  return walk;
}

/** 0 for more than 39 bits, 1 for more than 30, else 2. */
function firstLevel(stage: Stage, inputBits: Value<64>): Value<32> {
  const fits = (bits: number): Value<32> => stage.compare("le_u", inputBits, stage.constant64(bits));
  return stage.add(fits(39), fits(30));
}

/** Reads the entry of the current level, or returns its fault. Truth: it is a table. */
function readDescriptor(stage: Stage, walk: Walk, input: Value<64>, beyond: Value<64>): Value<32> {
  const level = stage.get(walk.level);
  const index = stage.and(stage.binary("shr_u", input, stage.get(walk.shift)), stage.constant64(0x1ff));
  const place = stage.add(stage.get(walk.table), stage.shiftLeft(index, 3));
  const isLast = stage.compare("eq", level, stage.constant32(3));
  const descriptor = stage.readPageTableEntry(64, place, isLast, () => {
    fault(stage, FaultStatus.externalOnWalk, stage.get(walk.level));
  });
  stage.set(walk.descriptor, descriptor);
  const tableOrPage = bit(stage, descriptor, Descriptor.table);
  // Blocks exist at levels 1 and 2: there is none at 0, and 0b01 is reserved at 3.
  const mayBeBlock = stage.compare("lt_u", stage.sub(level, stage.constant32(1)), stage.constant32(2));
  const valid = stage.and(bit(stage, descriptor, Descriptor.valid), stage.or(tableOrPage, mayBeBlock));
  stage.if(stage.isZero(valid), () => {
    fault(stage, FaultStatus.translation, stage.get(walk.level));
  });
  stage.if(stage.compare("ne", stage.and(descriptor, beyond), stage.constant64(0)), () => {
    fault(stage, FaultStatus.addressSize, stage.get(walk.level));
  });
  return stage.and(tableOrPage, stage.isZero(isLast));
}

/** Access flag, permissions, output address. */
function grant(stage: Stage, regime: Regime, walk: Walk, kind: Value<32>, privilege: Value<32>): void {
  const descriptor = stage.get(walk.descriptor);
  stage.if(stage.isZero(bit(stage, descriptor, Descriptor.accessFlag)), () => {
    fault(stage, FaultStatus.accessFlag, stage.get(walk.level));
  });
  const rights = rightsOf(stage, descriptor, stage.get(walk.inherited), privilege);
  const needed = stage.binary("shl", stage.constant32(1), kind);
  stage.if(stage.isZero(stage.and(rights, needed)), () => {
    fault(stage, FaultStatus.permission, stage.get(walk.level));
  });
  const offsetMask = stage.sub(stage.binary("shl", stage.constant64(1), stage.get(walk.shift)), stage.constant64(1));
  const page = stage.and(stage.and(descriptor, stage.constant64(ADDRESS_MASK)), stage.not(offsetMask));
  stage.write(operations.fields.translatedPhysical, stage.or(page, stage.and(regime.address, offsetMask)));
  stage.write(operations.fields.translatedRights, rights);
  stage.write(translatedDescriptor, descriptor);
  stage.return(stage.constant32(0));
}

/** Arm ARM D5, access controls: AP[2:1], APTable, UXN, PXN, their table forms, and SCTLR_EL1.WXN. */
function rightsOf(stage: Stage, descriptor: Value<64>, inherited: Value<64>, privilege: Value<32>): Value<32> {
  const forbids = (leaf: number, table: number): Value<32> =>
    stage.or(bit(stage, descriptor, leaf), bit(stage, inherited, table));
  const user = stage.and(
    bit(stage, descriptor, Descriptor.ap1),
    stage.isZero(bit(stage, inherited, TableDescriptor.ap0)),
  );
  const writable = stage.isZero(forbids(Descriptor.ap2, TableDescriptor.ap1));
  const userWritable = stage.and(user, writable);
  const writeForbidsExecute = bit(stage, stage.read(sctlrEl1), Sctlr.WXN);
  const userNever = stage.or(
    forbids(Descriptor.uxn, TableDescriptor.uxn),
    stage.and(writeForbidsExecute, userWritable),
  );
  // What EL0 can write is never executed at EL1.
  const privilegedNever = stage.or(
    stage.or(forbids(Descriptor.pxn, TableDescriptor.pxn), userWritable),
    stage.and(writeForbidsExecute, writable),
  );
  const one = stage.constant32(1);
  const read = stage.select(privilege, one, user);
  const write = stage.select(privilege, writable, userWritable);
  const execute = stage.isZero(stage.select(privilege, privilegedNever, userNever));
  return stage.or(read, stage.or(stage.shiftLeft(write, 1), stage.shiftLeft(execute, 2)));
}

function fault(stage: Stage, status: number, level: Value<32>): void {
  stage.return(stage.or(stage.constant32(FAULT | (status & ~LEVEL_BITS)), level));
}

function bit(stage: Stage, value: Value<64>, index: number): Value<32> {
  return stage.truncate32(stage.extractBits(value, index, 1));
}

/** One whose valid bit is clear has never been used by a walk that succeeded. */
export function entryMayBeLive(low: number): boolean {
  return (low & (1 << Descriptor.valid)) !== 0;
}
