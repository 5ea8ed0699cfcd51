/** The routine behind every access that misses the TLB. */
import type { CpuDefinition } from "../cpu-definition.js";
import { engineFields, engineState } from "../engine-fields.js";
import type { HostFunction, Routine, Stage, Value } from "../stage/stage.js";
import {
  AccessInfo,
  ALL_CLEAN,
  CONTEXT_SLOT_SHIFT,
  FILL_LOG_ENTRIES,
  FILL_LOG_ENTRY_BYTES,
  FORBIDS_READ,
  FORBIDS_WRITE,
  INDEXED_CONTEXTS,
  RAM_PAGES_MAX,
  SlowResult,
  TLB_ENTRY_BYTES,
  TlbEntry,
  type TlbGeometry,
  WRITTEN_PAGE_SHIFT,
} from "./tlb-layout.js";
import { AccessKind, Rights } from "../cpu-definition.js";

/**
 * (info): an access that the routine leaves to TypeScript: across pages, to a device, or to a page whose
 * state forbids it. Address in `engineState.accessAddress`. Gives an address or a `SlowResult`.
 */
export const specialAccess: HostFunction = { name: "specialAccess", parameterCount: 1 };

/** (): decoded base for the pc in state, or 0 after writing `fault*`. */
export const fetchPage: HostFunction = { name: "fetchPage", parameterCount: 0 };

/** Fault codes of the engine's own, beside those of `translate`. */
export const EngineFault = {
  /** An address that breaks `AccessOptions.alignment`. */
  alignment: -1,
  /** An instruction fetch where there is no RAM. */
  noMemory: -2,
} as const;

/** (address, info, alignment) gives a host address or a `SlowResult`; fills TLB entries on the way. */
export function memorySlowRoutine(cpu: CpuDefinition, geometry: TlbGeometry): Routine & { readonly result: 32 } {
  return {
    name: "memorySlow",
    parameters: [64, 32, 32],
    result: 32,
    body(stage, [addressValue, infoValue, alignmentValue]) {
      const address = addressValue as Value<64>;
      const info = infoValue as Value<32>;
      const kind = stage.extractBits(info, Math.log2(AccessInfo.write), 1);
      refuseMisaligned(stage, address, kind, alignmentValue as Value<32>);
      const special = (): void => {
        stage.write(engineState.accessAddress, address);
        stage.return(stage.callHost(specialAccess, info));
      };
      const last = stage.add(
        address,
        stage.zeroExtend64(stage.sub(stage.and(info, stage.constant32(AccessInfo.bytesMask)), stage.constant32(1))),
      );
      stage.if(stage.compare("ne", stage.shiftRight(stage.xor(address, last), 12), stage.constant64(0)), special);
      const unprivileged = stage.and(info, stage.constant32(AccessInfo.unprivileged));
      const own = stage.select(unprivileged, stage.constant32(0), stage.read(cpu.privilege));
      const privileged = stage.and(info, stage.constant32(AccessInfo.privileged));
      const asPrivileged = cpu.accessesAsPrivileged === true;
      const privilege = asPrivileged ? stage.select(privileged, stage.constant32(1), own) : own;
      const code = stage.call(cpu.translate, address, kind, privilege);
      stage.if(code, () => {
        fault(stage, address, code, kind);
      });
      const offset = stage.sub(stage.read(engineFields.translatedPhysical), stage.constant64(geometry.ramBase));
      stage.if(stage.compare("ge_u", offset, stage.read(engineState.ramBytes)), special);
      const hostOffset = stage.truncate32(offset);
      const state = stage.and(
        stage.readAt(32, stage.shiftRight(hostOffset, 12), geometry.pageStateStart),
        stage.constant32(0xff),
      );
      const forbidden = stage.select(
        kind,
        stage.constant32(FORBIDS_WRITE & ~ALL_CLEAN),
        stage.constant32(FORBIDS_READ),
      );
      stage.if(stage.and(state, forbidden), special);
      const unseen = stage.select(kind, stage.and(state, stage.constant32(ALL_CLEAN)), stage.constant32(0));
      stage.if(unseen, () => {
        logFirstWrite(stage, geometry, stage.shiftRight(hostOffset, 12), unseen);
      });
      const ownSet = stage.select(unprivileged, stage.read(engineFields.tlbUser), stage.read(engineFields.tlbCurrent));
      const set = asPrivileged ? stage.select(privileged, stage.read(engineFields.tlbKernel), ownSet) : ownSet;
      const index = stage.and(
        stage.shiftRight(stage.truncate32(address), 12 - Math.log2(TLB_ENTRY_BYTES)),
        stage.constant32((geometry.entries - 1) * TLB_ENTRY_BYTES),
      );
      const entry = stage.add(set, index);
      const page = stage.and(address, stage.constant64(-4096n));
      const pageOffset = stage.and(hostOffset, stage.constant32(-4096));
      const addend = stage.sub(stage.add(pageOffset, stage.constant32(geometry.ramStart)), stage.truncate32(page));
      const rights = stage.read(engineFields.translatedRights);
      stage.if(stage.and(rights, stage.constant32(Rights.read)), () => {
        fill(stage, geometry, entry, 0, page, addend);
      });
      const mayWrite = stage.and(
        stage.compare("ne", stage.and(rights, stage.constant32(Rights.write)), stage.constant32(0)),
        stage.isZero(stage.and(stage.xor(state, unseen), stage.constant32(FORBIDS_WRITE))),
      );
      stage.if(mayWrite, () => {
        fill(stage, geometry, entry, geometry.writeOffset, page, addend);
      });
      stage.return(stage.add(hostOffset, stage.constant32(geometry.ramStart)));
    },
  };
}

