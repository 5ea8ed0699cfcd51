/** Waiting for a VM, and making it one of this process. */
import { existsSync } from "node:fs";
import { resolve } from "node:path";
import {
  type Architecture,
  ChannelClosedError,
  CoreKind,
  type DestinationHost,
  type DriveOffer,
  type EventPayload,
  HOT_EVENT_KINDS,
  type HostReference,
  type MachineDescription,
  MigrationDestination,
  type OwnedJournal,
  type ReceivedVm,
  type RecordingHeader,
  standingOf,
  type VmmParts,
  shellWord,
} from "@hvjournal/core";
import {
  createRecording,
  discardRecording,
  FORMAT_VERSION,
  holdsNothing,
  openRecording,
  removeRecording,
} from "@hvjournal/journal";
import { randomBytes } from "node:crypto";
import { architectureNamed } from "../architectures.js";
import { CliError } from "../cli-error.js";
import { type Arguments, stringOption } from "../commands/command.js";
import { machineWithHandlers } from "../handlers/recorded-handlers.js";
import { nodeDigester } from "../host/node-digester.js";
import { type Instance, type InstanceTerms } from "../vm/instance.js";
import { hostNamed } from "../vm/host-option.js";
import { liveGoals } from "../vm/live-goals.js";
import { LiveSession } from "../vm/live-session.js";
import { drivePaths, recordedBoard } from "../vm/recorded-machine.js";
import { productVersion } from "../version.js";
import type { Connection } from "./addresses.js";
import { createWithFaultPoints } from "./fault-point.js";
import { FrameChannel } from "./frame-channel.js";

export interface ReceiveOptions {
  readonly name: string;
  readonly path: string;
  /** `--drive ID=PATH`. */
  readonly drives: readonly string[];
  /** `--handler` and what belongs to it: who answers the VM's calls here. */
  readonly handlers: Arguments;
  readonly index: boolean;
  /** The simulated host here; undefined: one like the source's. */
  readonly host?: string | undefined;
}

/** A VM that comes in. */
export class IncomingVm {
  readonly #options: ReceiveOptions;
  readonly #channel: FrameChannel;
  readonly #host: ReceivingHost;
  readonly #destination: MigrationDestination;

  constructor(connection: Connection, options: ReceiveOptions) {
    this.#options = options;
    this.#channel = new FrameChannel(connection.stream, { deflatesPages: !connection.isLocal });
    this.#host = new ReceivingHost(options);
    this.#destination = new MigrationDestination({ channel: this.#channel, digester: nodeDigester, host: this.#host });
  }

