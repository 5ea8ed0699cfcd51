/** A conformance table: one row an id, each driven against a VM of its own whose recording is replayed. */
import { describe, it } from "@jest/globals";
import { recordingDirectory } from "../testing/recording-directory.js";

/** What is so, and the program that shows it; or, in its place, why it can't be shown. */
export type TableRow<Program, Options> =
  | readonly [id: string, title: string, act: (program: Program) => void, options?: Options]
  | readonly [id: string, title: string, because: string];

type WithProgram<Program, Options> = (path: string, options: Options, act: (program: Program) => void) => Promise<void>;

/** `defaults`: the options of rows that have none. */
export function testTable<Program, Options>(
  {
    group,
    withProgram,
    defaults,
  }: {
    readonly group: string;
    readonly withProgram: WithProgram<Program, Options>;
    readonly defaults: Options;
  },
  rows: readonly TableRow<Program, Options>[],
): void {
  const pathOf = recordingDirectory();
  describe(`KVM's ABI, ${group}`, () => {
    rows.forEach(([id, title, act, options = defaults], index) => {
      if (typeof act === "string") it.todo(`${id}: ${title} (not here: ${act})`);
      else it(`${id}: ${title}`, () => withProgram(pathOf(`${id}-${index}`), options, act));
    });
  });
}
