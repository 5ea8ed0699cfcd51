import { writeSync } from "node:fs";

/** Jest reporter: the very last line of a run is `N passed, N failed`, with `, N skipped` where tests were left out. */
export default class CountReporter {
  onRunComplete(_contexts, results) {
    const skipped = results.numPendingTests + results.numTodoTests;
    // A file that does not even load is one failure; Jest counts no test for it.
    const failed = results.numFailedTests + results.numRuntimeErrorTestSuites;
    const line = `${results.numPassedTests} passed, ${failed} failed${skipped > 0 ? `, ${skipped} skipped` : ""}`;
    process.once("exit", () => writeSync(process.stdout.fd, `${line}\n`));
  }
}
