/** Where a run should stop, checked without objects on the way. */
import { icountAtTime } from "../guest-time.js";
import type { Machine } from "./machine.js";

/** The first moment that satisfies any of these. Stopping there is an observer stop: the guest can't tell. */
export interface Goal {
  /** This many units on the VM as a whole. */
  readonly icount?: number;
  /** Guest time has reached this. */
  readonly guestTimeNs?: number;
  /** The vCPU has just left guest mode with this exit; nothing is answered. */
  readonly exitNumber?: number;
  /** With `exitNumber`: it has been answered, and this many units later. */
  readonly unitsAfter?: number;
  /** Events up to this one have taken effect (replay only). */
  readonly seq?: number;
  /** Asked at each exit, before it is answered. */
  readonly atExit?: (machine: Machine) => boolean;
  /** Asked at each boundary, when no exit is pending: somebody wants the run to stand still. */
  readonly requested?: () => boolean;
}

export class GoalTracker {
  readonly #goal: Goal;
  readonly #machine: Machine;
  /** icount of `exitNumber` + `unitsAfter`, once the exit has been answered. */
  #unitsTarget: number | undefined;
  #askedAtExit: number;

  constructor(goal: Goal, machine: Machine) {
    this.#goal = goal;
    this.#machine = machine;
    // An exit that the run already stands at has been asked about by whoever stopped there.
    this.#askedAtExit = machine.exitPending ? machine.exitNumber : -1;
  }

  get reached(): boolean {
    const { icount, guestTimeNs, exitNumber, unitsAfter, requested } = this.#goal;
    const machine = this.#machine;
    if (requested !== undefined && !machine.exitPending && requested()) return true;
    if (icount !== undefined && machine.icount >= icount) return true;
    if (guestTimeNs !== undefined && machine.guestTimeNs >= guestTimeNs) return true;
    if (exitNumber === undefined) return false;
    if (unitsAfter === undefined) return machine.exitNumber >= exitNumber;
    this.#noteAnswer(exitNumber, unitsAfter);
    return this.#unitsTarget !== undefined && machine.icount >= this.#unitsTarget;
  }

  #noteAnswer(exitNumber: number, unitsAfter: number): void {
    const machine = this.#machine;
    if (this.#unitsTarget !== undefined || machine.exitPending || machine.exitNumber !== exitNumber) return;
    this.#unitsTarget = machine.answeredIcount + unitsAfter;
  }

  /** Whether exits have to be looked at one by one: to be asked about, or because the limit hangs on when one is answered. */
  get looksAtExits(): boolean {
    return this.#goal.atExit !== undefined || this.#goal.unitsAfter !== undefined;
  }

  /** Whether the exit that has just occurred is the place. Asks once for each exit. */
  get reachedAtExit(): boolean {
    const { atExit } = this.#goal;
    if (atExit === undefined || this.#askedAtExit === this.#machine.exitNumber) return false;
    this.#askedAtExit = this.#machine.exitNumber;
    return atExit(this.#machine);
  }

  /** No run may go further in one go. Not while an exit is pending. */
  get limit(): number {
    const { icount, guestTimeNs, exitNumber, unitsAfter } = this.#goal;
    const machine = this.#machine;
    let limit = icount ?? Infinity;
    if (guestTimeNs !== undefined)
      limit = Math.min(limit, icountAtTime(machine.icount, machine.guestTimeNs, guestTimeNs));
    if (exitNumber !== undefined && unitsAfter !== undefined) {
      this.#noteAnswer(exitNumber, unitsAfter);
      limit = Math.min(limit, this.#unitsTarget ?? Infinity);
    }
    return limit;
  }

  /** Whether the event that has just taken effect is the place. */
  reachedSeq(seq: number): boolean {
    return this.#goal.seq !== undefined && seq >= this.#goal.seq;
  }
}
