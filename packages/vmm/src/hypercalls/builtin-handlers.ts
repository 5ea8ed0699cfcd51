/** Handlers that are part of the VMM half, by name. */
import type { HypercallHandler, NamedHandler } from "./hypercall-handler.js";

const PREFIX = "builtin:";

const psci: HypercallHandler = (call, vm) => vm.psci(call);
const sdei: HypercallHandler = (call, vm) => vm.sdei(call);

const BUILTIN_HANDLERS: readonly NamedHandler[] = [
  { name: `${PREFIX}psci`, isBuiltin: true, architecture: "arm64", handle: psci },
  { name: `${PREFIX}sdei`, isBuiltin: true, architecture: "arm64", handle: sdei, providesSdei: true },
];

export const BUILTIN_HANDLER_NAMES: readonly string[] = BUILTIN_HANDLERS.map(({ name }) => name);

export function isBuiltinName(name: string): boolean {
  return name.startsWith(PREFIX);
}

/** undefined: there is none of that name. */
export function builtinHandler(name: string): NamedHandler | undefined {
  return BUILTIN_HANDLERS.find((handler) => handler.name === name);
}
