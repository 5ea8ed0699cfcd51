export interface VectorLine {
  /** Mnemonics, separated by `; `. */
  readonly title: string;
  readonly line: string;
}

/** Lines of a file of vectors with the title (`# ...`) that they stand under. */
export function vectorLines(text: string): VectorLine[] {
  let title = "";
  return text.split("\n").flatMap((line) => {
    if (!line.startsWith("#")) return line === "" ? [] : [{ title, line }];
    title = line.slice(2);
    return [];
  });
}
