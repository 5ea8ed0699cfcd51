/** A guest under test: its memory, and MMIO and IO exits as the kernel half would hand them over. It notes all that the board does. */
import {
  EXIT_WORD_COUNT,
  ExitWord,
  FinishedBy,
  KvmExit,
  setFrameU64,
  type BlockBackend,
  type CallAnswerer,
  type ControlCommand,
  type Entropy,
  type EntropyStream,
  type GuestStop,
  type Refusal,
  type ControlContext,
  type VmmAttempt,
  type VmmHalf,
  type VmmPort,
} from "@hvjournal/core";

const WRITE = 0x100;

export class TestGuest implements VmmPort {
  readonly memoryBase: number;
  readonly memory: Uint8Array;
  readonly irqLevels = new Map<number, 0 | 1>();
  readonly registers = new Map<string, bigint>();
  /** Every call of the port that is an event, in order. */
  readonly events: string[] = [];
  /** By eventfd. */
  readonly signals = new Map<number, number>();
  stopped: GuestStop | undefined;
  /** Of the last call that handlers were asked about. */
  answerer: CallAnswerer | undefined;
  guestTimeNs = 0;
  configuration: unknown = undefined;
  readonly #output = new Map<number, number[]>();
  #answer: bigint | undefined;

  constructor(memoryBytes = 4 * 1024 * 1024, memoryBase = 0x4000_0000) {
    this.memoryBase = memoryBase;
    this.memory = new Uint8Array(memoryBytes);
  }

  get context(): ControlContext {
    return { hasRun: true, hasVcpus: true, vcpuCount: 1, memoryBase: this.memoryBase, memoryBytes: this.memory.length };
  }

  complete(low: number, high: number): void {
    this.#answer = (BigInt(high) << 32n) | BigInt(low);
  }

  readMemory(physical: number, bytes: number): Uint8Array {
    const offset = this.#offset(physical, bytes);
    return this.memory.slice(offset, offset + bytes);
  }

