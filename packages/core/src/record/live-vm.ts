/**
 * A VM with its VMM half: what both recording and verifying run. Everything that the VMM half does to the guest goes
 * through the port here and into the sink, in the order in which it takes effect.
 */
import type { ControlCommand, Refusal } from "../ports/control.js";
import type { CallAnswerer, GuestStop, OutsideInput, VmmAttempt, VmmHalf, VmmPort } from "../ports/vmm-half.js";
import type { RunStop } from "../ports/architecture.js";
import { StateSectionError, type StateSection } from "../ports/state-section.js";
import { CoreKind } from "../event/core-kinds.js";
import type { EventPayload } from "../event/event-kind.js";
import { ExitWord, FinishedBy } from "../event/exit-frame.js";
import { decodeCanonicalMap, encodeCanonical } from "../canonical/canonical-encoding.js";
import { PayloadFields } from "../canonical/payload-fields.js";
import { CREATE_VCPU, CREATE_VM } from "../control/core-slice.js";
import type { SeededEntropy } from "../entropy.js";
import { icountAtTime } from "../guest-time.js";
import type { Machine } from "../machine/machine.js";
import { machinePayload } from "../machine/machine-description.js";
import { MEMORY_WRITE_BYTES_MAX } from "../memory/memory-written.js";
import { PAGE_HASH_BYTES } from "../memory/page-hash.js";
import { PAGE_BYTES } from "../ports/guest-memory.js";
import { Attempt } from "./attempt.js";
import type { EventPlace, EventSink } from "./event-sink.js";
import { OutsideInputs } from "./outside-inputs.js";

const ENTROPY_SECTION = "core.vmm-entropy";
/** Bytes from outside that no device has taken yet, and what anchors those that come. */
export const INPUTS_SECTION = "core.inputs";
const SECTION_VERSION = 1;

/** The VMM half acted on the guest when it may not, or in a way that makes no sense. A bug of a board or handler. */
export class VmmPortError extends Error {
  override readonly name = "VmmPortError";
  readonly call: string;
  constructor(call: string, reason: string) {
    super(`the VMM half called ${call}: ${reason}`);
    this.call = call;
  }
}

export interface VmmParts {
  readonly half: VmmHalf;
  /** The streams that the board draws from; saved with its sections. Scope "vmm". */
  readonly entropy?: SeededEntropy;
}

export type OutputListener = (port: number, bytes: Uint8Array) => void;

type Question = "boot" | "exit" | "deadline" | "input" | "turn";

/** Below, looking for other writes costs more than hashing pages once more. */
const LARGE_WRITE_BYTES = 64 * PAGE_BYTES;

export class LiveVm {
  readonly machine: Machine;
  readonly vmm: VmmHalf;
  readonly inputs = new OutsideInputs();
  readonly outputListeners = new Set<OutputListener>();
  /** How the guest ended, once it has. */
  stop: GuestStop | undefined;
  readonly #entropy: SeededEntropy | undefined;
  readonly #events: EventSink;
  readonly #port: VmmPort;
  /** What the VMM half is being asked, while it is. */
  #asked: Question | undefined;
  /** Recorded when the device first shows that it takes the input. */
  #offered: EventPayload | undefined;
  #skippedSilently = false;
  #attempt: Attempt | undefined;
  /** As the journal says: of the last call that handlers were asked about. */
  #answerer: CallAnswerer | undefined;

  constructor(machine: Machine, vmm: VmmParts, sink: EventSink) {
    this.machine = machine;
    this.vmm = vmm.half;
    this.#entropy = vmm.entropy;
    this.#events = sink;
    this.#port = this.#createPort();
  }

  /**
   * Every event goes out through here, so that a skip that had no event yet gets it first. (A method, because V8 calls its
   * runtime for each read of a private getter.)
   */
  #sink(): EventSink {
    if (this.#attempt !== undefined) return this.#attempt.events;
    this.settleSkip();
    return this.#events;
  }

