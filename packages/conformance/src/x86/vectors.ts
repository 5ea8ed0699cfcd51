/**
 * Cases with what became of them on a host's CPU, so that hosts of other kinds test against it too. One a line:
 * code, seed of the state, flags that count, vector at the end, RIP as an offset of the code, flags, and hashes (FNV-1a)
 * of general registers, memory, and the x87's and SSE's state; all hexadecimal. A line with `#` says of which definition.
 *
 * `npm run fuzz -- --arch amd64 --bits B --group G --write-vectors FILE` makes a file anew: after a change of `randomState`, or for new definitions.
 */
import {
  type Bits,
  CODE_ADDRESS,
  COMPARED_FLAGS,
  FxsaveOffset,
  undefinedAt,
  type UserCase,
  type UserResult,
  type UserRunner,
} from "./case-block.js";
import { fnv1a } from "../fuzz/hash.js";
import { vectorLines } from "../fuzz/vector-file.js";
import { caseFrom } from "./random-cases.js";

/** What FXSAVE's image has of state that counts. */
function floatHash(image: Uint8Array): number {
  const control = fnv1a(image.subarray(FxsaveOffset.fcw, FxsaveOffset.tags + 1));
  let hash = fnv1a(image.subarray(FxsaveOffset.mxcsr, FxsaveOffset.mxcsr + 4), control);
  for (let index = 0; index < 8; index++) {
    const offset = FxsaveOffset.st + 16 * index;
    hash = fnv1a(image.subarray(offset, offset + 10), hash);
  }
  return fnv1a(image.subarray(FxsaveOffset.xmm, FxsaveOffset.xmm + 256), hash);
}

function resultText({ gpr, rip, rflags, end, fxsave, window, check }: UserResult, flags: number): string {
  const registers = fnv1a(new Uint8Array(BigUint64Array.from(gpr).buffer));
  const memory = fnv1a(new Uint8Array(Uint32Array.of(check).buffer), fnv1a(window));
  const numbers = [
    end.vector & 0xff,
    BigInt.asUintN(64, rip - BigInt(CODE_ADDRESS)),
    rflags & flags,
    registers,
    memory,
    floatHash(fxsave),
  ];
  return numbers.map((number) => number.toString(16)).join(" ");
}

/** The line of a case. */
export function vectorOf(userCase: UserCase, result: UserResult): string {
  const flags = COMPARED_FLAGS & ~undefinedAt(userCase, result.rip);
  const code = Buffer.from(userCase.code).toString("hex");
  return `${code} ${userCase.stateSeed.toString(16)} ${flags.toString(16)} ${resultText(result, flags)}`;
}

/** The first lines of a file of vectors that a runner does not fulfil. */
export function failingVectors(bits: Bits, text: string, run: UserRunner, shown = 10): string[] {
  const vectors = vectorLines(text);
  const results = run(vectors.map((vector) => caseOf(bits, vector.title, vector.line)));
  return vectors
    .flatMap(({ title: name, line }, index) => {
      const [code = "", seed = "", flags = "", ...expected] = line.split(" ");
      const result = results[index];
      if (result === undefined) return ["no result"];
      const actual = resultText(result, Number.parseInt(flags, 16));
      if (actual === expected.join(" ")) return [];
      return [
        `${bits} bits, ${code}, state ${Number.parseInt(seed, 16)} (${name}): ${actual}, not ${expected.join(" ")}`,
      ];
    })
    .slice(0, shown);
}

function caseOf(bits: Bits, title: string, line: string): UserCase {
  const [code = "", seed = ""] = line.split(" ");
  return caseFrom(bits, Number.parseInt(seed, 16), Uint8Array.from(Buffer.from(code, "hex")), [], [title]);
}
