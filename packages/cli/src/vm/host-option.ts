/** `--host NAME`, `--host-vendor VENDOR`: the host that is simulated under a VM. */
import type { Architecture, HostReference } from "@hvjournal/core";
import { knownArchitectures } from "../architectures.js";
import { UsageError } from "../cli-error.js";
import { type Arguments, stringOption } from "../commands/command.js";

/** The newest row of that name; undefined when none was given. Throws UsageError. */
export function hostNamed(name: string | undefined, { name: word, contract }: Architecture): HostReference | undefined {
  if (name === undefined) return undefined;
  const rows = (contract?.hosts ?? []).filter((host) => host.name === name);
  const [first, ...others] = rows;
  if (first === undefined) throw new UsageError(`--host ${name}: ${word} has ${hostNames(contract?.hosts)}`);
  const newest = others.reduce((best, host) => (host.version > best.version ? host : best), first);
  return { name: newest.name, version: newest.version };
}

function hostNames(hosts: readonly HostReference[] = []): string {
  return [...new Set(hosts.map((host) => host.name))].join(", ") || "no hosts to choose from";
}

const VENDORS: readonly string[] = ["intel", "amd"];

/** Whether a host is named as its vendor: then either option gives it. */
export function isHostVendor(name: string): boolean {
  return VENDORS.includes(name);
}

/** The name of a host: by itself, or the newest one of a vendor's. Throws UsageError for a vendor that there is not, or both. */
export function hostOption(args: Arguments): string | undefined {
  const [host, vendor] = [stringOption(args, "host"), stringOption(args, "host-vendor")];
  if (vendor === undefined) return host;
  if (!isHostVendor(vendor)) throw new UsageError(`--host-vendor ${vendor}: expected ${VENDORS.join(" or ")}`);
  if (host !== undefined) throw new UsageError(`--host ${host} and --host-vendor ${vendor} both say which host it is`);
  return vendor;
}

/** Before it is known which architecture comes: whether any has such a host. Throws UsageError. */
export function checkHostName(name: string | undefined): string | undefined {
  if (name === undefined) return undefined;
  const hosts = knownArchitectures().flatMap(({ contract }) => contract?.hosts ?? []);
  if (!hosts.some((host) => host.name === name)) throw new UsageError(`--host ${name}: there is ${hostNames(hosts)}`);
  return name;
}
