/** Pieces of generated code that look at the state of a page of RAM. */
import { engineState } from "../engine-fields.js";
import { type TlbGeometry, WALKED_ENTRIES_BYTES, WALKED_ENTRY_SHIFT, WalkedAs } from "../mmu/tlb-layout.js";
import type { HostFunction } from "../stage/stage.js";
import type { FunctionBuilder } from "../wasm/function-builder.js";

/** (page index): loads an absent page, marks it as page table and revokes its fast write entries. */
export const preparePageTablePage: HostFunction = { name: "preparePageTablePage", parameterCount: 1 };

/** Pushes the state byte of the page that the i64 local `offset` (from the start of RAM) lies in. */
export function loadPageState(code: FunctionBuilder, geometry: TlbGeometry, offset: number): void {
  code.get(offset);
  code.op("i32.wrap_i64");
  code.i32(12);
  code.op("i32.shr_u");
  code.memory("i32.load8_u", geometry.pageStateStart);
}

/** Notes that a walk has read the entry at the i64 local `offset` (from the start of RAM); see `WalkedAs`. */
export function markWalkedEntry(
  code: FunctionBuilder,
  geometry: TlbGeometry,
  offset: number,
  pushIsLast: () => void,
): void {
  const pushMark = (): void => {
    code.get(offset);
    code.op("i32.wrap_i64");
    code.i32(WALKED_ENTRY_SHIFT);
    code.op("i32.shr_u");
    code.i32(WALKED_ENTRIES_BYTES - 1);
    code.op("i32.and");
  };
  pushMark();
  pushMark();
  code.memory("i32.load8_u", geometry.walkedEntriesStart);
  code.i32(WalkedAs.last);
  code.i32(WalkedAs.table);
  pushIsLast();
  code.select();
  code.op("i32.or");
  code.memory("i32.store8", geometry.walkedEntriesStart);
  code.i32(0);
  code.get(offset);
  code.op("i32.wrap_i64");
  code.memory("i32.store", engineState.lastEntry.offset);
}
