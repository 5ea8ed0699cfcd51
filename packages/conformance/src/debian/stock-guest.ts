/** Debian's own cloud kernel and busybox, unmodified: the guests that a hypervisor must run. Fetched once, then cached. */
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readdirSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { homedir } from "node:os";
import { join } from "node:path";
import { AptError, openApt } from "./apt.js";

const KERNEL_PREFIX = "linux-image-6.1.";
const KERNEL_PATTERN = /^linux-image-6\.1\.\d+-\d+-cloud-arm64-unsigned$/;
const ARCHITECTURE = "arm64";
/** Written last: where it stands, the directory is complete. */
const MANIFEST = "stock-guest.json";
/** Debian ships a few lines of text in the place of the real System.map. */
const SYSTEM_MAP_BYTES_MIN = 64 << 10;

/** Absolute paths. */
export interface StockGuest {
  /** As `uname -r` says. */
  readonly release: string;
  /** Debian's version of the kernel package. */
  readonly version: string;
  readonly image: string;
  /** `lib/modules/RELEASE`. */
  readonly modulesDir: string;
  /** A static busybox. */
  readonly busybox: string;
  readonly systemMap?: string;
}

/** Where what was fetched is kept, outside the source tree. */
export function cacheDirectory(): string {
  const { XDG_CACHE_HOME: configured } = process.env;
  return join(configured !== undefined && configured !== "" ? configured : join(homedir(), ".cache"), "hvjournal");
}

function describeTree(root: string, version: string): StockGuest {
  const release = readdirSync(join(root, "lib", "modules"))[0];
  if (release === undefined) throw new AptError(`the kernel package ${version} has no modules`);
  const systemMap = join(root, "boot", `System.map-${release}`);
  const hasSystemMap = existsSync(systemMap) && statSync(systemMap).size >= SYSTEM_MAP_BYTES_MIN;
  return {
    release,
    version,
    image: join(root, "boot", `vmlinuz-${release}`),
    modulesDir: join(root, "lib", "modules", release),
    busybox: join(root, "bin", "busybox"),
    ...(hasSystemMap ? { systemMap } : {}),
  };
}

function readCached(directory: string): StockGuest | undefined {
  const manifest = join(directory, MANIFEST);
  if (!existsSync(manifest)) return undefined;
  const { version } = JSON.parse(readFileSync(manifest, "utf8")) as { version: string };
  return describeTree(directory, version);
}

async function fetchInto(work: string): Promise<void> {
  const apt = await openApt(join(work, "apt"), ARCHITECTURE);
  const [kernel] = await apt.packageNames(KERNEL_PREFIX, KERNEL_PATTERN);
  if (kernel === undefined)
    throw new AptError(`apt knows no package ${KERNEL_PREFIX}*-cloud-arm64-unsigned for ${ARCHITECTURE}`);
  const tree = join(work, "tree");
  const version = await apt.unpack(kernel, tree);
  await apt.unpack("busybox-static", tree);
  writeFileSync(join(tree, MANIFEST), JSON.stringify({ version }));
}

/**
 * The newest 6.1 cloud kernel for arm64 and a static busybox: from the cache, else by apt.
 * Safe for several processes at once: the first complete tree stays.
 *
 * @param options.refresh fetch also when the cache has one; a failure leaves that one in place
 * @throws AptError where apt is missing or fails
 */
export async function fetchStockGuest(options: { readonly refresh?: boolean } = {}): Promise<StockGuest> {
  const directory = join(cacheDirectory(), `debian-${ARCHITECTURE}`);
  const cached = options.refresh === true ? undefined : readCached(directory);
  if (cached !== undefined) return cached;
  mkdirSync(cacheDirectory(), { recursive: true });
  const work = mkdtempSync(join(cacheDirectory(), "fetch-"));
  try {
    await fetchInto(work);
    const raced = options.refresh === true ? undefined : readCached(directory);
    if (raced !== undefined) return raced;
    // What was there stays usable until the new tree is complete.
    if (existsSync(directory)) renameSync(directory, join(work, "replaced"));
    renameSync(join(work, "tree"), directory);
  } finally {
    rmSync(work, { recursive: true, force: true });
  }
  const fetched = readCached(directory);
  if (fetched === undefined) throw new AptError(`${directory} was removed while it was fetched`);
  return fetched;
}

/**
 * For tests: the stock guest, or undefined with a line on stderr where it can't be had (no apt, no network).
 * In CI that is an error: a run that left these tests out must not look complete.
 */
export async function stockGuestForTests(): Promise<StockGuest | undefined> {
  try {
    return await fetchStockGuest();
  } catch (error) {
    if (!(error instanceof AptError) || process.env["CI"] === "true") throw error;
    process.stderr.write(`tests with a stock kernel are left out: ${error.message}\n`);
    return undefined;
  }
}
