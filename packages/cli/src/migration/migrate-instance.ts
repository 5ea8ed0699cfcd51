/** Moving a VM that runs in this process. */
import {
  ChannelTimeoutError,
  type EventPayload,
  type MigrationClock,
  MigrationInDoubtError,
  MigrationSource,
  type MigrationReport,
  RecorderVm,
  type SourceHost,
  type SourceOptions,
  type SourceProgress,
} from "@hvjournal/core";
import { resolve } from "node:path";
import { nodeDigester } from "../host/node-digester.js";
import type { Instance } from "../vm/instance.js";
import { SessionEndedError } from "../vm/live-session.js";
import { connectAddress, type MigrationAddress } from "./addresses.js";
import { driveOffers } from "./drive-offers.js";
import { withFaultPoints } from "./fault-point.js";
import { FrameChannel } from "./frame-channel.js";
import { type MigrationOptions, pacingOf } from "./migration-options.js";
import { unlessLeft } from "./unless-left.js";

export const hostClock: MigrationClock = {
  nowMs: () => performance.now(),
  yield: () => new Promise((resolve) => setImmediate(resolve)),
};

/** Opens the way to the destination; after `timeoutMs` it closes by itself. Throws MigrationFailedError when `left` aborts. */
export async function openChannel(
  address: MigrationAddress,
  options: MigrationOptions,
  left: AbortSignal,
): Promise<FrameChannel> {
  const { stream, isLocal } = await unlessLeft(left, connectAddress(address), (late) => late.stream.destroy());
  const { bandwidth, timeoutMs } = options;
  let timer: NodeJS.Timeout | undefined;
  const channel = new FrameChannel(stream, {
    deflatesPages: !isLocal,
    ...(bandwidth === undefined ? {} : { bandwidth }),
    onClose: () => clearTimeout(timer),
  });
  if (timeoutMs !== undefined)
    timer = setTimeout(() => channel.abort(new ChannelTimeoutError("ran out of --timeout")), timeoutMs);
  return channel;
}

function hostOf({ session, terms, index }: Instance): SourceHost {
  return {
    atBoundary: (act) => session.request(act),
    slowTo: (duty) => session.slowTo(duty),
    isPaused: () => session.paused,
    terms: (): EventPayload => ({ ...terms, index }),
    nowMs: () => performance.now(),
  };
}

function sourceOptions(instance: Instance, channel: FrameChannel, options: MigrationOptions): SourceOptions {
  const { session, journal, path, drivePaths, terms, index } = instance;
  return {
    vm: new RecorderVm(session.recorder, withFaultPoints(journal), hostOf(instance), { index }),
    channel,
    clock: hostClock,
    digester: nodeDigester,
    path: resolve(path),
    drives: driveOffers(session.recorder.machine.description, drivePaths),
    terms: { ...terms },
    pacing: pacingOf(options),
  };
}

export function cancelWhenLeft(source: MigrationSource, left: AbortSignal): void {
  const cancel = (): void => source.cancel(String(left.reason));
  left.addEventListener("abort", cancel);
  if (left.aborted) cancel();
}

export interface MoveListener {
  readonly onProgress: (progress: SourceProgress) => void;
  /** Aborts, with the reason as a text, when nobody wants the move any more: it is given up, unless it has taken place. */
  readonly signal: AbortSignal;
}

/** Throws MigrationRefusedError and MigrationFailedError (the VM runs on here), MigrationInDoubtError (it does not). */
export async function migrateInstance(
  instance: Instance,
  address: MigrationAddress,
  options: MigrationOptions,
  { onProgress, signal }: MoveListener,
): Promise<MigrationReport> {
  const { session } = instance;
  const channel = await openChannel(address, options, signal);
  const source = new MigrationSource({ ...sourceOptions(instance, channel, options), onProgress });
  cancelWhenLeft(source, signal);
  // Nothing is left to move, however much of it is still to be sent.
  const end = (): void => {
    const ended = new SessionEndedError("the VM has ended");
    source.cancel(ended.message, ended);
  };
  session.onOver.add(end);
  if (session.isOver) end();
  return source.run().finally(() => session.onOver.delete(end));
}

export async function explainInstance(
  instance: Instance,
  address: MigrationAddress,
  options: MigrationOptions,
  left: AbortSignal,
): ReturnType<MigrationSource["explain"]> {
  const channel = await openChannel(address, options, left);
  return new MigrationSource(sourceOptions(instance, channel, options)).explain();
}

export function isInDoubt(error: unknown): boolean {
  return error instanceof MigrationInDoubtError;
}
