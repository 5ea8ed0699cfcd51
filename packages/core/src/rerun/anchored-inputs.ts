/** Does again what came from outside in a recording, in a run that need not be the same: each act at its anchor. */
import type { ScriptedInputs } from "../record/scripted-inputs.js";
import type { ControlCommand } from "../ports/control.js";
import type { OutsideInput } from "../ports/vmm-half.js";
import { AnchorWatch } from "./anchor.js";
import type { ScheduledAct } from "./schedule.js";

/** Acts that happen in order, one waits for the one before. */
class Lane {
  readonly acts: readonly ScheduledAct[];
  readonly watch = new AnchorWatch();
  next = 0;

  constructor(acts: readonly ScheduledAct[]) {
    this.acts = acts;
    this.watch.expect(acts[0]?.anchor, 0);
  }

  get head(): ScheduledAct | undefined {
    return this.acts[this.next];
  }

  due(guestTimeNs: number): ScheduledAct | undefined {
    const { dueNs } = this.watch;
    return dueNs !== undefined && dueNs <= guestTimeNs ? this.head : undefined;
  }

  done(guestTimeNs: number): void {
    this.next += 1;
    this.watch.expect(this.head?.anchor, guestTimeNs);
  }
}

/** An act whose anchor has not come. */
export interface WaitingAct {
  readonly act: ScheduledAct;
  /** Its place among the acts that are to be done, from 1. */
  readonly number: number;
  /** What the guest wrote instead, as far as it looks like the line that is waited for. */
  readonly nearest: string | undefined;
}

const isDone = ({ act }: ScheduledAct): boolean => act.what !== "nothing";

export class AnchoredInputs implements ScriptedInputs {
  readonly #lanes: readonly Lane[];

  /** Lanes are independent of each other: acts of several recordings, say. */
  constructor(...lanes: readonly (readonly ScheduledAct[])[]) {
    this.#lanes = lanes.map((acts) => new Lane(acts));
  }

  noteOutput(port: number, bytes: Uint8Array): void {
    for (const { watch } of this.#lanes) watch.noteOutput(port, bytes);
  }

  get isOver(): boolean {
    return this.#lanes.every(({ head }) => head === undefined);
  }

  get nextTimeNs(): number | undefined {
    const times = this.#lanes.map(({ watch }) => watch.dueNs).filter((time) => time !== undefined);
    return times.length === 0 ? undefined : Math.min(...times);
  }

  /** Inputs that are due. A command in front of them has to be carried out first. */
  takeDue(guestTimeNs: number): OutsideInput[] {
    const taken: OutsideInput[] = [];
    for (const lane of this.#lanes)
      for (let due = lane.due(guestTimeNs); due !== undefined; due = lane.due(guestTimeNs)) {
        if (due.act.what === "command") break;
        if (due.act.what === "input") taken.push(due.act.input);
        lane.done(guestTimeNs);
      }
    return taken;
  }

  /** A command that is due, without taking it. */
  hasDueCommand(guestTimeNs: number): boolean {
    return this.#lanes.some((lane) => lane.due(guestTimeNs)?.act.what === "command");
  }

  takeDueCommands(guestTimeNs: number): ControlCommand[] {
    const commands: ControlCommand[] = [];
    for (const lane of this.#lanes)
      for (let due = lane.due(guestTimeNs); due?.act.what === "command"; due = lane.due(guestTimeNs)) {
        commands.push(due.act.command);
        lane.done(guestTimeNs);
      }
    return commands;
  }

  get count(): number {
    return this.#lanes.reduce((sum, { acts }) => sum + acts.filter(isDone).length, 0);
  }

  /** The first act of each lane that has not come up, and how many have not in all. */
  get left(): { readonly count: number; readonly waiting: readonly WaitingAct[] } {
    const rests = this.#lanes.map((lane) => ({ lane, rest: lane.acts.slice(lane.next).filter(isDone) }));
    const waiting = rests.flatMap(({ lane, rest: [act] }): WaitingAct[] => {
      if (act === undefined) return [];
      const number = lane.acts.filter(isDone).indexOf(act) + 1;
      return [{ act, number, nearest: lane.watch.nearest }];
    });
    return { count: rests.reduce((sum, { rest }) => sum + rest.length, 0), waiting };
  }
}
