/** One moment in full, section by section: what `show` prints. */
import {
  ExitWord,
  formatGuestTime,
  frameU64,
  isAskedOfHandlers,
  KvmExit,
  type Machine,
  type Replayer,
  toHex,
} from "@hvjournal/core";
import { type ArchitectureDisplay, displayOf } from "../architectures.js";
import { recordedHandlers } from "../handlers/recorded-handlers.js";
import { callersOf } from "../symbols/callers.js";
import { hexAddress } from "../symbols/symbols.js";
import type { OpenRecording } from "../vm/open-recording.js";
import { ExitText, isNoneNeeded, NO_ANSWER, pendingExit } from "./exit-text.js";
import { positionText, standingVcpu } from "./standing.js";
import { hex } from "./value-text.js";

const LABEL_WIDTH = 11;
const REGISTERS_PER_LINE = 4;
const CALLERS_MAX = 64;

interface Instruction {
  readonly address: bigint;
  readonly text: string;
  readonly isNext: boolean;
}

export class MomentText {
  readonly #recording: OpenRecording;
  readonly #replayer: Replayer;
  readonly #exits: ExitText;
  readonly #display: ArchitectureDisplay;
  readonly #vcpu: number;

  constructor(recording: OpenRecording, replayer: Replayer) {
    this.#recording = recording;
    this.#replayer = replayer;
    this.#exits = new ExitText(recording);
    this.#display = displayOf(recording.architecture);
    this.#vcpu = standingVcpu(replayer.machine);
  }

