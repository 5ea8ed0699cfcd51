/** Transcripts of shell sessions in a document: fenced blocks of `console`, commands behind "$ ", and what they print. */

export interface TranscriptCommand {
  /** Line of the document, from 1. */
  readonly line: number;
  readonly command: string;
  readonly output: readonly string[];
}

const FENCE = "```console";
const FENCE_END = "```";
const PROMPT = "$ ";
/** Stands for any lines. */
const ELISION = "…";

/** Every command of every transcript, in order. */
export function transcriptCommands(document: string): TranscriptCommand[] {
  const commands: { line: number; command: string; output: string[] }[] = [];
  let isInside = false;
  for (const [index, line] of document.split("\n").entries()) {
    if (!isInside) isInside = line === FENCE;
    else if (line === FENCE_END) isInside = false;
    else if (line.startsWith(PROMPT))
      commands.push({ line: index + 1, command: line.slice(PROMPT.length), output: [] });
    else commands.at(-1)?.output.push(line);
  }
  return commands;
}

const MASKS: readonly (readonly [pattern: RegExp, mask: string])[] = [
  [/sha256:[0-9a-f]{8,64}…?/g, "sha256:HASH"],
  [/\b[0-9a-f]{64}\b/g, "HASH"],
  [/\b\d+\.\d [KM]iB\b/g, "SIZE"],
  [/\(\d+(\.\d+)? m?s\)/g, "(TIME)"],
  [/\b\d+(\.\d+)? ms\b/g, "TIME"],
  [/\bpid \d+/g, "pid PID"],
];

/** Leaves out what differs from host to host. */
export function masked(line: string): string {
  return MASKS.reduce((text, [pattern, mask]) => text.replace(pattern, mask), line).trimEnd();
}

/** Whether the lines printed are those expected; `…` on a line of its own stands for any. */
export function matchesTranscript(expected: readonly string[], printed: readonly string[]): boolean {
  const [first, ...rest] = expected;
  if (first === undefined) return printed.length === 0;
  if (first !== ELISION) {
    const [line, ...others] = printed;
    return line !== undefined && masked(line) === masked(first) && matchesTranscript(rest, others);
  }
  return printed.some((_, index) => matchesTranscript(rest, printed.slice(index))) || matchesTranscript(rest, []);
}

/** The document with other output, hashes cut short. */
export function withOutputs(document: string, outputs: ReadonlyMap<number, readonly string[]>): string {
  const lines = document.split("\n");
  const rewritten: string[] = [];
  let isSkipping = false;
  lines.forEach((line, index) => {
    const output = outputs.get(index + 1);
    if (isSkipping && (line.startsWith(PROMPT) || line === FENCE_END)) isSkipping = false;
    if (isSkipping) return;
    rewritten.push(line);
    if (output === undefined) return;
    isSkipping = true;
    rewritten.push(...output.map((text) => text.replace(/(sha256:[0-9a-f]{8})[0-9a-f]{56}/g, "$1…")));
  });
  return rewritten.join("\n");
}
