/** A conformance table: one row an id, each driven against a VM of its own whose recording is replayed. */
import { describe, it } from "@jest/globals";
import { recordingDirectory } from "../testing/recording-directory.js";
import { type Program, type ProgramOptions, withProgram } from "./program.js";

/** What is so, and the program that shows it; or, in its place, why it can't be shown. */
export type Row =
  | readonly [id: string, title: string, act: (program: Program) => void, options?: ProgramOptions]
  | readonly [id: string, title: string, because: string];

export function testRows(group: string, rows: readonly Row[]): void {
  const pathOf = recordingDirectory();
  describe(`KVM's ABI, ${group}`, () => {
    rows.forEach(([id, title, act, options = {}], index) => {
      if (typeof act === "string") it.todo(`${id}: ${title} (not here: ${act})`);
      else it(`${id}: ${title}`, () => withProgram(pathOf(`${id}-${index}`), options, act));
    });
  });
}
