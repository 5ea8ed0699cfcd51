/**
 * Modules that are built once: kept for all engines of the process, and those that were built before it began, which a
 * program reads from a file instead of staging and emitting what every VM runs.
 */

/** A module, and by name what it must be linked with, by which other engines can have it too. */
export interface BuiltModule {
  readonly bytes: Uint8Array;
  /** Made when it is first linked. */
  compiled?: WebAssembly.Module;
  readonly hosts: readonly string[];
  /** Routines that were compiled before: imported. */
  readonly imported: readonly string[];
  /** Routines that this module compiles: exported. */
  readonly defined: readonly string[];
}

/** Under which a module is kept: equal keys of an owner must mean equal content. */
export interface ModuleKey {
  readonly owner: object;
  readonly key: string;
}

/** By key: plain values, which can be written to a file. */
export type PreparedModules = ReadonlyMap<string, BuiltModule>;

/** Modules of one owner that are kept, the newest ones: a main loop holds some megabytes of machine code. */
const KEPT_MODULES_MAX = 24;

class ModulesOfOwner {
  readonly #kept = new Map<string, BuiltModule>();
  #prepared: PreparedModules = new Map();
  #load: (() => PreparedModules | undefined) | undefined;

  find(key: string): BuiltModule | undefined {
    return this.#kept.get(key) ?? this.#loaded().get(key);
  }

  get hasPrepared(): boolean {
    return this.#loaded().size > 0;
  }

  isPrepared(key: string): boolean {
    return this.#loaded().has(key);
  }

  keep(key: string, module: BuiltModule): void {
    this.#kept.delete(key);
    this.#kept.set(key, module);
    const [oldest] = this.#kept.keys();
    if (this.#kept.size > KEPT_MODULES_MAX && oldest !== undefined) this.#kept.delete(oldest);
  }

  loadFrom(load: () => PreparedModules | undefined): void {
    this.#load = load;
  }

  #loaded(): PreparedModules {
    const load = this.#load;
    if (load === undefined) return this.#prepared;
    this.#load = undefined;
    this.#prepared = load() ?? this.#prepared;
    return this.#prepared;
  }
}

const owners = new WeakMap<object, ModulesOfOwner>();
let collecting: Map<string, BuiltModule> | undefined;

function modulesOf(owner: object): ModulesOfOwner {
  const known = owners.get(owner);
  if (known !== undefined) return known;
  const made = new ModulesOfOwner();
  owners.set(owner, made);
  return made;
}

export function keptModule({ owner, key }: ModuleKey): BuiltModule | undefined {
  return collecting === undefined ? modulesOf(owner).find(key) : collecting.get(key);
}

export function keepModule({ owner, key }: ModuleKey, module: BuiltModule): void {
  if (collecting === undefined) modulesOf(owner).keep(key, module);
  else collecting.set(key, module);
}

/** Are there modules of `owner` that were built before this process began? */
export function hasPreparedModules(owner: object): boolean {
  return collecting === undefined && modulesOf(owner).hasPrepared;
}

/** Is it one of those? */
export function isPrepared({ owner, key }: ModuleKey): boolean {
  return collecting === undefined && modulesOf(owner).isPrepared(key);
}

/** What `build` has the linker build under keys. Nothing is taken from what is kept. */
export function collectModules(build: () => void): PreparedModules {
  const modules = new Map<string, BuiltModule>();
  collecting = modules;
  try {
    build();
  } finally {
    collecting = undefined;
  }
  return new Map(
    [...modules].map(([key, { bytes, hosts, imported, defined }]) => [key, { bytes, hosts, imported, defined }]),
  );
}

/**
 * From now on engines of `owner` take modules from what `load` gives, which is called when the first is asked for; undefined:
 * there are none. They must come from `collectModules` of the same program: they are not checked against it.
 */
export function loadModules(owner: object, load: () => PreparedModules | undefined): void {
  modulesOf(owner).loadFrom(load);
}
