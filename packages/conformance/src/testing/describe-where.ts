import { describe } from "@jest/globals";

/** `describe` where what the tests need is there; elsewhere they are counted as skipped. */
export function describeWhere(available: boolean): typeof describe | typeof describe.skip {
  return available ? describe : describe.skip;
}
