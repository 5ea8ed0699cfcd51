/** What an architecture says of the contract between a host and the guest: what a guest may ask about, and how a fresh VM gets it. */
import type { ControlCommand, ControlContext, Refusal } from "./control.js";
import type { HostReference } from "./host.js";
import type { GuestMemory } from "./guest-memory.js";
import type { ExitFrame } from "../event/exit-frame.js";

/** How a difference between two ends is judged. */
export type ItemRule =
  /** A guest can tell the difference, or would break by it. */
  | "same"
  /** It is enough that the destination's `level` is as high: the source's value is not kept there. */
  | "at least"
  /** No guest can tell by it; what a guest can tell of it stands in other items. */
  | "hidden";

/** Where a guest asked for an item. Exit numbers from 1. */
export interface Observation {
  /** What the guest did; absent: it asked. */
  readonly did?: string;
  readonly count: number;
  readonly firstExit: number;
  readonly lastExit: number;
}

/** A name that observations are counted under. */
export interface AskedAs {
  readonly name: string;
  /** What the guest did, in the past tense; absent: it asked. */
  readonly did?: string;
}

/** A number that a guest asked for, such as the function of a call, and by which way: "hvc". */
export interface NumberAsked {
  /** `ItemRange.group`. */
  readonly group: string;
  readonly space: string;
  readonly number: number;
}

export type AskedNumber = Omit<NumberAsked, "group"> & Observation;

/** Numbers that an item holds for. Such items are compared by what becomes of a number, and not one by one. */
export interface ItemRange {
  /** Items of one group make up a whole: "KVM_ARM_VM_SMCCC_FILTER". */
  readonly group: string;
  /** Numbers of two spaces are different ones: "hvc", "smc". */
  readonly spaces: readonly string[];
  readonly first: number;
  readonly last: number;
  /** What becomes of each of the numbers: equal texts, equal effects. */
  readonly effect: string;
  /** It holds where no other item of the group does. */
  readonly isRest?: boolean;
}

export interface ContractItem {
  /** In KVM's words: "KVM_REG_ARM_PSCI_VERSION", "ID_AA64MMFR0_EL1". */
  readonly name: string;
  readonly value: string;
  /** What this host has to offer, for people; never compared. */
  readonly offered?: string;
  /** Default "same". */
  readonly rule?: ItemRule;
  /** With "at least": the level, and why a difference that is enough does not block. */
  readonly level?: number;
  readonly enough?: string;
  /** Whether a guest that asks leaves guest mode: only then is it known whether it has asked. */
  readonly isObservable: boolean;
  readonly observed?: Observation;
  /** What is counted as having asked for it, what shows most first; absent: its own name. */
  readonly askedAs?: readonly AskedAs[];
  /** An item with a range is compared by its effect. */
  readonly range?: ItemRange;
  /** Of the rest of a group: every number of the group that the guest asked for, whichever item decided. */
  readonly asked?: readonly AskedNumber[];
  /** At the destination: how it comes to this value there. */
  readonly remark?: { readonly verdict: "fix" | "warn" | "block"; readonly text: string };
  /** What helps where this item blocks a move. */
  readonly advice?: string;
}

/** One act by which a fresh VM gets a part of another's configuration. */
export type SetUpStep = {
  /** `ContractItem.name` of what it sets. */
  readonly items: readonly string[];
} & (
  | {
      readonly command: ControlCommand;
      /** The number that the event had at the source, where numbers of events are part of the state. */
      readonly seq?: number;
    }
  /** Puts a part of a saved state in place, by the rules of the command that it stands for. */
  | { place(state: unknown, context: ControlContext): { readonly state: unknown } | { readonly refused: Refusal } }
);

/** What of a machine the contract follows from, beside its configuration. */
export interface ContractMachine {
  readonly vcpuCount: number;
  readonly exitModel: { readonly name: string; readonly version: number };
}

/** What of a kernel half can be looked at. */
export interface RunningGuest {
  readonly memory: GuestMemory;
  /** Throws RangeError for an unknown name. */
  readRegister(vcpu: number, name: string): bigint;
}

/** A VM that comes to a host: both ends' items, and where it comes from and to. */
export interface Arrival {
  /** Of the destination, before its guest is there. */
  readonly items: readonly ContractItem[];
  /** As the source said them, with what the guest has asked for. */
  readonly source: readonly ContractItem[];
  readonly sourceHost: HostReference;
  readonly host: HostReference;
  /** As the destination can have it. */
  readonly control: unknown;
  readonly machine: ContractMachine;
}

export interface ArchitectureContract {
  /** Every host that can be simulated, the default first. */
  readonly hosts: readonly HostReference[];
  /** The exit model by which a VM leaves on this host. Absent: every one. */
  exitModelOf?(host: HostReference): string;
  hostOf(control: unknown, machine: ContractMachine): HostReference;
  /** Every item that a guest may learn of from the configuration or the host. */
  items(control: unknown, machine: ContractMachine): readonly ContractItem[];
  /** Registers that no event sets and no guest changes, as this host has them: of a VM that has not run, too. */
  featureItems?(guest: RunningGuest): readonly ContractItem[];
  /** What the guest itself has made of its host's: in its memory or its registers. Of a VM that has not run: nothing. */
  runningItems?(guest: RunningGuest, asked: ReadonlyMap<string, Observation>): readonly ContractItem[];
  /** The destination's items with what becomes there of those that a running guest has made, and with remarks of the vendor's. */
  arrive?(arrival: Arrival): readonly ContractItem[];
  /** What a guest reads where nobody answers its forwarded call. */
  readonly unansweredCall: string;
  /** A register that nothing can change. */
  registerItem(name: string, value: bigint): ContractItem;
  /** The item under which an instruction that was written over at an address is observed. */
  patchItem?(physical: number): string;
  /** Names of the items that the guest asked for by this exit. */
  asks(frame: ExitFrame, control: unknown, machine: ContractMachine): readonly string[];
  /** The number of a group of ranges that the guest asked for by this exit. */
  asksNumber?(frame: ExitFrame, machine: ContractMachine): NumberAsked | undefined;
  /** The guest-physical address of an access to a device, whoever finishes it. */
  accessedDevice(frame: ExitFrame, machine: ContractMachine): number | undefined;
  /** In an order that KVM accepts: Documentation/virt/kvm/api.rst and the arm64 devices' documents. */
  setUp(control: unknown): readonly SetUpStep[];
  /** The command by which a VM that has moved finds itself on another host. */
  hostCommand(host: HostReference, current: HostReference): ControlCommand;
  /** The state without what is the host's own: equal at both ends of a move. */
  configuration(control: unknown): unknown;
}
