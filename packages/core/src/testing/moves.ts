/** Moves of small VMs between two mortal processes. */
import { MigrationDestination, type DestinationHost, type ReceivedVm } from "../migration/destination.js";
import { RecorderVm, type SourceHost } from "../migration/moving-vm.js";
import type { PacingOptions } from "../migration/pacing.js";
import { MigrationSource, type MigrationReport } from "../migration/source.js";
import type { Architecture } from "../ports/architecture.js";
import { Recorder } from "../record/recorder.js";
import { plainDigester } from "./digester.js";
import { channelPair, Mortal, MortalJournal } from "./mortal.js";
import { smallHeader, smallMachine, smallVmm, type SmallVmOptions } from "./programs.js";
import { TEST_CADENCE } from "./recordings.js";
import { smallArchitecture } from "./small-cpu.js";

export const SOURCE_ID = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
export const DESTINATION_ID = "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb";
const forwards = [0x10, 0x11].map((number) => ({ name: "forward", function: number }));

/** A VM that runs in a loop of slices, and serves requests between them, as a host does. */
export class SmallHost implements SourceHost {
  readonly recorder: Recorder;
  readonly journal: MortalJournal;
  readonly duties: number[] = [];
  readonly #units: number;
  readonly #requests: (() => Promise<void>)[] = [];
  isOperatorPaused = false;
  #isOver = false;
  now = 0;

  constructor(recorder: Recorder, journal: MortalJournal, unitsPerSlice: number) {
    this.recorder = recorder;
    this.journal = journal;
    this.#units = unitsPerSlice;
  }

  atBoundary<Result>(act: () => Result | Promise<Result>): Promise<Result> {
    return new Promise((resolve, reject) => {
      if (this.#isOver) reject(new Error(`the guest ${this.recorder.stopped?.what ?? "is gone"}`));
      else this.#requests.push(() => Promise.resolve().then(act).then(resolve, reject));
    });
  }

  slowTo(duty: number): void {
    this.duties.push(duty);
  }

  isPaused(): boolean {
    return this.isOperatorPaused;
  }

  terms(): { readonly until: string } {
    return { until: "never" };
  }

  nowMs(): number {
    return this.now++;
  }

  async #serve(): Promise<void> {
    for (let request = this.#requests.shift(); request !== undefined; request = this.#requests.shift()) await request();
  }

  /** Runs until the guest ends or has moved. */
  async run(): Promise<void> {
    try {
      for (;;) {
        await this.#serve();
        if (this.recorder.isFinished || this.journal.process.isDead) return;
        if (!this.isOperatorPaused) {
          const { why } = await this.recorder.step({ units: this.#units });
          if (why === "stopped") return;
        }
        await Promise.resolve();
      }
    } finally {
      this.#isOver = true;
      await this.#serve();
    }
  }
}

export function createMoving(options: SmallVmOptions, process = new Mortal(), unitsPerSlice = 7): SmallHost {
  const header = { ...smallHeader(smallMachine(options)), id: SOURCE_ID };
  const journal = new MortalJournal(header);
  const recorder = Recorder.create(
    {
      architecture: options.architecture ?? smallArchitecture(),
      digester: plainDigester,
      writer: journal,
      vmm: smallVmm(options),
      cadence: TEST_CADENCE,
    },
    forwards,
  );
  journal.process = process;
  return new SmallHost(recorder, journal, unitsPerSlice);
}

export interface MoveOptions {
  readonly vm: SmallVmOptions;
  readonly destination?: Mortal;
  readonly architecture?: Architecture;
  readonly pacing?: Partial<PacingOptions>;
}

export interface Move {
  readonly report: MigrationReport | undefined;
  readonly received: ReceivedVm | undefined;
  readonly sourceError: unknown;
  readonly destinationError: unknown;
  /** What the destination's disk holds. */
  readonly file: MortalJournal | undefined;
}

/** Moves a VM that may be running. Comes back when both ends have come to their end. */
export async function moveVm(host: SmallHost, options: MoveOptions): Promise<Move> {
  const destination = options.destination ?? new Mortal();
  const { left, right } = channelPair(host.journal.process, destination);
  let file: MortalJournal | undefined;
  const destinationHost: DestinationHost = {
    formatVersion: 1,
    createdBy: "test",
    recordingId: DESTINATION_ID,
    path: "dst.hvj",
    name: "dst",
    processId: 1,
    architectureNamed: () => options.architecture ?? smallArchitecture(),
    checkJournal: () => undefined,
    createJournal(header) {
      const { seq = 0, exitNumber = 0, icount = 0 } = header.parent ?? {};
      file = new MortalJournal(header, { firstSeq: seq + 1, exitNumber, icount });
      file.process = destination;
      return file;
    },
    discard: () => {
      if (!destination.isDead) file = undefined;
    },
    createVmm: () => smallVmm(options.vm),
  };
  const clock = { nowMs: () => host.nowMs(), yield: () => Promise.resolve() };
  const vm = new RecorderVm(host.recorder, host.journal, host, { index: false });
  const pacing = { downtimeLimitMs: 300, isThrottled: true, ...options.pacing };
  const source = new MigrationSource({
    ...{ vm, channel: left, clock, digester: plainDigester, path: "src.hvj", drives: [], pacing },
  });
  const to = new MigrationDestination({ channel: right, digester: plainDigester, host: destinationHost });
  const [sent, got] = await Promise.allSettled([source.run(), to.receive()]);
  return {
    report: sent.status === "fulfilled" ? sent.value : undefined,
    received: got.status === "fulfilled" ? got.value : undefined,
    sourceError: sent.status === "rejected" ? sent.reason : undefined,
    destinationError: got.status === "rejected" ? got.reason : undefined,
    file,
  };
}
