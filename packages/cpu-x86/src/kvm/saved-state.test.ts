import { describe, expect, it } from "@jest/globals";
import type { StateSection } from "@hvjournal/core";
import * as a from "./testing/assembler.js";
import { Configured } from "./testing/configure.js";
import {
  answerExit,
  CODE,
  CODE_BYTES,
  DATA,
  DEVICE,
  exitLine,
  type Guest,
  guest,
  RAM_BYTES,
  runOn,
  SERIAL,
} from "./testing/guest.js";

const ROUNDS = 3;
const HANDLER = CODE + 0x8000;
const TIMER_VECTOR = 0x40;
const read = (place: number): number => place & 0xff;

const APIC = 0xfee0_0000;

/** Exits of every kind, with a periodic timer meanwhile; ends with interrupts off for ever. */
function mixture(vcpu: number): number[] {
  const round = [
    ...a.out8(SERIAL, 0x30 + vcpu),
    ...a.in8(SERIAL + 5),
    ...a.store(DEVICE + 8 * vcpu, 7),
    ...a.load(DEVICE + 4),
    ...a.cpuid(1),
    ...a.rdtsc,
    ...a.readMsr(0x1b),
    ...a.pause,
    ...a.vmcall,
    0x0f,
    0xc7,
    0xf0,
    ...a.sti,
    ...a.hlt,
  ];
  return [
    ...a.store(APIC + 0xf0, 0x1ff),
    ...a.store(APIC + 0x320, (1 << 17) | TIMER_VECTOR),
    ...a.store(APIC + 0x3e0, 0xb),
    ...a.store(APIC + 0x380, 50 + 20 * vcpu),
    ...Array.from({ length: ROUNDS }, () => round).flat(),
    ...a.store(APIC + 0x380, 0),
    ...a.cli,
    ...a.hlt,
  ];
}

/** Counts, and ends the interrupt. */
const handler: readonly number[] = [
  0x50,
  0x53,
  ...a.increment(DATA),
  ...a.store(APIC + 0xb0, 0),
  0x5b,
  0x58,
  ...a.iret,
];

interface MixedOptions extends NonNullable<Parameters<typeof guest>[1]> {
  readonly haltsInGuest?: boolean;
}

function configured({ haltsInGuest = false, ...options }: MixedOptions, program: readonly number[]): Guest {
  const made = guest(program, options);
  if (haltsInGuest) expect(new Configured(made.kernel).set("cap", "X86_DISABLE_EXITS=2")).toBe("0");
  return made;
}

function mixed(options: MixedOptions = {}): Guest {
  const made = configured(options, mixture(0));
  if (options.vcpuCount === 2) {
    made.place(CODE + CODE_BYTES, mixture(1));
    made.kernel.writeRegister(1, "mp_state", 0n);
  }
  made.place(HANDLER, handler);
  made.setGate(TIMER_VECTOR, HANDLER);
  return made;
}

/** A fresh VM that goes on from where another stands. */
function moved(from: Guest, options: MixedOptions = {}): Guest {
  const to = configured(options, []);
  to.kernel.memory.write(0, from.kernel.memory.read(0, RAM_BYTES));
  for (const [name, stream] of from.entropy.streams) to.entropy.stream(name).counter = stream.counter;
  to.kernel.restore(from.kernel.save());
  return to;
}

function random(seed: number): (below: number) => number {
  let state = seed >>> 0;
  return (below) => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return Math.floor((state / 2 ** 32) * below);
  };
}

