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

  /** Builds and instantiates a module; gives its exports. */
  link(content: ModuleContent): Readonly<Record<string, unknown>> {
    const needs: Requirements = { routines: new Map(), hosts: new Set(content.hosts) };
    for (const program of content.programs) addRequirements(program, needs, this.#routines);
    for (const routine of content.routines) addRoutine(routine, needs, this.#routines);
    const { memoryPages } = this.#options;
    const module = new ModuleBuilder({ initial: memoryPages, maximum: memoryPages });
    if (content.usesTable) module.importTable();
    const imports: Record<string, unknown> = { memory: this.#options.memory, table: this.#options.table };
    const hostIndices = this.#importHosts(module, needs, imports);
    const routineIndices = new Map<Routine, number>();
    const fresh = [...needs.routines].filter(([routine]) => !this.#routines.has(routine));
    for (const [routine] of needs.routines) {
      const compiled = this.#routines.get(routine);
      if (compiled === undefined) continue;
      imports[`routine:${routine.name}`] = compiled;
      routineIndices.set(routine, module.importFunction(`routine:${routine.name}`, signatureOf(routine)));
    }
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
    const instance = new WebAssembly.Instance(new WebAssembly.Module(module.finish()), { engine: imports });
    this.moduleCount += 1;
    for (const { routine } of bodies)
      this.#routines.set(routine, instance.exports[`routine:${routine.name}`] as (...parameters: never[]) => unknown);
    return instance.exports;
  }

  #importHosts(
    module: ModuleBuilder,
    needs: Requirements,
    imports: Record<string, unknown>,
  ): Map<HostFunction, number> {
    const indices = new Map<HostFunction, number>();
    for (const host of needs.hosts) {
      imports[host.name] = this.host(host);
      const parameters = Array.from({ length: host.parameterCount }, () => ValueType.i32);
      indices.set(host, module.importFunction(host.name, { parameters, results: [ValueType.i32] }));
    }
    return indices;
  }
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
