/** IRET lets non-maskable interrupts in again even where it raises an exception: Intel SDM volume 3, 6.7.1. */
import type { Routine, Stage, Value } from "@hvjournal/engine";
import { nmiBlocked, zeroSource } from "./state.js";

type ExceptionRoutine = Routine & { readonly result: undefined };

/** Of `AccessOptions.faultDetail`: the instruction is an IRET. */
export const OPENS_NMI = 1 << 29;

const made = new WeakMap<ExceptionRoutine, ExceptionRoutine>();

/** The routine of an exception, which lets NMIs in too. */
function opening(routine: ExceptionRoutine): ExceptionRoutine {
  const known = made.get(routine);
  if (known !== undefined) return known;
  const opens: ExceptionRoutine = {
    ...routine,
    name: `${routine.name}, NMIs open`,
    body(stage, parameters) {
      stage.call(routine, ...parameters);
      stage.write(nmiBlocked, stage.constant32(0));
    },
  };
  made.set(routine, opens);
  return opens;
}

/** The stage of an IRET. */
export function openingNmi(stage: Stage): Stage {
  const own: Pick<Stage, "access" | "raise"> = {
    access(address, bytes, mode, options) {
      const detail = options?.faultDetail ?? stage.constant32(zeroSource.offset);
      return stage.access(address, bytes, mode, {
        ...options,
        faultDetail: stage.or(detail, stage.constant32(OPENS_NMI)),
      });
    },
    raise(routine, ...parameters: readonly Value<32 | 64>[]) {
      stage.raise(opening(routine), ...parameters);
    },
  };
  return new Proxy(stage, {
    get(target, key) {
      const changed: unknown = Reflect.get(own, key);
      if (changed !== undefined) return changed;
      const member: unknown = Reflect.get(target, key);
      return typeof member === "function" ? member.bind(target) : member;
    },
  });
}
