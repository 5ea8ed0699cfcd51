import { describe, expect, it } from "@jest/globals";
import {
  decodeCanonicalMap,
  encodeCanonical,
  type KernelHalf,
  type PlainValue,
  type StateSection,
} from "@hvjournal/core";
import * as a from "../isa/testing/encodings.js";
import { MpState, VcpuKind } from "./control/vcpu-part.js";
import {
  answerExit,
  CODE,
  exitLine,
  type Guest,
  guest,
  RAM_BASE,
  RAM_BYTES,
  runOn,
  VECTOR_IRQ,
  VECTORS,
} from "./testing/guest.js";
import { mixture, timerHandler } from "./testing/programs.js";

const ROUNDS = 3;
const readMmio = (physical: number): number => physical & 0xff;

function mixed(options: Parameters<typeof guest>[1] = {}): Guest {
  const it = guest(mixture(ROUNDS), options);
  it.place(VECTORS + VECTOR_IRQ, timerHandler(900));
  return it;
}

/** A fresh VM that goes on from where another stands. */
function moved(from: Guest): Guest {
  const to = guest([]);
  to.kernel.memory.write(RAM_BASE, from.kernel.memory.read(RAM_BASE, RAM_BYTES));
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

describe("the saved kernel half", () => {
  const reference = mixed();
  const expected = runOn(reference.kernel, { readMmio });

  it("of the reference run has seen every reason", () => {
    for (const word of ["IRQ", "WFI", "WFE", "HVC64", "SMC64", "SYS64", "MMIO"])
      expect(expected.exits.join()).toContain(word);
    expect(expected.stop).toBe("system event 1");
    expect(reference.kernel.readRegister(0, "x21")).toBeGreaterThanOrEqual(BigInt(ROUNDS));
  });

  it.each([
    ["random observer stops", {}, true],
    ["blocks", { tier: "blocks" as const }, false],
    ["blocks and random observer stops", { tier: "blocks" as const }, true],
    ["regions", { tier: "regions" as const }, false],
    ["regions and random observer stops", { tier: "regions" as const }, true],
    ["a TLB of two entries", { tlbEntries: 2 }, true],
  ])("is the same after a run with %s", (_name, options, stops) => {
    const next = random(7);
    const { kernel } = mixed(options);
    const step = stops ? () => 1 + next(60) : undefined;
    const atExit = stops
      ? () => {
          if (next(4) === 0) kernel.dropCaches();
        }
      : undefined;
    const trace = runOn(kernel, {
      readMmio,
      ...(step === undefined ? {} : { step }),
      ...(atExit === undefined ? {} : { atExit }),
    });
    expect(trace).toEqual(expected);
    expect(kernel.save()).toEqual(reference.kernel.save());
  });

  it("comes back byte-equal at every exit and at random units, and the run goes on as it was", () => {
    const seed = 20_261_121;
    const next = random(seed);
    let current = mixed();
    const exits: string[] = [];
    for (let moves = 0; ; moves++) {
      const stopAt = current.kernel.icount + 1 + next(150);
      const part = runOn(current.kernel, { readMmio, limit: stopAt });
      exits.push(...part.exits);
      if (part.stop !== "limit") {
        expect({ seed, exits, stop: part.stop }).toEqual({ seed, ...expected });
        expect(moves).toBeGreaterThan(10);
        break;
      }
      const saved = current.kernel.save();
      const to = moved(current);
      expect(to.kernel.save()).toEqual(saved);
      current = to;
    }
    expect(current.kernel.save()).toEqual(reference.kernel.save());
  });

  it("can be taken with an exit pending, which is then answered as it would have been", () => {
    let current = mixed();
    const lines: string[] = [];
    for (;;) {
      const { kernel } = current;
      const stop = kernel.run(100_000);
      if (stop === "idle") {
        kernel.skipTo(kernel.idleDeadlineNs ?? 0);
        continue;
      }
      expect(stop).toBe("exit");
      lines.push(exitLine(kernel));
      const to = moved(current);
      expect(to.kernel.exitPending).toBe(true);
      expect(to.kernel.exit).toEqual(kernel.exit);
      expect(to.kernel.save()).toEqual(kernel.save());
      current = to;
      if (!answerExit(to.kernel, readMmio)) break;
    }
    expect(lines).toEqual(expected.exits);
  });

  it("shows every difference: no two moments of a run are equal", () => {
    const { kernel } = mixed();
    const seen = new Set<string>();
    for (let units = 1; units < 400; units++) {
      runOn(kernel, { readMmio, limit: units });
      seen.add(textOf(kernel.save()));
    }
    expect(seen.size).toBe(399);
  });

  it("shows each register that can be written", () => {
    const { kernel } = mixed();
    for (const { name, bits } of kernel.registers) {
      const before = textOf(kernel.save());
      const old = kernel.readRegister(0, name);
      try {
        kernel.writeRegister(0, name, old ^ (name === "pstate" ? 0x8000_0000n : 1n << BigInt(bits - 1)));
      } catch (error) {
        expect((error as Error).message).toContain("can't be written");
        continue;
      }
      if (kernel.readRegister(0, name) === old) continue;
      expect({ name, changed: textOf(kernel.save()) !== before }).toEqual({ name, changed: true });
    }
  });

  it("shows which vCPU is suspended, and brings it back so", () => {
    const states = [MpState.runnable, MpState.stopped, MpState.suspended];
    const pairs = states.flatMap((first) => states.map((second) => [first, second]));
    const texts = pairs.map((pair) => {
      const { kernel } = guest([], TWO_VCPUS);
      for (const [vcpu, state] of pair.entries()) setMpState(kernel, vcpu, state);
      const saved = kernel.save();
      const to = guest([], TWO_VCPUS).kernel;
      to.restore(saved);
      expect(pair.map((_, vcpu) => Number(to.readRegister(vcpu, "mp_state")))).toEqual(pair);
      expect(to.save()).toEqual(saved);
      return textOf(saved);
    });
    expect(new Set(texts).size).toBe(pairs.length);
  });

  it("shows the time stolen from each vCPU, and since when it waits", () => {
    const { kernel } = guest([a.branch(0)], TWO_VCPUS);
    setMpState(kernel, 1, MpState.runnable);
    kernel.writeRegister(1, "pc", BigInt(CODE));
    expect(kernel.run(200_000)).toBe("limit");
    const saved = kernel.save();
    const { stolenTime } = runSection(saved) as { stolenTime: { stolenNs: number; waitsSinceNs: number }[] };
    expect(stolenTime.map(({ stolenNs }) => stolenNs > 0)).toEqual([true, true]);
    // One of them runs, the other waits.
    expect(stolenTime.filter(({ waitsSinceNs }) => waitsSinceNs >= 0)).toHaveLength(1);
    const to = guest([], TWO_VCPUS).kernel;
    for (const vcpu of [0, 1])
      for (const field of ["stolenNs", "waitsSinceNs"] as const) {
        const other = stolenTime.map((each, index) => (index === vcpu ? { ...each, [field]: each[field] + 1 } : each));
        const changed = withRunSection(saved, { ...runSection(saved), stolenTime: other });
        to.restore(changed);
        expect(to.save()).toEqual(changed);
      }
  });

  it("is refused by name, version, length and number of vCPUs", () => {
    const sections = mixed().kernel.save();
    const { kernel } = mixed();
    const change = (name: string, how: (section: StateSection) => StateSection | undefined): StateSection[] =>
      sections.flatMap((section) =>
        section.name === name ? [how(section)].filter((each) => each !== undefined) : [section],
      );
    for (const { name } of sections) {
      expect(() => {
        kernel.restore(change(name, () => undefined));
      }).toThrow(`can't restore state section ${name}: it is missing`);
      expect(() => {
        kernel.restore(change(name, (section) => ({ ...section, version: 9 })));
      }).toThrow(`${name}: version 9`);
      expect(() => {
        kernel.restore(change(name, (section) => ({ ...section, bytes: section.bytes.slice(1) })));
      }).toThrow(`can't restore state section ${name}`);
    }
    expect(() => {
      kernel.restore([...sections, { name: "arm64.vcpu1", version: 1, bytes: new Uint8Array(0) }]);
    }).toThrow("a VM with 1 vCPUs has no such section");
    kernel.restore(sections);
    expect(kernel.save()).toEqual(sections);
  });
});

const TWO_VCPUS = { vcpuCount: 2 };
const RUN_SECTION = "arm64.run";

function setMpState(kernel: KernelHalf, vcpu: number, state: number): void {
  const { name: kind, version } = VcpuKind.mpStateSet;
  kernel.apply?.({ kind, version, vcpu, payload: { state } });
}

function runSection(sections: readonly StateSection[]): { readonly [key: string]: PlainValue } {
  const found = sections.find(({ name }) => name === RUN_SECTION);
  if (found === undefined) throw new Error(`no section ${RUN_SECTION}`);
  return decodeCanonicalMap(found.bytes);
}

function withRunSection(
  sections: readonly StateSection[],
  map: { readonly [key: string]: PlainValue },
): readonly StateSection[] {
  return sections.map((each) => (each.name === RUN_SECTION ? { ...each, bytes: encodeCanonical(map) } : each));
}

function textOf(sections: readonly StateSection[]): string {
  return sections.map(({ name, bytes }) => `${name}:${Buffer.from(bytes).toString("base64")}`).join();
}
