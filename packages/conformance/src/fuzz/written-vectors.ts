/** A file of vectors: some cases of each definition, alone. */
import type { FuzzTarget } from "./campaign.js";

const ROUNDS_MAX = 200;

/** Those that end by themselves come first. */
export function writtenVectors(targets: readonly FuzzTarget<unknown>[], seed: number, each: number): string {
  return targets.map((target) => vectorsOf(target, seed, each)).join("");
}

function vectorsOf<Case>(target: FuzzTarget<Case>, seed: number, each: number): string {
  const found = new Map<string, { ended: Case[]; others: Case[] }>();
  const isFull = (): boolean =>
    target.definitions.every((mnemonic) => (found.get(mnemonic)?.ended.length ?? 0) >= each);
  for (let round = 0; round < ROUNDS_MAX && !isFull() && (round < 4 * each || found.size === 0); round++) {
    const cases = target.draw((seed + round) >>> 0).filter((userCase) => target.definitionsOf(userCase).length === 1);
    target.compare(cases).forEach(({ ended, isOpen, lines }, index) => {
      const userCase = cases[index];
      const [mnemonic] = userCase === undefined ? [] : target.definitionsOf(userCase);
      if (userCase === undefined || mnemonic === undefined || isOpen || lines.length > 0) return;
      const of = found.get(mnemonic) ?? { ended: [], others: [] };
      found.set(mnemonic, of);
      (ended ? of.ended : of.others).push(userCase);
    });
  }
  const taken = target.definitions.flatMap((mnemonic) => {
    const { ended = [], others = [] } = found.get(mnemonic) ?? {};
    return [...ended, ...others].slice(0, each);
  });
  const titled = target.vectors(taken);
  return titled
    .flatMap(({ title, line }, index) => (titled[index - 1]?.title === title ? [line] : [`# ${title}`, line]))
    .map((line) => `${line}\n`)
    .join("");
}
