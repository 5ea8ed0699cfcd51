/** Routines and host functions that every consumer of programs links against. */
import type { CpuDefinition } from "../cpu-definition.js";
import { fetchSlowRoutine, memorySlowRoutine, raiseMemoryFaultRoutine, specialAccess } from "../mmu/slow-path.js";
import type { TlbGeometry } from "../mmu/tlb-layout.js";
import type { HostFunction, Routine } from "../stage/stage.js";

/** (): applies bounced writes of the instruction; 1 when device writes are left. */
export const finishWrites: HostFunction = { name: "finishWrites", parameterCount: 0 };
/** (record): decodes the instruction of a record; see `DecodeCache.decode`. */
export const decodeRecord: HostFunction = { name: "decodeRecord", parameterCount: 1 };

/** (record): the budget is too short for the region that begins here; see `HotRegions.standAside`. */
export const standAside: HostFunction = { name: "standAside", parameterCount: 1 };

export interface EngineRoutines {
  readonly memorySlow: Routine & { readonly result: 32 };
  readonly fetchSlow: Routine & { readonly result: 32 };
  readonly raiseMemoryFault: Routine & { readonly result: undefined };
  readonly interruptPending: Routine & { readonly result: 32 };
}

const made = new WeakMap<CpuDefinition, Map<string, EngineRoutines>>();

/** The same objects for equal geometries: modules that are linked with them can be kept. */
export function engineRoutines(cpu: CpuDefinition, geometry: TlbGeometry): EngineRoutines {
  const known = made.get(cpu) ?? new Map<string, EngineRoutines>();
  made.set(cpu, known);
  const key = JSON.stringify(geometry);
  const routines = known.get(key) ?? makeRoutines(cpu, geometry);
  known.set(key, routines);
  return routines;
}

function makeRoutines(cpu: CpuDefinition, geometry: TlbGeometry): EngineRoutines {
  return {
    memorySlow: memorySlowRoutine(cpu, geometry),
    fetchSlow: fetchSlowRoutine(cpu, geometry),
    raiseMemoryFault: raiseMemoryFaultRoutine(cpu),
    interruptPending: {
      name: "interruptPending",
      parameters: [],
      result: 32,
      body: (stage) => {
        stage.return(cpu.interruptPending(stage));
      },
    },
  };
}

export const ENGINE_HOSTS: readonly HostFunction[] = [specialAccess, finishWrites];
