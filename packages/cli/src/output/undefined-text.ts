/** Instructions that a guest has met and that its CPU does not have: code for another CPU, or data that was run as code. */

const SHOWN_MAX = 5;

/** undefined: there were none. */
export function undefinedText(names: Iterable<string>, cpuModel: string): string | undefined {
  const all = [...names];
  if (all.length === 0) return undefined;
  const more = all.length > SHOWN_MAX ? [`and ${all.length - SHOWN_MAX} more`] : [];
  return `the guest met instructions that cpu ${cpuModel} does not have, which raise the undefined exception: ${[...all.slice(0, SHOWN_MAX), ...more].join(", ")}`;
}
