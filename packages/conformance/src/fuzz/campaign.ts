/** Random cases against an oracle: coverage by definition, and differences reduced to a case that can be committed. */

import type { VectorLine } from "./vector-file.js";

/** What became of a case on both sides. */
export interface Compared {
  /** By the oracle: it came to its last instruction. */
  readonly ended: boolean;
  /** It differs where that may be: see `open-differences.ts`. */
  readonly isOpen: boolean;
  /** What else differs, one line each. */
  readonly lines: readonly string[];
}

/** Where cases come from, and what they are compared with. */
export interface FuzzTarget<Case> {
  readonly name: string;
  /** Mnemonics of what it may draw. */
  readonly definitions: readonly string[];
  /** One batch. */
  draw(seed: number): readonly Case[];
  compare(cases: readonly Case[]): readonly Compared[];
  definitionsOf(userCase: Case): readonly string[];
  /** Cases with less in them that may differ too. */
  shorter(userCase: Case): readonly Case[];
  /** Lines of a file of vectors, with what the oracle says, and the definitions that they stand under. */
  vectors(cases: readonly Case[]): readonly VectorLine[];
}

/** Of one definition. */
export interface Coverage {
  cases: number;
  ended: number;
  differing: number;
}

export interface Findings {
  readonly cases: number;
  readonly instructions: number;
  readonly differing: number;
  readonly open: number;
  /** The first ones that differ, reduced. */
  readonly shown: readonly string[];
  readonly coverage: ReadonlyMap<string, Coverage>;
}

const SHOWN = 12;
const LINES_SHOWN = 8;

/** Draws from each target in turn until there were `count` cases of all. */
export class Campaign {
  readonly #coverage = new Map<string, Coverage>();
  readonly #shown: string[] = [];
  #cases = 0;
  #instructions = 0;
  #differing = 0;
  #open = 0;

  run<Case>(
    targets: readonly FuzzTarget<Case>[],
    seed: number,
    count: number,
    progress: (cases: number, differing: number) => void,
  ): Findings {
    for (const { definitions } of targets) definitions.forEach((mnemonic) => this.#of(mnemonic));
    for (let round = 0; this.#cases < count; round++) {
      for (const target of targets) {
        if (this.#cases >= count) break;
        this.#round(target, (seed + round) >>> 0, count - this.#cases);
      }
      progress(this.#cases, this.#differing);
    }
    const [cases, instructions, differing, open] = [this.#cases, this.#instructions, this.#differing, this.#open];
    return { cases, instructions, differing, open, shown: this.#shown, coverage: this.#coverage };
  }

  #round<Case>(target: FuzzTarget<Case>, seed: number, room: number): void {
    const cases = target.draw(seed).slice(0, room);
    if (cases.length === 0) throw new Error(`${target.name}: no definition can be drawn`);
    const results = target.compare(cases);
    cases.forEach((userCase, index) => {
      const { ended, isOpen, lines } = results[index] ?? { ended: false, isOpen: false, lines: ["no result"] };
      if (isOpen) this.#open += 1;
      this.#note(target.definitionsOf(userCase), ended, lines.length > 0);
      if (lines.length > 0 && this.#differing++ < SHOWN) this.#shown.push(reducedText(target, userCase));
    });
    this.#cases += cases.length;
  }

  /** Of a sequence each definition counts; that it differs only where it stands alone. */
  #note(mnemonics: readonly string[], ended: boolean, differs: boolean): void {
    this.#instructions += mnemonics.length;
    for (const mnemonic of new Set(mnemonics)) {
      const coverage = this.#of(mnemonic);
      coverage.cases += 1;
      if (ended) coverage.ended += 1;
      if (differs && mnemonics.length === 1) coverage.differing += 1;
    }
  }

  #of(mnemonic: string): Coverage {
    const known = this.#coverage.get(mnemonic) ?? { cases: 0, ended: 0, differing: 0 };
    this.#coverage.set(mnemonic, known);
    return known;
  }
}

function reducedText<Case>(target: FuzzTarget<Case>, userCase: Case): string {
  const reduced = reduce(target, userCase);
  const [compared] = target.compare([reduced]);
  const lines = (compared?.lines ?? []).slice(0, LINES_SHOWN);
  // What depends on the cases in front of it differs no more where it stands alone.
  const remark = lines.length === 0 ? ["differs only behind the cases in front of it: repeat the seed"] : lines;
  const vectors = target.vectors([reduced]).flatMap(({ title, line }) => [`# ${title}`, line]);
  return [target.name, ...remark.map((line) => `  ${line}`), ...vectors].join("\n");
}

function reduce<Case>(target: FuzzTarget<Case>, userCase: Case): Case {
  let smallest = userCase;
  for (;;) {
    const tried = target.shorter(smallest);
    const results = tried.length === 0 ? [] : target.compare(tried);
    const found = tried.find((_, index) => (results[index]?.lines.length ?? 0) > 0);
    if (found === undefined) return smallest;
    smallest = found;
  }
}

/** How often each definition was met. */
export function coverageText(coverage: ReadonlyMap<string, Coverage>): string {
  const lines = [...coverage].map(([mnemonic, { cases, ended, differing }]) => {
    const remark = cases === 0 ? "  never met" : ended === 0 ? "  never ended" : "";
    return `${mnemonic.padEnd(46)}${String(cases).padStart(8)}${String(ended).padStart(14)}${String(differing).padStart(17)}${remark}`;
  });
  return ["definition                                       cases  to their end  differing alone", ...lines].join("\n");
}
