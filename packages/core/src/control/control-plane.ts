/** The control state of a VM: core's slice and the architecture's, composed without looking inside. */
import type { Architecture } from "../ports/architecture.js";
import type { HostReference } from "../ports/host.js";
import type { ControlCommand, ControlContext, ControlEvent, Decision } from "../ports/control.js";
import type { EventPayload } from "../event/event-kind.js";
import { isPlainMap, plainValue } from "../canonical/canonical-encoding.js";
import { PayloadError, PayloadFields } from "../canonical/payload-fields.js";
import { coreSlice, CREATE_VCPU, CREATE_VM, type CoreControlState } from "./core-slice.js";

export interface ControlState {
  readonly core: CoreControlState;
  readonly architecture: unknown;
}

const coreKinds: ReadonlySet<string> = new Set(coreSlice.kinds.map((kind) => kind.name));
const coreCommands: ReadonlySet<string> = new Set([CREATE_VM, CREATE_VCPU]);

export function initialControlState(architecture: Architecture, host?: HostReference): ControlState {
  return { core: coreSlice.initialState(), architecture: architecture.control.initialState(host) };
}

/** Whether a row event of this kind is folded into the control state. */
export function isControlKind(architecture: Architecture, kind: string): boolean {
  return coreKinds.has(kind) || architecture.control.kinds.some((each) => each.name === kind);
}

export function decideControl(
  architecture: Architecture,
  state: ControlState,
  command: ControlCommand,
  context: ControlContext,
): Decision {
  return coreCommands.has(command.name)
    ? coreSlice.decide(state.core, command, context)
    : architecture.control.decide(state.architecture, command, context);
}

/** Whether KVM takes a command before the first KVM_CREATE_VCPU alone. */
export function precedesVcpus({ control }: Architecture, command: ControlCommand): boolean {
  return control.precedesVcpus?.(command) ?? false;
}

/** Pure. `seq` is the number that the event has or will have. */
export function evolveControl(
  architecture: Architecture,
  state: ControlState,
  event: ControlEvent,
  seq: number,
): ControlState {
  return coreKinds.has(event.kind)
    ? { ...state, core: coreSlice.evolve(state.core, event, seq) }
    : { ...state, architecture: architecture.control.evolve(state.architecture, event, seq) };
}

/** One line behind the kind, as `log` prints it. */
export function describeControl(architecture: Architecture, event: ControlEvent): string {
  return coreKinds.has(event.kind) ? coreSlice.describe(event) : architecture.control.describe(event);
}

/** The rule that event `seq` has set, in the words of `describeControl`; undefined: no event of that number set one. */
export function describeRule(
  architecture: Architecture,
  { architecture: state }: ControlState,
  seq: number,
): string | undefined {
  return architecture.control.describeRule?.(state, seq);
}

/** As a snapshot keeps it. Throws PlainValueError when a slice's state is not plain data. */
export function plainControlState(state: ControlState): EventPayload {
  return {
    core: plainValue(state.core, "control.core"),
    architecture: plainValue(state.architecture, "control.architecture"),
  };
}

export function restoreControlState(payload: EventPayload): ControlState {
  const { core, architecture } = payload;
  if (!isPlainMap(core)) throw new PayloadError("control state", "core", "map", core);
  const vcpus = core["vcpus"];
  if (!Array.isArray(vcpus)) throw new PayloadError("control state", "core.vcpus", "array", vcpus);
  const machine = core["machine"];
  const cpus = vcpus.map((each) => ({
    cpu: new PayloadFields("control state", isPlainMap(each) ? each : {}).string("cpu"),
  }));
  return { core: isPlainMap(machine) ? { machine, vcpus: cpus } : { vcpus: cpus }, architecture };
}
