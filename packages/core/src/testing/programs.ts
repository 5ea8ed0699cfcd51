/** Programs for the small CPU, and a VM around one. */
import {
  CONSOLE_DATA,
  DMA_START,
  SMALL_RAM_BASE,
  SmallBoard,
  TIMER_START,
  type SmallBoardOptions,
} from "./small-board.js";
import { Op, smallArchitecture, smallExitModel, word, wordImmediate } from "./small-cpu.js";
import { MemoryJournal } from "./memory-journal.js";
import { SeededEntropy } from "../entropy.js";
import { exitModelOf, machinePayload, type MachineDescription } from "../machine/machine-description.js";
import type { Architecture } from "../ports/architecture.js";
import type { RecordingHeader } from "../ports/journal-store.js";

/** A program with labels: jumps are patched when all is known. */
export class Assembler {
  readonly words: number[] = [];
  readonly #labels = new Map<string, number>();
  readonly #jumps: { readonly at: number; readonly op: number; readonly register: number; readonly label: string }[] =
    [];

  emit(...words: number[]): this {
    this.words.push(...words);
    return this;
  }

  label(name: string): this {
    this.#labels.set(name, this.words.length);
    return this;
  }

  address(name: string): number {
    return SMALL_RAM_BASE + (this.#labels.get(name) ?? 0) * 4;
  }

  jump(label: string): this {
    this.#jumps.push({ at: this.words.length, op: Op.jmp, register: 0, label });
    return this.emit(0);
  }

  jumpIfNotZero(register: number, label: string): this {
    this.#jumps.push({ at: this.words.length, op: Op.jnz, register, label });
    return this.emit(0);
  }

  set(register: number, value: number): this {
    return this.emit(
      wordImmediate(Op.movi, register, value & 0xffff),
      wordImmediate(Op.movhi, register, (value >>> 16) & 0xffff),
    );
  }

  /** Uses x1 and x2. */
  print(text: string): this {
    this.set(2, CONSOLE_DATA);
    for (const character of text) this.emit(wordImmediate(Op.movi, 1, character.charCodeAt(0)), word(Op.store, 1, 2));
    return this;
  }

  finish(): number[] {
    for (const { at, op, register, label } of this.#jumps) {
      const target = this.#labels.get(label);
      if (target === undefined) throw new RangeError(`no label ${label}`);
      this.words[at] = wordImmediate(op, register, target - at);
    }
    return [...this.words];
  }
}

/** Where `busyProgram` counts, and where its DMA goes. */
export const COUNTER_ADDRESS = SMALL_RAM_BASE + 0x8000;
export const DMA_ADDRESS = SMALL_RAM_BASE + 0x9100;

/**
 * Everything once a round: work in memory, console, clock, entropy, hypercalls that are denied, answered and answered by
 * nothing, DMA, a device timer, WFI with a timer of its own.
 */
export function busyProgram(rounds: number, workPerRound: number): number[] {
  const program = new Assembler();
  program.print("boot\n").set(5, rounds).label("round");
  program.set(3, COUNTER_ADDRESS).set(4, workPerRound).label("work");
  program.emit(word(Op.load, 1, 3), wordImmediate(Op.addi, 1, 1), word(Op.store, 1, 3), wordImmediate(Op.addi, 4, -1));
  program.jumpIfNotZero(4, "work").print("r");
  program.emit(wordImmediate(Op.sys, 0, 0), wordImmediate(Op.sys, 0, 1));
  program.emit(word(Op.xor, 1, 6, 5), word(Op.add, 3, 3, 4), wordImmediate(Op.addi, 3, 64), word(Op.store, 1, 3));
  for (const call of [0x10, 0x11, 0x12]) program.set(0, call).emit(word(Op.hvc));
  program
    .set(1, DMA_ADDRESS)
    .set(2, DMA_START)
    .emit(word(Op.store, 1, 2));
  program
    .set(1, 3000)
    .set(2, TIMER_START)
    .emit(word(Op.store, 1, 2), word(Op.wfi));
  program.set(1, 5000).emit(word(Op.timer, 1), word(Op.wfi));
  program.emit(wordImmediate(Op.addi, 5, -1)).jumpIfNotZero(5, "round");
  return program.print("done\n").emit(word(Op.off)).finish();
}

/** Prints "> ", echoes a typed line while it waits with WFI for each byte, and powers off at "q". */
export function echoProgram(): number[] {
  const program = new Assembler();
  program.print("login: ").label("wait").emit(word(Op.wfi)).label("read");
  program.set(2, CONSOLE_DATA).emit(word(Op.load, 1, 2));
  // An empty FIFO reads as -1.
  program
    .set(3, 0xffff_ffff)
    .emit(word(Op.sub, 3, 3, 1))
    .jumpIfNotZero(3, "got")
    .jump("wait");
  program.label("got").emit(word(Op.store, 1, 2));
  program.emit(wordImmediate(Op.movi, 3, "q".charCodeAt(0)), word(Op.sub, 3, 3, 1));
  program.jumpIfNotZero(3, "read").print("bye\n").emit(word(Op.off));
  return program.finish();
}

/** Every vCPU runs the same code: each counts its own turns in its own word, and vCPU 0 powers off at last. */
export function parallelProgram(turns: number): number[] {
  const program = new Assembler();
  program.emit(wordImmediate(Op.sys, 0, 3)).set(3, COUNTER_ADDRESS);
  for (let times = 0; times < 4; times++) program.emit(word(Op.add, 3, 3, 6));
  program
    .set(4, turns)
    .label("turn")
    .emit(word(Op.load, 1, 3), wordImmediate(Op.addi, 1, 1), word(Op.store, 1, 3));
  program
    .emit(wordImmediate(Op.addi, 4, -1))
    .jumpIfNotZero(4, "turn")
    .print("x");
  program.jumpIfNotZero(6, "park").emit(word(Op.off)).label("park").emit(word(Op.wfi)).jump("park");
  return program.finish();
}

export const SMALL_MEMORY_BYTES = 64 * 4096;

export interface SmallVmOptions extends Omit<SmallBoardOptions, "entropy"> {
  readonly vcpuCount?: number;
  readonly seed?: bigint;
  readonly architecture?: Architecture;
}

export function smallMachine(options: SmallVmOptions): MachineDescription {
  return {
    architecture: "arm64",
    board: "small",
    cpuModel: "small",
    vcpuCount: options.vcpuCount ?? 1,
    memoryBase: SMALL_RAM_BASE,
    memoryBytes: SMALL_MEMORY_BYTES,
    exitModel: exitModelOf(smallExitModel),
    seed: options.seed ?? 7n,
    boardOptions: {},
  };
}

export function smallHeader(machine: MachineDescription): RecordingHeader {
  return {
    id: "0123456789abcdef0123456789abcdef",
    formatVersion: 1,
    createdBy: "test",
    architecture: "arm64",
    architectureRevision: 1,
    machine: machinePayload(machine),
    quirks: [],
    parent: undefined,
  };
}

export function smallVmm(options: SmallVmOptions): { half: SmallBoard; entropy: SeededEntropy } {
  const entropy = new SeededEntropy(options.seed ?? 7n, "vmm");
  return { half: new SmallBoard({ ...options, entropy }), entropy };
}

/** What a recorder needs, for a new VM with this program. */
export function smallVm(options: SmallVmOptions): {
  readonly architecture: Architecture;
  readonly writer: MemoryJournal;
  readonly vmm: ReturnType<typeof smallVmm>;
} {
  const architecture = options.architecture ?? smallArchitecture();
  return { architecture, writer: new MemoryJournal(smallHeader(smallMachine(options))), vmm: smallVmm(options) };
}
