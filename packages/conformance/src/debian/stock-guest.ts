/** Debian's own cloud kernel and busybox, unmodified: the guests that a hypervisor must run. Fetched once, then cached. */
import { existsSync, readdirSync, statSync } from "node:fs";
import { join } from "node:path";
import { type Apt, AptError } from "./apt.js";
import { cachedTree, fetchedForTests } from "./cached-tree.js";

/** As Debian calls them. */
export type GuestArchitecture = "arm64" | "amd64";

export const KERNEL_PREFIX = "linux-image-6.1.";
export const KERNEL_PATTERNS: Readonly<Record<GuestArchitecture, RegExp>> = {
  arm64: /^linux-image-6\.1\.\d+-\d+-cloud-arm64-unsigned$/,
  amd64: /^linux-image-6\.1\.\d+-\d+-cloud-amd64-unsigned$/,
};
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

async function unpackGuest(apt: Apt, tree: string, architecture: GuestArchitecture): Promise<string> {
  const [kernel] = await apt.packageNames(KERNEL_PREFIX, KERNEL_PATTERNS[architecture]);
  if (kernel === undefined) throw new AptError(`apt knows no package ${KERNEL_PREFIX}*-cloud-${architecture}-unsigned`);
  const version = await apt.unpack(kernel, tree);
  await apt.unpack("busybox-static", tree);
  return version;
}

/**
 * The newest 6.1 cloud kernel and a static busybox: from the cache, else by apt.
 *
 * @param options.architecture default arm64
 * @param options.refresh fetch also when the cache has one; a failure leaves that one in place
 * @throws AptError where apt is missing or fails
 */
export async function fetchStockGuest(
  options: { readonly architecture?: GuestArchitecture; readonly refresh?: boolean } = {},
): Promise<StockGuest> {
  const { architecture = "arm64" } = options;
  const { directory, version } = await cachedTree(
    {
      name: `debian-${architecture}`,
      manifest: "stock-guest.json",
      architecture,
      unpack: async (apt, tree) => unpackGuest(apt, tree, architecture),
    },
    options,
  );
  return describeTree(directory, version);
}

/** As `fetchedForTests` says. */
export async function stockGuestForTests(architecture: GuestArchitecture = "arm64"): Promise<StockGuest | undefined> {
  return fetchedForTests(`a stock ${architecture} kernel`, async () => fetchStockGuest({ architecture }));
}
