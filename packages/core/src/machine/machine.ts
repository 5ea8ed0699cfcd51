/** A VM without its VMM half: kernel half, control state, exit numbers, entropy, digest. Record and replay both drive it. */
import type { Architecture, ExitModel, KernelHalf } from "../ports/architecture.js";
import type { ControlCommand, ControlContext, ControlEvent, Decision } from "../ports/control.js";
import type { Digester } from "../ports/digester.js";
import type { EventPayload } from "../event/event-kind.js";
import { ExitWord } from "../event/exit-frame.js";
import { decodeCanonicalMap, encodeCanonical } from "../canonical/canonical-encoding.js";
import { PayloadFields } from "../canonical/payload-fields.js";
import { ByteWriter } from "../canonical/bytes.js";
import { encodeUtf8 } from "../canonical/utf8.js";
import {
  decideControl,
  evolveControl,
  initialControlState,
  plainControlState,
  restoreControlState,
  type ControlState,
} from "../control/control-plane.js";
import { SeededEntropy } from "../entropy.js";
import { MemoryDigest } from "../memory/memory-digest.js";
import { PageBaseline, type PageLoader } from "../memory/page-baseline.js";
import { StateSectionError, type StateSection } from "../ports/state-section.js";
import { checkMachine, type MachineDescription } from "./machine-description.js";

/** Goes up when the digest of equal state would change. */
const DIGEST_ENCODING = "hvjournal guest digest 1";
const RUN_SECTION = "core.run";
const ENTROPY_SECTION = "core.entropy";
const MEMORY_SECTION = "core.memory";
const CORE_SECTION_VERSION = 1;
const CORE_SECTIONS: ReadonlySet<string> = new Set([RUN_SECTION, ENTROPY_SECTION, MEMORY_SECTION]);

/** Sizes and tiers, which no guest can see. */
export interface CacheOptions {
  readonly tlbEntries?: number;
  readonly tier?: "interpreter" | "blocks" | "regions";
}

export interface MachineOptions {
  readonly architecture: Architecture;
  readonly machine: MachineDescription;
  readonly digester: Digester;
  readonly caches?: CacheOptions;
}

/** What a restore needs of a snapshot. */
export interface GuestState {
  readonly guestSections: readonly StateSection[];
  readonly control: EventPayload;
  readonly pageHashes: Uint8Array;
}

/** State of the guest half kept in memory, as changes from a snapshot. */
export interface Checkpoint {
  readonly base: Uint8Array;
  readonly sections: readonly StateSection[];
  readonly control: EventPayload;
  readonly pages: ReadonlyMap<number, Uint8Array>;
}

/** The base of the board's clock is the host's time at guest time 0, for services that tell it: recorded, so equal in replay. */
function wallClockOf({ boardOptions }: MachineDescription): { readonly wallClockBaseNs?: bigint } {
  const { rtcBaseNs } = boardOptions;
  return typeof rtcBaseNs === "bigint" ? { wallClockBaseNs: rtcBaseNs } : {};
}

export class Machine {
  readonly architecture: Architecture;
  readonly description: MachineDescription;
  readonly exitModel: ExitModel;
  readonly kernel: KernelHalf;
  readonly digester: Digester;
  readonly pages: PageBaseline;
  /** Exits so far; while one is pending, it is the last of them. */
  exitNumber = 0;
  /** icount right after the last exit had been answered. */
  answeredIcount = 0;
  /** icount at which idle time was last skipped: two moments share it. -1: never. */
  skippedIcount = -1;
  #control: ControlState;
  readonly #entropy: SeededEntropy;
  readonly #memoryDigest: MemoryDigest;

