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
import { EXIT_CAUSES, type ExitCause } from "./exit-model.js";
import { MTRR_NUMBERS } from "./mtrr-numbers.js";
import type { Vm } from "./vm.js";

const IRQCHIP_SECTION = "amd64.irqchip";
const MSRS_SECTION = "amd64.msrs";
const RUN_SECTION = "amd64.run";
const ENGINE_SECTION = "amd64.engine";
const SECTION_VERSION = 1;

/** The run loop's own state. */
export interface RunState {
  exitPending: boolean;
  readonly exit: ExitFrame;
  /** Of the exit that is pending. */
  cause: ExitCause | undefined;
  /** Address of the instruction behind the one that left. */
  next: bigint;
  /** The next device write of an instruction with several is yet to leave. */
  deviceWriteWaiting: boolean;
  /** An interrupt came from outside while the current vCPU was in guest mode. */
  isKicked: boolean;
  /** icount when the current vCPU last entered guest mode. */
  enteredAt: number;
}

function vcpuSection(vcpu: number): string {
  return `amd64.vcpu${vcpu}`;
}

function section(name: string, bytes: Uint8Array): StateSection {
  return { name, version: SECTION_VERSION, bytes };
}

export function saveSections(vm: Vm, run: RunState): StateSection[] {
  const inFlight = vm.engine.saveInFlight();
  return [
    ...vm.schedule.vcpus.map((_, vcpu) => section(vcpuSection(vcpu), vm.states.save(vcpu))),
    section(IRQCHIP_SECTION, vm.irqchip.save()),
    section(
      MSRS_SECTION,
      encodeCanonical({ vcpus: vm.schedule.vcpus.map((_, vcpu) => plainMsrs(vm, vcpu)), hyperv: vm.hyperv.plain() }),
    ),
    section(RUN_SECTION, encodeCanonical(plainRun(vm, run))),
    section(ENGINE_SECTION, encodeCanonical({ bytes: inFlight.bytes, pending: inFlight.pending })),
  ];
}

function plainMsrs(vm: Vm, vcpu: number): PlainValue {
  const { offset, adjust } = vm.timeStampOf(vcpu);
  return { tscOffset: offset, tscAdjust: adjust, mtrrs: [...vm.mtrrsOf(vcpu)], ...vm.paravirtual.plain(vcpu) };
}

function plainRun(vm: Vm, run: RunState): { readonly [key: string]: PlainValue } {
  return {
    icount: vm.icount,
    skippedNs: vm.skippedNs,
    hasRun: vm.hasRun,
    stuckReason: vm.stuckReason ?? null,
    current: vm.schedule.current,
    sliceLeft: vm.schedule.sliceLeft,
    mpStates: vm.schedule.vcpus.map(({ mpState }) => mpState),
    ranNs: vm.schedule.vcpus.map(({ ranNs }) => ranNs),
    ...plainStolenTime(vm),
    ...plainFlags(
      "unhalted",
      vm.schedule.vcpus.map(({ isUnhalted }) => isUnhalted),
    ),
    ...plainFlags(
      "haltedInGuest",
      vm.schedule.vcpus.map(({ isHaltedInGuest }) => isHaltedInGuest),
    ),
    ...vm.eventfds.plain(),
    exitPending: run.exitPending,
    exit: run.exitPending ? [...run.exit] : [],
    cause: (run.exitPending ? run.cause : undefined) ?? null,
    next: run.exitPending ? run.next : 0n,
    msrError: vm.msrError,
    ...(vm.clockOffsetNs === 0 ? {} : { clockOffsetNs: vm.clockOffsetNs }),
    ...(vm.hypervOutput.size === 0 ? {} : { hypervOutput: [...vm.hypervOutput].sort(([a], [b]) => a - b) }),
    deviceWriteWaiting: run.deviceWriteWaiting,
    isKicked: run.isKicked,
    enteredAt: run.enteredAt,
  };
}

/** By vCPU; only where one has it. */
function plainFlags(name: string, flags: readonly boolean[]): { readonly [key: string]: PlainValue } {
  return flags.includes(true) ? { [name]: [...flags] } : {};
}

function restoredFlags(fields: PayloadFields, name: string): readonly unknown[] {
  return fields.has(name) ? fields.array(name) : [];
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
  take(IRQCHIP_SECTION, (bytes) => {
    vm.irqchip.restore(bytes);
  });
  take(MSRS_SECTION, (bytes) => {
    restoreMsrs(vm, new PayloadFields(MSRS_SECTION, decodeCanonicalMap(bytes)));
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

function restoreMsrs(vm: Vm, fields: PayloadFields): void {
  vm.hyperv.restore(new PayloadFields("hyperv", fields.map("hyperv")));
  maps(fields, "vcpus", vm.vcpuCount).forEach((each, vcpu) => {
    const counter = vm.timeStampOf(vcpu);
    counter.offset = each.bigint("tscOffset");
    counter.adjust = each.bigint("tscAdjust");
    const mtrrs = each.array("mtrrs").map((value) => BigInt(value as bigint | number));
    if (mtrrs.length !== MTRR_NUMBERS.length)
      throw new RangeError(`${MTRR_NUMBERS.length} memory type registers expected, found ${mtrrs.length}`);
    vm.mtrrsOf(vcpu).splice(0, mtrrs.length, ...mtrrs);
    vm.paravirtual.restore(vcpu, each);
  });
}

function causeNamed(name: string): ExitCause {
  const found = EXIT_CAUSES.find((cause) => cause === name);
  if (found === undefined) throw new RangeError(`${name} is no cause of an exit`);
  return found;
}

function restoreRun(vm: Vm, run: RunState, fields: PayloadFields): void {
  const mpStates = fields.array("mpStates").map(Number);
  if (mpStates.length !== vm.vcpuCount)
    throw new RangeError(`${vm.vcpuCount} mpStates expected, found ${mpStates.length}`);
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
  mpStates.forEach((state, vcpu) => {
    vm.schedule.of(vcpu).mpState = state;
  });
  fields.array("ranNs").forEach((ranNs, vcpu) => {
    vm.schedule.of(vcpu).ranNs = Number(ranNs);
  });
  const [unhalted, haltedInGuest] = [restoredFlags(fields, "unhalted"), restoredFlags(fields, "haltedInGuest")];
  vm.schedule.vcpus.forEach((state, vcpu) => {
    state.isUnhalted = unhalted[vcpu] === true;
    state.isHaltedInGuest = haltedInGuest[vcpu] === true;
  });
  restoreStolenTime(vm, fields);
  vm.eventfds.restore(fields);
  vm.engine.selectVcpu(current);
  run.exitPending = exitPending;
  run.exit.fill(0);
  run.exit.set(exit);
  run.cause = fields.has("cause") ? causeNamed(fields.string("cause")) : undefined;
  vm.msrError = fields.boolean("msrError");
  vm.clockOffsetNs = fields.has("clockOffsetNs") ? fields.number("clockOffsetNs") : 0;
  restoreOutput(vm, fields);
  run.next = fields.bigint("next");
  run.deviceWriteWaiting = fields.boolean("deviceWriteWaiting");
  run.isKicked = fields.boolean("isKicked");
  run.enteredAt = fields.number("enteredAt");
}

function restoreOutput({ hypervOutput }: Vm, fields: PayloadFields): void {
  hypervOutput.clear();
  const saved = fields.has("hypervOutput") ? fields.array("hypervOutput") : [];
  for (const each of saved) {
    const [word, value] = each as readonly (number | bigint)[];
    hypervOutput.set(Number(word), BigInt(value ?? 0));
  }
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
