/** The test machine in modes other than 64-bit mode, and programs as hexadecimal text. */
import type { EngineOptions } from "@hvjournal/engine";
import { Flag } from "../registers.js";
import { SegmentAttribute } from "../segment-attributes.js";
import { Segment } from "../state.js";
import { CODE, descriptor, machine, type Machine, Selector, STACK } from "./machine.js";

const { P, S, code, writable, accessed, DB, G } = SegmentAttribute;

export function bytes(text: string): number[] {
  return text
    .trim()
    .split(/\s+/)
    .map((byte) => Number.parseInt(byte, 16));
}

/** Real mode: CS and DS at CODE, SS:SP at STACK, the IDT at 0 with handlers of HLT at 0x1800:vector*16. */
export function realMode(program: string, options: Partial<EngineOptions>): Machine {
  const guest = machine(bytes(program), options);
  for (const [name, value] of [
    ["cr0", 0x10],
    ["cr4", 0],
    ["efer", 0],
    ["idtBase", 0],
    ["idtLimit", 0x3ff],
  ] as const)
    guest.set(name, value);
  for (const segment of [Segment.es, Segment.cs, Segment.ss, Segment.ds, Segment.fs, Segment.gs]) {
    const base = segment === Segment.ss ? STACK - 0x1_0000 : CODE;
    setSegment(guest, segment, base >> 4, base, 0xffff, P | S | writable | accessed);
  }
  guest.set("rsp", 0xfff0);
  for (let vector = 0; vector < 256; vector++) guest.setWord64(4 * vector, (0x1800n << 16n) | BigInt(16 * vector));
  return guest;
}

export function setSegment(
  guest: Machine,
  segment: number,
  selector: number,
  base: number,
  limit: number,
  attributes: number,
): void {
  guest.set(`segmentSelector${segment}`, selector);
  guest.set(`segmentBase${segment}`, base);
  guest.set(`segmentLimit${segment}`, limit);
  guest.set(`segmentAttributes${segment}`, attributes);
}

/** Selectors of segments that `protectedMode` adds to the GDT. */
export const Legacy = {
  code: 0x60,
  userCode: 0x6b,
  data: 0x70,
  userData: 0x7b,
  narrowCode: 0x80,
  gate: 0x88,
  tss: 0x90,
} as const;
const USER = 3 << 5;

/** Protected mode of 32 bits without paging: flat, CPL 0, with gates of 32 bits to handlers of HLT. */
export function protectedMode(program: string, options: Partial<EngineOptions>): Machine {
  const guest = machine(bytes(program), options);
  for (const [name, value] of [
    ["cr0", 0x11],
    ["cr4", 0],
    ["efer", 0],
    ["gdtLimit", 0xff],
    ["idtLimit", 0x7ff],
  ] as const)
    guest.set(name, value);
  addDescriptor(guest, Legacy.code, P | S | code | writable | accessed | DB | G, 0xfffff);
  addDescriptor(guest, Legacy.userCode, P | S | code | writable | accessed | DB | G | USER, 0xfffff);
  addDescriptor(guest, Legacy.data, P | S | writable | accessed | DB | G, 0xfffff);
  addDescriptor(guest, Legacy.userData, P | S | writable | accessed | DB | G | USER, 0xfffff);
  addDescriptor(guest, Legacy.narrowCode, P | S | code | writable | accessed, 0xffff);
  setSegment(guest, Segment.cs, Legacy.code, 0, -1, P | S | code | writable | accessed | DB | G);
  for (const segment of [Segment.es, Segment.ss, Segment.ds, Segment.fs, Segment.gs])
    setSegment(guest, segment, Legacy.data, 0, -1, P | S | writable | accessed | DB | G);
  for (let vector = 0; vector < 256; vector++) setLegacyGate(guest, vector, 0x8e);
  // A TSS of 32 bits: ESP0 and SS0.
  setSegment(guest, Segment.tr, Selector.tss, TSS_PLACE, 0x67, P | 0xb);
  guest.setWord64(TSS_PLACE, BigInt(LEVEL0_ESP) << 32n);
  guest.setWord64(TSS_PLACE + 8, BigInt(Legacy.data));
  return guest;
}

const TSS_PLACE = 0x5800;
export const LEVEL0_ESP = 0x3_b000;

export function addDescriptor(guest: Machine, selector: number, attributes: number, limit: number, base = 0): void {
  const low = descriptor(attributes, limit) | (BigInt(base & 0xff_ffff) << 16n) | (BigInt(base >>> 24) << 56n);
  guest.setWord64(guest.gdtBase + (selector & ~7), low);
}

/** A gate of 8 bytes: to the handler of HLT of its vector. */
export function setLegacyGate(guest: Machine, vector: number, type: number): void {
  const target = 0x1_8000 + 16 * vector;
  const gate =
    BigInt(target & 0xffff) | (BigInt(Legacy.code) << 16n) | (BigInt(type) << 40n) | (BigInt(target >>> 16) << 48n);
  guest.setWord64(0x3000 + 8 * vector, gate);
}

/** To CPL 3, in the mode that the machine is in. */
export function toUserMode(guest: Machine, codeSelector: number, dataSelector: number, codeAttributes: number): void {
  setSegment(guest, Segment.cs, codeSelector, 0, -1, codeAttributes | USER);
  for (const segment of [Segment.es, Segment.ss, Segment.ds])
    setSegment(guest, segment, dataSelector, 0, -1, P | S | writable | accessed | DB | G | USER);
  guest.set("cpl", 3);
}

/** A word of 32 bits in RAM. */
export function word32(guest: Machine, address: number): number {
  return Number(guest.word64(address) & 0xffff_ffffn);
}

export function flags(guest: Machine): number {
  return Number(guest.get("rflags")) & ~Flag.fixed;
}
