/**
 * Paging: Intel SDM volume 3, 4.2 to 4.8. None, with entries of 32 bits, PAE, and with 4 levels. CR4.LA57, PKE and PKS are
 * not offered.
 *
 * The walk sets accessed and dirty flags once it has granted the access, as if there were no TLB. What may be cached of
 * a walk for a read or a fetch leaves writing out until the dirty flag is set, so that the first write walks again.
 * INVLPG, INVPCID, PCIDs and global pages have no visible effect therefore. The PDPTE registers of PAE paging are checked
 * when a control register is written (`pointersAreReserved`), and read from memory by each walk, as entries of other levels.
 */
import { AccessKind, Rights, type Routine, type Stage, type Value } from "@hvjournal/engine";
import { operations } from "./engine-operations.js";
import { Paging } from "./paging.js";
import { cr3, pagingControls } from "./state.js";

/** Bits of a page fault's error code. */
export const PageFault = { P: 1, W: 2, U: 4, RSVD: 8, I: 16 } as const;

/** What `translate` gives: an error code with this bit, */
export const PAGE_FAULT = 0x100;
/** or, for an address whose bits 63 to 47 differ: */
export const NOT_CANONICAL = 0x200;

/** MAXPHYADDR. */
export const PHYSICAL_ADDRESS_BITS = 46;

const Entry = { P: 0, RW: 1, US: 2, A: 5, D: 6, PS: 7, XD: 63 } as const;
const ADDRESS_MASK = ((1n << BigInt(PHYSICAL_ADDRESS_BITS)) - 1n) & ~0xfffn;
/** Bits 51 to MAXPHYADDR. */
const RESERVED = ((1n << 52n) - 1n) & ~((1n << BigInt(PHYSICAL_ADDRESS_BITS)) - 1n);
/** With PAE bits 62 to 52 too. */
const RESERVED_PAE = ((1n << 63n) - 1n) & ~((1n << BigInt(PHYSICAL_ADDRESS_BITS)) - 1n);
/** Address of a 4 MiB page: bits 39 to 32 stand in bits 20 to 13; bit 21 is reserved. */
const PSE_HIGH_SHIFT = 13;
const PSE_HIGH_BITS = 8;
const PSE_RESERVED = 1n << 21n;

/** One level of page tables. */
interface Level {
  /** Bits of the linear address below what an entry maps, and how many choose the entry. */
  readonly shift: number;
  readonly indexBits: number;
  /** An entry with PS maps a page: always, never, or as CR4.PSE says. */
  readonly large: "no" | "reserved" | "yes" | "extended";
  /** Has P and an address only: no rights, no flags. */
  readonly isPointer?: true;
}

interface Structure {
  readonly entryBits: 32 | 64;
  readonly reserved: bigint;
  /** Bits of CR3 that are the address of the first table. */
  readonly root: bigint;
  readonly levels: readonly Level[];
}

const FOUR_LEVELS: Structure = {
  entryBits: 64,
  reserved: RESERVED,
  root: ADDRESS_MASK,
  levels: [
    { shift: 39, indexBits: 9, large: "reserved" },
    { shift: 30, indexBits: 9, large: "yes" },
    { shift: 21, indexBits: 9, large: "yes" },
    { shift: 12, indexBits: 9, large: "no" },
  ],
};

const PAE: Structure = {
  entryBits: 64,
  reserved: RESERVED_PAE,
  root: 0xffff_ffe0n,
  levels: [
    { shift: 30, indexBits: 2, large: "no", isPointer: true },
    { shift: 21, indexBits: 9, large: "yes" },
    { shift: 12, indexBits: 9, large: "no" },
  ],
};

const ENTRIES_OF_32_BITS: Structure = {
  entryBits: 32,
  reserved: 0n,
  root: 0xffff_f000n,
  levels: [
    { shift: 22, indexBits: 10, large: "extended" },
    { shift: 12, indexBits: 10, large: "no" },
  ],
};

interface Walk {
  readonly structure: Structure;
  readonly address: Value<64>;
  readonly kind: Value<32>;
  readonly privilege: Value<32>;
  /** Error code of a fault, without P and RSVD. */
  readonly errorCode: Value<32>;
  /** Entries so far that have rights, and their addresses. */
  readonly entries: readonly { readonly value: Value<64>; readonly place: Value<64> }[];
}

/** (virtual address, `AccessKind`, privilege). See `CpuDefinition.translate`. */
export const translate: Routine & { readonly result: 32 } = {
  name: "translate",
  parameters: [64, 32, 32],
  result: 32,
  body(stage, [addressValue, kindValue, privilegeValue]) {
    const address = addressValue as Value<64>;
    const kind = kindValue as Value<32>;
    const privilege = privilegeValue as Value<32>;
    const begin = (structure: Structure, linear: Value<64>): void => {
      const errorCode = errorCodeOf(stage, kind, privilege);
      const table = stage.and(stage.read(cr3), stage.constant64(structure.root));
      walkLevel(stage, 0, table, { structure, address: linear, kind, privilege, errorCode, entries: [] });
    };
    stage.if(control(stage, Paging.longMode), () => {
      stage.if(isNotCanonical(stage, address), () => {
        stage.return(stage.constant32(NOT_CANONICAL));
      });
      begin(FOUR_LEVELS, address);
    });
    const linear = stage.zeroExtendFrom(32, address);
    stage.if(stage.isZero(control(stage, Paging.enabled)), () => {
      stage.write(operations.fields.translatedPhysical, linear);
      stage.write(operations.fields.translatedRights, stage.constant32(Rights.read | Rights.write | Rights.execute));
      stage.return(stage.constant32(0));
    });
    stage.if(control(stage, Paging.physicalAddressExtension), () => begin(PAE, linear));
    begin(ENTRIES_OF_32_BITS, linear);
  },
};

