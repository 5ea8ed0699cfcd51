/** `--host NAME`: the host that is simulated under a VM. */
import type { Architecture, HostReference } from "@hvjournal/core";
import { knownArchitectures } from "../architectures.js";
import { UsageError } from "../cli-error.js";

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

/** Before it is known which architecture comes: whether any has such a host. Throws UsageError. */
export function checkHostName(name: string | undefined): string | undefined {
  if (name === undefined) return undefined;
  const hosts = knownArchitectures().flatMap(({ contract }) => contract?.hosts ?? []);
  if (!hosts.some((host) => host.name === name)) throw new UsageError(`--host ${name}: there is ${hostNames(hosts)}`);
  return name;
}
