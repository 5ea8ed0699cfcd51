/** Eventfds that have been signalled and are yet to be served, in order; each once, however often it was. */
import {
  decodeCanonicalMap,
  encodeCanonical,
  PayloadFields,
  type StateSection,
  StateSectionError,
} from "@hvjournal/core";

const SECTION = "vmm.signals";
const SECTION_VERSION = 1;

export class PendingSignals {
  readonly #fds: number[] = [];

  add(fd: number): void {
    if (!this.#fds.includes(fd)) this.#fds.push(fd);
  }

  get first(): number | undefined {
    return this.#fds[0];
  }

  takeFirst(): void {
    this.#fds.shift();
  }

  /** Nothing where none waits: a board is saved as one without. */
  save(): StateSection[] {
    if (this.#fds.length === 0) return [];
    return [{ name: SECTION, version: SECTION_VERSION, bytes: encodeCanonical({ fds: [...this.#fds] }) }];
  }

  /** `take` gives the section of a name, if the saved machine has it. Throws StateSectionError. */
  restore(take: (name: string) => StateSection | undefined): void {
    this.#fds.length = 0;
    const section = take(SECTION);
    if (section === undefined) return;
    if (section.version !== SECTION_VERSION)
      throw new StateSectionError(SECTION, `version ${section.version}, this build reads ${SECTION_VERSION}`);
    this.#fds.push(...new PayloadFields(SECTION, decodeCanonicalMap(section.bytes)).array("fds").map(Number));
  }
}