/** Bits of a PDPTE of PAE paging that are reserved: 2 and 1, 8 to 5, 63 to MAXPHYADDR. 4.4.1, table 4-8. */
const POINTER_RESERVED = BigInt.asUintN(64, -1n << BigInt(PHYSICAL_ADDRESS_BITS)) | 0x1e6n;
const POINTER_COUNT = 4;

/** (CR3) gives a truth: a PDPTE of PAE paging that is present has reserved bits set. */
export const pointersAreReserved: Routine & { readonly result: 32 } = {
  name: "pointersAreReserved",
  parameters: [64],
  result: 32,
  probing: true,
  body(stage, [root]) {
    const table = stage.and(root as Value<64>, stage.constant64(PAE.root));
    for (let index = 0; index < POINTER_COUNT; index++) {
      const place = stage.add(table, stage.constant64(8 * index));
      const entry = stage.readPageTableEntry(64, place, stage.constant32(0), () => {
        stage.return(stage.constant32(0));
      });
      const reserved = stage.compare("ne", stage.and(entry, stage.constant64(POINTER_RESERVED)), stage.constant64(0));
      stage.if(stage.and(bit(stage, entry, Entry.P), reserved), () => {
        stage.return(stage.constant32(1));
      });
    }
    stage.return(stage.constant32(0));
  },
};

/** Truth: bits 63 to 47 are not all equal. */
export function isNotCanonical(stage: Stage, address: Value<64>): Value<32> {
  return stage.compare("ne", stage.shiftRightSigned(stage.shiftLeft(address, 16), 16), address);
}

/** 0 or 1: a bit of `Paging`. */
function control(stage: Stage, mask: number): Value<32> {
  return stage.extractBits(stage.read(pagingControls), Math.log2(mask), 1);
}

function errorCodeOf(stage: Stage, kind: Value<32>, privilege: Value<32>): Value<32> {
  const write = stage.compare("eq", kind, stage.constant32(AccessKind.write));
  const fetch = stage.compare("eq", kind, stage.constant32(AccessKind.execute));
  const tellsFetch = stage.or(control(stage, Paging.executeDisable), control(stage, Paging.smep));
  const bits = [
    stage.constant32(PAGE_FAULT),
    stage.shiftLeft(write, Math.log2(PageFault.W)),
    stage.shiftLeft(stage.isZero(privilege), Math.log2(PageFault.U)),
    stage.shiftLeft(stage.and(fetch, tellsFetch), Math.log2(PageFault.I)),
  ];
  return bits.reduce((sum, bit) => stage.or(sum, bit));
}

/** Reads the entry of a level; goes on with its table, or grants the page that it maps. */
function walkLevel(stage: Stage, number: number, table: Value<64>, walk: Walk): void {
  const { structure } = walk;
  const level = structure.levels[number];
  if (level === undefined) throw new RangeError(`level ${number} of page tables`);
  const isLast = number === structure.levels.length - 1;
  const index = stage.extractBits(walk.address, level.shift, level.indexBits);
  const place = stage.add(table, stage.shiftLeft(index, structure.entryBits === 64 ? 3 : 2));
  const value = stage.readPageTableEntry(structure.entryBits, place, stage.constant32(Number(isLast)), () => {
    stage.return(walk.errorCode);
  });
  stage.if(stage.isZero(bit(stage, value, Entry.P)), () => {
    stage.return(walk.errorCode);
  });
  if (level.isPointer !== true) refuseReservedBits(stage, value, walk);
  const next = level.isPointer === true ? walk : { ...walk, entries: [...walk.entries, { value, place }] };
  const addressMask = structure.entryBits === 64 ? ADDRESS_MASK : 0xffff_f000n;
  const pageAt = (page: Value<64>): void => grant(stage, level.shift, page, next);
  if (isLast) return pageAt(stage.and(value, stage.constant64(addressMask)));
  largePage(stage, level, value, walk, pageAt);
  walkLevel(stage, number + 1, stage.and(value, stage.constant64(addressMask)), next);
}

