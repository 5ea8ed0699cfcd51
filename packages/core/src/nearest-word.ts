/** What somebody may have meant who wrote a word that does not exist. */

/** A third of its letters may be wrong. */
const LETTERS_PER_MISTAKE = 3;

/** Letters to insert, delete, or replace; two that changed places count once. */
function distance(from: string, to: string): number {
  let [before, row] = [[] as number[], Array.from({ length: to.length + 1 }, (_, index) => index)];
  for (let at = 1; at <= from.length; at++) {
    const next = [at];
    for (let other = 1; other <= to.length; other++) {
      const isSame = from[at - 1] === to[other - 1];
      const hasSwapped = at > 1 && other > 1 && from[at - 1] === to[other - 2] && from[at - 2] === to[other - 1];
      next[other] = Math.min(
        (row[other] ?? Infinity) + 1,
        (next[other - 1] ?? Infinity) + 1,
        (row[other - 1] ?? Infinity) + (isSame ? 0 : 1),
        hasSwapped ? (before[other - 2] ?? Infinity) + 1 : Infinity,
      );
    }
    [before, row] = [row, next];
  }
  return row[to.length] ?? Infinity;
}

/** The only word that begins so, or the one with the fewest mistakes; undefined when none is near. */
export function nearestWord(word: string, candidates: readonly string[]): string | undefined {
  const begun = candidates.filter((candidate) => word.length > 1 && candidate.startsWith(word));
  if (begun.length === 1) return begun[0];
  let best: string | undefined;
  let mistakesMax = Math.ceil(word.length / LETTERS_PER_MISTAKE);
  for (const candidate of candidates) {
    // Letters that are too many or too few are mistakes each.
    if (Math.abs(candidate.length - word.length) > mistakesMax) continue;
    const mistakes = distance(word, candidate);
    if (mistakes > mistakesMax || (mistakes === mistakesMax && best !== undefined)) continue;
    best = candidate;
    mistakesMax = mistakes;
  }
  return best;
}

/** "; did you mean forward?", to stand behind what is wrong with a word; empty when none is near. */
export function meantHint(word: string, candidates: readonly string[]): string {
  const meant = nearestWord(word, candidates);
  return meant === undefined ? "" : `; did you mean ${meant}?`;
}