  constructor(options: MachineOptions) {
    const { architecture, machine } = options;
    this.architecture = architecture;
    this.description = machine;
    this.digester = options.digester;
    this.exitModel = checkMachine(machine, architecture);
    this.#entropy = new SeededEntropy(machine.seed, "kernel");
    this.kernel = architecture.createKernelHalf({
      cpuModel: machine.cpuModel,
      vcpuCount: machine.vcpuCount,
      memoryBase: machine.memoryBase,
      memoryBytes: machine.memoryBytes,
      exitModel: this.exitModel,
      entropy: this.#entropy,
      ...wallClockOf(machine),
      ...options.caches,
    });
    this.pages = new PageBaseline(this.kernel.memory);
    this.#memoryDigest = new MemoryDigest(this.kernel.memory);
    this.#control = initialControlState(architecture, machine.host);
    this.kernel.configure(this.#control.architecture);
  }

  get control(): ControlState {
    return this.#control;
  }

  get icount(): number {
    return this.kernel.icount;
  }

  get guestTimeNs(): number {
    return this.kernel.guestTimeNs;
  }

  get exitPending(): boolean {
    return this.kernel.exitPending;
  }

  /** Checks a command against the rules; nothing changes. */
  decide(command: ControlCommand): Decision {
    return decideControl(this.architecture, this.#control, command, this.context);
  }

  /** What rules may ask beside the control state. */
  get context(): ControlContext {
    const { vcpuCount, memoryBase, memoryBytes } = this.description;
    const hasVcpus = this.#control.core.vcpus.length > 0;
    return { hasRun: this.kernel.hasRun, hasVcpus, vcpuCount, memoryBase, memoryBytes };
  }

  /** Folds a control event. `seq` is its number. */
  evolve(event: ControlEvent, seq: number): void {
    this.#control = evolveControl(this.architecture, this.#control, event, seq);
    this.kernel.configure(this.#control.architecture);
    this.kernel.apply?.(event);
  }

  /** Gives what puts everything but RAM back to where it stands now. For a VM that stands still. */
  hold(): () => void {
    const control = this.#control;
    const { answeredIcount } = this;
    const sections = this.kernel.save();
    return () => {
      this.#control = control;
      this.answeredIcount = answeredIcount;
      this.kernel.configure(control.architecture);
      this.kernel.restore(sections);
    };
  }

  /** Lets the kernel half finish its own exit; true: it has a result. */
  finishExit(): boolean {
    const hasResult = this.kernel.finishExit();
    this.answeredIcount = this.kernel.icount;
    return hasResult;
  }

  /** Of the exit that has just been finished: what it gave back beside its result. undefined: nothing but zeros. */
  furtherResults(): EventPayload | undefined {
    const { exit, hasFurtherResults = true } = this.kernel;
    if (!hasFurtherResults || this.architecture.resultRegisters === undefined) return undefined;
    const [, ...further] = this.architecture.resultRegisters(exit);
    const values = further.map((name) => [name, this.kernel.readRegister(exit[ExitWord.vcpu] ?? 0, name)] as const);
    return values.some(([, value]) => value !== 0n) ? Object.fromEntries(values) : undefined;
  }

  /** The VMM half's answer. */
  completeExit(low: number, high: number): void {
    this.kernel.completeExit(low, high);
    this.answeredIcount = this.kernel.icount;
  }

  /** An idle VM goes on at `guestTimeNs`. */
  skipTo(guestTimeNs: number): void {
    this.kernel.skipTo(guestTimeNs);
    this.skippedIcount = this.kernel.icount;
  }

  /** Everything but RAM and control state, the sum over RAM included. */
  saveSections(): StateSection[] {
    const core = (name: string, bytes: Uint8Array): StateSection => ({ name, version: CORE_SECTION_VERSION, bytes });
    const { exitNumber, answeredIcount, skippedIcount } = this;
    const run = { exitNumber, answeredIcount, skippedIcount };
    return [
      ...this.kernel.save(),
      core(RUN_SECTION, encodeCanonical(run)),
      core(ENTROPY_SECTION, encodeCanonical(this.#entropy.counters())),
      core(MEMORY_SECTION, this.#memoryDigest.current()),
    ];
  }

  plainControl(): EventPayload {
    return plainControlState(this.#control);
  }

  /** The guest digest, 32 bytes: equal futures give equal digests. */
  digest(sections: readonly StateSection[] = this.saveSections()): Uint8Array {
    const writer = new ByteWriter();
    writer.block(encodeUtf8(DIGEST_ENCODING));
    writer.f64(this.icount);
    writer.f64(this.guestTimeNs);
    writer.u32(sections.length);
    for (const section of sections) {
      writer.block(encodeUtf8(section.name));
      writer.u32(section.version);
      writer.block(section.bytes);
    }
    writer.block(encodeCanonical(this.plainControl()));
    return this.digester.sha256(writer.finish());
  }

  /** Takes over the state of a snapshot. Pages are loaded when something first touches them. */
  restore(state: GuestState, load: PageLoader): void {
    this.#control = restoreControlState(state.control);
    this.kernel.configure(this.#control.architecture);
    this.kernel.memory.setLoader((index) => {
      const content = this.pages.baseContent(index, load);
      this.#memoryDigest.noteContent(index, content);
      return content;
    });
    const replaced = this.pages.restore(state.pageHashes);
    this.#restoreSections(state.guestSections, replaced, load);
  }

  #restoreSections(sections: readonly StateSection[], replaced: readonly number[], load: PageLoader): void {
    const core = (name: string): Uint8Array => {
      const section = sections.find((each) => each.name === name);
      if (section === undefined) throw new StateSectionError(name, "it is missing");
      if (section.version !== CORE_SECTION_VERSION)
        throw new StateSectionError(name, `version ${section.version}, this build knows ${CORE_SECTION_VERSION}`);
      return section.bytes;
    };
    this.kernel.restore(sections.filter((section) => !CORE_SECTIONS.has(section.name)));
    const run = new PayloadFields(RUN_SECTION, decodeCanonicalMap(core(RUN_SECTION)));
    this.exitNumber = run.number("exitNumber");
    this.answeredIcount = run.number("answeredIcount");
    this.skippedIcount = run.number("skippedIcount");
    const counters = new PayloadFields(ENTROPY_SECTION, decodeCanonicalMap(core(ENTROPY_SECTION)));
    this.#entropy.restoreCounters(
      Object.fromEntries(Object.keys(counters.payload).map((name) => [name, counters.bigint(name)])),
    );
    const base = this.pages;
    this.#memoryDigest.restore(core(MEMORY_SECTION), replaced, (index) => base.baseContent(index, load));
  }

  /** The present as changes from the base snapshot; RAM that has not changed is shared with it. */
  checkpoint(): Checkpoint {
    const sections = this.saveSections();
    const pages = new Map(this.pages.changedPages().map((index) => [index, this.kernel.memory.page(index).slice()]));
    return { base: this.pages.hashes, sections, control: this.plainControl(), pages };
  }

  restoreCheckpoint(checkpoint: Checkpoint, load: PageLoader): void {
    const { sections, control, pages, base } = checkpoint;
    this.restore({ guestSections: sections, control, pageHashes: base }, load);
    for (const [index, content] of pages) {
      this.kernel.memory.replacePage(index, content);
      this.pages.noteChanged(index);
      this.#memoryDigest.noteContent(index, content);
    }
  }
}
