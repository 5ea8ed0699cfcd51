/** A command line as it can be pasted into a shell. */

/** What a shell would take for something else is quoted. */
export function shellWord(word: string): string {
  return /^[\w./:@%+=,-]+$/.test(word) ? word : `'${word.replaceAll("'", String.raw`'\''`)}'`;
}

export function shellCommand(...words: readonly string[]): string {
  return words.map((word) => shellWord(word)).join(" ");
}
