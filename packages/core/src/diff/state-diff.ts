/** Two machines that stand still, compared: registers, then pages. */
import { PAGE_BYTES } from "../ports/guest-memory.js";
import type { Machine } from "../machine/machine.js";
import { lastOf } from "../replay/steps.js";
import { contentHash, hashAt, sameBytes } from "../memory/page-hash.js";

export interface RegisterDifference {
  readonly vcpu: number;
  readonly name: string;
  readonly a: bigint;
  readonly b: bigint;
}

export interface PageDifference {
  /** Guest-physical address of the page. */
  readonly physical: number;
  /** Bytes of it that differ. */
  readonly bytes: number;
  /** Aligned 64-bit words of it that differ. */
  readonly words: readonly WordDifference[];
}

export interface WordDifference {
  /** Guest-physical. */
  readonly physical: number;
  readonly a: bigint;
  readonly b: bigint;
}

const WORD_BYTES = 8;

/** What one machine has more of: it is compared as far as both have it. */
export interface ShapeDifference {
  readonly of: "vcpus" | "memory";
  /** vCPUs, or bytes. */
  readonly a: number;
  readonly b: number;
}

export interface StateDiff {
  readonly registers: readonly RegisterDifference[];
  readonly pages: readonly PageDifference[];
  readonly shapes: readonly ShapeDifference[];
}

/**
 * Yields a machine behind each page that differs. Throws RangeError where RAM begins at two addresses, so that no page of one is
 * a page of the other.
 */
export function* diffStateSteps(a: Machine, b: Machine): Generator<Machine, StateDiff> {
  const [{ memoryBase }, { memoryBase: baseB }] = [a.description, b.description];
  if (memoryBase !== baseB) throw new RangeError(`RAM at ${memoryBase} and at ${baseB} can't be compared page by page`);
  return { registers: diffRegisters(a, b), pages: yield* diffPages(a, b), shapes: diffShapes(a, b) };
}

/** All steps in one go. */
export function diffState(a: Machine, b: Machine): StateDiff {
  return lastOf(diffStateSteps(a, b));
}

export function isSameState({ registers, pages, shapes }: StateDiff): boolean {
  return registers.length === 0 && pages.length === 0 && shapes.length === 0;
}

function diffShapes({ description: a }: Machine, { description: b }: Machine): ShapeDifference[] {
  const shapes: ShapeDifference[] = [
    { of: "vcpus", a: a.vcpuCount, b: b.vcpuCount },
    { of: "memory", a: a.memoryBytes, b: b.memoryBytes },
  ];
  return shapes.filter((shape) => shape.a !== shape.b);
}

function diffRegisters(a: Machine, b: Machine): RegisterDifference[] {
  const differences: RegisterDifference[] = [];
  const vcpus = Math.min(a.description.vcpuCount, b.description.vcpuCount);
  for (let vcpu = 0; vcpu < vcpus; vcpu++)
    for (const { name } of a.kernel.registers) {
      const [valueA, valueB] = [a.kernel.readRegister(vcpu, name), b.kernel.readRegister(vcpu, name)];
      if (valueA !== valueB) differences.push({ vcpu, name, a: valueA, b: valueB });
    }
  return differences;
}

/** Hashes of base pages are compared where nothing has changed since, so that absent pages stay absent. */
function pageHashes(machine: Machine): (index: number) => Uint8Array {
  const changed = new Set(machine.pages.changedPages());
  return (index) =>
    changed.has(index)
      ? contentHash(machine.kernel.memory.page(index), machine.digester)
      : hashAt(machine.pages.hashes, index);
}

function* diffPages(a: Machine, b: Machine): Generator<Machine, PageDifference[]> {
  const [hashA, hashB] = [pageHashes(a), pageHashes(b)];
  const differences: PageDifference[] = [];
  const pages = Math.min(a.kernel.memory.pageCount, b.kernel.memory.pageCount);
  for (let index = 0; index < pages; index++) {
    if (sameBytes(hashA(index), hashB(index))) continue;
    const [pageA, pageB] = [a.kernel.memory.page(index).slice(), b.kernel.memory.page(index)];
    const bytes = pageA.reduce((count, byte, at) => count + (byte === pageB[at] ? 0 : 1), 0);
    const physical = a.description.memoryBase + index * PAGE_BYTES;
    differences.push({ physical, bytes, words: diffWords(pageA, pageB, physical) });
    yield a;
  }
  return differences;
}

function diffWords(pageA: Uint8Array, pageB: Uint8Array, physical: number): WordDifference[] {
  const [viewA, viewB] = [pageA, pageB].map(({ buffer, byteOffset }) => new DataView(buffer, byteOffset, PAGE_BYTES));
  const words: WordDifference[] = [];
  if (viewA === undefined || viewB === undefined) return words;
  for (let at = 0; at < PAGE_BYTES; at += WORD_BYTES) {
    const [a, b] = [viewA.getBigUint64(at, true), viewB.getBigUint64(at, true)];
    if (a !== b) words.push({ physical: physical + at, a, b });
  }
  return words;
}
