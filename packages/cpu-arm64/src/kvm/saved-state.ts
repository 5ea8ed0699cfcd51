/** The kernel half's sections of a snapshot, but for RAM: canonical, so that equal futures give equal bytes. */
import {
  decodeCanonicalMap,
  encodeCanonical,
  EXIT_WORD_COUNT,
  type ExitFrame,
  isPlainMap,
  PayloadFields,
  type PlainValue,
  type StateSection,
  StateSectionError,
} from "@hvjournal/core";
import { newExitFrame } from "./exit-frames.js";
import type { VcpuRunState } from "./schedule.js";
import { TIMER_KINDS, type Timer, VcpuTimers } from "./timers.js";
import { TIMER_LINES, type Vm } from "./vm.js";

const GIC_SECTION = "arm64.gicv3";
const TIMERS_SECTION = "arm64.timers";
const RUN_SECTION = "arm64.run";
const ENGINE_SECTION = "arm64.engine";
const SECTION_VERSION = 1;

/** The run loop's own state. */
export interface RunState {
  exitPending: boolean;
  exit: ExitFrame;
  /** The next device write of an instruction with several is yet to leave. */
  deviceWriteWaiting: boolean;
  /** An interrupt line rose while the current vCPU was in guest mode. */
  isKicked: boolean;
  /** icount when the current vCPU last entered guest mode. */
  enteredAt: number;
}

function vcpuSection(vcpu: number): string {
  return `arm64.vcpu${vcpu}`;
}

function section(name: string, bytes: Uint8Array): StateSection {
  return { name, version: SECTION_VERSION, bytes };
}

export function saveSections(vm: Vm, run: RunState): StateSection[] {
  const inFlight = vm.engine.saveInFlight();
  return [
    ...vm.schedule.vcpus.map((_, vcpu) => section(vcpuSection(vcpu), vm.states.save(vcpu))),
    section(GIC_SECTION, vm.gic.save(TIMER_LINES)),
    section(TIMERS_SECTION, encodeCanonical({ vcpus: vm.timers.map(plainTimers) })),
    section(RUN_SECTION, encodeCanonical(plainRun(vm, run))),
    section(ENGINE_SECTION, encodeCanonical({ bytes: inFlight.bytes, pending: inFlight.pending })),
  ];
}

function plainTimers(timers: VcpuTimers): PlainValue {
  return Object.fromEntries(
    TIMER_KINDS.map((kind) => {
      const { control, compareValue, seenLevel } = timers.of(kind);
      return [kind, { control, compareValue, seenLevel }];
    }),
  );
}

function plainRun(vm: Vm, run: RunState): { readonly [key: string]: PlainValue } {
  return {
    icount: vm.icount,
    skippedNs: vm.skippedNs,
    hasRun: vm.hasRun,
    stuckReason: vm.stuckReason ?? null,
    current: vm.schedule.current,
    sliceLeft: vm.schedule.sliceLeft,
    vcpus: vm.schedule.vcpus.map(plainRunState),
    ...plainStolenTime(vm),
    ...vm.eventfds.plain(),
    exitPending: run.exitPending,
    exit: run.exitPending ? [...run.exit] : [],
    deviceWriteWaiting: run.deviceWriteWaiting,
    isKicked: run.isKicked,
    enteredAt: run.enteredAt,
  };
}

function plainRunState({ isOn, isWaiting, isSuspended }: VcpuRunState): PlainValue {
  return isSuspended ? { isOn, isWaiting, isSuspended } : { isOn, isWaiting };
}

/** Only where there is some: with one vCPU there never is. */
function plainStolenTime({ stolenTime: { vcpus } }: Vm): { readonly [key: string]: PlainValue } {
  if (vcpus.every(({ stolenNs, waitsSinceNs }) => stolenNs === 0 && waitsSinceNs < 0)) return {};
  return { stolenTime: vcpus.map(({ stolenNs, waitsSinceNs }) => ({ stolenNs, waitsSinceNs })) };
}

