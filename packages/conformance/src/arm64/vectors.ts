/**
 * Cases with what became of them under QEMU, so that hosts without it test too. One a line: place of the code, seed of the
 * state, words, where it trapped and why, and hashes (FNV-1a) of general registers with SP and flags, of vector registers
 * with FPCR and FPSR, and of memory; all hexadecimal. A line with `#` says of which definitions.
 *
 * `npm run fuzz -- --arch arm64 --write-vectors FILE` makes a file anew: after a change of `seededState`.
 */
import { fnv1a } from "../fuzz/hash.js";
import { vectorLines } from "../fuzz/vector-file.js";
import { seededCase, type SeededCase } from "./seeded-cases.js";
import type { UserResult, UserRunner } from "./user-case.js";

function bytesOf(values: readonly bigint[]): Uint8Array {
  return new Uint8Array(BigUint64Array.from(values).buffer);
}

function resultText({ state, trap }: UserResult): string {
  const halves = state.v.flatMap((value) => [BigInt.asUintN(64, value), value >> 64n]);
  const hashes = [
    fnv1a(bytesOf([...state.x, state.sp, BigInt(state.nzcv)])),
    fnv1a(bytesOf([...halves, BigInt(state.fpcr), BigInt(state.fpsr)])),
    fnv1a(state.memory),
  ];
  const end = trap === undefined ? "end" : `${trap.kind}@${trap.word}`;
  return [end, ...hashes.map((hash) => hash.toString(16))].join(" ");
}

/** The line of a case. */
export function vectorOf({ slot, stateSeed, words }: SeededCase, result: UserResult): string {
  const code = words.map((word) => word.toString(16).padStart(8, "0")).join(",");
  return `${slot.toString(16)} ${stateSeed.toString(16)} ${code} ${resultText(result)}`;
}

/** The first lines of a file of vectors that a runner does not fulfil. */
export function failingVectors(text: string, run: UserRunner, shown = 10): string[] {
  return vectorLines(text)
    .flatMap(({ title, line }) => {
      const [slot = "", seed = "", code = "", ...expected] = line.split(" ");
      const words = code.split(",").map((word) => Number.parseInt(word, 16));
      const [result] = run([seededCase(Number.parseInt(seed, 16), words, Number.parseInt(slot, 16))]);
      const actual = result === undefined ? "no result" : resultText(result);
      return actual === expected.join(" ") ? [] : [`${line} (${title}): ${actual}`];
    })
    .slice(0, shown);
}