  /** undefined: the source only asked. Throws what MigrationDestination throws. */
  async receive(): Promise<Instance | undefined> {
    const received = await this.#destination.receive();
    return received === undefined ? undefined : instanceOf(received, this.#options, this.#host.drivePaths);
  }

  /** The source keeps its VM. False: it may have given it away already. */
  sendAway(reason: string): boolean {
    if (this.#destination.isPrepared) return false;
    this.#channel.abort(new ChannelClosedError(reason));
    return true;
  }
}

function instanceOf(received: ReceivedVm, options: ReceiveOptions, drivePaths: ReadonlyMap<string, string>): Instance {
  const { recorder, journal, session: terms, paused } = received;
  const { name, path } = options;
  const index = options.index && terms.host["index"] !== false;
  const here = { ...termsOf(terms.host), ...handlerTerms(terms.host, options.handlers) };
  return { ...sessionFor(recorder, here, paused), name, path, journal, drivePaths, index };
}

/** How long a handler may take goes along with the VM, unless it is said here. */
function handlerTerms({ handlerTimeout }: EventPayload, own: Arguments): Pick<InstanceTerms, "handlerTimeout"> {
  const text = stringOption(own, "handler-timeout") ?? handlerTimeout;
  return typeof text === "string" ? { handlerTimeout: text } : {};
}

export function sessionFor(
  recorder: ReceivedVm["recorder"],
  terms: InstanceTerms,
  isPaused: boolean,
): Pick<Instance, "session" | "terms"> {
  const { until, failOn, guestTimeoutNs } = terms;
  const session = new LiveSession({
    recorder,
    goals: liveGoals({ until, failOn }, recorder),
    ...(guestTimeoutNs === undefined ? {} : { guestTimeoutNs }),
  });
  if (isPaused) session.pause();
  return { session, terms };
}

function termsOf({ until, failOn, guestTimeoutNs }: EventPayload): InstanceTerms {
  return {
    ...(typeof until === "string" ? { until } : {}),
    ...(typeof failOn === "string" ? { failOn } : {}),
    ...(typeof guestTimeoutNs === "number" ? { guestTimeoutNs } : {}),
  };
}

class ReceivingHost implements DestinationHost {
  readonly formatVersion = FORMAT_VERSION;
  readonly createdBy = `hvjournal ${productVersion()}`;
  readonly recordingId = randomBytes(16).toString("hex");
  readonly path: string;
  readonly name: string;
  readonly processId = process.pid;
  readonly drivePaths = new Map<string, string>();
  readonly architectureNamed = architectureNamed;
  readonly #options: ReceiveOptions;

  constructor(options: ReceiveOptions) {
    this.#options = options;
    this.path = resolve(options.path);
    this.name = options.name;
  }

  hostFor(architecture: Architecture): HostReference | undefined {
    return hostNamed(this.#options.host, architecture);
  }

  createVmm(machine: MachineDescription, offers: readonly DriveOffer[], terms: EventPayload): VmmParts {
    const given = drivePaths(this.#options.drives);
    for (const [id, path] of given) this.drivePaths.set(id, resolve(path));
    for (const { id, path } of offers) if (!given.has(id)) this.drivePaths.set(id, path);
    const drive = [...this.drivePaths].map(([id, path]) => `${id}=${path}`);
    const { handlers } = this.#options;
    const { handlerTimeout } = handlerTerms(terms, handlers);
    const args = { ...handlers, "handler-timeout": handlerTimeout, drive };
    return recordedBoard(machine, { args, boots: false, replacesHandlers: true });
  }

  machineHere(machine: MachineDescription): MachineDescription {
    return machineWithHandlers(machine, this.#options.handlers);
  }

  checkJournal(source: RecordingHeader): void {
    if (!existsSync(this.path)) return;
    const left = leftBy(this.path, source);
    if (left !== undefined)
      throw new CliError(`can't receive into ${this.#options.path}: ${left}`, {
        code: "exists",
        next: `hvjournal info ${shellWord(this.#options.path)}`,
      });
  }

  createJournal(header: RecordingHeader): OwnedJournal {
    this.checkJournal({ ...header, id: header.parent?.id ?? header.id });
    if (existsSync(this.path)) removeRecording(this.path);
    const { control } = architectureNamed(header.architecture);
    const kinds = [...HOT_EVENT_KINDS, ...Object.values(CoreKind), ...control.kinds];
    return createWithFaultPoints(() => createRecording(this.path, header, { kinds }));
  }

  discard(journal: OwnedJournal): void {
    journal.close();
    discardRecording(this.path);
  }
}

/** Why a file may not be replaced; undefined: it is empty, or an earlier attempt of this very move left it and it never owned anything. */
function leftBy(path: string, source: RecordingHeader): string | undefined {
  if (holdsNothing(path)) return undefined;
  let reader;
  try {
    reader = openRecording(path);
  } catch (error) {
    return error instanceof Error ? error.message : String(error);
  }
  try {
    const { header } = reader;
    const standing = standingOf(header, reader.ownership());
    if (header.parent?.why !== "migration" || header.parent.id !== source.id) return "the file exists";
    if (standing.is === "owner" || standing.is === "moved") return "it is a recording that owned its VM";
    return undefined;
  } finally {
    reader.close();
  }
}