describe.each<readonly [string, MixedOptions]>([
  ["one vCPU", {}],
  ["two vCPUs", { vcpuCount: 2 }],
  ["two vCPUs that halt in guest mode", { vcpuCount: 2, haltsInGuest: true }],
])("the saved kernel half of %s", (_name, vcpus) => {
  const reference = mixed(vcpus);
  const expected = runOn(reference.kernel, { read });

  it("of the reference run has seen every reason but an interrupt from outside", () => {
    const all = expected.exits.join();
    for (const word of ["IO ", "MMIO", "CPUID", "MSR_READ", "VMCALL", "PREEMPTION_TIMER"]) expect(all).toContain(word);
    expect(all.includes("HLT")).toBe(vcpus.haltsInGuest !== true);
    expect(expected.stop).toBe("idle");
    const [ticks = 0] = reference.kernel.memory.read(DATA, 1);
    expect(ticks).toBeGreaterThanOrEqual(ROUNDS);
  });

  it.each([
    ["random observer stops", {}],
    ["blocks and random observer stops", { tier: "blocks" as const }],
    ["a TLB of two entries", { tlbEntries: 2 }],
  ])("is the same after a run with %s", (_way, options) => {
    const next = random(7);
    const { kernel } = mixed({ ...vcpus, ...options });
    const trace = runOn(kernel, {
      read,
      step: () => 1 + next(60),
      atExit: () => {
        if (next(4) === 0) kernel.dropCaches();
      },
    });
    expect(trace).toEqual(expected);
    expect(kernel.save()).toEqual(reference.kernel.save());
  });

  it("comes back byte-equal at random units, with an exit pending too, and the run goes on as it was", () => {
    const seed = 20_261_127;
    const next = random(seed);
    let current = mixed(vcpus);
    let moves = 0;
    const move = (): void => {
      const to = moved(current, vcpus);
      expect(to.kernel.save()).toEqual(current.kernel.save());
      expect(to.kernel.exitPending).toBe(current.kernel.exitPending);
      current = to;
      moves += 1;
    };
    const exits: string[] = [];
    for (;;) {
      const { kernel } = current;
      const stop = kernel.run(kernel.icount + 1 + next(400));
      if (stop === "idle" && kernel.idleDeadlineNs !== undefined) kernel.skipTo(kernel.idleDeadlineNs);
      else if (stop === "exit") exits.push(exitLine(kernel));
      else if (stop !== "limit") break;
      if (next(24) === 0) move();
      if (stop === "exit") answerExit(current.kernel, read);
    }
    expect({ seed, exits }).toEqual({ seed, exits: expected.exits });
    expect(moves).toBeGreaterThan(1);
    expect(current.kernel.save()).toEqual(reference.kernel.save());
  });
});

describe("the saved kernel half", () => {
  it("shows every difference: no two moments of a run are equal", () => {
    const { kernel } = mixed();
    const seen = new Set<string>();
    let moments = 0;
    while (runOn(kernel, { read, limit: kernel.icount + 1 }).stop === "limit") {
      seen.add(textOf(kernel.save()));
      moments += 1;
    }
    expect(moments).toBeGreaterThan(100);
    expect(seen.size).toBe(moments);
  });

  it("shows each register that can be written", () => {
    const { kernel } = mixed();
    for (const { name, bits } of kernel.registers) {
      const before = textOf(kernel.save());
      const old = kernel.readRegister(0, name);
      kernel.writeRegister(0, name, old ^ (1n << BigInt(name === "rflags" ? 11 : name === "cr8" ? 3 : bits - 1)));
      if (kernel.readRegister(0, name) === old) continue;
      expect({ name, changed: textOf(kernel.save()) !== before }).toEqual({ name, changed: true });
      kernel.writeRegister(0, name, old);
      expect({ name, isBack: textOf(kernel.save()) === before }).toEqual({ name, isBack: true });
    }
  });

  it("is refused by name, version, length and number of vCPUs", () => {
    const { kernel } = mixed();
    const sections = kernel.save();
    const change = (name: string, how: (section: StateSection) => StateSection | undefined): StateSection[] =>
      sections.flatMap((section) =>
        section.name === name ? [how(section)].filter((each) => each !== undefined) : [section],
      );
    for (const { name } of sections) {
      const restoring = (how: (section: StateSection) => StateSection | undefined) => (): void => {
        kernel.restore(change(name, how));
      };
      expect(restoring(() => undefined)).toThrow(`can't restore state section ${name}: it is missing`);
      expect(restoring((section) => ({ ...section, version: 9 }))).toThrow(`${name}: version 9`);
      expect(restoring((section) => ({ ...section, bytes: section.bytes.slice(1) }))).toThrow(
        `can't restore state section ${name}`,
      );
    }
    expect(() => {
      kernel.restore([...sections, { name: "amd64.vcpu1", version: 1, bytes: new Uint8Array(0) }]);
    }).toThrow("a VM with 1 vCPUs has no such section");
    kernel.restore(sections);
    expect(kernel.save()).toEqual(sections);
  });
});

function textOf(sections: readonly StateSection[]): string {
  return sections.map(({ name, bytes }) => `${name}:${Buffer.from(bytes).toString("base64")}`).join();
}
