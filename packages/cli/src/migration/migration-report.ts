/** Reports as they come over a control socket. */
import type { ContractItem, ItemVerdict } from "@hvjournal/core";
import { isJsonObject, type JsonObject } from "../vm/control-protocol.js";
import { CliError } from "../cli-error.js";

export interface Difference {
  readonly name: string;
  readonly verdict: ItemVerdict;
  readonly source?: ContractItem | null | undefined;
  readonly destination?: ContractItem | null | undefined;
  readonly reason: string;
  readonly advice?: string | null | undefined;
}

export interface Contract {
  readonly equal: number;
  readonly differences: readonly Difference[];
}

export interface Explanation {
  readonly contract: Contract;
  /** What stands against the move; items of the contract that block are among it. */
  readonly reasons: readonly string[];
  /** Up to this exit it is not known what the guest has asked for; 0: everything is. */
  readonly unknownUpTo: number;
  /** Calls that the handlers so far have answered, where others answer from there on. */
  readonly answered: readonly Answered[];
  /** The call that waits for its answer; null: none does. */
  readonly pending?: PendingCall | null;
}

/** As core's `ExplainedCall`. */
export interface PendingCall {
  readonly what: string;
  /** In hex; a VM of a build before does not say them. */
  readonly args?: readonly string[];
  readonly vcpu: number;
  readonly exitNumber: number;
  readonly askedThere?: readonly string[] | null | undefined;
}

export interface Answered {
  readonly nr: number;
  readonly count: number;
  readonly exitNumber: number;
  /** Of the last answer: values in hex, by name. */
  readonly registers: Readonly<Record<string, string>>;
}

export function blocks({ contract, reasons }: Explanation): boolean {
  return reasons.length > 0 || contract.differences.some(({ verdict }) => verdict === "block");
}

export interface Report {
  readonly destination: {
    /** `RecordingHeader.id` */
    readonly recording: string;
    readonly name: string;
    readonly path: string;
    readonly processId: number;
  };
  readonly contract: Contract;
  readonly base: {
    readonly exitNumber: number;
    readonly pages: number;
    readonly bytes: number;
    readonly pausedMs: number;
  };
  readonly tail: {
    readonly fromExit: number;
    readonly toExit: number;
    readonly bytes: number;
    readonly behindMs: readonly number[];
    readonly leastDuty: number;
    readonly slowedMs: number;
  };
  readonly handOver: {
    readonly by: string;
    readonly exitNumber: number;
    readonly icount: number;
    readonly digest: string;
    readonly epoch: number;
    readonly stoodStillMs: number;
    readonly paused: boolean;
  };
  /** The call that had no answer at the hand-over; null: none had. */
  readonly pending?: PendingCall | null;
}

function isContract(value: unknown): boolean {
  return isJsonObject(value) && typeof value["equal"] === "number" && Array.isArray(value["differences"]);
}

/** Both ends are of one build, or the VM's protocol version says otherwise. Throws CliError. */
export function reportOf(json: JsonObject): Report {
  const { destination, contract, base, tail, handOver } = json;
  if (isJsonObject(destination) && isContract(contract) && [base, tail, handOver].every(isJsonObject))
    return json as unknown as Report;
  throw new CliError("the source said that the VM moved, and nothing else", { code: "control" });
}

export function explanationOf(json: JsonObject): Explanation {
  if (isContract(json["contract"]) && Array.isArray(json["reasons"]) && Array.isArray(json["answered"]))
    return json as unknown as Explanation;
  throw new CliError("the source compared nothing", { code: "control" });
}
