/**
 * KVM_SET_GSI_ROUTING and KVM_IRQFD (Documentation/virt/kvm/api.rst, 4.52 and 4.75; virt/kvm/irqchip.c, eventfd.c). Commands:
 * {name: "gsi-routing", routes}, which takes the place of what there was; {name: "irqfd", fd, gsi, flags}.
 */
import { eventfdRefusal, type EventKind, isPlainMap, PayloadFields, type PlainValue } from "@hvjournal/core";
import { FIRST_ROUTED_GSI, GSI_END, type GsiRoute, type Irqfd } from "../gsi-routes.js";
import { SINT_COUNT } from "../hyperv/registers.js";
import { type ControlPart, decided, refuse } from "./control-part.js";

const ROUTING = "KVM_SET_GSI_ROUTING";
const IRQFD = "KVM_IRQFD";
export const IRQFD_DEASSIGN = 1;

const routingSet: EventKind = { name: "x86.GsiRoutingSet", version: 1, role: "vmm output", fields: ["routes"] };
const irqfdSet: EventKind = {
  ...{ name: "x86.IrqfdSet", version: 1, role: "vmm output" },
  fields: ["fd", "gsi", "assigned"],
};

function readRoute(fields: PayloadFields): GsiRoute {
  const gsi = fields.number("gsi");
  return fields.string("type") === "hv-sint"
    ? { gsi, type: "hv-sint", vcpu: fields.number("vcpu"), sint: fields.number("sint") }
    : { gsi, type: "msi", address: fields.bigint("address"), data: fields.number("data") };
}

function routesIn(fields: PayloadFields): GsiRoute[] {
  return fields
    .array("routes")
    .map((route, index) => readRoute(new PayloadFields(`routes[${index}]`, isPlainMap(route) ? route : {})));
}

/** KVM's rules, and one of this board's: its pins can't be wired otherwise. */
function brokenRule(routes: readonly GsiRoute[], vcpuCount: number): string | undefined {
  for (const [index, route] of routes.entries()) {
    const { gsi } = route;
    if (gsi < FIRST_ROUTED_GSI) return `GSI ${gsi} is a pin of the irqchip; routes begin at ${FIRST_ROUTED_GSI}`;
    if (gsi >= GSI_END) return `GSI ${gsi}: there are ${GSI_END}`;
    if (routes.findIndex((each) => each.gsi === gsi) !== index) return `GSI ${gsi} has two routes`;
    if (route.type === "hv-sint" && (route.vcpu >= vcpuCount || route.sint >= SINT_COUNT))
      return `GSI ${gsi}: there is no SINT ${route.sint} of vcpu${route.vcpu}`;
  }
  return undefined;
}

function describeRoute(route: GsiRoute): string {
  const target =
    route.type === "hv-sint"
      ? `SINT ${route.sint} of vcpu${route.vcpu}`
      : `MSI 0x${route.address.toString(16)}=0x${route.data.toString(16)}`;
  return `${route.gsi} -> ${target}`;
}

export const irqRoutingPart: ControlPart = {
  decide: {
    "gsi-routing"(_state, fields, { vcpuCount }) {
      const routes = routesIn(fields);
      const broken = brokenRule(routes, vcpuCount);
      if (broken !== undefined) return refuse("EINVAL", ROUTING, broken);
      return decided(routingSet, { routes: routes.map((route): PlainValue => ({ ...route })) });
    },
    irqfd(state, fields) {
      const [fd, gsi, flags] = [fields.number("fd"), fields.number("gsi"), fields.number("flags")];
      if ((flags & ~IRQFD_DEASSIGN) !== 0)
        return refuse("EINVAL", IRQFD, `flags 0x${flags.toString(16)}: there is KVM_IRQFD_FLAG_DEASSIGN alone`);
      const noFile = eventfdRefusal(state, fd, IRQFD);
      if (noFile !== undefined) return noFile;
      const { irqfds = [] } = state;
      const isThere = irqfds.some((each) => each.fd === fd && each.gsi === gsi);
      // As KVM: taking away what is not there is no error.
      if (flags === IRQFD_DEASSIGN) return isThere ? decided(irqfdSet, { fd, gsi, assigned: false }) : { events: [] };
      if (irqfds.some((each) => each.fd === fd)) return refuse("EBUSY", IRQFD, `eventfd ${fd} is bound already`);
      return decided(irqfdSet, { fd, gsi, assigned: true });
    },
  },
  events: [
    {
      kind: routingSet,
      evolve: (state, fields) => ({ ...state, gsiRoutes: routesIn(fields) }),
      describe: (fields) => routesIn(fields).map(describeRoute).join(", "),
    },
    {
      kind: irqfdSet,
      evolve(state, fields) {
        const entry: Irqfd = { fd: fields.number("fd"), gsi: fields.number("gsi") };
        const others = (state.irqfds ?? []).filter(({ fd }) => fd !== entry.fd);
        return { ...state, irqfds: fields.boolean("assigned") ? [...others, entry] : others };
      },
      describe: (fields) =>
        `${fields.boolean("assigned") ? "+" : "-"} eventfd ${fields.number("fd")} -> GSI ${fields.number("gsi")}`,
    },
  ],
  parse: {},
};