  /**
   * An idle VM that went on at the kernel half's own deadline needs no event as long as the guest is what acts next.
   * Before anything else happens at the same icount, an event must say that time has gone on already.
   */
  settleSkip(): void {
    if (!this.#skippedSilently) return;
    this.#skippedSilently = false;
    this.#events.row(CoreKind.idleEnded, this.#place(), { untilNs: this.machine.guestTimeNs });
  }

  #place(vcpu = -1): EventPlace {
    return { icount: this.machine.icount, exitNumber: this.machine.exitNumber, vcpu };
  }

  /** A row event at the present moment. */
  row(kind: { readonly name: string; readonly version: number }, payload: EventPayload, vcpu = -1): void {
    this.#sink().row(kind, this.#place(vcpu), payload);
  }

  #act(call: string): void {
    if (this.#asked === undefined)
      throw new VmmPortError(call, "only inside boot, handleExit, reachDeadline and takeInput");
    this.#recordOffered();
  }

  /** As `#act`, of what changes the VM itself. */
  #change(call: string): void {
    this.#act(call);
    this.#attempt?.beforeChange();
  }

  #recordOffered(): void {
    const offered = this.#offered;
    this.#offered = undefined;
    if (offered !== undefined) this.row(CoreKind.inputReceived, offered);
  }

  #createPort(): VmmPort {
    const { machine } = this;
    const { kernel } = machine;
    return {
      complete: (low, high) => {
        this.#change("complete");
        if (!kernel.exitPending) throw new VmmPortError("complete", "no exit waits for an answer");
        this.#sink().completed(machine.icount, low, high);
        machine.completeExit(low, high);
      },
      readMemory: (physical, bytes) => kernel.memory.read(physical, bytes),
      writeMemory: (physical, bytes) => {
        this.#act("writeMemory");
        this.#writeMemory(physical, bytes);
      },
      readRegister: (vcpu, name) => kernel.readRegister(vcpu, name),
      eventfdCount: (fd) => kernel.eventfdCount?.(fd) ?? 0,
      setRegister: (vcpu, name, value) => {
        this.#change("setRegister");
        kernel.writeRegister(vcpu, name, value);
        this.#sink().registerSet(this.#place(vcpu), name, value);
      },
      setIrqLine: (line, level) => {
        this.#change("setIrqLine");
        kernel.setIrqLine(line, level);
        this.#sink().irqLine(machine.icount, line, level);
      },
      sendMsi: (address, data) => {
        if (kernel.sendMsi === undefined) throw new VmmPortError("sendMsi", "the irqchip takes no messages");
        this.#change("sendMsi");
        kernel.sendMsi(address, data);
        this.row(CoreKind.msiSent, { address, data });
      },
      output: (port, bytes) => {
        this.#act("output");
        this.#produce(port, bytes);
      },
      control: (command) => {
        this.#change("control");
        return this.#carryOut(command);
      },
      stop: (reason) => {
        this.#act("stop");
        this.stop = reason;
      },
      begin: () => this.#begin(),
      get guestTimeNs() {
        return machine.guestTimeNs;
      },
      get configuration() {
        return machine.control.architecture;
      },
      get context() {
        return machine.context;
      },
    };
  }

  #begin(): VmmAttempt {
    if (this.#asked !== "exit" && this.#asked !== "deadline")
      throw new VmmPortError("begin", "only inside handleExit and reachDeadline");
    if (this.#attempt !== undefined) throw new VmmPortError("begin", "an attempt is open already");
    const attempt = new Attempt(this.machine, this.#sink(), this.stop);
    this.#attempt = attempt;
    const close = (act: () => void): void => {
      if (this.#attempt !== attempt) throw new VmmPortError("begin", "the attempt has ended already");
      act();
    };
    return { keep: (answerer) => close(() => this.#keep(attempt, answerer)), undo: () => close(() => this.#undo()) };
  }

  #keep(attempt: Attempt, answerer: CallAnswerer): void {
    this.#attempt = undefined;
    attempt.keep();
    // A handler that is told of a signal, behind its exit, answers no exit.
    if (this.#asked === "exit") this.#noteAnswerer(answerer);
  }

  /** Whether an answer is waited for, and whoever is to give it has done nothing to the VM yet. */
  get isAsking(): boolean {
    return this.#attempt?.isUntouched(this.stop) === true;
  }

  /** Does something to a VM that `isAsking`, as if nobody had been asked: whoever answers comes behind it. */
  actBeside<Result>(act: () => Result): Result {
    const [asked, attempt] = [this.#asked, this.#attempt];
    [this.#asked, this.#attempt] = [undefined, undefined];
    try {
      return act();
    } finally {
      [this.#asked, this.#attempt] = [asked, attempt];
    }
  }

  #noteAnswerer(answerer: CallAnswerer): void {
    const last = this.#answerer;
    if (last?.by === answerer.by && last.name === answerer.name) return;
    this.#answerer = answerer;
    this.row(CoreKind.answererChanged, { ...answerer });
  }

  #undo(): void {
    const attempt = this.#attempt;
    this.#attempt = undefined;
    if (attempt === undefined) return;
    attempt.undo();
    this.stop = attempt.stop;
  }

  #writeMemory(physical: number, bytes: Uint8Array): void {
    this.#attempt?.beforeWrite(physical, bytes.length);
    for (let at = 0; at < bytes.length; at += MEMORY_WRITE_BYTES_MAX) {
      const piece = bytes.subarray(at, at + MEMORY_WRITE_BYTES_MAX);
      this.machine.kernel.memory.write(physical + at, piece);
      const payload = this.#sink().memoryWritten(this.#place(), physical + at, piece);
      if (piece.length >= LARGE_WRITE_BYTES) this.#noteHashes(physical + at, piece.length, payload);
    }
  }

  #noteHashes(physical: number, length: number, payload: EventPayload | undefined): void {
    const { pages, kernel } = this.machine;
    const first = (physical - kernel.memory.base) / PAGE_BYTES;
    const hashes = payload?.["pages"];
    if (!(hashes instanceof Uint8Array) || !Number.isInteger(first)) return;
    pages.noteHashes(first, hashes.subarray(0, Math.floor(length / PAGE_BYTES) * PAGE_HASH_BYTES));
  }

  #produce(port: number, bytes: Uint8Array): void {
    if (bytes.length === 0) return;
    this.#sink().output(this.machine.icount, port, bytes);
    const attempt = this.#attempt;
    if (attempt === undefined) return this.#noteProduced(port, bytes);
    const copy = bytes.slice();
    attempt.events.hold(() => this.#noteProduced(port, copy));
  }

  #noteProduced(port: number, bytes: Uint8Array): void {
    this.inputs.noteOutput(port, bytes);
    for (const listener of this.outputListeners) listener(port, bytes);
  }

  #carryOut(command: ControlCommand): Refusal | undefined {
    const decision = this.machine.decide(command);
    if ("refused" in decision) return decision.refused;
    for (const event of decision.events) {
      const seq = this.#sink().nextSeq;
      this.row({ name: event.kind, version: event.version }, event.payload, event.vcpu);
      this.machine.evolve(event, seq);
      this.#notePatch();
    }
    return undefined;
  }

  /**
   * Creates VM and vCPUs, and sets these up unless `bare`: then it is for whoever acts. `beforeVcpus` is called between. Before
   * anything else.
   */
  create({ bare = false, beforeVcpus }: { readonly bare?: boolean; readonly beforeVcpus?: () => void } = {}): void {
    const { description, architecture } = this.machine;
    this.#carryOutAll([{ name: CREATE_VM, machine: machinePayload(description) }]);
    beforeVcpus?.();
    const { vcpuCount, cpuModel } = description;
    const vcpus = Array.from({ length: vcpuCount }, () => ({ name: CREATE_VCPU, cpu: cpuModel }));
    this.#carryOutAll([...vcpus, ...(bare ? [] : (architecture.setUp?.(vcpuCount) ?? []))]);
  }

  #carryOutAll(commands: readonly ControlCommand[]): void {
    for (const command of commands) {
      const refused = this.#carryOut(command);
      if (refused !== undefined)
        throw new VmmPortError(command.name, `${refused.call}: ${refused.errno}: ${refused.reason}`);
    }
  }

  boot(): void {
    this.#ask("boot", () => this.vmm.boot(this.#port));
  }

  /** The VMM half acts of itself while the VM stands still: its code runs outside, as a program does around KVM_RUN. */
  act<Result>(action: (port: VmmPort) => Result): Result {
    return this.#ask("turn", () => action(this.#port));
  }

  /** From `record` options or `ctl`. A refused command is no event. */
  operate(command: ControlCommand): Refusal | undefined {
    const decision = this.machine.decide(command);
    if ("refused" in decision) return decision.refused;
    this.row(CoreKind.operatorCommanded, { command });
    return this.#carryOut(command);
  }

  #ask<Result>(what: Question, question: () => Result): Result {
    this.#asked = what;
    try {
      return question();
    } finally {
      this.#asked = undefined;
    }
  }

  /** Runs up to `limit` units; an exit has its number and its event when this comes back. */
  run(limit: number): RunStop {
    const { machine } = this;
    const before = machine.icount;
    machine.kernel.nextFrame = this.#events.nextFrame;
    const why = machine.kernel.run(limit);
    if (why === "exit" || machine.icount > before) this.#skippedSilently = false;
    if (why === "exit") {
      machine.exitNumber += 1;
      this.#sink().exited(machine.icount, machine.kernel.exit);
    }
    return why;
  }

  #noteResult(): void {
    const { kernel } = this.machine;
    this.#sink().handled(this.machine.icount, kernel.answerLow, kernel.answerHigh);
    const registers = this.machine.furtherResults();
    if (registers !== undefined) this.row(CoreKind.callReturned, { registers }, kernel.exit[ExitWord.vcpu] ?? 0);
  }

  /** What the exit or the event just behind us wrote over. */
  #notePatch(): void {
    const { codePatch } = this.machine.kernel;
    if (codePatch === undefined) return;
    const { vcpu, physical, before, after } = codePatch;
    this.row(CoreKind.codePatched, { gpa: physical, old: before, new: after }, vcpu);
  }

  /** Answers the pending exit. A promise: the whole VM stands still until it is kept. */
  answerExit(): void | Promise<void> {
    const { kernel } = this.machine;
    if (kernel.exit[ExitWord.finishedBy] === FinishedBy.kernelHalf) {
      if (this.machine.finishExit()) this.#noteResult();
      this.#notePatch();
      if (kernel.signalledEventfd !== undefined) this.vmm.noteSignal?.(kernel.signalledEventfd);
      return undefined;
    }
    this.#asked = "exit";
    let answer: void | Promise<void>;
    try {
      answer = this.vmm.handleExit(kernel.exit, this.#port);
    } catch (error) {
      this.#notAnswered();
      throw error;
    }
    if (answer === undefined) return this.#answered();
    return answer.then(
      () => this.#answered(),
      (error: unknown) => {
        this.#notAnswered();
        throw error;
      },
    );
  }

  /** The exit still waits. */
  #notAnswered(): void {
    this.#undo();
    this.#asked = undefined;
  }

  #answered(): void {
    const isOpen = this.#attempt !== undefined;
    if (isOpen) this.#notAnswered();
    this.#asked = undefined;
    if (isOpen) throw new VmmPortError("begin", "an attempt was neither kept nor undone");
    // A guest that stopped stays where it stopped: nothing has been answered.
    if (this.machine.exitPending && this.stop === undefined) this.machine.completeExit(0, 0);
  }

  /** The guest has ended, or something waits for a device. */
  get isDisturbed(): boolean {
    return this.stop !== undefined || this.inputs.count > 0;
  }

  /** The icount at which the VMM half wants to act; Infinity when it doesn't. */
  get deadlineIcount(): number {
    const { deadlineNs } = this.vmm;
    return deadlineNs === undefined
      ? Infinity
      : icountAtTime(this.machine.icount, this.machine.guestTimeNs, deadlineNs);
  }

  /** Whether the VMM half's deadline has come. */
  get deadlineDue(): boolean {
    const { deadlineNs } = this.vmm;
    return deadlineNs !== undefined && this.machine.guestTimeNs >= deadlineNs;
  }

  reachDeadline(): void {
    const { deadlineNs } = this.vmm;
    try {
      this.#ask("deadline", () => this.vmm.reachDeadline(this.#port));
    } catch (error) {
      this.#undo();
      throw error;
    }
    if (deadlineNs !== undefined && this.vmm.deadlineNs === deadlineNs)
      throw new VmmPortError("reachDeadline", `the deadline at ${deadlineNs} ns is still set behind it`);
  }

  /** The guest is idle: time goes on at `untilNs`. */
  endIdle(untilNs: number): void {
    const { kernel } = this.machine;
    const isOwnDeadline = untilNs === kernel.idleDeadlineNs;
    if (!isOwnDeadline) this.row(CoreKind.idleEnded, { untilNs });
    this.machine.skipTo(untilNs);
    this.#skippedSilently = isOwnDeadline;
  }

  /** Offers an input to the devices; false: none takes it now. Its event precedes what the device does with it. */
  offer(input: OutsideInput): boolean {
    const { port, bytes } = input;
    const anchor = this.inputs.anchor(port, this.vmm.readCount(port), this.machine.guestTimeNs);
    this.#offered = { port, bytes: bytes.slice(), ...anchor };
    const taken = this.#ask("input", () => this.vmm.takeInput(input, this.#port));
    if (taken) this.#recordOffered();
    else if (this.#offered === undefined)
      throw new VmmPortError("takeInput", `acted on the guest and then refused the input for port ${port}`);
    this.#offered = undefined;
    return taken;
  }

  /**
   * Offers what waits, in order, as far as devices take it: an input whole, else the longest prefix by halving.
   * Gives how many bytes were taken.
   */
  offerWaiting(): number {
    let total = 0;
    for (;;) {
      const first = this.inputs.first;
      if (first === undefined) return total;
      const taken = this.#offerPrefix(first);
      if (taken === 0) return total;
      total += taken;
    }
  }

  #offerPrefix(input: OutsideInput): number {
    for (let length = input.bytes.length; length > 0; length = length >> 1) {
      if (!this.offer({ port: input.port, bytes: input.bytes.subarray(0, length) })) continue;
      this.inputs.taken(length, this.machine.guestTimeNs);
      return length;
    }
    return 0;
  }

  /** The VMM half's sections, and what core keeps beside them for going live again. */
  saveVmm(): StateSection[] {
    const core = (name: string, payload: EventPayload): StateSection => ({
      name,
      version: SECTION_VERSION,
      bytes: encodeCanonical(payload),
    });
    return [
      ...this.vmm.save(),
      core(ENTROPY_SECTION, this.#entropy?.counters() ?? {}),
      core(INPUTS_SECTION, this.inputs.save()),
    ];
  }

  restoreVmm(sections: readonly StateSection[]): void {
    const core = (name: string): PayloadFields => {
      const section = sections.find((each) => each.name === name);
      if (section === undefined) throw new StateSectionError(name, "it is missing");
      if (section.version !== SECTION_VERSION)
        throw new StateSectionError(name, `version ${section.version}, this build knows ${SECTION_VERSION}`);
      return new PayloadFields(name, decodeCanonicalMap(section.bytes));
    };
    this.vmm.restore(sections.filter(({ name }) => name !== ENTROPY_SECTION && name !== INPUTS_SECTION));
    const counters = core(ENTROPY_SECTION);
    this.#entropy?.restoreCounters(
      Object.fromEntries(Object.keys(counters.payload).map((name) => [name, counters.bigint(name)])),
    );
    this.inputs.restore(core(INPUTS_SECTION).payload);
  }
}
