import { describe, expect, it } from "@jest/globals";
import { StateSectionError } from "@hvjournal/core";
import { acpiPowerFormat } from "./devices/acpi-power/state.js";
import { cmosFormat } from "./devices/cmos/state.js";
import { pl011Format, resetPl011State } from "./devices/pl011/state.js";
import { pl031Format } from "./devices/pl031/state.js";
import { resetControlFormat } from "./devices/reset-control/state.js";
import { resetUartState, uartFormat } from "./devices/uart16550/state.js";
import { blockIdentityFormat, blockOverlayFormat } from "./devices/virtio-block/state.js";
import { consoleFormat } from "./devices/virtio-console/state.js";
import { rngFormat } from "./devices/virtio-rng/state.js";
import { pciHostFormat } from "./pci/host.js";
import {
  byteArray,
  list,
  restoreSection,
  saveSection,
  structure,
  text,
  u16,
  u32,
  type SectionFormat,
} from "./state-coding.js";
import { changedCopies } from "./testing/changed-copies.js";
import { pciTransportFormat } from "./virtio/pci-state.js";
import { resetTransportState, transportCodec } from "./virtio/state.js";

interface Case {
  readonly format: SectionFormat<never>;
  readonly state: unknown;
}

function example<Value>(format: SectionFormat<Value>, state: Value): Case {
  return { format: format as unknown as SectionFormat<never>, state };
}

const cases: readonly (readonly [string, Case])[] = [
  [
    "pl011",
    example(pl011Format, {
      ...resetPl011State(),
      receiveFifo: [0x41, 0x42],
      line: Uint8Array.of(1, 2, 3),
      emptyReads: Number.MAX_SAFE_INTEGER,
    }),
  ],
  [
    "pl031",
    example(pl031Format, {
      baseNs: 1_795_251_600_000_000_000n,
      offsetSeconds: 5,
      match: 6,
      load: 7,
      interruptMask: true,
      rawInterruptStatus: false,
      matchAtSecond: 1_795_251_601,
    }),
  ],
  ["virtio transport", example({ version: 1, codec: transportCodec }, resetTransportState([256, 64]))],
  [
    "virtio function on PCI",
    example(pciTransportFormat, {
      configuration: new Uint8Array(256),
      configVector: 0xffff,
      queueVectors: [1, 2],
      messages: new Uint8Array(48),
      pending: new Uint8Array(8),
    }),
  ],
  ["PCI host", example(pciHostFormat, { address: 0x8000_1800 })],
  [
    "block identity",
    example(blockIdentityFormat, { driveId: "disk0", imageBytes: 1 << 20, fingerprint: "9f2c", readOnly: false }),
  ],
  [
    "block overlay",
    example(blockOverlayFormat, {
      blocks: new Map([
        [3, new Uint8Array(4096)],
        [1, new Uint8Array(4096).fill(7)],
      ]),
    }),
  ],
  ["uart", example(uartFormat, { ...resetUartState(), receiveFifo: [1, 2], line: Uint8Array.of(3), divisor: 1 })],
  [
    "cmos",
    example(cmosFormat, {
      baseNs: 1_795_251_600_000_000_000n,
      offsetSeconds: 60,
      offsetIsNegative: true,
      index: 4,
      held: [1, 2, 3],
      a: 0x26,
      b: 2,
      occurred: 0x40,
      seenNs: 1_000_000,
      memory: new Uint8Array(8),
    }),
  ],
  ["acpi-pm1", example(acpiPowerFormat, { enable: 1, control: 2 })],
  ["reset-control", example(resetControlFormat, { control: 2 })],
  ["rng", example(rngFormat, { drawn: 12n })],
  ["console", example(consoleFormat, { input: Uint8Array.of(13), emptyReads: 4 })],
];

describe("saved device state", () => {
  it.each(cases)("of %s changes its bytes with every field", (_, { format, state }) => {
    const original = saveSection(format, "vmm.example", state as never).bytes;
    const copies = changedCopies(state);
    expect(copies.length).toBeGreaterThan(0);
    for (const { path, value } of copies) {
      const bytes = saveSection(format, "vmm.example", value as never).bytes;
      expect({ path, equal: Buffer.from(original).equals(bytes) }).toEqual({ path, equal: false });
    }
  });

  it.each(cases)("of %s is byte-equal when saved again after a restore", (_, { format, state }) => {
    const saved = saveSection(format, "vmm.example", state as never);
    expect(saveSection(format, "vmm.example", restoreSection(format, saved))).toEqual(saved);
  });

  it("writes overlay blocks in rising order, whatever the guest wrote first", () => {
    const block = (fill: number): Uint8Array => new Uint8Array(4096).fill(fill);
    const rising = {
      blocks: new Map([
        [1, block(1)],
        [9, block(9)],
      ]),
    };
    const falling = {
      blocks: new Map([
        [9, block(9)],
        [1, block(1)],
      ]),
    };
    expect(saveSection(blockOverlayFormat, "a", falling)).toEqual(saveSection(blockOverlayFormat, "a", rising));
  });

  it("refuses sections of another version, too short, too long, or with values that are never written", () => {
    const saved = saveSection(rngFormat, "vmm.rng", { drawn: 1n });
    expect(() => restoreSection(rngFormat, { ...saved, version: 2 })).toThrow(StateSectionError);
    expect(() => restoreSection(rngFormat, { ...saved, bytes: saved.bytes.subarray(1) })).toThrow(/needs 8 more bytes/);
    expect(() => restoreSection(rngFormat, { ...saved, bytes: new Uint8Array(9) })).toThrow(/1 bytes too many/);
    const pl031 = saveSection(pl031Format, "vmm.pl031", cases[1]?.[1].state as never);
    pl031.bytes[20] = 2;
    expect(() => restoreSection(pl031Format, pl031)).toThrow(/flag holds 2/);
  });

  it("refuses to save numbers that the form can't hold", () => {
    const format = { version: 1, codec: structure({ port: u16, word: u32 }) };
    expect(() => saveSection(format, "x", { port: 0x1_0000, word: 0 })).toThrow(/65536 is no u16/);
    expect(() => saveSection(format, "x", { port: 0, word: -1 })).toThrow(/-1 is no u32/);
  });

  it("keeps text and nested lists as they are", () => {
    const format = { version: 3, codec: structure({ names: list(text), raw: list(byteArray) }) };
    const value = { names: ["", "ttyAMA0", "größer €", "𝄞"], raw: [Uint8Array.of(), Uint8Array.of(0, 255)] };
    expect(restoreSection(format, saveSection(format, "x", value))).toEqual(value);
  });
});
