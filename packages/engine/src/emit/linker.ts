/**
 * Makes modules and links them: routines are compiled once, with the first module that
 * needs them, and imported by all later ones.
 */
import type { TlbGeometry } from "../mmu/tlb-layout.js";
import type { Program } from "../stage/program.js";
import type { HostFunction, Routine } from "../stage/stage.js";
import type { FunctionBuilder } from "../wasm/function-builder.js";
import { ModuleBuilder, type Signature } from "../wasm/module-builder.js";
import { ValueType } from "../wasm/opcodes.js";
import { emitProgram } from "./emitter.js";
import { addRequirements, addRoutine, type Requirements } from "./requirements.js";
import type { EmitTarget } from "./target.js";

/** Functions that a module being built may call, by their index in it. */
export interface ModuleScope {
  routineIndex(routine: Routine): number;
  hostIndex(host: HostFunction): number;
  readonly module: ModuleBuilder;
}

export interface LinkerOptions {
  readonly memory: WebAssembly.Memory;
  readonly memoryPages: number;
  readonly table: WebAssembly.Table;
  readonly geometry: TlbGeometry;
  /** Implementations of host functions. */
  readonly hosts: ReadonlyMap<string, (...parameters: number[]) => number>;
}

export interface ModuleContent {
  /** Programs whose routines and hosts must be in scope. */
  readonly programs: readonly Program[];
  readonly routines: readonly Routine[];
  readonly hosts: readonly HostFunction[];
  readonly usesTable: boolean;
  /** Adds the functions; exports them under names of its own. */
  build(scope: ModuleScope): void;
}

/** A module and what it must be linked with, by which other engines can have it too. */
interface BuiltModule {
  readonly module: WebAssembly.Module;
  readonly hosts: readonly HostFunction[];
  /** Compiled before: imported. */
  readonly imported: readonly Routine[];
  /** Compiled in this module: exported. */
  readonly defined: readonly Routine[];
}

/** Modules of one owner that are kept, the newest ones: each holds some megabytes of machine code. */
const KEPT_MODULES_MAX = 8;
const keptModules = new WeakMap<object, Map<string, BuiltModule>>();

/** Under which a module is kept for all engines of the process: equal keys of an owner must mean equal content. */
export interface ModuleKey {
  readonly owner: object;
  readonly key: string;
}

export class Linker {
  readonly #options: LinkerOptions;
  readonly #routines = new Map<Routine, (...parameters: never[]) => unknown>();
  /** Modules made so far. */
  moduleCount = 0;

  constructor(options: LinkerOptions) {
    this.#options = options;
  }

