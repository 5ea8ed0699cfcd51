/**
 * Programs around KVM_RUN, whatever the architecture: each VM that a test opens is recorded, and each recording must replay
 * to the same exits and digests without the program.
 */
import { type MachineDescription, parseMachine, type Recorder, type Snapshot, toHex } from "@hvjournal/core";
import type { RecordingWriter } from "@hvjournal/journal";
import { expect } from "@jest/globals";
import { createWriterFor, digester, TEST_CADENCE } from "../testing/guest-recording.js";
import { countObserved, replayerOf, withRecording } from "../testing/guest-replay.js";

const PAGE_HASH_BYTES = 16;
const ZERO_PAGE = "0".repeat(2 * PAGE_HASH_BYTES);

/** Where the VMs of one test live. */
export interface ProgramHost<Program, Options> {
  open(options: Options): Program;
  move(from: { readonly recorder: Recorder }): Program;
}

interface ProgramSession {
  readonly recorder: Recorder;
  readonly vm: { vcpu(index: number): unknown };
  run(options?: { readonly immediateExit?: boolean; readonly units?: number }): unknown;
}

/** A VM under test, and the words of a VMM that every architecture has. */
export class RecordedProgram<Session extends ProgramSession, Program, Options extends object> {
  readonly session: Session;
  readonly vm: Session["vm"];
  readonly #host: ProgramHost<Program, Options>;

  constructor(session: Session, host: ProgramHost<Program, Options>) {
    this.session = session;
    this.vm = session.vm;
    this.#host = host;
  }

  /** A second VM: the destination of a migration. Its recording is replayed too. */
  another(options: Options = {} as Options): Program {
    return this.#host.open(options);
  }

  /** The VM goes on under another VMM, from a full snapshot of this moment; its recording is replayed too. */
  moved(): Program {
    return this.#host.move(this.session);
  }

  get vcpu(): ReturnType<Session["vm"]["vcpu"]> {
    return this.vm.vcpu(0) as ReturnType<Session["vm"]["vcpu"]>;
  }

  run(options?: Parameters<ProgramSession["run"]>[0]): ReturnType<Session["run"]> {
    return this.session.run(options) as ReturnType<Session["run"]>;
  }
}

interface Written {
  readonly digester: typeof digester;
  readonly writer: RecordingWriter;
  readonly cadence: typeof TEST_CADENCE;
}

/** What an architecture's programs are made of. */
export interface ProgramKind<Session, Program, Options> {
  machineOf(options: Options): MachineDescription;
  create(options: Written, given: Options): Session;
  resume(options: Written, snapshot: Snapshot): Session;
  /** `options`: of a new VM, which is to be set up by them. */
  programOf(session: Session, host: ProgramHost<Program, Options>, options?: Options): Program;
}

interface Recorded<Session> {
  readonly writer: RecordingWriter;
  readonly session: Session;
}

/** A recording that begins where another stands. */
function branchOf(
  { writer: source, session }: Recorded<{ readonly recorder: Recorder }>,
  path: string,
): { writer: RecordingWriter; snapshot: Snapshot } {
  const { number } = session.recorder.pause();
  const { firstSeq, chain, exitNumber, icount } = source.end;
  const seq = firstSeq - 1;
  const snapshot = { ...source.loadSnapshot(number), seq };
  const { id } = source.header;
  const parent = { id, path: source.path, chain, seq, exitNumber, icount, why: "branch" } as const;
  const writer = createWriterFor(parseMachine(source.header.machine), path, parent);
  for (let at = 0; at < snapshot.pageHashes.length; at += PAGE_HASH_BYTES) {
    const hash = toHex(snapshot.pageHashes.subarray(at, at + PAGE_HASH_BYTES));
    if (hash !== ZERO_PAGE && !writer.hasPage(hash)) writer.storePage(hash, source.loadPage(hash));
  }
  writer.addSnapshot(snapshot, "full");
  return { writer, snapshot };
}

/** Runs a program with a new VM, and replays what was recorded: the same exits and digests come of it. */
export async function withRecordedProgram<Session extends { readonly recorder: Recorder }, Program, Options>(
  kind: ProgramKind<Session, Program, Options>,
  path: string,
  options: Options,
  act: (program: Program) => void,
): Promise<void> {
  const recordings: Recorded<Session>[] = [];
  const nextPath = (): string => (recordings.length === 0 ? path : `${path}-${recordings.length}`);
  const host: ProgramHost<Program, Options> = {
    open(given) {
      const writer = createWriterFor(kind.machineOf(given), nextPath());
      const session = kind.create({ digester, writer, cadence: TEST_CADENCE }, given);
      recordings.push({ writer, session });
      return kind.programOf(session, host, given);
    },
    move(from) {
      const source = recordings.find(({ session }) => session === from);
      if (source === undefined) throw new RangeError("a VM of another test");
      const { writer, snapshot } = branchOf(source, nextPath());
      const session = kind.resume({ digester, writer, cadence: TEST_CADENCE }, snapshot);
      recordings.push({ writer, session });
      return kind.programOf(session, host);
    },
  };
  try {
    act(host.open(options));
    for (const { session } of recordings) session.recorder.finish({ index: false });
  } finally {
    for (const { writer } of recordings) writer.close();
  }
  for (const { writer } of recordings) await replayWhole(writer.path);
}

/** Throws at the first difference. */
async function replayWhole(path: string): Promise<void> {
  await withRecording(path, (reader) => {
    const replayer = replayerOf(reader);
    expect(replayer.advance()).toBe("end");
    expect(replayer.compared).toEqual(countObserved(reader));
  });
}
