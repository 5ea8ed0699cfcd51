/** The boards of this build, and which one an architecture's machine has. */
import type { VmmHalf } from "@hvjournal/core";
import {
  createPcBoard,
  createVirtBoard,
  PC_ADDRESS_MAP,
  type PcBoardOptions,
  type VirtBoardOptions,
  VIRT_ADDRESS_MAP,
} from "@hvjournal/vmm";
import { CliError, UsageError } from "../cli-error.js";
import { ExitStatus } from "../exit-status.js";

type AnyBoardOptions = PcBoardOptions & VirtBoardOptions;

export interface BoardKind {
  readonly name: string;
  readonly architecture: string;
  /** Guest-physical address of the first byte of RAM. */
  readonly memoryBase: number;
  create(options: AnyBoardOptions): VmmHalf;
}

/** What a handler of another architecture waits for never comes. */
function checkHandlers({ handlers = [] }: AnyBoardOptions, board: string, architecture: string): void {
  const foreign = handlers.find((handler) => (handler.architecture ?? architecture) !== architecture);
  if (foreign === undefined) return;
  throw new UsageError(
    `--handler ${foreign.name} answers calls of ${foreign.architecture ?? ""}: board ${board} is ${architecture}'s`,
    "hvjournal help handlers",
  );
}

const BOARDS: readonly BoardKind[] = [
  {
    name: "virt",
    architecture: "arm64",
    memoryBase: VIRT_ADDRESS_MAP.ram.base,
    create: (options) => {
      checkHandlers(options, "virt", "arm64");
      if (options.vmport === true) throw new UsageError("--vmport on: board virt has no ports; it goes with board pc");
      if (options.virtioBus === "pci")
        throw new UsageError("--virtio-bus pci: board virt has no PCI bus; it goes with board pc");
      return createVirtBoard(options);
    },
  },
  {
    name: "pc",
    architecture: "amd64",
    memoryBase: PC_ADDRESS_MAP.ram.base,
    create: (options) => {
      checkHandlers(options, "pc", "amd64");
      return createPcBoard(options);
    },
  },
];

/** Throws CliError with status 125: another build may have it. */
export function boardNamed(name: string): BoardKind {
  const found = BOARDS.find((board) => board.name === name);
  if (found === undefined)
    throw new CliError(`this build has no board ${name}: it has ${BOARDS.map((board) => board.name).join(", ")}`, {
      code: "not-known-here",
      status: ExitStatus.untestable,
    });
  return found;
}

/** The board of an architecture, or the one that was asked for. Throws UsageError for another architecture's. */
export function boardOf(architecture: string, wanted: string | undefined): BoardKind {
  const own = BOARDS.filter((board) => board.architecture === architecture);
  const board = wanted === undefined ? own[0] : boardNamed(wanted);
  if (board?.architecture === architecture) return board;
  throw new UsageError(`--machine ${wanted ?? ""}: ${architecture} has ${own.map(({ name }) => name).join(", ")}`);
}
