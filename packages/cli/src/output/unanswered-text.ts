/** What a guest has asked of its VMM and nobody has answered: a handler may be missing. */
import { counted } from "./value-text.js";

const SHOWN_MAX = 5;

/** "nobody answered KVM_EXIT_HYPERV HvExtCallQueryCapabilities (0x8001), 2 times"; undefined: everything was. */
export function unansweredText(calls: ReadonlyMap<string, number> | undefined): string | undefined {
  if (calls === undefined || calls.size === 0) return undefined;
  const sorted = [...calls].sort(([, a], [, b]) => b - a);
  const texts = sorted.slice(0, SHOWN_MAX).map(([name, count]) => `${name}, ${counted(count, "time")}`);
  const more = sorted.length > SHOWN_MAX ? [`and ${sorted.length - SHOWN_MAX} more`] : [];
  return `nobody answered ${[...texts, ...more].join("; ")} (hvjournal help handlers)`;
}
