/** One VM's vCPUs: linear memory, TLBs, decoded code, and `run`. */
import { BlockTier } from "./blocks/block-tier.js";
import { AccessKind, type CpuDefinition } from "./cpu-definition.js";
import { DecodeCache } from "./decode/decode-cache.js";
import { type RecordGeometry, recordGeometry } from "./decode/record.js";
import { type Variant, VariantTable } from "./decode/variant-table.js";
import { preparePageTablePage } from "./emit/page-table-access.js";
import { hasPreparedModules, type ModuleKey } from "./emit/kept-modules.js";
import { Linker } from "./emit/linker.js";
import { extendedFloatHost } from "./float/extended-float-host.js";
import { softFloatHost } from "./float/soft-float-host.js";
import {
  BOUNCE_START,
  engineFields,
  engineState,
  extendedFloat,
  selectTlbSets,
  setEntryBits,
  softFloat,
} from "./engine-fields.js";
import {
  decodeRecord,
  type EngineRoutines,
  engineRoutines,
  finishWrites,
  standAside,
} from "./interpreter/engine-routines.js";
import { compileMainLoop } from "./interpreter/main-loop.js";
import { compileHandlers, type HandlerContext, moduleKey } from "./interpreter/out-of-line.js";
import { EngineExit } from "./interpreter/status.js";
import { GuestRam } from "./memory/guest-ram.js";
import { adviseDenselyUsed } from "./memory/memory-advice.js";
import { hashPageRoutine } from "./memory/page-hash.js";
import { type MemoryMap, memoryMap } from "./memory-map.js";
import { EngineFault, fetchPage, specialAccess } from "./mmu/slow-path.js";
import { SpecialAccesses } from "./mmu/special-access.js";
import { Tlb } from "./mmu/tlb.js";
import { INDEXED_CONTEXTS, RAM_PAGES_MAX, TLB_ENTRIES_DEFAULT } from "./mmu/tlb-layout.js";
import {
  DEFAULT_REGION_POLICY,
  EAGER_REGION_POLICY,
  HotRegions,
  REGION_TABLE_START,
  REGIONS_MAX,
} from "./regions/hot-regions.js";
import type { Instruction } from "./stage/instruction.js";
import type { HostFunction, Routine, StateField } from "./stage/stage.js";
import { UNDEFINED_MNEMONIC, undefinedInstructionOf } from "./decode/undefined-instruction.js";

export interface EngineOptions {
  /** Guest-physical address and size of RAM in bytes; whole pages. */
  readonly ramBase: number;
  readonly ramBytes: number;
  readonly vcpuCount: number;
  /** Entries of one TLB set, a power of two, at least 2. Never shows. */
  readonly tlbEntries?: number;
  /** What runs beside the interpreter; never shows. Default: compiled regions where the guest spends its time. */
  readonly tier?: Tier;
  /** Host functions of the architecture, by name. */
  readonly hosts?: ReadonlyMap<string, (...parameters: number[]) => number>;
  /** Variants that stand inline in the interpreter, by mnemonic and form; see `profile`. */
  readonly profile?: readonly ProfileEntry[];
  /** Variants whose handlers are made together, once the guest has shown that it will meet many. */
  readonly warm?: readonly ProfileEntry[];
}

/**
 * "blocks" compiles each basic block, "regions" each loop when it is first met, both for tests; "interpreter" compiles
 * nothing.
 */
export type Tier = "interpreter" | "blocks" | "regions";

export interface ProfileEntry {
  readonly mnemonic: string;
  readonly form: Readonly<Record<string, number>>;
}