  /** The compiled function of a routine; compiles it when it is new. */
  routine(routine: Routine): (...parameters: (number | bigint)[]) => unknown {
    if (!this.#routines.has(routine))
      this.link({ programs: [], routines: [routine], hosts: [], usesTable: false, build: () => undefined });
    return this.#routines.get(routine) as unknown as (...parameters: (number | bigint)[]) => unknown;
  }

  /** The implementation of a host function. */
  host(host: HostFunction): (...parameters: number[]) => number {
    const implementation = this.#options.hosts.get(host.name);
    if (implementation === undefined) throw new Error(`no implementation of the host function ${host.name}`);
    return implementation;
  }

  /** Builds and instantiates a module; gives its exports. With `kept`, an equal one is built once a process. */
  link(content: ModuleContent, kept?: ModuleKey): Readonly<Record<string, unknown>> {
    if (kept === undefined) return this.#instantiate(this.#build(content));
    const modules = keptModules.get(kept.owner) ?? new Map<string, BuiltModule>();
    keptModules.set(kept.owner, modules);
    const found = modules.get(kept.key);
    if (found !== undefined && this.#fits(found)) return this.#instantiate(found);
    const built = this.#build(content);
    modules.delete(kept.key);
    modules.set(kept.key, built);
    const [oldest] = modules.keys();
    if (modules.size > KEPT_MODULES_MAX && oldest !== undefined) modules.delete(oldest);
    return this.#instantiate(built);
  }

  /** This linker has compiled what the module imports, and nothing of what it defines. */
  #fits({ imported, defined }: BuiltModule): boolean {
    return (
      imported.every((routine) => this.#routines.has(routine)) && !defined.some((each) => this.#routines.has(each))
    );
  }

  #build(content: ModuleContent): BuiltModule {
    const needs: Requirements = { routines: new Map(), hosts: new Set(content.hosts) };
    for (const program of content.programs) addRequirements(program, needs, this.#routines);
    for (const routine of content.routines) addRoutine(routine, needs, this.#routines);
    const { memoryPages } = this.#options;
    const module = new ModuleBuilder({ initial: memoryPages, maximum: memoryPages });
    if (content.usesTable) module.importTable();
    const hostIndices = importHosts(module, needs);
    const routineIndices = new Map<Routine, number>();
    const imported = [...needs.routines.keys()].filter((routine) => this.#routines.has(routine));
    for (const routine of imported)
      routineIndices.set(routine, module.importFunction(`routine:${routine.name}`, signatureOf(routine)));
    const fresh = [...needs.routines].filter(([routine]) => !this.#routines.has(routine));
    const bodies = fresh.map(([routine, program]) => {
      const added = module.addFunction(signatureOf(routine), `routine:${routine.name}`);
      routineIndices.set(routine, added.index);
      return { routine, program, code: added.code };
    });
    const scope: ModuleScope = {
      module,
      routineIndex: (routine) => known(routineIndices.get(routine), routine.name),
      hostIndex: (host) => known(hostIndices.get(host), host.name),
    };
    for (const { routine, program, code } of bodies) {
      emitProgram(program, code, new RoutineTarget(routine, code, scope), this.#options.geometry);
      if (routine.result !== undefined) code.unreachable();
    }
    content.build(scope);
    return {
      module: new WebAssembly.Module(module.finish()),
      hosts: [...needs.hosts],
      imported,
      defined: bodies.map(({ routine }) => routine),
    };
  }

  #instantiate({ module, hosts, imported, defined }: BuiltModule): Readonly<Record<string, unknown>> {
    const engine: Record<string, unknown> = { memory: this.#options.memory, table: this.#options.table };
    for (const host of hosts) engine[host.name] = this.host(host);
    for (const routine of imported) engine[`routine:${routine.name}`] = this.#routines.get(routine);
    const { exports } = new WebAssembly.Instance(module, { engine });
    this.moduleCount += 1;
    for (const routine of defined)
      this.#routines.set(routine, exports[`routine:${routine.name}`] as (...parameters: never[]) => unknown);
    return exports;
  }
}

function importHosts(module: ModuleBuilder, needs: Requirements): Map<HostFunction, number> {
  const indices = new Map<HostFunction, number>();
  for (const host of needs.hosts) {
    const parameters = Array.from({ length: host.parameterCount }, () => ValueType.i32);
    indices.set(host, module.importFunction(host.name, { parameters, results: [ValueType.i32] }));
  }
  return indices;
}

function known(index: number | undefined, name: string): number {
  if (index === undefined) throw new Error(`${name} is not in scope of this module`);
  return index;
}

function signatureOf(routine: Routine): Signature {
  const type = (width: 32 | 64): number => (width === 64 ? ValueType.i64 : ValueType.i32);
  return {
    parameters: routine.parameters.map(type),
    results: routine.result === undefined ? [] : [type(routine.result)],
  };
}

class RoutineTarget implements EmitTarget {
  readonly #routine: Routine;
  readonly #code: FunctionBuilder;
  readonly #scope: ModuleScope;

  constructor(routine: Routine, code: FunctionBuilder, scope: ModuleScope) {
    this.#routine = routine;
    this.#code = code;
    this.#scope = scope;
  }

  operand(name: string): void {
    this.#refuse(`operand ${name}`);
  }

  constantOperand(): undefined {
    return undefined;
  }

  pc(): void {
    this.#refuse("the pc of an instruction");
  }

  nextPc(): void {
    this.#refuse("the next pc of an instruction");
  }

  callRoutine(routine: Routine): void {
    this.#code.call(this.#scope.routineIndex(routine));
  }

  callHost(host: HostFunction): void {
    this.#code.call(this.#scope.hostIndex(host));
  }

  callMemorySlow(): void {
    this.#refuse("guest memory");
  }

  callFinishWrites(): void {
    this.#refuse("guest memory");
  }

  end(item: { readonly type: string }): void {
    if (item.type !== "fallThrough") this.#refuse(item.type);
  }

  accessFailed(): void {
    this.#refuse("guest memory");
  }

  leaveForDeviceWrite(): void {
    this.#refuse("guest memory");
  }

  return(): void {
    this.#code.return();
  }

  #refuse(what: string): never {
    throw new Error(`routine ${this.#routine.name} uses ${what}`);
  }
}
