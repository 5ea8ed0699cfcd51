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
import { type BuiltModule, isPrepared, keepModule, keptModule, type ModuleKey } from "./kept-modules.js";
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
  readonly table: WebAssembly.Table;
  readonly geometry: TlbGeometry;
  /** Implementations of host functions. */
  readonly hosts: ReadonlyMap<string, (...parameters: number[]) => number>;
}

export interface ModuleContent {
  /** Programs whose routines and hosts must be in scope; asked for only when the module is built. */
  programs(): readonly Program[];
  readonly routines: readonly Routine[];
  readonly hosts: readonly HostFunction[];
  readonly usesTable: boolean;
  /** Adds the functions; exports them under names of its own. */
  build(scope: ModuleScope): void;
}

type CompiledRoutine = (...parameters: never[]) => unknown;

/** RAM of any size: an address that is out of bounds traps without a look at these. */
const MEMORY_PAGES = { initial: 1, maximum: 65_536 } as const;

export class Linker {
  readonly #options: LinkerOptions;
  /** By name: a module that was built in another process knows no objects. */
  readonly #compiled = new Map<string, CompiledRoutine>();
  readonly #named = new Map<string, Routine>();
  constructor(options: LinkerOptions) {
    this.#options = options;
  }

  /** The compiled function of a routine; compiles it when it is new. */
  routine(routine: Routine): (...parameters: (number | bigint)[]) => unknown {
    if (!this.#isCompiled(routine)) this.linkRoutines([routine]);
    return this.#compiled.get(routine.name) as unknown as (...parameters: (number | bigint)[]) => unknown;
  }

  /** Compiles routines in one module. With `kept`, see `link`. */
  linkRoutines(routines: readonly Routine[], kept?: ModuleKey): void {
    this.link({ programs: () => [], routines, hosts: [], usesTable: false, build: () => undefined }, kept);
  }

  #isCompiled(routine: Routine): boolean {
    const known = this.#named.get(routine.name);
    if (known === undefined) this.#named.set(routine.name, routine);
    else if (known !== routine) throw new Error(`two routines are called ${routine.name}`);
    return this.#compiled.has(routine.name);
  }

  #host(name: string): (...parameters: number[]) => number {
    const implementation = this.#options.hosts.get(name);
    if (implementation === undefined) throw new Error(`no implementation of the host function ${name}`);
    return implementation;
  }

  /** Builds and instantiates a module; gives its exports. With `kept`, an equal one is built once a process, or was before. */
  link(content: ModuleContent, kept?: ModuleKey): Readonly<Record<string, unknown>> {
    if (kept === undefined) return this.#instantiate(this.#build(content));
    const found = keptModule(kept);
    if (found !== undefined && this.#fits(found)) return this.#instantiate(found);
    const built = this.#build(content);
    keepModule(kept, built);
    return this.#instantiate(built);
  }

  /** Whether linking this costs no building: it was prepared, and fits here. */
  isPrepared(key: ModuleKey): boolean {
    const found = isPrepared(key) ? keptModule(key) : undefined;
    return found !== undefined && this.#fits(found);
  }

  /** This linker has compiled what the module imports, and nothing of what it defines. */
  #fits({ imported, defined }: BuiltModule): boolean {
    return imported.every((name) => this.#compiled.has(name)) && !defined.some((name) => this.#compiled.has(name));
  }

  #build(content: ModuleContent): BuiltModule {
    const needs: Requirements = { routines: new Map(), hosts: new Set(content.hosts) };
    const isCompiled = (routine: Routine): boolean => this.#isCompiled(routine);
    for (const program of content.programs()) addRequirements(program, needs, isCompiled);
    for (const routine of content.routines) addRoutine(routine, needs, isCompiled);
    const module = new ModuleBuilder(MEMORY_PAGES);
    if (content.usesTable) module.importTable();
    const hostIndices = importHosts(module, needs);
    const routineIndices = new Map<Routine, number>();
    const imported = [...needs.routines.keys()].filter(isCompiled);
    for (const routine of imported)
      routineIndices.set(routine, module.importFunction(exportOf(routine.name), signatureOf(routine)));
    const fresh = [...needs.routines].filter(([routine]) => !isCompiled(routine));
    const bodies = fresh.map(([routine, program]) => {
      const added = module.addFunction(signatureOf(routine), exportOf(routine.name));
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
      bytes: module.finish(),
      hosts: [...needs.hosts].map(({ name }) => name),
      imported: imported.map(({ name }) => name),
      defined: bodies.map(({ routine }) => routine.name),
    };
  }

  #instantiate(built: BuiltModule): Readonly<Record<string, unknown>> {
    const engine: Record<string, unknown> = { memory: this.#options.memory, table: this.#options.table };
    for (const name of built.hosts) engine[name] = this.#host(name);
    for (const name of built.imported) engine[exportOf(name)] = this.#compiled.get(name);
    built.compiled ??= new WebAssembly.Module(built.bytes);
    const { exports } = new WebAssembly.Instance(built.compiled, { engine });
    for (const name of built.defined) this.#compiled.set(name, exports[exportOf(name)] as CompiledRoutine);
    return exports;
  }
}

/** The name of a routine among the exports and imports of modules. */
function exportOf(routineName: string): string {
  return `routine:${routineName}`;
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