export class Engine {
  readonly memory: GuestRam;
  readonly map: MemoryMap;
  readonly #cpu: CpuDefinition;
  readonly #buffer: ArrayBuffer;
  readonly #view: DataView;
  readonly #bytes: Uint8Array;
  readonly #records: RecordGeometry;
  readonly #tlb: Tlb;
  readonly #special: SpecialAccesses;
  readonly #variants: VariantTable;
  readonly #decoded: DecodeCache;
  readonly #table: WebAssembly.Table;
  readonly #linker: Linker;
  readonly #routines: EngineRoutines;
  readonly #handlers: HandlerContext;
  readonly #mainLoop: (budget: number) => number;
  /** The same with a break pc; compiled when one is first asked for. */
  #breakLoop: ((budget: number) => number) | undefined;
  /** The first variants of the table, which stand inline in the main loop. */
  readonly #inline: readonly Variant[];
  /** Empty once they are made. */
  #warm: readonly ProfileEntry[];
  #handlersMade = 0;
  readonly #blocks: BlockTier | undefined;
  readonly #regions: HotRegions | undefined;
  readonly #vcpus: Uint8Array[];
  readonly #translate: (virtual: bigint, kind: number, privilege: number) => number;
  #current = 0;
  /** A translation is asked for from outside: it sets no bits of entries. */
  #observing = false;
  /** Since marks of page tables were last forgotten. */
  #entryWrites = 0;
  /** Budget that the last `run` did not use. */
  unitsLeft = 0;
  /** After `EngineExit.watch`: the instruction that wrote, and the first watched bytes that it wrote. */
  watchReport: { readonly pc: bigint; readonly physical: number; readonly bytes: number } | undefined;

