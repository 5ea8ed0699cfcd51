/**
 * Where virtual pages were last seen to lie. A kernel that keeps its pages from user space (KPTI) takes them out of the
 * translation at each return to EL0; what lies there goes on to be, and an expression goes on to read it.
 */
export class LastPlaces {
  readonly #pages: Map<bigint, number>;
  /** What was known of pages before the present moment, for `takeBack`. */
  #before: [page: bigint, physical: number | undefined][] = [];

  constructor(pages: ReadonlyMap<bigint, number> = new Map()) {
    this.#pages = new Map(pages);
  }

  /** The physical page of a virtual one; undefined: it has never been seen mapped. */
  get(page: bigint): number | undefined {
    return this.#pages.get(page);
  }

  note(page: bigint, physical: number): void {
    const known = this.#pages.get(page);
    if (known === physical) return;
    this.#before.push([page, known]);
    this.#pages.set(page, physical);
  }

  /** Another moment begins. */
  begin(): void {
    if (this.#before.length > 0) this.#before = [];
  }

  /** Forgets what the present moment has shown. */
  takeBack(): void {
    for (const [page, physical] of this.#before.toReversed())
      if (physical === undefined) this.#pages.delete(page);
      else this.#pages.set(page, physical);
    this.#before = [];
  }

  copy(): LastPlaces {
    return new LastPlaces(this.#pages);
  }
}
