/** The stock `sqlite3` program, which a user has and a bare machine has not: the system's, else Debian's from the cache. */
import { spawnSync } from "node:child_process";
import { existsSync, readdirSync } from "node:fs";
import { delimiter, join } from "node:path";
import { hostArchitecture } from "./apt.js";
import { cachedTree, fetchedForTests } from "./cached-tree.js";

const PACKAGE = "sqlite3";
/** What even a bare Debian has not: the others that it needs are Essential, or needed by what is. */
const LIBRARIES = /^lib(sqlite3|readline)/;

export interface SqliteAnswer {
  readonly status: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** Runs `sqlite3 ARGS`. */
export type StockSqlite = (...args: readonly string[]) => SqliteAnswer;

function sqliteAt(program: string, environment: NodeJS.ProcessEnv): StockSqlite {
  return (...args) => {
    const { status, stdout, stderr, error } = spawnSync(program, args, { env: environment, encoding: "utf8" });
    if (error !== undefined) throw error;
    return { status, stdout, stderr };
  };
}

function isInstalled(): boolean {
  return spawnSync(PACKAGE, ["--version"]).status === 0;
}

/** Below `lib` and `usr/lib` each architecture has a directory. */
function libraryPath(tree: string): string {
  const parents = [join(tree, "lib"), join(tree, "usr", "lib")].filter((parent) => existsSync(parent));
  return parents.flatMap((parent) => readdirSync(parent).map((name) => join(parent, name))).join(delimiter);
}

/** @throws AptError where it is not installed, and apt is missing or fails */
export async function fetchStockSqlite(): Promise<StockSqlite> {
  const architecture = await hostArchitecture();
  const { directory } = await cachedTree({
    name: `sqlite3-${architecture}`,
    manifest: "stock-sqlite.json",
    architecture,
    async unpack(apt, tree) {
      const libraries = (await apt.dependencies(PACKAGE)).filter((name) => LIBRARIES.test(name));
      for (const library of libraries) await apt.unpack(library, tree);
      return apt.unpack(PACKAGE, tree);
    },
  });
  const environment = { ...process.env, LD_LIBRARY_PATH: libraryPath(directory) };
  return sqliteAt(join(directory, "usr", "bin", PACKAGE), environment);
}

/** As `fetchedForTests` says. */
export async function stockSqliteForTests(): Promise<StockSqlite | undefined> {
  if (isInstalled()) return sqliteAt(PACKAGE, process.env);
  return fetchedForTests("the stock sqlite3", fetchStockSqlite);
}
