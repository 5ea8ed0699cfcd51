/** A directory for one test file, removed behind it. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

export class TemporaryDirectory {
  readonly path: string;
  #next = 0;

  constructor() {
    this.path = mkdtempSync(join(tmpdir(), "hvjournal-test-"));
  }

  /** A name that no file has yet. */
  file(): string {
    this.#next += 1;
    return join(this.path, `vm${this.#next}.hvj`);
  }

  remove(): void {
    rmSync(this.path, { recursive: true, force: true });
  }
}
