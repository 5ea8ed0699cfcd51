/** Bit patterns as the manual prints them: `"sf:1 0 0 100010 sh:1 imm12:12 Rn:5 Rd:5"`. */

export interface PatternField {
  readonly name: string;
  readonly shift: number;
  readonly mask: number;
}

/** A pattern of 32 bits. An encoding matches when `(encoding & mask) === value`, both unsigned. */
export interface CompiledPattern {
  readonly mask: number;
  readonly value: number;
  readonly fields: readonly PatternField[];
}

const compiled = new Map<string, CompiledPattern>();

/** Throws RangeError when the tokens are not 32 bits in all, or a token has another character than 0, 1, x. */
export function compilePattern(pattern: string): CompiledPattern {
  const known = compiled.get(pattern);
  if (known !== undefined) return known;
  const made = compileTokens(pattern);
  compiled.set(pattern, made);
  return made;
}

function compileTokens(pattern: string): CompiledPattern {
  let bit = 32;
  let mask = 0;
  let value = 0;
  const fields: PatternField[] = [];
  for (const token of pattern.trim().split(/\s+/)) {
    const named = /^(\w+):(\d+)$/.exec(token);
    if (named !== null) {
      const length = Number(named[2]);
      bit -= length;
      fields.push({ name: named[1] ?? "", shift: bit, mask: length === 32 ? 0xffff_ffff : (1 << length) - 1 });
      continue;
    }
    for (const character of token) {
      bit -= 1;
      if (character === "x") continue;
      if (character !== "0" && character !== "1")
        throw new RangeError(`pattern "${pattern}": ${token} is no field and no bits`);
      mask |= 1 << bit;
      if (character === "1") value |= 1 << bit;
    }
  }
  if (bit !== 0) throw new RangeError(`pattern "${pattern}" has ${32 - bit} bits`);
  return { mask: mask >>> 0, value: value >>> 0, fields };
}

export function extractFields(pattern: CompiledPattern, encoding: number): Record<string, number> {
  const fields: Record<string, number> = {};
  for (const { name, shift, mask } of pattern.fields) fields[name] = ((encoding >>> shift) & mask) >>> 0;
  return fields;
}
