/** The options that a parser of command lines knows. */
import type { Argv } from "yargs";

/** Long names. yargs has them, and its types leave that out. */
export function optionNames(parser: Argv): string[] {
  const { key } = (parser as Argv & { getOptions(): { readonly key: object } }).getOptions();
  return Object.keys(key).filter((name) => name.length > 1);
}
