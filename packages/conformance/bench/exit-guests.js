/** Bare-metal guests of one loop each: a million exits of one kind, then the power is off. */
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { hvc, moveImmediate } from "../../cpu-arm64/dist/isa/testing/encodings.js";
import { UART } from "../../cpu-arm64/dist/kvm/testing/guest.js";
import { branchIfNotEqual, decrement, load32, store32, systemOff } from "../../cpu-arm64/dist/kvm/testing/programs.js";
import { exitsAmd64Options } from "./guest-commands.js";

export const EXITS = 1_000_000;

const PSCI_VERSION = 0x8400_0000n;
const FORWARDED = 0xc600_0001n;
const UARTFR = BigInt(UART + 0x18);
const LETTER = 0x61n;

/** `once` stands before the loop, `each` is its body. */
const GUESTS = {
  handled: { once: [], each: [...moveImmediate(0, PSCI_VERSION), hvc(0)] },
  forwarded: {
    once: [],
    each: [...moveImmediate(0, FORWARDED), hvc(0)],
    options: { "smccc-filter": ["0xc6000000+0x100=forward"] },
  },
  builtin: {
    once: [],
    each: [...moveImmediate(0, PSCI_VERSION), hvc(0)],
    options: { "smccc-filter": ["0x84000000+1=forward"], handler: ["builtin:psci"] },
  },
  mmioWrite: { once: [...moveImmediate(1, BigInt(UART)), ...moveImmediate(2, LETTER)], each: [store32(2, 1)] },
  mmioRead: { once: moveImmediate(1, UARTFR), each: [load32(2, 1)] },
};

function program({ once, each }) {
  return [
    ...once,
    ...moveImmediate(9, BigInt(EXITS)),
    ...each,
    decrement(9),
    branchIfNotEqual(-each.length - 1),
    ...systemOff,
  ];
}

/**
 * Writes the guests' code.
 *
 * @returns {Record<keyof typeof GUESTS, object>} the options of `record` that make each machine
 */
export function prepareExitGuests(directory) {
  return Object.fromEntries(
    Object.entries(GUESTS).map(([name, guest]) => {
      const image = join(directory, `${name}.bin`);
      writeFileSync(image, new Uint8Array(Uint32Array.from(program(guest)).buffer));
      return [name, { image, flat: "0x80000", memory: "64M", ...guest.options }];
    }),
  );
}

const AMD64_OPTIONS = {
  "kvm-forwarded": { cap: ["KVM_CAP_EXIT_HYPERCALL=0x1000"] },
  hyperv: { hv: ["vpindex"] },
  "hyperv-forwarded": { hv: ["vpindex"] },
};

/** @returns {Record<string, object>} the options of `record` for these kinds of the guest's scenario `exits` */
export function prepareAmd64ExitGuests(kinds) {
  return Object.fromEntries(kinds.map((kind) => [kind, { ...exitsAmd64Options(kind, EXITS), ...AMD64_OPTIONS[kind] }]));
}
