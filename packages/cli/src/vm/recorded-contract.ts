/** The contract of a recorded VM at a moment of its recording: what it was offered, and what its guest had asked for. */
import {
  type BoardDevice,
  type ContractItem,
  contractOf,
  controlHistory,
  Machine,
  type MachineDescription,
  observe,
  plainControlState,
  seek,
} from "@hvjournal/core";
import { nodeDigester } from "../host/node-digester.js";
import { checkReached, createReplayer, findPlace, type OpenRecording } from "./open-recording.js";
import { boardToAsk } from "./recorded-machine.js";

export interface RecordedContract {
  readonly items: readonly ContractItem[];
  /** Exits up to this one lie in recordings that are not here; 0: everything is known. */
  readonly unknownUpTo: number;
}

/** Throws CliError for a moment that the recording does not have. */
export function recordedContract(recording: OpenRecording, place: string | undefined): RecordedContract {
  const { architecture, description, reader } = recording;
  const lastSeq = place === undefined ? reader.end.firstSeq - 1 : seqAt(recording, place);
  const { state } = controlHistory(architecture, reader, lastSeq);
  const machine = new Machine({ architecture, digester: nodeDigester, machine: description });
  machine.kernel.configure(state.architecture);
  const control = plainControlState(state);
  const devices = boardDevices(description);
  const { observations, unknownUpTo } = observe(reader, { architecture, control, devices }, lastSeq);
  const { formatVersion } = reader.header;
  const subject = { architecture, machine: description, control, kernel: machine.kernel, formatVersion };
  return { items: contractOf({ ...subject, devices, observations }), unknownUpTo };
}

/** The last event that has taken effect at a moment. */
function seqAt(recording: OpenRecording, text: string): number {
  const place = findPlace(text, recording.reader);
  const replayer = createReplayer(recording);
  checkReached(seek(replayer, place.goal), place, replayer, recording.path);
  return replayer.nextSeq - 1;
}

export function boardDevices(description: MachineDescription): readonly BoardDevice[] {
  return boardToAsk(description).half.devices?.() ?? [];
}