/** Throws StateSectionError. */
export function restoreSections(vm: Vm, run: RunState, sections: readonly StateSection[]): void {
  const left = new Map(sections.map((each) => [each.name, each] as const));
  const take = (name: string, restore: (bytes: Uint8Array) => void): void => {
    const found = left.get(name);
    if (found === undefined) throw new StateSectionError(name, "it is missing");
    if (found.version !== SECTION_VERSION)
      throw new StateSectionError(name, `version ${found.version}, this build knows ${SECTION_VERSION}`);
    try {
      restore(found.bytes);
    } catch (error) {
      throw new StateSectionError(name, error instanceof Error ? error.message : String(error));
    }
    left.delete(name);
  };
  take(RUN_SECTION, (bytes) => {
    restoreRun(vm, run, new PayloadFields(RUN_SECTION, decodeCanonicalMap(bytes)));
  });
  for (let vcpu = 0; vcpu < vm.vcpuCount; vcpu++) {
    take(vcpuSection(vcpu), (bytes) => {
      vm.states.restore(vcpu, bytes);
    });
  }
  take(GIC_SECTION, (bytes) => {
    vm.gic.restore(bytes);
  });
  take(TIMERS_SECTION, (bytes) => {
    restoreTimers(vm, new PayloadFields(TIMERS_SECTION, decodeCanonicalMap(bytes)));
  });
  take(ENGINE_SECTION, (bytes) => {
    const fields = new PayloadFields(ENGINE_SECTION, decodeCanonicalMap(bytes));
    vm.engine.restoreInFlight({ bytes: fields.bytes("bytes"), pending: fields.array("pending").map(Number) });
  });
  const [extra] = left.keys();
  if (extra !== undefined) throw new StateSectionError(extra, `a VM with ${vm.vcpuCount} vCPUs has no such section`);
}

/** Throws StateSectionError. */
export function savedExit(sections: readonly StateSection[]): ExitFrame | undefined {
  const found = sections.find(({ name }) => name === RUN_SECTION);
  if (found === undefined) throw new StateSectionError(RUN_SECTION, "it is missing");
  const fields = new PayloadFields(RUN_SECTION, decodeCanonicalMap(found.bytes));
  return fields.boolean("exitPending") ? Uint32Array.from(fields.array("exit").map(Number)) : undefined;
}

function restoreTimers(vm: Vm, fields: PayloadFields): void {
  const saved = maps(fields, "vcpus", vm.vcpuCount);
  saved.forEach((each, vcpu) => {
    for (const kind of TIMER_KINDS) {
      const timer: Timer = vm.timersOf(vcpu).of(kind);
      const values = new PayloadFields(TIMERS_SECTION, each.map(kind));
      timer.control = values.number("control");
      timer.compareValue = values.bigint("compareValue");
      timer.seenLevel = values.number("seenLevel") === 0 ? 0 : 1;
    }
  });
}

function restoreRun(vm: Vm, run: RunState, fields: PayloadFields): void {
  const vcpus = maps(fields, "vcpus", vm.vcpuCount);
  const current = fields.number("current");
  if (current >= vm.vcpuCount) throw new RangeError(`vcpu${current} of ${vm.vcpuCount} runs`);
  const exit = fields.array("exit").map(Number);
  const exitPending = fields.boolean("exitPending");
  if (exit.length !== (exitPending ? EXIT_WORD_COUNT : 0)) throw new RangeError(`an exit of ${exit.length} words`);
  vm.icount = fields.number("icount");
  vm.skippedNs = fields.number("skippedNs");
  vm.hasRun = fields.boolean("hasRun");
  vm.stuckReason = fields.has("stuckReason") ? fields.string("stuckReason") : undefined;
  vm.schedule.current = current;
  vm.schedule.sliceLeft = fields.number("sliceLeft");
  vcpus.forEach((each, vcpu) => {
    const state = vm.schedule.of(vcpu);
    state.isOn = each.boolean("isOn");
    state.isWaiting = each.boolean("isWaiting");
    state.isSuspended = each.has("isSuspended") && each.boolean("isSuspended");
  });
  restoreStolenTime(vm, fields);
  vm.eventfds.restore(fields);
  vm.engine.selectVcpu(current);
  run.exitPending = exitPending;
  // Where it stood may be a row of somebody's journal.
  run.exit = newExitFrame();
  run.exit.set(exit);
  run.deviceWriteWaiting = fields.boolean("deviceWriteWaiting");
  run.isKicked = fields.boolean("isKicked");
  run.enteredAt = fields.number("enteredAt");
}

function restoreStolenTime(vm: Vm, fields: PayloadFields): void {
  const saved = fields.has("stolenTime") ? maps(fields, "stolenTime", vm.vcpuCount) : [];
  vm.stolenTime.vcpus.forEach((state, vcpu) => {
    state.stolenNs = saved[vcpu]?.number("stolenNs") ?? 0;
    state.waitsSinceNs = saved[vcpu]?.number("waitsSinceNs") ?? -1;
  });
}

function maps(fields: PayloadFields, name: string, count: number): PayloadFields[] {
  const items = fields.array(name);
  if (items.length !== count) throw new RangeError(`${count} ${name} expected, found ${items.length}`);
  return items.map((item, index) => {
    if (!isPlainMap(item)) throw new RangeError(`${name}[${index}] is no map`);
    return new PayloadFields(`${fields.what}.${name}[${index}]`, item);
  });
}
