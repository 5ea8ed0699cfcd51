/**
 * 4-level paging: Intel SDM volume 3, 4.5 and 4.6 to 4.8. CR0.PG, CR4.PAE and EFER.LMA are set in every mode that is
 * simulated. CR4.SMEP, SMAP, PKE and LA57 are not offered.
 *
 * The walk sets accessed and dirty flags once it has granted the access, as if there were no TLB. What may be cached of
 * a walk for a read or a fetch leaves writing out until the dirty flag is set, so that the first write walks again.
 */
import { AccessKind, Rights, type Routine, type Stage, type Value } from "@hvjournal/engine";
import { operations } from "./engine-operations.js";
import { Cr0, Efer } from "./registers.js";
import { cr0, cr3, efer } from "./state.js";

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

/** Bits of the linear address below what an entry of a level maps: PML4E, PDPTE, PDE, PTE. */
const LEVEL_SHIFTS = [39, 30, 21, 12] as const;

interface Walk {
  readonly address: Value<64>;
  readonly kind: Value<32>;
  readonly privilege: Value<32>;
  /** Error code of a fault, without P and RSVD. */
  readonly errorCode: Value<32>;
  /** Entries so far and their addresses. */
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
    stage.if(isNotCanonical(stage, address), () => {
      stage.return(stage.constant32(NOT_CANONICAL));
    });
    const errorCode = errorCodeOf(stage, kind, privilege);
    const table = stage.and(stage.read(cr3), stage.constant64(ADDRESS_MASK));
    walkLevel(stage, 0, table, { address, kind, privilege, errorCode, entries: [] });
  },
};

/** Truth: bits 63 to 47 are not all equal. */
export function isNotCanonical(stage: Stage, address: Value<64>): Value<32> {
  return stage.compare("ne", stage.shiftRightSigned(stage.shiftLeft(address, 16), 16), address);
}

function errorCodeOf(stage: Stage, kind: Value<32>, privilege: Value<32>): Value<32> {
  const write = stage.compare("eq", kind, stage.constant32(AccessKind.write));
  const fetch = stage.compare("eq", kind, stage.constant32(AccessKind.execute));
  const bits = [
    stage.constant32(PAGE_FAULT),
    stage.shiftLeft(write, Math.log2(PageFault.W)),
    stage.shiftLeft(stage.isZero(privilege), Math.log2(PageFault.U)),
    stage.shiftLeft(stage.and(fetch, executeDisableEnabled(stage)), Math.log2(PageFault.I)),
  ];
  return bits.reduce((sum, bit) => stage.or(sum, bit));
}

function executeDisableEnabled(stage: Stage): Value<32> {
  return stage.extractBits(stage.truncate32(stage.read(efer)), Math.log2(Efer.NXE), 1);
}

/** Reads the entry of a level; goes on with its table, or grants the page that it maps. */
function walkLevel(stage: Stage, level: 0 | 1 | 2 | 3, table: Value<64>, walk: Walk): void {
  const shift = LEVEL_SHIFTS[level];
  const place = stage.add(table, stage.shiftLeft(stage.extractBits(walk.address, shift, 9), 3));
  const value = stage.readPageTableEntry(64, place, stage.constant32(Number(level === 3)), () => {
    stage.return(walk.errorCode);
  });
  stage.if(stage.isZero(bit(stage, value, Entry.P)), () => {
    stage.return(walk.errorCode);
  });
  refuseReserved(stage, value, stage.constant64(RESERVED), walk);
  const withoutExecuteDisable = stage.isZero(executeDisableEnabled(stage));
  stage.if(stage.and(bit(stage, value, Entry.XD), withoutExecuteDisable), () => {
    stage.return(reservedFault(stage, walk));
  });
  const next = { ...walk, entries: [...walk.entries, { value, place }] };
  if (level === 3) return grant(stage, shift, next);
  const below = (): void =>
    walkLevel(stage, (level + 1) as 1 | 2 | 3, stage.and(value, stage.constant64(ADDRESS_MASK)), next);
  if (level === 0) {
    refuseReserved(stage, value, stage.constant64(1 << Entry.PS), walk);
    return below();
  }
  stage.if(bit(stage, value, Entry.PS), () => {
    // Between PAT (bit 12) and the address of the page.
    refuseReserved(stage, value, stage.constant64((1n << BigInt(shift)) - (1n << 13n)), walk);
    grant(stage, shift, next);
  });
  below();
}

function refuseReserved(stage: Stage, entry: Value<64>, reserved: Value<64>, walk: Walk): void {
  stage.if(stage.compare("ne", stage.and(entry, reserved), stage.constant64(0)), () => {
    stage.return(reservedFault(stage, walk));
  });
}

function reservedFault(stage: Stage, { errorCode }: Walk): Value<32> {
  return stage.or(errorCode, stage.constant32(PageFault.P | PageFault.RSVD));
}

/** Checks the rights of all entries, sets their flags, and answers with the page of `2 ** shift` bytes. */
function grant(stage: Stage, shift: number, walk: Walk): void {
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
  const offsetMask = (1n << BigInt(shift)) - 1n;
  const page = stage.and(leaf.value, stage.constant64(ADDRESS_MASK & ~offsetMask));
  const offset = stage.and(walk.address, stage.constant64(offsetMask));
  stage.write(operations.fields.translatedPhysical, stage.or(page, offset));
  stage.write(operations.fields.translatedRights, cacheable);
  stage.return(stage.constant32(0));
}

/** `Rights` at the privilege of the walk: 4.6. */
function rightsOf(stage: Stage, { entries, privilege }: Walk): Value<32> {
  const values = entries.map(({ value }) => value);
  const all = values.reduce((left, right) => stage.and(left, right));
  const any = values.reduce((left, right) => stage.or(left, right));
  const user = bit(stage, all, Entry.US);
  const writable = bit(stage, all, Entry.RW);
  const protects = stage.extractBits(stage.truncate32(stage.read(cr0)), Math.log2(Cr0.WP), 1);
  const one = stage.constant32(1);
  const read = stage.select(privilege, one, user);
  const write = stage.select(privilege, stage.or(writable, stage.isZero(protects)), stage.and(user, writable));
  const execute = stage.and(read, stage.isZero(bit(stage, any, Entry.XD)));
  return stage.or(read, stage.or(stage.shiftLeft(write, 1), stage.shiftLeft(execute, 2)));
}

function bit(stage: Stage, value: Value<64>, index: number): Value<32> {
  return stage.truncate32(stage.extractBits(value, index, 1));
}

/** One whose P flag is clear has never been used by a walk that succeeded. */
export function entryMayBeLive(low: number): boolean {
  return (low & (1 << Entry.P)) !== 0;
}
