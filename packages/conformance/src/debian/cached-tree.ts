/** Unpacked packages, fetched once and then kept outside the source tree. */
import { existsSync, mkdirSync, mkdtempSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { homedir } from "node:os";
import { join } from "node:path";
import { type Apt, AptError, openApt } from "./apt.js";

export interface TreeDescription {
  /** Of the directory in the cache. */
  readonly name: string;
  /** A file in it, written last: where it stands, the directory is complete. */
  readonly manifest: string;
  /** As Debian calls it. */
  readonly architecture: string;
  /** Unpacks everything into `tree`. Gives the version of what matters. */
  readonly unpack: (apt: Apt, tree: string) => Promise<string>;
}

export interface CachedTree {
  readonly directory: string;
  readonly version: string;
}

function cacheDirectory(): string {
  const { XDG_CACHE_HOME: configured } = process.env;
  return join(configured !== undefined && configured !== "" ? configured : join(homedir(), ".cache"), "hvjournal");
}

function readCached({ name, manifest }: TreeDescription): CachedTree | undefined {
  const directory = join(cacheDirectory(), name);
  const path = join(directory, manifest);
  if (!existsSync(path)) return undefined;
  const { version } = JSON.parse(readFileSync(path, "utf8")) as { version: string };
  return { directory, version };
}

/**
 * A tree from the cache, else by apt. Safe for several processes at once: the first complete tree stays.
 *
 * @param options.refresh fetch also when the cache has one; a failure leaves that one in place
 * @throws AptError where apt is missing or fails
 */
export async function cachedTree(
  wanted: TreeDescription,
  options: { readonly refresh?: boolean } = {},
): Promise<CachedTree> {
  const lookUp = (): CachedTree | undefined => (options.refresh === true ? undefined : readCached(wanted));
  const cached = lookUp();
  if (cached !== undefined) return cached;
  const directory = join(cacheDirectory(), wanted.name);
  mkdirSync(cacheDirectory(), { recursive: true });
  const work = mkdtempSync(join(cacheDirectory(), "fetch-"));
  try {
    const tree = join(work, "tree");
    const version = await wanted.unpack(await openApt(join(work, "apt"), wanted.architecture), tree);
    writeFileSync(join(tree, wanted.manifest), JSON.stringify({ version }));
    const raced = lookUp();
    if (raced !== undefined) return raced;
    // What was there stays usable until the new tree is complete.
    if (existsSync(directory)) renameSync(directory, join(work, "replaced"));
    renameSync(tree, directory);
  } finally {
    rmSync(work, { recursive: true, force: true });
  }
  const fetched = readCached(wanted);
  if (fetched === undefined) throw new AptError(`${directory} was removed while it was fetched`);
  return fetched;
}

/**
 * For tests: what `fetch` gives, or undefined with a line on stderr where it can't be had (no apt, no network).
 * In CI that is an error: a run that left these tests out must not look complete.
 */
export async function fetchedForTests<Fetched>(
  what: string,
  fetch: () => Promise<Fetched>,
): Promise<Fetched | undefined> {
  try {
    return await fetch();
  } catch (error) {
    if (!(error instanceof AptError) || process.env["CI"] === "true") throw error;
    process.stderr.write(`tests with ${what} are left out: ${error.message}\n`);
    return undefined;
  }
}
