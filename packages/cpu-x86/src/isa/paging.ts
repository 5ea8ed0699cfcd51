/** What page walks depend on beside CR3, in one derived word. Intel SDM volume 3, 4.1. */
import type { Stage, Value } from "@hvjournal/engine";
import { operations } from "./engine-operations.js";
import { Cr0, CR0_PG_BIT, Cr4, Efer } from "./registers.js";
import { cr0, cr4, efer, pagingControls } from "./state.js";

/** Bits of `pagingControls`. */
export const Paging = {
  /** CR0.PG. */
  enabled: 1,
  /** EFER.LMA: with it paging has 4 levels, and addresses are canonical. */
  longMode: 2,
  /** CR4.PAE. */
  physicalAddressExtension: 4,
  /** CR4.PSE. */
  pageSizeExtensions: 8,
  /** CR0.WP. */
  writeProtect: 16,
  /** EFER.NXE. */
  executeDisable: 32,
  smep: 64,
  smap: 128,
} as const;

/** Computes the word again, and picks the TLB sets; called wherever CR0, CR3, CR4 or EFER have changed. */
export function pagingChanged(stage: Stage): void {
  const low = (field: typeof cr0): Value<32> => stage.truncate32(stage.read(field));
  const place = (register: Value<32>, from: number, to: number): Value<32> =>
    stage.shiftLeft(stage.extractBits(register, from, 1), Math.log2(to));
  const [control0, control4, extended] = [low(cr0), low(cr4), low(efer)];
  const bits = [
    place(control0, CR0_PG_BIT, Paging.enabled),
    place(control0, Math.log2(Cr0.WP), Paging.writeProtect),
    place(control4, Math.log2(Cr4.PAE), Paging.physicalAddressExtension),
    place(control4, Math.log2(Cr4.PSE), Paging.pageSizeExtensions),
    place(control4, Math.log2(Cr4.SMEP), Paging.smep),
    place(control4, Math.log2(Cr4.SMAP), Paging.smap),
    place(extended, Math.log2(Efer.LMA), Paging.longMode),
    place(extended, Math.log2(Efer.NXE), Paging.executeDisable),
  ];
  stage.write(
    pagingControls,
    bits.reduce((word, bit) => stage.or(word, bit)),
  );
  operations.translationChanged(stage);
}
