/** Two recordings of one setup are equal to the last byte, or the first event that differs is named. */
import { expect } from "@jest/globals";
import { eventLines, withRecording } from "./guest-replay.js";
import { keepOnFailure } from "./keep-recording.js";

/** The hash over every event's bytes. */
export async function chainOf(path: string): Promise<string> {
  return withRecording(path, (reader) => reader.end.chain);
}

/** Both recordings are kept when they differ. */
export async function expectSameRecording(reference: string, again: string): Promise<void> {
  await keepOnFailure([reference, again], async () => {
    const referenceChain = await chainOf(reference);
    if ((await chainOf(again)) === referenceChain) return;
    const expected = await withRecording(reference, eventLines);
    const lines = await withRecording(again, eventLines);
    const first = expected.findIndex((line, index) => line !== lines[index]);
    expect(lines[first]).toBe(expected[first]);
    expect(await chainOf(again)).toBe(referenceChain);
  });
}
