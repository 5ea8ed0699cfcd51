/** The contract of a recorded VM at a moment of its recording: what it was offered, and what its guest had asked for. */
import {
  type BoardDevice,
  type ContractedVm,
  contractOf,
  controlHistorySteps,
  Machine,
  type MachineDescription,
  observeSteps,
  plainControlState,
  type Replayer,
} from "@hvjournal/core";
import { nodeDigester } from "../host/node-digester.js";
import type { LongAct } from "./long-act.js";
import { checkReached, createReplayer, findPlace, type OpenRecording } from "./open-recording.js";
import { boardToAsk } from "./recorded-machine.js";

export interface RecordedContract extends ContractedVm {
  /** Exits up to this one lie in recordings that are not here; 0: everything is known. */
  readonly unknownUpTo: number;
}

/** Throws CliError for a moment that the recording does not have. */
export async function recordedContract(
  recording: OpenRecording,
  place: string | undefined,
  act: LongAct,
): Promise<RecordedContract> {
  const { architecture, description, reader } = recording;
  const isOfEnd = place === undefined;
  // What a guest has made of its host's is in its memory.
  const reached =
    isOfEnd && architecture.contract?.runningItems === undefined ? undefined : await reach(recording, act, place);
  const lastSeq = isOfEnd || reached === undefined ? reader.end.firstSeq - 1 : reached.nextSeq - 1;
  const { state } = await act.run(controlHistorySteps(architecture, reader, { first: 1, last: lastSeq }));
  const machine = reached?.machine ?? new Machine({ architecture, digester: nodeDigester, machine: description });
  if (reached === undefined) machine.kernel.configure(state.architecture);
  const control = plainControlState(state);
  const devices = boardDevices(description);
  const steps = observeSteps(reader, { architecture, control, devices }, lastSeq);
  const { observations, unknownUpTo } = await act.run(steps);
  const { formatVersion } = reader.header;
  const subject = { architecture, machine: description, control, kernel: machine.kernel, formatVersion };
  return { ...subject, items: contractOf({ ...subject, devices, observations }), unknownUpTo };
}

async function reach(recording: OpenRecording, act: LongAct, text = "end"): Promise<Replayer> {
  const place = findPlace(text, recording.reader);
  const replayer = createReplayer(recording);
  checkReached(await act.seek(replayer, place.goal), place, replayer, recording.path);
  return replayer;
}

export function boardDevices(description: MachineDescription): readonly BoardDevice[] {
  return boardToAsk(description).half.devices?.() ?? [];
}
