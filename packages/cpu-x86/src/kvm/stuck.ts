/** Whether a vCPU can ever do anything but what it is doing. Changes nothing. */
import { readCurrent } from "./inspection.js";
import type { Vm } from "./vm.js";

/** JMP to itself, with a distance of 8 or of 32 bits. */
const SHORT_LOOP: readonly number[] = [0xeb, 0xfe];
const NEAR_LOOP: readonly number[] = [0xe9, 0xfb, 0xff, 0xff, 0xff];
/** PAUSE, JMP back to it. */
const PAUSE_LOOP: readonly number[] = [0xf3, 0x90, 0xeb, 0xfc];
const LOOPS = [SHORT_LOOP, NEAR_LOOP, PAUSE_LOOP] as const;

/** The reason for people when the current vCPU can't get anywhere any more. */
export function findStuck(vm: Vm): string | undefined {
  const { states, current } = vm;
  if (vm.engine.restartPending || !vm.schedule.isAlone(current) || states.interruptsEnabled) return undefined;
  const { pc } = states;
  const isLoop = LOOPS.some((bytes) => readCurrent(states, pc, bytes.length).every((byte, at) => byte === bytes[at]));
  return isLoop ? `vcpu${current} branches to itself at 0x${pc.toString(16)} with interrupts off` : undefined;
}
