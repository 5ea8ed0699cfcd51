/** Aligning two sequences: Myers' greedy algorithm (1986) behind the common ends. */

export interface Hunk {
  /** First element of each side that differs, and how many of it do. */
  readonly atA: number;
  readonly countA: number;
  readonly atB: number;
  readonly countB: number;
}

export interface SequenceDiff {
  readonly hunks: readonly Hunk[];
  /** True: the sequences differ in more places than are worth aligning; the last hunk holds all the rest. */
  readonly isTruncated: boolean;
}

/** Edits beyond which the rest counts as one difference; memory grows with its square. */
const EDITS_MAX = 2000;

type Keys = readonly number[] | Int32Array;

/** Furthest positions on side A for each diagonal, one array for each number of edits. */
function search(a: Keys, b: Keys): { readonly trace: Int32Array[]; readonly isComplete: boolean } {
  const editsMax = Math.min(a.length + b.length, EDITS_MAX);
  const trace: Int32Array[] = [];
  let furthest = new Int32Array(2 * editsMax + 3);
  const centre = editsMax + 1;
  for (let edits = 0; edits <= editsMax; edits++) {
    trace.push(furthest.slice(centre - edits - 1, centre + edits + 2));
    const next = furthest.slice();
    for (let diagonal = -edits; diagonal <= edits; diagonal += 2) {
      const fromB = furthest[centre + diagonal + 1] ?? 0;
      const fromA = (furthest[centre + diagonal - 1] ?? 0) + 1;
      let x = diagonal === -edits || (diagonal !== edits && fromA <= fromB) ? fromB : fromA;
      let y = x - diagonal;
      while (x < a.length && y < b.length && a[x] === b[y]) {
        x += 1;
        y += 1;
      }
      next[centre + diagonal] = x;
      if (x >= a.length && y >= b.length) return { trace, isComplete: true };
    }
    furthest = next;
  }
  return { trace, isComplete: false };
}

/** Walks back through the trace and marks what is not common. */
function backtrack(trace: readonly Int32Array[], endA: number, endB: number, inA: Uint8Array, inB: Uint8Array): void {
  let x = endA;
  let y = endB;
  for (let edits = trace.length - 1; edits > 0; edits--) {
    const before = trace[edits] ?? new Int32Array(0);
    const diagonal = x - y;
    const at = (wanted: number): number => before[wanted + edits + 1] ?? 0;
    const isFromB = diagonal === -edits || (diagonal !== edits && at(diagonal - 1) + 1 <= at(diagonal + 1));
    const previous = isFromB ? diagonal + 1 : diagonal - 1;
    x = at(previous);
    y = x - previous;
    if (isFromB) inB[y] = 1;
    else inA[x] = 1;
  }
}

function collectHunks(inA: Uint8Array, inB: Uint8Array, offset: number): Hunk[] {
  const hunks: Hunk[] = [];
  let a = 0;
  let b = 0;
  while (a < inA.length || b < inB.length) {
    const [atA, atB] = [a, b];
    while (a < inA.length && inA[a] === 1) a += 1;
    while (b < inB.length && inB[b] === 1) b += 1;
    if (a > atA || b > atB) hunks.push({ atA: atA + offset, countA: a - atA, atB: atB + offset, countB: b - atB });
    a += 1;
    b += 1;
  }
  return hunks;
}

/** Equal numbers are equal elements. */
export function diffSequences(a: Keys, b: Keys): SequenceDiff {
  let head = 0;
  while (head < a.length && head < b.length && a[head] === b[head]) head += 1;
  let tail = 0;
  while (tail < a.length - head && tail < b.length - head && a[a.length - 1 - tail] === b[b.length - 1 - tail])
    tail += 1;
  const middleA = a.slice(head, a.length - tail);
  const middleB = b.slice(head, b.length - tail);
  if (middleA.length === 0 && middleB.length === 0) return { hunks: [], isTruncated: false };
  if (middleA.length === 0 || middleB.length === 0)
    return { hunks: [{ atA: head, countA: middleA.length, atB: head, countB: middleB.length }], isTruncated: false };
  const { trace, isComplete } = search(middleA, middleB);
  if (!isComplete)
    return { hunks: [{ atA: head, countA: middleA.length, atB: head, countB: middleB.length }], isTruncated: true };
  const inA = new Uint8Array(middleA.length);
  const inB = new Uint8Array(middleB.length);
  backtrack(trace, middleA.length, middleB.length, inA, inB);
  return { hunks: collectHunks(inA, inB, head), isTruncated: false };
}