  writeMemory(physical: number, bytes: Uint8Array): void {
    this.memory.set(bytes, this.#offset(physical, bytes.length));
    this.events.push(`memory 0x${physical.toString(16)}+${bytes.length}`);
  }

  readRegister(vcpu: number, name: string): bigint {
    return this.registers.get(`vcpu${vcpu} ${name}`) ?? 0n;
  }

  eventfdCount(fd: number): number {
    return this.signals.get(fd) ?? 0;
  }

  setRegister(vcpu: number, name: string, value: bigint): void {
    this.registers.set(`vcpu${vcpu} ${name}`, value);
    this.events.push(`vcpu${vcpu} ${name} 0x${value.toString(16)}`);
  }

  setIrqLine(line: number, level: 0 | 1): void {
    this.irqLevels.set(line, level);
    this.events.push(`irq ${line} ${level}`);
  }

  sendMsi(address: bigint, data: number): void {
    this.events.push(`msi 0x${address.toString(16)} 0x${data.toString(16)}`);
  }

  output(port: number, bytes: Uint8Array): void {
    this.#output.set(port, [...(this.#output.get(port) ?? []), ...bytes]);
    this.events.push(`output ${port} ${bytes.length}`);
  }

  control(command: ControlCommand): Refusal | undefined {
    this.events.push(`control ${command.name}`);
    return undefined;
  }

  stop(reason: GuestStop): void {
    this.stopped = reason;
  }

  begin(): VmmAttempt {
    const [memory, registers, irqLevels] = [this.memory.slice(), new Map(this.registers), new Map(this.irqLevels)];
    const [events, { stopped }] = [this.events.length, this];
    return {
      keep: (answerer) => {
        this.answerer = answerer;
      },
      undo: () => {
        this.memory.set(memory);
        putBack(this.registers, registers);
        putBack(this.irqLevels, irqLevels);
        this.events.length = events;
        this.stopped = stopped;
      },
    };
  }

  outputText(port: number): string {
    return String.fromCharCode(...(this.#output.get(port) ?? []));
  }

  irq(line: number): 0 | 1 {
    return this.irqLevels.get(line) ?? 0;
  }

  /** An exit of vCPU 0 that the board answers. Gives what it completed the exit with. */
  exit(
    board: VmmHalf,
    words: { readonly kvmExit: number; readonly info?: number; readonly arg0?: bigint; readonly arg1?: bigint },
  ): bigint | undefined {
    return this.#deliver(board, words.kvmExit, words.info ?? 0, words.arg0 ?? 0n, words.arg1 ?? 0n);
  }

  readWide(board: VmmHalf, address: number, bytes: number): bigint {
    const answer = this.#deliver(board, KvmExit.mmio, bytes, BigInt(address), 0n);
    if (answer === undefined) {
      throw new Error(`nobody completed the read at 0x${address.toString(16)}`);
    }
    return answer;
  }

  read(board: VmmHalf, address: number, bytes = 4): number {
    return Number(this.readWide(board, address, bytes));
  }

  write(board: VmmHalf, address: number, value: number | bigint, bytes = 4): void {
    if (this.#deliver(board, KvmExit.mmio, bytes | WRITE, BigInt(address), BigInt(value)) !== undefined) {
      throw new Error(`somebody gave data for the write at 0x${address.toString(16)}`);
    }
  }

  /** IN. */
  readPort(board: VmmHalf, port: number, bytes = 1): number {
    const answer = this.#deliver(board, KvmExit.io, bytes, BigInt(port), 0n);
    if (answer === undefined) {
      throw new Error(`nobody completed the read of port 0x${port.toString(16)}`);
    }
    return Number(answer);
  }

  /** OUT. */
  writePort(board: VmmHalf, port: number, value: number, bytes = 1): void {
    if (this.#deliver(board, KvmExit.io, bytes | WRITE, BigInt(port), BigInt(value)) !== undefined) {
      throw new Error(`somebody gave data for the write of port 0x${port.toString(16)}`);
    }
  }

  #deliver(board: VmmHalf, kvmExit: number, info: number, arg0: bigint, arg1: bigint): bigint | undefined {
    const frame = new Uint32Array(EXIT_WORD_COUNT);
    frame[ExitWord.finishedBy] = FinishedBy.vmmHalf;
    frame[ExitWord.kvmExit] = kvmExit;
    frame[ExitWord.info] = info;
    setFrameU64(frame, ExitWord.arg0Low, arg0);
    setFrameU64(frame, ExitWord.arg1Low, arg1);
    this.#answer = undefined;
    const later = board.handleExit(frame, this);
    if (later !== undefined) {
      throw new Error("the board did not answer at once");
    }
    return this.#answer;
  }

  #offset(physical: number, bytes: number): number {
    const offset = physical - this.memoryBase;
    if (offset < 0 || offset + bytes > this.memory.length) {
      throw new RangeError(`0x${physical.toString(16)}+${bytes} lies outside RAM`);
    }
    return offset;
  }
}

function putBack<Key, Value>(map: Map<Key, Value>, before: ReadonlyMap<Key, Value>): void {
  map.clear();
  for (const [key, value] of before) map.set(key, value);
}

/** Streams whose n-th draw tells the stream and n. */
export function countingEntropy(): Entropy {
  const streams = new Map<string, EntropyStream>();
  return {
    stream(name) {
      const known = streams.get(name);
      if (known !== undefined) {
        return known;
      }
      const stream: EntropyStream = {
        counter: 0n,
        next() {
          this.counter += 1n;
          return (BigInt(name.length) << 56n) | this.counter;
        },
      };
      streams.set(name, stream);
      return stream;
    },
  };
}

/** An image whose every byte tells its 512-byte sector. */
export function numberedImage(id: string, bytes: number, readOnly = false): BlockBackend {
  const content = Uint8Array.from({ length: bytes }, (_, offset) => Math.floor(offset / 512) & 0xff);
  return {
    id,
    bytes,
    readOnly,
    read: (offset, length) => content.slice(offset, offset + length),
    fingerprint: () => `${id}-${bytes}`,
  };
}
