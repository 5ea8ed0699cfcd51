/** UTF-8 without a host API: the deterministic packages have no TextEncoder. */

/** Encodes text as UTF-8. Lone surrogates become U+FFFD, as in the Encoding standard. */
export function encodeUtf8(text: string): Uint8Array {
  const bytes: number[] = [];
  for (const character of text) {
    const codePoint = character.codePointAt(0) ?? 0;
    const scalar = codePoint >= 0xd800 && codePoint <= 0xdfff ? 0xfffd : codePoint;
    if (scalar < 0x80) {
      bytes.push(scalar);
    } else if (scalar < 0x800) {
      bytes.push(0xc0 | (scalar >> 6), 0x80 | (scalar & 0x3f));
    } else if (scalar < 0x1_0000) {
      bytes.push(0xe0 | (scalar >> 12), 0x80 | ((scalar >> 6) & 0x3f), 0x80 | (scalar & 0x3f));
    } else {
      bytes.push(
        0xf0 | (scalar >> 18),
        0x80 | ((scalar >> 12) & 0x3f),
        0x80 | ((scalar >> 6) & 0x3f),
        0x80 | (scalar & 0x3f),
      );
    }
  }
  return Uint8Array.from(bytes);
}

/** Decodes bytes that `encodeUtf8` made; anything malformed becomes U+FFFD. */
export function decodeUtf8(bytes: Uint8Array): string {
  let text = "";
  for (let index = 0; index < bytes.length;) {
    const lead = bytes[index] ?? 0;
    const length = lead < 0x80 ? 1 : lead >= 0xf0 ? 4 : lead >= 0xe0 ? 3 : lead >= 0xc0 ? 2 : 0;
    if (length === 0 || index + length > bytes.length) {
      text += "\ufffd";
      index += 1;
      continue;
    }
    let scalar = length === 1 ? lead : lead & (0x7f >> length);
    for (let trail = 1; trail < length; trail += 1) {
      scalar = (scalar << 6) | ((bytes[index + trail] ?? 0) & 0x3f);
    }
    text += scalar > 0x10_ffff ? "\ufffd" : String.fromCodePoint(scalar);
    index += length;
  }
  return text;
}
