/** Handlers that are part of the VMM half, by name: `builtin:NAME`, or with an option `builtin:NAME,OPTION=VALUE`. */
import { BUILTIN_PREFIX, type HypercallHandler, type NamedHandler } from "./hypercall-handler.js";
import { EXT_CAPABILITIES } from "./x86/hv-ext.js";
import type { X86Handler } from "./x86/x86-handler-vm.js";

interface Builtin {
  readonly name: string;
  readonly architecture: string;
  /** The one option that it takes. */
  readonly option?: string;
  /** `value` of the option, where one is given; undefined: it makes no sense. */
  create(value: string | undefined): Omit<NamedHandler, "name" | "architecture"> | undefined;
}

const psci: HypercallHandler = (call, vm) => vm.psci(call);
const sdei: HypercallHandler = (call, vm) => vm.sdei(call);

/** Only bits that are answered can be offered. */
function hvExt(text: string | undefined): Pick<NamedHandler, "handle"> | undefined {
  const mask = text === undefined ? EXT_CAPABILITIES : /^(0x[\da-f]+|\d+)$/i.test(text) ? BigInt(text) : undefined;
  if (mask === undefined || (mask & ~EXT_CAPABILITIES) !== 0n) return undefined;
  const handle: X86Handler = (call, vm) => vm.hvExt(call, mask);
  return { handle };
}

const BUILTINS: readonly Builtin[] = [
  { name: `${BUILTIN_PREFIX}psci`, architecture: "arm64", create: () => ({ handle: psci, isBuiltin: true }) },
  {
    name: `${BUILTIN_PREFIX}sdei`,
    architecture: "arm64",
    create: () => ({ handle: sdei, isBuiltin: true, providesSdei: true }),
  },
  { name: `${BUILTIN_PREFIX}hv-ext`, architecture: "amd64", option: "mask", create: hvExt },
];

export const BUILTIN_HANDLER_NAMES: readonly string[] = BUILTINS.map(({ name }) => name);

/** undefined: there is none of that name. Throws RangeError for an option that it does not take. */
export function builtinHandler(text: string): NamedHandler | undefined {
  const [name = "", ...options] = text.split(",");
  const found = BUILTINS.find((builtin) => builtin.name === name);
  if (found === undefined) return undefined;
  const { option, architecture } = found;
  const values = options.map((each) => /^(\w+)=(.+)$/.exec(each));
  const isKnown = values.length <= 1 && values.every((match) => match !== null && match[1] === option);
  if (!isKnown)
    throw new RangeError(option === undefined ? `${name} takes no option` : `${name} takes ${option}=VALUE alone`);
  const created = found.create(values[0]?.[2]);
  if (created === undefined)
    throw new RangeError(
      `${option} is a number with bits of 0x${EXT_CAPABILITIES.toString(16)}: 0 boot-zeroed memory, 1 heat hints, 8 cold discard`,
    );
  return { name: text, architecture, ...created };
}