/** What PS means at a level. */
function largePage(
  stage: Stage,
  { large, shift }: Level,
  value: Value<64>,
  walk: Walk,
  pageAt: (page: Value<64>) => void,
): void {
  const isLarge = bit(stage, value, Entry.PS);
  const sizeMask = (1n << BigInt(shift)) - 1n;
  switch (large) {
    case "no":
      return;
    case "reserved":
      return refuse(stage, value, 1n << BigInt(Entry.PS), walk);
    case "yes":
      return stage.if(isLarge, () => {
        // Between PAT (bit 12) and the address of the page.
        refuse(stage, value, (1n << BigInt(shift)) - (1n << 13n), walk);
        pageAt(stage.and(value, stage.constant64(ADDRESS_MASK & ~sizeMask)));
      });
    case "extended":
      return stage.if(stage.and(isLarge, control(stage, Paging.pageSizeExtensions)), () => {
        refuse(stage, value, PSE_RESERVED, walk);
        const high = stage.shiftLeft(stage.extractBits(value, PSE_HIGH_SHIFT, PSE_HIGH_BITS), 32);
        pageAt(stage.or(high, stage.and(value, stage.constant64(0xffff_ffffn & ~sizeMask))));
      });
    default:
      return large satisfies never;
  }
}

function refuseReservedBits(stage: Stage, value: Value<64>, walk: Walk): void {
  if (walk.structure.entryBits === 32) return;
  refuse(stage, value, walk.structure.reserved, walk);
  const withoutExecuteDisable = stage.isZero(control(stage, Paging.executeDisable));
  stage.if(stage.and(bit(stage, value, Entry.XD), withoutExecuteDisable), () => {
    stage.return(reservedFault(stage, walk));
  });
}

function refuse(stage: Stage, entry: Value<64>, reserved: bigint, walk: Walk): void {
  stage.if(stage.compare("ne", stage.and(entry, stage.constant64(reserved)), stage.constant64(0)), () => {
    stage.return(reservedFault(stage, walk));
  });
}

function reservedFault(stage: Stage, { errorCode }: Walk): Value<32> {
  return stage.or(errorCode, stage.constant32(PageFault.P | PageFault.RSVD));
}

/** Checks the rights of all entries, sets their flags, and answers with the page of `2 ** shift` bytes at `page`. */
function grant(stage: Stage, shift: number, page: Value<64>, walk: Walk): void {
  const leaf = walk.entries.at(-1);
  if (leaf === undefined) throw new Error("a page without entries");
  const needed = stage.binary("shl", stage.constant32(1), walk.kind);
  const rights = rightsOf(stage, walk);
  stage.if(stage.isZero(stage.and(rights, needed)), () => {
    stage.return(stage.or(walk.errorCode, stage.constant32(PageFault.P)));
  });
  const writes = stage.compare("eq", walk.kind, stage.constant32(AccessKind.write));
  for (const entry of walk.entries) {
    const dirty = entry === leaf ? stage.shiftLeft(writes, Entry.D) : stage.constant32(0);
    const wanted = stage.or(dirty, stage.constant32(1 << Entry.A));
    const missing = stage.and(stage.not(stage.truncate32(entry.value)), wanted);
    stage.if(missing, () => {
      operations.setEntryBits(stage, entry.place, missing);
    });
  }
  const isDirty = stage.or(bit(stage, leaf.value, Entry.D), writes);
  const cacheable = stage.select(isDirty, rights, stage.and(rights, stage.constant32(~Rights.write)));
  const offset = stage.and(walk.address, stage.constant64((1n << BigInt(shift)) - 1n));
  stage.write(operations.fields.translatedPhysical, stage.or(page, offset));
  stage.write(operations.fields.translatedRights, cacheable);
  stage.return(stage.constant32(0));
}

/** `Rights` at the privilege of the walk: 4.6.1. */
function rightsOf(stage: Stage, { entries, privilege }: Walk): Value<32> {
  const values = entries.map(({ value }) => value);
  const all = values.reduce((left, right) => stage.and(left, right));
  const any = values.reduce((left, right) => stage.or(left, right));
  const user = bit(stage, all, Entry.US);
  const writable = bit(stage, all, Entry.RW);
  const protects = control(stage, Paging.writeProtect);
  const overrides = stage.compare("eq", privilege, stage.constant32(Privilege.systemWithUserData));
  const prevented = stage.and(stage.and(user, control(stage, Paging.smap)), stage.isZero(overrides));
  const read = stage.select(privilege, stage.isZero(prevented), user);
  const ignoresWritable = stage.and(stage.isZero(protects), stage.isZero(stage.isZero(privilege)));
  const write = stage.and(read, stage.or(writable, ignoresWritable));
  const mayFetch = stage.select(privilege, stage.isZero(stage.and(user, control(stage, Paging.smep))), user);
  const execute = stage.and(mayFetch, stage.isZero(bit(stage, any, Entry.XD)));
  return stage.or(read, stage.or(stage.shiftLeft(write, 1), stage.shiftLeft(execute, 2)));
}

/** Values of the field `privilege`. With CR4.SMAP the system reaches data of users only with EFLAGS.AC set. */
export const Privilege = { user: 0, system: 1, systemWithUserData: 2 } as const;

function bit(stage: Stage, value: Value<64>, index: number): Value<32> {
  return stage.truncate32(stage.extractBits(value, index, 1));
}

/** One whose P flag is clear has never been used by a walk that succeeded. */
export function entryMayBeLive(low: number): boolean {
  return (low & (1 << Entry.P)) !== 0;
}
