/** Another build of Debian's 6.1 cloud kernel than the stock guest's: the newest of those before it that apt still has. */
import { readdirSync } from "node:fs";
import { join } from "node:path";
import { type Apt, AptError } from "./apt.js";
import { cachedTree, fetchedForTests } from "./cached-tree.js";
import { KERNEL_PATTERNS, KERNEL_PREFIX } from "./stock-guest.js";

const ARCHITECTURE = "arm64";

export interface SecondKernel {
  /** As `uname -r` says. */
  readonly release: string;
  readonly image: string;
}

async function unpackKernel(apt: Apt, tree: string): Promise<string> {
  const [newest, second] = await apt.packageNames(KERNEL_PREFIX, KERNEL_PATTERNS[ARCHITECTURE]);
  if (second === undefined) throw new AptError(`apt knows one build of the kernel only: ${newest ?? "none"}`);
  return apt.unpack(second, tree);
}

async function fetchSecondKernel(): Promise<SecondKernel> {
  const name = `debian-${ARCHITECTURE}-second`;
  const { directory } = await cachedTree({
    ...{ name, manifest: "second-kernel.json", architecture: ARCHITECTURE, unpack: unpackKernel },
  });
  const [release] = readdirSync(join(directory, "lib", "modules"));
  if (release === undefined) throw new AptError(`${directory} has no modules`);
  return { release, image: join(directory, "boot", `vmlinuz-${release}`) };
}

/** As `fetchedForTests` says. */
export async function secondKernelForTests(): Promise<SecondKernel | undefined> {
  return fetchedForTests("a second stock kernel", fetchSecondKernel);
}
