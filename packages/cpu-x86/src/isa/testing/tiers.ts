/** The consumers of programs, in which every test of instructions runs. */
import type { EngineOptions } from "@hvjournal/engine";
import { wholeProfile } from "./machine.js";

const profile = wholeProfile();

export const tiers: readonly (readonly [name: string, options: Partial<EngineOptions>])[] = [
  ["handlers out of line", {}],
  ["handlers inline", { profile }],
  ["compiled blocks", { tier: "blocks" }],
  ["a TLB of two entries", { tlbEntries: 2 }],
];
