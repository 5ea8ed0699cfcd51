/** RAM that holds nothing but zeros: what nobody has written since the VM began, for the guest to find as it is. */
import { PAGE_BYTES } from "@hvjournal/core";

export interface PageRange {
  readonly page: number;
  readonly pages: number;
}

interface ReadableMemory {
  readonly memoryBytes: number;
  readMemory(physical: number, bytes: number): Uint8Array;
}

/** In order. A page that was written with zeros is one of them: a guest can't tell. */
export function zeroedRanges(memory: ReadableMemory): PageRange[] {
  const ranges: PageRange[] = [];
  let [first, count] = [0, 0];
  const pageCount = memory.memoryBytes / PAGE_BYTES;
  for (let page = 0; page <= pageCount; page++) {
    if (page < pageCount && isZero(memory.readMemory(page * PAGE_BYTES, PAGE_BYTES))) {
      if (count === 0) first = page;
      count += 1;
    } else if (count > 0) {
      ranges.push({ page: first, pages: count });
      count = 0;
    }
  }
  return ranges;
}

function isZero(page: Uint8Array): boolean {
  const whole = page.byteOffset % 8 === 0 ? page : page.slice();
  return new BigUint64Array(whole.buffer, whole.byteOffset, PAGE_BYTES / 8).every((word) => word === 0n);
}