/** What `GuestRam.markWritten` does, without leaving generated code. `bits` are those of `ALL_CLEAN` that the page has. */
function logFirstWrite(stage: Stage, geometry: TlbGeometry, pageIndex: Value<32>, bits: Value<32>): void {
  const count = stage.read(engineState.writtenCount);
  const entry = stage.or(stage.shiftLeft(pageIndex, WRITTEN_PAGE_SHIFT), bits);
  stage.writeAt(stage.shiftLeft(count, 2), entry, geometry.writtenLogStart);
  stage.write(engineState.writtenCount, stage.add(count, stage.constant32(1)));
  const states = stage.readAt(32, pageIndex, geometry.pageStateStart);
  stage.writeAt(pageIndex, stage.and(states, stage.constant32(~ALL_CLEAN)), geometry.pageStateStart);
}

function refuseMisaligned(stage: Stage, address: Value<64>, kind: Value<32>, alignment: Value<32>): void {
  const low = stage.and(stage.truncate32(address), stage.sub(alignment, stage.constant32(1)));
  stage.if(low, () => {
    fault(stage, address, stage.constant32(EngineFault.alignment), kind);
  });
}

function fault(stage: Stage, address: Value<64>, code: Value<32>, kind: Value<32>): void {
  stage.write(engineFields.faultAddress, address);
  stage.write(engineFields.faultCode, code);
  stage.write(engineFields.faultKind, kind);
  stage.return(stage.constant32(SlowResult.fault));
}

function fill(
  stage: Stage,
  geometry: TlbGeometry,
  entry: Value<32>,
  array: number,
  page: Value<64>,
  addend: Value<32>,
): void {
  stage.writeAt(entry, page, array + TlbEntry.tag);
  stage.writeAt(entry, addend, array + TlbEntry.addend);
  const count = stage.read(engineState.fillCount);
  stage.if(
    stage.compare("lt_u", count, stage.constant32(FILL_LOG_ENTRIES)),
    () => {
      const at = stage.shiftLeft(count, Math.log2(FILL_LOG_ENTRY_BYTES));
      stage.writeAt(at, stage.add(entry, stage.constant32(array)), geometry.fillLogStart);
      stage.writeAt(at, stage.read(engineState.lastEntry), geometry.fillLogStart + 4);
      stage.write(engineState.fillCount, stage.add(count, stage.constant32(1)));
    },
    () => {
      stage.write(engineState.fillCount, stage.constant32(FILL_LOG_ENTRIES + 1));
    },
  );
}

/**
 * (): the decoded base for the pc in state, or 0 after writing `fault*`; fills the fetch array on the way. Pages that
 * have never been decoded in this context, and contexts beyond the index, are TypeScript's.
 */
export function fetchSlowRoutine(cpu: CpuDefinition, geometry: TlbGeometry): Routine & { readonly result: 32 } {
  return {
    name: "fetchSlow",
    parameters: [],
    result: 32,
    body(stage) {
      const pc = stage.read(cpu.pc);
      const context = stage.read(cpu.contextWord);
      const leave = (): void => {
        stage.return(stage.callHost(fetchPage));
      };
      stage.if(stage.compare("ge_u", context, stage.constant32(INDEXED_CONTEXTS)), leave);
      const code = stage.call(cpu.translate, pc, stage.constant32(AccessKind.execute), stage.read(cpu.privilege));
      stage.if(code, leave);
      const offset = stage.sub(stage.read(engineFields.translatedPhysical), stage.constant64(geometry.ramBase));
      stage.if(stage.compare("ge_u", offset, stage.read(engineState.ramBytes)), leave);
      const pageIndex = stage.shiftRight(stage.truncate32(offset), 12);
      const row = stage.add(pageIndex, stage.binary("mul", context, stage.constant32(RAM_PAGES_MAX)));
      const base = stage.readAt(32, stage.shiftLeft(row, 2), geometry.decodedIndexStart);
      stage.if(stage.isZero(base), leave);
      const ofPage = stage.shiftRight(stage.truncate32(pc), 12 - Math.log2(TLB_ENTRY_BYTES));
      const moved = stage.shiftLeft(context, CONTEXT_SLOT_SHIFT + Math.log2(TLB_ENTRY_BYTES));
      const index = stage.and(
        cpu.contextsAlternate === true ? stage.xor(ofPage, moved) : ofPage,
        stage.constant32((geometry.entries - 1) * TLB_ENTRY_BYTES),
      );
      const entry = stage.add(stage.read(engineFields.tlbCurrent), index);
      const tag = stage.or(stage.and(pc, stage.constant64(-4096n)), stage.zeroExtend64(context));
      fill(stage, geometry, entry, geometry.fetchOffset, tag, base);
      stage.return(base);
    },
  };
}

/** Raises what `fault*` says: the architecture's memory fault, or its alignment fault. */
export function raiseMemoryFaultRoutine(cpu: CpuDefinition): Routine & { readonly result: undefined } {
  return {
    name: "raiseMemoryFault",
    parameters: [],
    result: undefined,
    body(stage) {
      stage.if(
        stage.compare("eq", stage.read(engineFields.faultCode), stage.constant32(EngineFault.alignment)),
        () => {
          stage.call(cpu.alignmentFault, stage.read(engineFields.faultAddress), stage.read(engineFields.faultKind));
        },
        () => {
          stage.call(cpu.memoryFault);
        },
      );
    },
  };
}
