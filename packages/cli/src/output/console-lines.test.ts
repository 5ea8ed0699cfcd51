import { expect, it } from "@jest/globals";
import type { EventCursor } from "@hvjournal/core";
import { ConsoleLines } from "./console-lines.js";

function output(seq: number, text: string): EventCursor {
  return { seq, icount: seq * 10, exitsBefore: seq - 1, outputBytes: Buffer.from(text) } as unknown as EventCursor;
}

function textsOf(lines: ConsoleLines, ...outputs: readonly EventCursor[]): string[] {
  const all = outputs.flatMap((cursor) => lines.push(cursor));
  return all.map(({ seq, place, columns }) => `event:${seq} ${place} ${columns.join(" ")}`);
}

it("joins a console's bytes to lines, each at the event and exit of its first byte", () => {
  const lines = new ConsoleLines();
  expect(textsOf(lines, output(1, "a"), output(2, "b"), output(3, "\r"), output(4, "\nc\nd"), output(5, "e"))).toEqual([
    "event:1 start console 'ab\\r\\n'",
    "event:4 exit:3 console 'c\\n'",
  ]);
  expect(lines.rest().map(({ seq, columns }) => [seq, ...columns])).toEqual([[4, "console", "'de'"]]);
  expect(lines.rest()).toEqual([]);
});

it("ends a line that the guest never ends", () => {
  const lines = new ConsoleLines();
  expect(lines.push(output(1, "x".repeat(5000)))).toHaveLength(1);
  expect(lines.rest()[0]?.json["bytes"]).toHaveLength(5000 - 4096);
});
