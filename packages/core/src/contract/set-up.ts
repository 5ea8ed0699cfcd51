/**
 * A fresh VM of the destination's host is given a configuration by the commands that a VMM would give, before its first
 * run: what KVM's rules refuse there is found before anything moves.
 */
import type { Architecture } from "../ports/architecture.js";
import type { HostReference } from "../ports/host.js";
import type { ContractItem, ContractMachine, SetUpStep } from "../ports/contract.js";
import type { ControlCommand, ControlContext, Refusal } from "../ports/control.js";
import type { EventPayload } from "../event/event-kind.js";
import {
  type ControlState,
  decideControl,
  evolveControl,
  initialControlState,
  precedesVcpus,
  plainControlState,
  restoreControlState,
} from "../control/control-plane.js";
import { controlPatches } from "../control/patches.js";
import { CREATE_VCPU, CREATE_VM } from "../control/core-slice.js";
import type { MachineDescription } from "../machine/machine-description.js";

export interface SetUpOptions {
  readonly architecture: Architecture;
  readonly machine: MachineDescription;
  /** The source's control state, as a snapshot keeps it. */
  readonly control: EventPayload;
  /** The host that the fresh VM runs on. */
  readonly host: HostReference;
  /** Whether the VM that is set up has run already: a fresh one has not. */
  readonly hasRun?: boolean;
}

export interface SetUpResult {
  /** Plain, as a snapshot keeps it. */
  readonly control: EventPayload;
  /** By name of the item. */
  readonly refusals: ReadonlyMap<string, Refusal>;
  /** Where the result is not the source's: paths with both values. */
  readonly differences: readonly string[];
}

export function setUpControl(options: SetUpOptions): SetUpResult {
  const { architecture, host, control } = options;
  const source = restoreControlState(control);
  const { machine, vcpus } = source.core;
  const steps = architecture.contract?.setUp(source.architecture) ?? [];
  const refusals = new Map<string, Refusal>();
  const isEarly = (step: SetUpStep): boolean => "command" in step && precedesVcpus(architecture, step.command);
  let state = initialControlState(architecture, host);
  if (machine !== undefined) state = created(options, state, { name: CREATE_VM, machine });
  state = withSteps(options, state, { steps: steps.filter(isEarly), refusals });
  for (const { cpu } of vcpus) state = created(options, state, { name: CREATE_VCPU, cpu });
  state = withSteps(options, state, { steps: steps.filter((step) => !isEarly(step)), refusals });
  if (architecture.contract === undefined) state = { ...state, architecture: source.architecture };
  return {
    control: plainControlState(state),
    refusals,
    differences: configurationDifferences(architecture, source, state),
  };
}

function contextOf({ machine, hasRun = false }: SetUpOptions, { core }: ControlState): ControlContext {
  const { vcpuCount, memoryBase, memoryBytes } = machine;
  return { hasRun, hasVcpus: core.vcpus.length > 0, vcpuCount, memoryBase, memoryBytes };
}

/** The VM or a vCPU exists. */
function created(options: SetUpOptions, before: ControlState, command: ControlCommand): ControlState {
  const done = carryOut(options.architecture, before, { items: [], command }, contextOf(options, before));
  if ("refused" in done) throw new RangeError(`${done.refused.call}: ${done.refused.reason}`);
  return done.state;
}

/** What is refused goes to `refusals`, by name of the item. */
function withSteps(
  options: SetUpOptions,
  before: ControlState,
  { steps, refusals }: { readonly steps: readonly SetUpStep[]; readonly refusals: Map<string, Refusal> },
): ControlState {
  let state = before;
  for (const step of steps) {
    const done = carryOut(options.architecture, state, step, contextOf(options, state));
    if ("refused" in done) for (const item of step.items) refusals.set(item, done.refused);
    else state = done.state;
  }
  return state;
}

/** What a fresh VM has before anything is set, as items. */
export function freshItems(
  options: Pick<SetUpOptions, "architecture" | "host"> & { readonly machine: ContractMachine },
): readonly ContractItem[] {
  const { architecture, host, machine } = options;
  return architecture.contract?.items(initialControlState(architecture, host).architecture, machine) ?? [];
}

function carryOut(
  architecture: Architecture,
  state: ControlState,
  step: SetUpStep,
  context: ControlContext,
): { readonly state: ControlState } | { readonly refused: Refusal } {
  if ("place" in step) {
    const placed = step.place(state.architecture, context);
    return "refused" in placed ? placed : { state: { ...state, architecture: placed.state } };
  }
  const decision = decideControl(architecture, state, step.command, context);
  if ("refused" in decision) return decision;
  let after = state;
  for (const event of decision.events) after = evolveControl(architecture, after, event, step.seq ?? 0);
  return { state: after };
}

function configurationDifferences(architecture: Architecture, source: ControlState, made: ControlState): string[] {
  const own = ({ architecture: state }: ControlState): unknown => architecture.contract?.configuration(state) ?? state;
  const patches = controlPatches(
    { core: source.core, architecture: own(source) },
    { core: made.core, architecture: own(made) },
  );
  return patches.map(({ path, before, after }) => `${path.join(".")}: ${text(before)}, here ${text(after)}`);
}

function text(value: unknown): string {
  return value === undefined
    ? "absent"
    : JSON.stringify(value, (_, item: unknown) => (typeof item === "bigint" ? `0x${item.toString(16)}` : item));
}

function refusalText({ call, errno, reason }: Refusal): string {
  return `${call}: ${errno}: ${reason}`;
}

/** How the destination comes to each value: what was refused, and what a host of another kind has to be told. */
export function withRemarks(
  items: readonly ContractItem[],
  source: { readonly items: readonly ContractItem[]; readonly host: HostReference },
  here: Pick<SetUpOptions, "architecture" | "host"> & { readonly machine: ContractMachine } & SetUpResult,
): ContractItem[] {
  const { architecture, host, machine, refusals } = here;
  const wanted = new Map(source.items.map(({ name, value }) => [name, value]));
  const resetHere = new Map(freshItems({ architecture, host, machine }).map(({ name, value }) => [name, value]));
  const resetThere = new Map(
    freshItems({ architecture, host: source.host, machine }).map(({ name, value }) => [name, value]),
  );
  const known = new Set(items.map(({ name }) => name));
  const missing = [...refusals.keys()].filter((name) => !known.has(name));
  const absent = missing.map((name): ContractItem => ({ name, value: "absent", isObservable: true }));
  return [...items, ...absent].map((item): ContractItem => {
    const { name, value } = item;
    const refused = refusals.get(name);
    const isEqual = wanted.get(name) === value;
    if (refused !== undefined)
      return { ...item, remark: { verdict: isEqual ? "warn" : "block", text: refusalText(refused) } };
    const [reset, there] = [resetHere.get(name), resetThere.get(name)];
    if (isEqual && item.rule === undefined && reset !== undefined && reset !== value && reset !== there)
      return { ...item, remark: { verdict: "fix", text: `it resets to ${reset} there; set before the first run` } };
    return item;
  });
}
