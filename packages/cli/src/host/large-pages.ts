/** Large pages for guests' memory, as a VMM on Linux asks for them: see madvise(2), MADV_HUGEPAGE. */
import { createRequire } from "node:module";

const MADV_HUGEPAGE = 14;
const PAGE_BYTES = 4096;

type Madvise = (address: Uint8Array, length: number, advice: number) => number;

/** Loaded with the first VM: what calls C takes fifteen milliseconds. undefined: this host has no such call. */
function loadMadvise(): Madvise | undefined {
  if (process.platform !== "linux") return undefined;
  try {
    const koffi = createRequire(import.meta.url)("koffi") as typeof import("koffi").default;
    return koffi.load("libc.so.6").func("int madvise(void *address, size_t length, int advice)") as unknown as Madvise;
  } catch {
    return undefined;
  }
}

let loaded: { readonly madvise: Madvise | undefined } | undefined;

/** Where the host refuses, memory comes in small pages, as it does without. `memory` begins at a page of the host. */
export function useLargePages(memory: Uint8Array): void {
  loaded ??= { madvise: loadMadvise() };
  loaded.madvise?.(memory, memory.length - (memory.length % PAGE_BYTES), MADV_HUGEPAGE);
}