  constructor(cpu: CpuDefinition, options: EngineOptions) {
    this.#cpu = cpu;
    this.map = memoryMap(options.ramBase, options.ramBytes, options.tlbEntries ?? TLB_ENTRIES_DEFAULT, cpu.granule);
    const memory = new WebAssembly.Memory({ initial: this.map.wasmPages, maximum: this.map.wasmPages });
    this.#buffer = memory.buffer;
    // Not the decoded pages: most of each stays untouched.
    adviseDenselyUsed(new Uint8Array(this.#buffer, this.map.ramStart, options.ramBytes));
    this.#view = new DataView(this.#buffer);
    this.#bytes = new Uint8Array(this.#buffer);
    this.#records = recordGeometry(cpu.granule);
    this.#table = new WebAssembly.Table({ element: "anyfunc", initial: REGION_TABLE_START + REGIONS_MAX });
    this.#variants = new VariantTable(cpu.granule);
    this.#tlb = new Tlb(this.#buffer, cpu, this.map.geometry);
    this.memory = new GuestRam(this.#buffer, this.map, this.#ramListener());
    this.#routines = engineRoutines(cpu, this.map.geometry);
    this.#linker = new Linker({
      memory,
      table: this.#table,
      geometry: this.map.geometry,
      hosts: this.#hostFunctions(options),
    });
    this.#handlers = {
      cpu,
      geometry: this.map.geometry,
      records: this.#records,
      routines: this.#routines,
      linker: this.#linker,
    };
    this.writeField(engineState.ramBytes, BigInt(options.ramBytes));
    this.#linkHostRoutines();
    this.#translate = this.#linker.routine(cpu.translate) as never;
    this.#special = new SpecialAccesses({
      buffer: this.#buffer,
      cpu,
      geometry: this.map.geometry,
      ram: this.memory,
      translate: this.#translate,
      bouncesCode: (pageIndex) => this.#blocks !== undefined || this.#regions?.has(pageIndex) === true,
    });
    this.#decoded = new DecodeCache(
      {
        buffer: this.#buffer,
        cpu,
        records: this.#records,
        ...{ start: this.map.decodedStart, capacity: this.map.decodedPages },
        ramStart: this.map.ramStart,
        variants: this.#variants,
        markCode: (pageIndex) => this.memory.markCode(pageIndex),
        ensureLoaded: (pageIndex) => this.memory.ensureLoaded(pageIndex),
        dropCompiled: (pageIndex) => this.#regions?.invalidate(pageIndex),
        needHandler: (variant, isKept) => {
          if (!isKept || !variant.isInline) this.#needHandler(variant);
        },
        fetchFollowingPage: () => this.#fetchFollowingPage(),
      },
      undefinedInstructionOf(cpu),
    );
    this.#warm = options.warm ?? [];
    this.#inline = this.#inlineVariants(options.profile ?? []);
    this.#mainLoop = compileMainLoop(this.#handlers, this.#inline, { breaks: false });
    this.#blocks = this.#blockTier(options.tier);
    this.#regions = this.#hotRegions(options.tier);
    this.#vcpus = Array.from({ length: options.vcpuCount }, () => new Uint8Array(cpu.layout.end - cpu.layout.start));
    this.#tlb.select();
  }

  /**
   * Runs at most `budget` units and gives an exit code: an `EngineExit`, or an architecture's own.
   * `unitsLeft` tells how many were left. Not while a device access is pending.
   *
   * With a `breakPc` it leaves with `EngineExit.breakpoint` at each boundary between two units at which pc is that: where it
   * begins, where the budget runs out, and where an interrupt or a fault comes next too. To get off, run one unit without.
   */
  run(budget: number, breakPc?: bigint): number {
    let left = budget;
    const breakLoop = breakPc === undefined ? undefined : this.#loopWithBreak(breakPc);
    this.#regions?.begin();
    while (left > 0) {
      const sampleUnits = this.#regions?.sampleUnits ?? Infinity;
      const restarting = this.#view.getUint32(engineState.fragmentCount.offset, true) > 0;
      const slice = restarting ? 1 : Math.min(left, sampleUnits);
      this.#regions?.comeBack();
      const code = this.#runSlice(slice, restarting, breakLoop);
      left -= slice - this.#view.getUint32(engineState.unitsLeft.offset, true);
      if (slice === sampleUnits && code === EngineExit.budget)
        this.#regions?.sampleAt(this.#view.getBigUint64(this.#cpu.pc.offset, true));
      if (restarting && code !== EngineExit.mmioRead) this.#special.forgetFragments();
      if (code === EngineExit.budget) continue;
      if (code === EngineExit.mmioWrite && !this.#special.deviceWritePending) {
        const pc = this.readField(this.#cpu.pc);
        this.#retireLeaving();
        left -= 1;
        if (!this.#takeWatchHit(pc)) continue;
        this.unitsLeft = left;
        return EngineExit.watch;
      }
      this.unitsLeft = left;
      return code;
    }
    this.unitsLeft = 0;
    const isThere = breakPc !== undefined && this.readField(this.#cpu.pc) === breakPc;
    return isThere ? EngineExit.breakpoint : EngineExit.budget;
  }

  #runSlice(slice: number, restarting: boolean, breakLoop: ((budget: number) => number) | undefined): number {
    // An instruction that starts again has begun already: the boundary before it is over.
    if (restarting) return this.#mainLoop(slice);
    if (breakLoop !== undefined) return breakLoop(slice);
    return this.#blocks === undefined ? this.#mainLoop(slice) : this.#blocks.run(slice, this.#mainLoop);
  }

  #loopWithBreak(breakPc: bigint): (budget: number) => number {
    this.writeField(engineState.breakPc, breakPc);
    this.#breakLoop ??= compileMainLoop(this.#handlers, this.#inline, { breaks: true });
    return this.#breakLoop;
  }

  // Exits

  exitOperand(index: number): bigint {
    return this.#view.getBigUint64(engineState.exitOperands.offset + 8 * index, true);
  }

  /** 32-bit words of the exit operands: operand n is words 2n and 2n+1. */
  exitWord(index: number): number {
    return this.#view.getUint32(engineState.exitOperands.offset + 4 * index, true);
  }

  get mmioAddress(): number {
    return this.mmioAddressLow + this.mmioAddressHigh * 2 ** 32;
  }

  get mmioAddressLow(): number {
    return this.#view.getUint32(engineState.mmioAddress.offset, true);
  }

  get mmioAddressHigh(): number {
    return this.#view.getUint32(engineState.mmioAddress.offset + 4, true);
  }

  get mmioBytes(): number {
    return this.#view.getUint32(engineState.mmioBytes.offset, true);
  }

  get mmioDataLow(): number {
    return this.#view.getUint32(engineState.mmioData.offset, true);
  }

  get mmioDataHigh(): number {
    return this.#view.getUint32(engineState.mmioData.offset + 4, true);
  }

  /**
   * The word at pc in the page that the main loop fetches from, without a walk: for the instruction that `run` has just
   * left for. undefined where that is not known, or pc stands in another page.
   */
  fetchedWord(): number | undefined {
    // Blocks run without telling their page.
    if (this.#blocks !== undefined) return undefined;
    const page = this.#decoded.pageAt(this.#view.getUint32(engineState.decodedBase.offset, true));
    const low = this.#view.getUint32(this.#cpu.pc.offset, true);
    const sameLow = low - (low % 4096) === this.#view.getUint32(engineState.codePage.offset, true);
    const high = this.#view.getUint32(this.#cpu.pc.offset + 4, true);
    const sameHigh = high === this.#view.getUint32(engineState.codePage.offset + 4, true);
    if (page === undefined || !sameLow || !sameHigh) return undefined;
    return this.#view.getUint32(this.map.ramStart + page.pageIndex * 4096 + (low % 4096), true);
  }

  /** Supplies the data of a device read; the instruction starts again at the next `run`. */
  completeMmioRead(low: number, high: number): void {
    this.#special.completeDeviceRead(low, high);
  }

  /** The device write is done. True: the instruction has retired (count one unit); false: its next device write is now the exit. */
  completeMmioWrite(): boolean {
    const low = this.#view.getUint32(engineState.nextPc.offset, true);
    const high = this.#view.getUint32(engineState.nextPc.offset + 4, true);
    if (!this.#special.completeDeviceWrite()) return false;
    this.#view.setUint32(this.#cpu.pc.offset, low, true);
    this.#view.setUint32(this.#cpu.pc.offset + 4, high, true);
    return true;
  }

  /** The instruction of the device access that the last run left for is not carried out: none of it has happened. */
  abandonAccess(): void {
    this.#special.abandonAccess();
  }

  /** Whether an instruction waits to start again with completed device reads. */
  get restartPending(): boolean {
    return this.#view.getUint32(engineState.fragmentCount.offset, true) > 0;
  }

  // State

  readField(field: StateField): bigint {
    if (field.width === 32) return BigInt(this.#view.getUint32(field.offset, true));
    const low = this.#view.getBigUint64(field.offset, true);
    return field.width === 64 ? low : low | (this.#view.getBigUint64(field.offset + 8, true) << 64n);
  }

  writeField(field: StateField, value: bigint): void {
    if (field.width === 32) this.#view.setUint32(field.offset, Number(BigInt.asUintN(32, value)), true);
    else this.#view.setBigUint64(field.offset, BigInt.asUintN(64, value), true);
    if (field.width === 128) this.#view.setBigUint64(field.offset + 8, BigInt.asUintN(64, value >> 64n), true);
  }

  readWord(offset: number): number {
    return this.#view.getUint32(offset, true);
  }

  writeWord(offset: number, value: number): void {
    this.#view.setUint32(offset, value, true);
  }

  /** The state bytes of the vCPU that runs; a live view of `layout.start` to `layout.end`. */
  get vcpuState(): Uint8Array {
    return this.#bytes.subarray(this.#cpu.layout.start, this.#cpu.layout.end);
  }

  get currentVcpu(): number {
    return this.#current;
  }

  /** Swaps in the state of a vCPU. */
  selectVcpu(index: number): void {
    if (index === this.#current) return;
    const next = this.#vcpus[index];
    if (next === undefined) throw new RangeError(`vCPU ${index} of ${this.#vcpus.length}`);
    this.#vcpus[this.#current]?.set(this.vcpuState);
    this.vcpuState.set(next);
    this.#current = index;
    this.#tlb.select();
  }

  /** After state was written from outside (restore, registers): TLB sets follow the registers again. */
  stateWritten(): void {
    this.#tlb.select();
  }

  /** Steps over the instruction at pc without executing it. The caller counts the unit. */
  retire(bytes: number): void {
    this.writeField(this.#cpu.pc, BigInt.asUintN(64, this.readField(this.#cpu.pc) + BigInt(bytes)));
  }

  /** Runs a routine of the architecture on the current vCPU. */
  callRoutine(routine: Routine, ...parameters: (number | bigint)[]): unknown {
    return this.#linker.routine(routine)(...parameters);
  }

  /** Translates without a TLB and without marking anything: 0 and `translatedPhysical`, or a fault code. */
  translate(virtual: bigint, kind: number, privilege: number): number {
    this.#observing = true;
    try {
      return this.#translate(BigInt.asIntN(64, virtual), kind, privilege);
    } finally {
      this.#observing = false;
    }
  }

  get translatedPhysical(): number {
    return Number(this.#view.getBigUint64(engineFields.translatedPhysical.offset, true));
  }

  /** The definition and fields of an encoding in a context, for disassembly. Undefined for one that is not defined. */
  decode(
    encoding: number,
    context: number,
  ): { readonly instruction: Instruction; readonly fields: Readonly<Record<string, number>> } | undefined {
    const { variant, fields } = this.#decoded.lookUp(encoding, context);
    return variant.instruction.mnemonic === UNDEFINED_MNEMONIC
      ? undefined
      : { instruction: variant.instruction, fields };
  }

  /** The same for an architecture of variable length; `length` is of the instruction. Undefined too when it needs more bytes. */
  decodeBytes(
    bytes: Uint8Array,
    context: number,
  ):
    | { readonly instruction: Instruction; readonly fields: Readonly<Record<string, number>>; readonly length: number }
    | undefined {
    const decoded = this.#decoded.lookUpBytes(bytes, context);
    if (decoded === undefined || decoded.variant.instruction.mnemonic === UNDEFINED_MNEMONIC) return undefined;
    return { instruction: decoded.variant.instruction, fields: decoded.fields, length: decoded.bytes };
  }

  /** Encodings without definition that were decoded, with counts of decodings. */
  get undefinedEncodings(): ReadonlyMap<number, number> {
    return this.#decoded.undefinedEncodings;
  }

  /** State of an access in flight, as numbers and bytes; all zero when there is none. */
  saveInFlight(): { readonly bytes: Uint8Array; readonly pending: readonly number[] } {
    const { start, end } = IN_FLIGHT;
    const pending = this.#special.savePending();
    const bytes = this.#bytes.slice(start, end);
    // Of the bounce buffer only what is still to be written has a future.
    const bounce = BOUNCE_START - start;
    bytes.fill(0, bounce);
    for (let index = 0; index < pending.length; index += 3) {
      const at = pending[index + 2] ?? 0;
      bytes.set(this.#bytes.subarray(at, at + (pending[index + 1] ?? 0)), at - start);
    }
    if (pending.length === 0) bytes.fill(0, 0, 8);
    return { bytes, pending };
  }

  restoreInFlight(saved: { readonly bytes: Uint8Array; readonly pending: readonly number[] }): void {
    const { start, end } = IN_FLIGHT;
    if (saved.bytes.length !== end - start)
      throw new RangeError(`state in flight has ${saved.bytes.length} bytes, not ${end - start}`);
    this.#bytes.set(saved.bytes, start);
    this.#special.restorePending(saved.pending);
  }

  /** Makes the handlers of `warm` now. Never shows. */
  warmUp(): void {
    this.#handlersMade = HANDLERS_BEFORE_WARM - 1;
    this.#makeWarmHandlers();
  }

  /** Throws away TLBs, decoded and compiled code. Never shows. */
  dropCaches(): void {
    this.#tlb.clearAll();
    this.memory.forgetPageTables();
    this.#dropDecoded();
  }

  /** How often each variant was decoded so far, for a profile of hot variants. */
  variants(): readonly Variant[] {
    return this.#variants.variants;
  }

  /** Regions compiled so far. */
  get compiledRegionCount(): number {
    return this.#regions?.compiledCount ?? 0;
  }

  #takeWatchHit(pc: bigint): boolean {
    const hit = this.memory.watchHit;
    this.memory.watchHit = undefined;
    if (hit !== undefined) this.watchReport = { pc, ...hit };
    return hit !== undefined;
  }

  /** An instruction left only because translations or code changed, or a watch was hit: it retires here. */
  #retireLeaving(): void {
    this.writeField(this.#cpu.pc, this.readField(engineState.nextPc));
    this.#special.takeDerivedChanged();
    this.#special.clearAfterLeave();
  }

  #ramListener(): ConstructorParameters<typeof GuestRam>[2] {
    return {
      revokeWrites: (pageIndex) => this.#tlb.revokeWrites(pageIndex),
      revokePage: (pageIndex) => this.#tlb.revokePage(pageIndex),
      codeWritten: (pageIndex, first, last) => {
        const isEmpty = this.#decoded.invalidate(pageIndex, first, last);
        const hadCompiled =
          this.#blocks?.invalidate(pageIndex) === true || this.#regions?.invalidate(pageIndex) === true;
        // Blocks are compiled without decoded records: their pages stay told.
        if (isEmpty && this.#blocks === undefined) this.memory.forgetCode(pageIndex);
        if (hadCompiled) this.#special.noteDerivedChanged();
      },
      translationsChanged: () => {
        this.#tlb.dropAll();
        this.#special.noteDerivedChanged();
      },
      mayBeDerivedFrom: (offset, low, high) => {
        // Its time to be forgotten has come when it is written.
        if (++this.#entryWrites >= ENTRY_WRITES_PER_FORGET) return true;
        return this.#cpu.entryMayBeLive(low, high) && this.#tlb.wasWalked(offset);
      },
      entryChanged: (offset, low, high) => {
        if (++this.#entryWrites >= ENTRY_WRITES_PER_FORGET) this.#forgetPageTables();
        else if (!this.#cpu.entryMayBeLive(low, high) || !this.#tlb.dropDerivedFrom(offset)) return false;
        this.#special.noteDerivedChanged();
        return true;
      },
      hashPage: (hostAddress, pageIndex, into) => {
        this.#linker.routine(hashPageRoutine)(hostAddress, pageIndex);
        for (let word = 0; word < 4; word++) into[word] = this.exitWord(word);
      },
      externallyWritten: () => {
        this.#special.takeDerivedChanged();
        this.#cpu.externallyWritten?.(this);
      },
    };
  }

  /** In one module, which can be prepared. */
  #linkHostRoutines(): void {
    const { cpu, linker } = this.#handlers;
    const routines = [cpu.translate, hashPageRoutine, ...(cpu.hostRoutines ?? [])];
    linker.linkRoutines(routines, moduleKey(this.#handlers, "host routines", []));
  }

  #forgetPageTables(): void {
    this.#entryWrites = 0;
    this.#tlb.dropAll();
    this.memory.forgetPageTables();
  }

  #hostFunctions(options: EngineOptions): Map<string, (...parameters: number[]) => number> {
    const hosts = new Map<string, (...parameters: number[]) => number>(options.hosts ?? []);
    const add = (host: HostFunction, implementation: (...parameters: number[]) => number): void => {
      hosts.set(host.name, implementation);
    };
    add(selectTlbSets, () => {
      this.#tlb.select();
      return 0;
    });
    add(preparePageTablePage, (pageIndex = 0) => {
      this.memory.markPageTable(pageIndex);
      return 0;
    });
    add(specialAccess, (info = 0) => this.#special.access(info));
    add(finishWrites, () => this.#special.finish());
    add(fetchPage, () => this.#fetchPage());
    // Records may lie beyond 2 GiB, and integers of WebAssembly come with a sign.
    add(decodeRecord, (record = 0) => this.#decoded.decode(record >>> 0));
    add(standAside, (record = 0) => {
      this.#regions?.standAside(record >>> 0);
      return 0;
    });
    add(setEntryBits, (low = 0, high = 0, bits = 0) => {
      if (!this.#observing) this.memory.setEntryBits((high >>> 0) * 2 ** 32 + (low >>> 0) - this.map.ramBase, bits);
      return 0;
    });
    add(softFloat, softFloatHost(this.#buffer, engineFields));
    add(extendedFloat, extendedFloatHost(this.#buffer, engineFields));
    return hosts;
  }

  /** The decoded page of the pc in state, or 0 after writing the fault. */
  #fetchPage(): number {
    const pc = this.readField(this.#cpu.pc);
    const privilege = this.readWord(this.#cpu.privilege.offset);
    const code = this.#translate(BigInt.asIntN(64, pc), AccessKind.execute, privilege);
    if (code !== 0) return this.#fetchFault(pc, code);
    const offset = this.translatedPhysical - this.map.ramBase;
    if (!(offset >= 0 && offset < this.map.ramBytes)) return this.#fetchFault(pc, EngineFault.noMemory);
    const pageIndex = Math.floor(offset / 4096);
    this.memory.ensureLoaded(pageIndex);
    const context = this.readWord(this.#cpu.contextWord.offset);
    let page = this.#decoded.page(pageIndex, context);
    if (page === undefined) {
      this.#dropDecoded();
      page = this.#decoded.page(pageIndex, context);
    }
    if (page === undefined) throw new Error("no room for a decoded page");
    this.memory.markCode(pageIndex);
    if (context < INDEXED_CONTEXTS)
      this.#view.setUint32(this.map.decodedIndexStart + 4 * (context * RAM_PAGES_MAX + pageIndex), page.base, true);
    this.#tlb.fillFetch(pc & ~0xfffn, context, page.base);
    return page.base;
  }

  /** The page of RAM behind the one that runs, for an instruction that reaches into it; undefined after writing the fault. */
  #fetchFollowingPage(): number | undefined {
    const page = BigInt.asUintN(64, this.readField(engineState.codePage) + 4096n);
    const code = this.#translate(
      BigInt.asIntN(64, page),
      AccessKind.execute,
      this.readWord(this.#cpu.privilege.offset),
    );
    const offset = this.translatedPhysical - this.map.ramBase;
    const absent = code === 0 && !(offset >= 0 && offset < this.map.ramBytes);
    if (code !== 0 || absent) {
      this.#fetchFault(page, absent ? EngineFault.noMemory : code);
      return undefined;
    }
    const pageIndex = Math.floor(offset / 4096);
    this.memory.ensureLoaded(pageIndex);
    return pageIndex;
  }

  #fetchFault(pc: bigint, code: number): number {
    this.writeField(engineFields.faultAddress, pc);
    this.writeField(engineFields.faultCode, BigInt(code));
    this.writeField(engineFields.faultKind, BigInt(AccessKind.execute));
    return 0;
  }

  #dropDecoded(): void {
    for (const pageIndex of this.#decoded.physicalPages()) this.memory.forgetCode(pageIndex);
    this.#decoded.clear();
    this.#clearDecodedIndex();
    this.#blocks?.clear();
    this.#regions?.clear();
    this.#tlb.clearAll();
  }

  #clearDecodedIndex(): void {
    for (let context = 0; context < INDEXED_CONTEXTS; context++) {
      const row = this.map.decodedIndexStart + 4 * context * RAM_PAGES_MAX;
      this.#bytes.fill(0, row, row + 4 * this.memory.pageCount);
    }
  }

  #inlineVariants(profile: readonly ProfileEntry[]): readonly Variant[] {
    const variants = this.#profiledVariants(profile);
    for (const variant of variants) variant.isInline = true;
    return variants;
  }

  #profiledVariants(profile: readonly ProfileEntry[]): readonly Variant[] {
    const byMnemonic = new Map(
      this.#cpu
        .instructionsFor(this.#cpu.profileContext ?? 0)
        .map((instruction) => [instruction.mnemonic, instruction]),
    );
    return profile.flatMap(({ mnemonic, form }) => {
      const instruction = byMnemonic.get(mnemonic);
      return instruction === undefined ? [] : [this.#variants.ofForm(instruction, form)];
    });
  }

  #blockTier(tier: Tier | undefined): BlockTier | undefined {
    if (tier !== "blocks") return undefined;
    return new BlockTier({ ...this.#handlers, buffer: this.#buffer, decoded: this.#decoded });
  }

  #hotRegions(tier: Tier | undefined): HotRegions | undefined {
    if (tier === "blocks" || tier === "interpreter") return undefined;
    return new HotRegions({
      ...this.#handlers,
      buffer: this.#buffer,
      decoded: this.#decoded,
      table: this.#table,
      policy: tier === "regions" ? EAGER_REGION_POLICY : DEFAULT_REGION_POLICY,
    });
  }

  #needHandler(variant: Variant): void {
    if (variant.id >= REGION_TABLE_START) throw new Error(`more than ${REGION_TABLE_START} variants`);
    if (this.#table.get(variant.id) === null) this.#makeWarmHandlers();
    if (this.#table.get(variant.id) === null) this.#makeHandlers([variant]);
  }

  /** Those of the profile together: at once where their module is there, else when the guest has shown that it needs many. */
  #makeWarmHandlers(): void {
    if (this.#warm.length === 0) return;
    const isFirst = ++this.#handlersMade === 1;
    const isLarge = this.#handlersMade === HANDLERS_BEFORE_WARM;
    if (!isLarge && !(isFirst && hasPreparedModules(this.#cpu))) return;
    const variants = this.#profiledVariants(this.#warm);
    const key = moduleKey(this.#handlers, "warm handlers", variants);
    if (!isLarge && !this.#linker.isPrepared(key)) return;
    this.#warm = [];
    this.#makeHandlers(variants, key);
  }

  /** A variant that has a handler keeps it. */
  #makeHandlers(variants: readonly Variant[], key?: ModuleKey): void {
    const handlers = compileHandlers(this.#handlers, variants, key);
    variants.forEach(({ id }, index) => {
      if (id < REGION_TABLE_START && this.#table.get(id) === null) this.#table.set(id, handlers[index]);
    });
  }
}

/** A bare-metal test needs fewer; a kernel needs ten times as many, and a module costs half a millisecond. */
const HANDLERS_BEFORE_WARM = 24;

/**
 * With every so many writes of entries, marks of page tables are forgotten: most stay, and a walk would only set them
 * again, but a page that has become something else costs a call for each write until then.
 */
const ENTRY_WRITES_PER_FORGET = 4096;

const IN_FLIGHT = {
  start: engineState.nextPc.offset,
  end: engineState.bounce.offset + (engineState.bounce.count * engineState.bounce.width) / 8,
};
