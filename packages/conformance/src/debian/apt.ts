/**
 * Packages, of another architecture too, by the system's own apt: its sources, keys and
 * proxies hold, but lists and downloads are kept in a directory of ours, so that neither root nor
 * `dpkg --add-architecture` is needed and the system's state is left alone.
 */
import { execFile } from "node:child_process";
import { mkdirSync, readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { promisify } from "node:util";

const execute = promisify(execFile);

/** The host has no apt, or apt can't reach its sources. */
export class AptError extends Error {
  override readonly name = "AptError";
}

export interface Apt {
  /** Names of the packages that match, newest version in the name first. */
  packageNames(prefix: string, pattern: RegExp): Promise<string[]>;
  /** Names of the packages that a package needs itself; a choice between several gives them all. */
  dependencies(packageName: string): Promise<string[]>;
  /** Downloads the newest version of a package and unpacks it into `directory`. Gives the version. */
  unpack(packageName: string, directory: string): Promise<string>;
}

async function run(command: string, args: readonly string[], cwd?: string): Promise<string> {
  try {
    const { stdout } = await execute(command, args, { ...(cwd === undefined ? {} : { cwd }), maxBuffer: 64 << 20 });
    return stdout;
  } catch (error) {
    const { code, stderr } = error as { code?: string | number; stderr?: string };
    if (code === "ENOENT") throw new AptError(`${command} is not installed`);
    throw new AptError(`${command} ${args[0] ?? ""} ended with status ${code ?? "?"}: ${stderr?.trim() ?? ""}`);
  }
}

/** Descending, with runs of digits compared as numbers: 6.1.0-56 before 6.1.0-9. */
export function newestFirst(a: string, b: string): number {
  const parts = (name: string): string[] => name.match(/\d+|\D+/g) ?? [];
  const left = parts(a);
  const right = parts(b);
  for (let i = 0; i < Math.max(left.length, right.length); i++) {
    const [x = "", y = ""] = [left[i], right[i]];
    const difference = Number(y) - Number(x);
    if (Number.isFinite(difference) && difference !== 0) return difference;
    if (x !== y && !Number.isFinite(difference)) return x < y ? 1 : -1;
  }
  return 0;
}

/** As Debian calls it: arm64, amd64. */
export async function hostArchitecture(): Promise<string> {
  return (await run("dpkg", ["--print-architecture"])).trim();
}

/** Prepares a private state in `directory` and reads the package lists. `architecture` as Debian calls it: arm64, amd64. */
export async function openApt(directory: string, architecture: string): Promise<Apt> {
  const state = join(directory, "state");
  const cache = join(directory, "cache");
  mkdirSync(join(state, "lists", "partial"), { recursive: true });
  mkdirSync(join(cache, "archives", "partial"), { recursive: true });
  writeFileSync(join(state, "status"), "");
  const settings = {
    "Dir::State": state,
    "Dir::State::status": join(state, "status"),
    "Dir::Cache": cache,
    "APT::Architecture": architecture,
    "APT::Architectures": architecture,
    "Acquire::Languages": "none",
  };
  const options = Object.entries(settings).flatMap(([name, value]) => ["-o", `${name}=${value}`]);
  await run("apt-get", ["update", "-q", ...options]);
  return {
    async packageNames(prefix, pattern) {
      const names = (await run("apt-cache", ["pkgnames", prefix, ...options])).split("\n");
      return names.filter((name) => pattern.test(name)).sort(newestFirst);
    },
    async dependencies(packageName) {
      const text = await run("apt-cache", ["depends", "--important", packageName, ...options]);
      return [...text.matchAll(/^ [ |](?:Pre)?Depends: ([a-z0-9][^\s]*)$/gm)].map(([, name = ""]) => name);
    },
    async unpack(packageName, target) {
      const downloads = join(cache, "archives", packageName);
      mkdirSync(downloads, { recursive: true });
      mkdirSync(target, { recursive: true });
      await run("apt-get", ["download", "-q", ...options, packageName], downloads);
      const file = readdirSync(downloads).find((name) => name.endsWith(".deb"));
      if (file === undefined) throw new AptError(`apt-get download ${packageName} left no file`);
      await run("dpkg-deb", ["-x", join(downloads, file), target]);
      return (await run("dpkg-deb", ["-f", join(downloads, file), "Version"])).trim();
    },
  };
}