  get #machine(): Machine {
    return this.#replayer.machine;
  }

  #register(name: string): bigint {
    return this.#machine.kernel.readRegister(this.#vcpu, name);
  }

  get #pc(): bigint {
    return this.#register("pc");
  }

  /** A label in front of the first line, and the others below it. */
  section(label: string, lines: readonly string[]): string[] {
    return lines.map((line, index) => `  ${(index === 0 ? label : "").padEnd(LABEL_WIDTH)}${line}`);
  }

  head(): string[] {
    const machine = this.#machine;
    const { icount, guestTimeNs, exitPending } = machine;
    const place = `${positionText(machine)} vcpu${this.#vcpu} ${this.#mode()}`;
    const at = `icount:${icount} time:${formatGuestTime(guestTimeNs)} event:${this.#replayer.nextSeq - 1}`;
    if (!exitPending) return [place, ...this.section("at", [`${at}  digest sha256:${toHex(machine.digest())}`])];
    return [
      `${place} ${this.#exit()}`,
      ...this.section("at", [at]),
      ...this.#decided(),
      ...this.#asked(),
      ...this.#answer(),
    ];
  }

  #mode(): string {
    const { register, text } = this.#display.mode;
    return text(this.#register(register));
  }

  #exit(): string {
    const { exit } = this.#machine.kernel;
    const syndrome = frameU64(exit, ExitWord.syndromeLow);
    const head = `${this.#exits.reason(exit)} ${this.#display.syndrome} 0x${syndrome.toString(16).padStart(8, "0")}`;
    const action = this.#exits.action(exit);
    const kvmExit = this.#exits.kvmExit(exit);
    if (kvmExit === undefined) return `${head} ${action}, handled by the kernel half`;
    if (exit[ExitWord.kvmExit] !== KvmExit.hypercall) return `${head} -> ${kvmExit} ${action}`;
    const flags = exit[ExitWord.info] ?? 0;
    return `${head} -> ${kvmExit} nr ${action} flags ${flags} (${this.#display.hypercallFlags(flags)})`;
  }

  #decided(): string[] {
    const { exit } = this.#machine.kernel;
    if (!this.#exits.isHypercall(exit)) return [];
    const decision = this.#exits.decision(exit);
    return this.section("decided", [
      decision === undefined
        ? (this.#exits.unruled(exit) ?? this.#exits.handledBy(exit))
        : `${decision.action}: ${decision.rule} (event:${decision.seq})`,
    ]);
  }

  /** Who is asked about a forwarded call, in turn. */
  #asked(): string[] {
    const { exit } = this.#machine.kernel;
    if (!isAskedOfHandlers(exit)) return [];
    const names = recordedHandlers(this.#recording.description).map(({ name }) => name);
    return names.length === 0 ? [] : this.section("asked", [`${names.join(", ")}, then the board`]);
  }

  #answer(): string[] {
    const exit = pendingExit(this.#replayer);
    const told = this.#exits.toldAnswer(exit);
    if (isNoneNeeded(told)) return this.section("answer", [NO_ANSWER]);
    const answerer = told.state === "pending" ? undefined : this.#exits.callAnswerer(exit);
    return this.section("answer", [`${told.state}: ${told.text}${answerer === undefined ? "" : `, by ${answerer}`}`]);
  }

  registers(withAll: boolean): string[] {
    const { kernel } = this.#machine;
    const named = (group: string): string[] =>
      kernel.registers.filter((each) => each.group === group).map(({ name }) => name);
    const general = named("general");
    const pcAt = general.indexOf(kernel.pcName ?? "pc");
    const name = this.#recording.symbols.name(this.#pc);
    // pc and the flags behind it stand alone on their line, which has room for the name.
    const place = `${this.#registerLines(general.slice(pcAt, pcAt + 2)).join("")}  ${name ?? ""}`.trimEnd();
    const lines = [
      ...this.#registerLines(general.slice(0, pcAt)),
      place,
      ...this.#registerLines(general.slice(pcAt + 2)),
    ];
    const system = withAll ? named("system") : this.#display.systemRegisters;
    const vector = withAll ? this.#registerLines(named("vector"), 2) : [];
    return this.section("registers", [...lines, ...this.#registerLines(system), ...vector]);
  }

  #registerLines(names: readonly string[], perLine = REGISTERS_PER_LINE): string[] {
    const { kernel } = this.#machine;
    const bits = new Map(kernel.registers.map((register) => [register.name, register.bits]));
    const width = Math.max(0, ...names.map((name) => name.length));
    const cells = names.map((name) => {
      const digits = (bits.get(name) ?? 64) / 4;
      return `${name.padEnd(width)} ${this.#register(name).toString(16).padStart(digits, "0")}`;
    });
    return Array.from({ length: Math.ceil(cells.length / perLine) }, (_, row) =>
      cells.slice(row * perLine, (row + 1) * perLine).join("  "),
    );
  }

  registerValues(): Record<string, string> {
    const { kernel } = this.#machine;
    return Object.fromEntries(kernel.registers.map(({ name }) => [name, hex(this.#register(name))]));
  }

  /** Innermost first, the present one included; `mode`: of user code, from which the kernel was entered. */
  callers(): { readonly address: bigint; readonly name: string | undefined; readonly mode?: "user" }[] {
    const { symbols } = this.#recording;
    const callers = callersOf(this.#machine, this.#vcpu, symbols, CALLERS_MAX);
    return [
      { address: this.#pc, name: symbols.name(this.#pc) },
      ...callers.map(({ address, isUserMode }) =>
        isUserMode
          ? { address, name: symbols.name(address), mode: "user" as const }
          : { address, name: symbols.callerName(address) },
      ),
    ];
  }

  stack(): string[] {
    const names = this.callers().map(
      ({ address, name, mode }) => `${name ?? hexAddress(address)}${mode === undefined ? "" : " (user mode)"}`,
    );
    return this.section("stack", [names.join(" < ")]);
  }

  /** From the instruction that left guest mode, or that is next. */
  instructions(count: number): Instruction[] {
    const { exitPending, kernel } = this.#machine;
    const pc = this.#pc;
    const isBehind = exitPending && this.#exits.pcPlace(kernel.exit) === "behind";
    const first = isBehind ? pc - BigInt(this.#display.instructionBytes) : pc;
    return kernel
      .disassemble(this.#vcpu, first, count)
      .map(({ address, text }) => ({ address, text: this.#recording.symbols.inText(text), isNext: address === pc }));
  }

  code(count: number): string[] {
    const lines = this.instructions(count).map(
      ({ address, text, isNext }) => `${hexAddress(address)}${isNext ? ">" : " "} ${text}`,
    );
    return this.section("code", lines.length === 0 ? ["none: pc is not mapped to RAM"] : lines);
  }
}
