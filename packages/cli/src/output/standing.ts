/** Where a replay stands, in a few lines. */
import {
  ExitWord,
  formatGuestTime,
  formatPosition,
  type Machine,
  machinePosition,
  type Replayer,
  toHex,
} from "@hvjournal/core";
import { displayOf } from "../architectures.js";
import type { OpenRecording } from "../vm/open-recording.js";
import { ExitText, isNoneNeeded, NO_ANSWER, pendingExit } from "./exit-text.js";
import { hexAddress, type Symbols } from "../symbols/symbols.js";
import { counted, hex } from "./value-text.js";

/** General registers of the first line. */
const REGISTERS_SHOWN = 4;
const REGISTER_DIGITS = 16;

/** The vCPU that a stopped machine is about. */
export function standingVcpu({ kernel, exitPending }: Machine): number {
  return (exitPending ? kernel.exit[ExitWord.vcpu] : undefined) ?? kernel.currentVcpu ?? 0;
}

export function positionText(machine: Machine): string {
  return machine.icount === 0 && machine.exitNumber === 0 ? "start" : formatPosition(machinePosition(machine));
}

/** "after hvc #0" or "at str w0, [x1]": the instruction that a position is about. */
export function instructionText(machine: Machine, symbols: Symbols, vcpu: number, isBehind: boolean): string {
  const { instructionBytes } = displayOf(machine.architecture);
  const pc = machine.kernel.readRegister(vcpu, "pc");
  const address = isBehind ? pc - BigInt(instructionBytes) : pc;
  const text = machine.kernel.disassemble(vcpu, address, 1)[0]?.text;
  return text === undefined ? "" : `${isBehind ? "after" : "at"} ${symbols.inText(text)}`;
}

export function registerText(machine: Machine, vcpu: number, name: string): string {
  const value = machine.kernel.readRegister(vcpu, name);
  return `${name.padEnd(3)} ${value.toString(16).padStart(REGISTER_DIGITS, "0")}`;
}

/** Where comparing has begun, unless it was at the recording's start. */
function sinceText({ startedAt, reader }: Replayer): string {
  if (startedAt === undefined || startedAt.number === reader.snapshots()[0]?.number) return "";
  return ` since snapshot:${startedAt.number} (exit:${startedAt.exitNumber})`;
}

export class Standing {
  readonly #recording: OpenRecording;
  readonly #exits: ExitText;

  constructor(recording: OpenRecording) {
    this.#recording = recording;
    this.#exits = new ExitText(recording);
  }

  get exits(): ExitText {
    return this.#exits;
  }

  /** First line: the position and, where the vCPU has just left guest mode, why. */
  title(machine: Machine): string {
    const head = `${positionText(machine)} vcpu${standingVcpu(machine)}`;
    if (!machine.exitPending) return head;
    const { exit } = machine.kernel;
    return `${head} ${this.#exits.title(exit)} ${this.#exits.fate(exit)}`;
  }

  lines(replayer: Replayer): string[] {
    const { machine, compared } = replayer;
    const vcpu = standingVcpu(machine);
    const { icount, guestTimeNs, exitPending, kernel } = machine;
    const isBehind = exitPending && this.#exits.pcPlace(kernel.exit) === "behind";
    const pc = kernel.readRegister(vcpu, "pc");
    const name = this.#recording.symbols.name(pc) ?? "";
    const general = kernel.registers.filter(({ group }) => group === "general").slice(0, REGISTERS_SHOWN);
    const registers = general.map((register) => registerText(machine, vcpu, register.name)).join("  ");
    const lines = [
      this.title(machine),
      `  icount:${icount} time:${formatGuestTime(guestTimeNs)} event:${replayer.nextSeq - 1}`,
      `  pc  ${hexAddress(pc)}  ${name.padEnd(26)}  ${instructionText(machine, this.#recording.symbols, vcpu, isBehind)}`.trimEnd(),
      `  ${registers}`,
    ];
    if (exitPending) {
      const told = this.#exits.toldAnswer(pendingExit(replayer));
      lines.push(`  ${isNoneNeeded(told) ? NO_ANSWER : `answer, ${told.state}: ${told.text}`}`);
    }
    const what = `${counted(compared.exits, "exit")} and ${counted(compared.digests, "digest")}`;
    const digest = toHex(machine.digest());
    lines.push(`  compared ${what}${sinceText(replayer)}, equal  digest sha256:${digest}`);
    return lines;
  }

  json(replayer: Replayer): Record<string, unknown> {
    const { machine, compared, nextSeq } = replayer;
    const vcpu = standingVcpu(machine);
    const { kernel, exitPending, icount, guestTimeNs, exitNumber } = machine;
    const registers = kernel.registers.filter(({ group }) => group === "general");
    const pc = kernel.readRegister(vcpu, "pc");
    return {
      position: positionText(machine),
      exit: exitNumber,
      event: nextSeq - 1,
      icount,
      timeNs: guestTimeNs,
      vcpu,
      ...(exitPending ? this.#exitJson(replayer) : {}),
      registers: Object.fromEntries(registers.map(({ name }) => [name, hex(kernel.readRegister(vcpu, name))])),
      symbol: this.#recording.symbols.name(pc),
      compared: { ...compared, since: replayer.startedAt?.exitNumber ?? 0 },
      digest: toHex(machine.digest()),
      end: this.#recording.reader.end.state,
    };
  }

  #exitJson(replayer: Replayer): Record<string, unknown> {
    const { exit } = replayer.machine.kernel;
    const { state, parts } = this.#exits.toldAnswer(pendingExit(replayer));
    return {
      reason: this.#exits.reason(exit),
      action: this.#exits.action(exit),
      kvm: this.#exits.kvmExit(exit),
      rule: this.#exits.decision(exit)?.seq,
      ruleAction: this.#exits.ruleAction(exit),
      answered: state,
      answer: parts.map(({ text }) => text),
    };
  }
}
