/** UTF-8 without a host API: `TextEncoder` belongs to the host, and journal bytes must not depend on it. */

const REPLACEMENT = 0xfffd;

/** Lone surrogates become U+FFFD. */
export function encodeUtf8(text: string): Uint8Array {
  const bytes: number[] = [];
  for (const character of text) {
    const raw = character.codePointAt(0) ?? REPLACEMENT;
    const code = raw >= 0xd800 && raw <= 0xdfff ? REPLACEMENT : raw;
    if (code < 0x80) bytes.push(code);
    else if (code < 0x800) bytes.push(0xc0 | (code >> 6), 0x80 | (code & 0x3f));
    else if (code < 0x10000) bytes.push(0xe0 | (code >> 12), 0x80 | ((code >> 6) & 0x3f), 0x80 | (code & 0x3f));
    else
      bytes.push(0xf0 | (code >> 18), 0x80 | ((code >> 12) & 0x3f), 0x80 | ((code >> 6) & 0x3f), 0x80 | (code & 0x3f));
  }
  return Uint8Array.from(bytes);
}

/** Decodes byte by byte, as a console does; a malformed sequence becomes U+FFFD. */
export class Utf8Decoder {
  #code = 0;
  #missing = 0;
  #least = 0;

  /** What stands between two bytes: all numbers, 0 outside of a sequence. */
  get state(): readonly number[] {
    return [this.#code, this.#missing, this.#least];
  }

  set state([code = 0, missing = 0, least = 0]: readonly number[]) {
    this.#code = code;
    this.#missing = missing;
    this.#least = least;
  }

  /** The text that `byte` completes: empty inside a sequence. */
  push(byte: number): string {
    if (this.#missing > 0) {
      if ((byte & 0xc0) === 0x80) {
        this.#code = (this.#code << 6) | (byte & 0x3f);
        this.#missing -= 1;
        return this.#missing > 0 ? "" : this.#finished();
      }
      this.#missing = 0;
      return "\ufffd" + this.push(byte);
    }
    if (byte < 0x80) return String.fromCharCode(byte);
    if (byte >= 0xc2 && byte <= 0xdf) return this.#begin(byte & 0x1f, 1, 0x80);
    if (byte >= 0xe0 && byte <= 0xef) return this.#begin(byte & 0x0f, 2, 0x800);
    if (byte >= 0xf0 && byte <= 0xf4) return this.#begin(byte & 0x07, 3, 0x10000);
    return "\ufffd";
  }

  #begin(bits: number, missing: number, least: number): string {
    this.#code = bits;
    this.#missing = missing;
    this.#least = least;
    return "";
  }

  #finished(): string {
    const code = this.#code;
    const bad = code < this.#least || code > 0x10ffff || (code >= 0xd800 && code <= 0xdfff);
    return bad ? "\ufffd" : String.fromCodePoint(code);
  }

  /** Whether a sequence is still open. */
  get open(): boolean {
    return this.#missing > 0;
  }
}

export function decodeUtf8(bytes: Uint8Array): string {
  const decoder = new Utf8Decoder();
  let text = "";
  for (const byte of bytes) text += decoder.push(byte);
  return decoder.open ? text + "\ufffd" : text;
}
