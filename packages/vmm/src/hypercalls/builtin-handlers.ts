/** Handlers that are part of the VMM half, by name. */
import type { NamedHandler } from "./hypercall-handler.js";

const PREFIX = "builtin:";

const BUILTIN_HANDLERS: readonly NamedHandler[] = [
  { name: `${PREFIX}psci`, isBuiltin: true, handle: (call, vm) => vm.psci(call) },
  { name: `${PREFIX}sdei`, isBuiltin: true, handle: (call, vm) => vm.sdei(call), providesSdei: true },
];

export const BUILTIN_HANDLER_NAMES: readonly string[] = BUILTIN_HANDLERS.map(({ name }) => name);

export function isBuiltinName(name: string): boolean {
  return name.startsWith(PREFIX);
}

/** undefined: there is none of that name. */
export function builtinHandler(name: string): NamedHandler | undefined {
  return BUILTIN_HANDLERS.find((handler) => handler.name === name);
}
