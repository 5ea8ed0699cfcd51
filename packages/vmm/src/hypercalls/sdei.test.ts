import { beforeEach, describe, expect, it } from "@jest/globals";
import { type HandlerState, NOT_HANDLED } from "./answer-forms.js";
import { answerSdei, SDEI_BASE, SdeiFunction as F } from "./sdei.js";

const DENIED = -3n;
const INVALID = -2n;

let state: HandlerState;
beforeEach(() => {
  state = {};
});

function call(number: number, args: readonly bigint[] = [], vcpu = 0): unknown {
  const nr = SDEI_BASE + number;
  const registers = [BigInt(nr), ...args];
  return answerSdei({ nr, conduit: "hvc", is16Bit: false, immediate: 0, vcpu, args: registers }, { state });
}

describe("SDEI in the VMM half", () => {
  it("is version 1.0, and has event 0: private, signalled by software, of normal priority", () => {
    expect(call(F.version)).toBe(1n << 48n);
    expect([0n, 1n, 2n, 3n].map((what) => call(F.eventGetInfo, [0n, what]))).toEqual([0n, 1n, 0n, INVALID]);
  });

  it("keeps what each CPU has registered, enabled and masked", () => {
    const status = (vcpu = 0): unknown => call(F.eventStatus, [0n], vcpu);
    expect([status(), call(F.eventEnable, [0n]), call(F.eventUnregister, [0n])]).toEqual([0n, DENIED, DENIED]);
    expect(call(F.eventRegister, [0n, 0x4000n, 5n])).toBe(0n);
    expect(call(F.eventRegister, [0n, 0x4000n, 5n])).toBe(DENIED);
    expect([status(), status(1)]).toEqual([1n, 0n]);
    expect([call(F.eventEnable, [0n]), status()]).toEqual([0n, 3n]);
    expect([call(F.eventDisable, [0n]), status()]).toEqual([0n, 1n]);
    expect([call(F.privateReset), call(F.sharedReset), status()]).toEqual([0n, 0n, 0n]);
    expect([call(F.peMask), call(F.peUnmask), call(F.peMask), call(F.peMask)]).toEqual([0n, 0n, 1n, 0n]);
    expect(state).toEqual({ sdei: { vcpu0: { isUnmasked: false, handler: null } } });
  });

  it("refuses flags that are reserved and events that there are not, and has no interrupt to bind", () => {
    expect(call(F.eventRegister, [0n, 0x4000n, 5n, 2n])).toBe(INVALID);
    expect(call(F.eventStatus, [1n])).toBe(INVALID);
    expect(call(F.interruptBind, [33n])).toBe(-10n);
    expect(state).toEqual({});
  });

  it("says that it signals nothing, and that no handler runs", () => {
    expect([call(F.eventSignal, [0n, 0n]), call(F.eventContext), call(F.eventComplete)]).toEqual([-1n, DENIED, DENIED]);
  });

  it("leaves what is not SDEI's to others", () => {
    expect([call(-1), call(0x20)]).toEqual([NOT_HANDLED, NOT_HANDLED]);
  });
});
