/** What people call an encoding that has no definition. */

/** What a first byte or two belong to, in 64-bit mode: Intel SDM volume 2, 2.3 and 2.7; AMD APM volume 3, 1.2.5 and 1.6. */
const FAMILIES: readonly (readonly [first: RegExp, family: string])[] = [
  [/^c[45]/, "VEX: AVX, BMI"],
  [/^62/, "EVEX: AVX-512"],
  [/^8f/, "XOP"],
  [/^0f 0f/, "3DNow!"],
];

/** "c5 (VEX: AVX, BMI)" of its first bytes, the lowest of them first. */
export function undefinedName(first: number): string {
  const bytes: string[] = [];
  for (let rest = first; bytes.length === 0 || rest > 0; rest = Math.floor(rest / 256))
    bytes.push((rest % 256).toString(16).padStart(2, "0"));
  const text = bytes.join(" ");
  const family = FAMILIES.find(([expression]) => expression.test(text));
  return family === undefined ? text : `${text} (${family[1]})`;
}

/** UD0, UD1 and UD2: what they are for is to be undefined (SDM volume 2, UD). */
const UNDEFINED_BY_INTENT = /^0f (ff|b9|0b)\b/;

/** Whether a guest that met it has asked for what the CPU does not have. */
export function isMissing(name: string): boolean {
  return !UNDEFINED_BY_INTENT.test(name);
}
