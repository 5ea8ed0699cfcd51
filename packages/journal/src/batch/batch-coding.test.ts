import { EventBatch, EVENTS_PER_BATCH_MAX, EXIT_WORD_COUNT, OUTPUT_BYTES_PER_BATCH_MAX } from "@hvjournal/core";
import { describe, expect, it } from "@jest/globals";
import fc from "fast-check";
import { ByteCodingError, ByteSink, ByteSource } from "../canonical/byte-coding.js";
import { batchText } from "../testing/recorded-answers.js";
import { SampleRun, SeededNumbers } from "../testing/sample-run.js";
import { BATCH_BYTES_MAX, BatchCoder, checkBatch } from "./batch-coding.js";
import { readColumn, writeColumn } from "./column-coding.js";

const u32 = fc.nat({ max: 0xffff_ffff });
/** Steps of icount: mostly small, at times beyond 32 bits. */
const step = fc.oneof(
  { weight: 9, arbitrary: fc.nat({ max: 300 }) },
  { weight: 1, arbitrary: fc.nat({ max: 2 ** 41 }) },
);
/** Exits from few sites, as a guest has them, and from any. */
const exitWords = fc.oneof(
  fc.record({ site: fc.nat({ max: 3 }), data: u32 }).map(({ site, data }) => {
    const words = new Uint32Array(EXIT_WORD_COUNT);
    words.set([site % 2, 0, 1, 6, 0x104, 0, 0x1000 + site * 4, 0xffff_8000]);
    words[12] = data;
    return words;
  }),
  fc.uint32Array({ minLength: EXIT_WORD_COUNT, maxLength: EXIT_WORD_COUNT }),
);

const event = fc.oneof(
  fc.record({ kind: fc.constant("exit" as const), step, words: exitWords }),
  fc.record({ kind: fc.constantFrom("handled" as const, "completed" as const), step, low: u32, high: u32 }),
  fc.record({
    kind: fc.constant("output" as const),
    step,
    port: fc.nat({ max: 5 }),
    bytes: fc.uint8Array({ maxLength: 40 }),
  }),
  fc.record({ kind: fc.constant("irq" as const), step, line: u32, level: fc.nat({ max: 1 }) }),
  fc.record({
    kind: fc.constant("register" as const),
    step,
    vcpu: fc.nat({ max: 7 }),
    name: fc.constantFrom("x0", "x1", "x30", "pc", "sp"),
    low: u32,
    high: u32,
  }),
  fc.record({ kind: fc.constant("digest" as const), step, bytes: fc.uint8Array({ minLength: 32, maxLength: 32 }) }),
);
type SampleEvent = typeof event extends fc.Arbitrary<infer Event> ? Event : never;

function append(batch: EventBatch, icount: number, sample: SampleEvent): void {
  switch (sample.kind) {
    case "exit":
      return batch.appendExit(icount, sample.words);
    case "handled":
      return batch.appendHandled(icount, sample.low, sample.high);
    case "completed":
      return batch.appendCompleted(icount, sample.low, sample.high);
    case "output":
      return batch.appendOutput(icount, sample.port, sample.bytes);
    case "irq":
      return batch.appendIrqLine(icount, sample.line, sample.level);
    case "register":
      return batch.appendRegister(icount, sample.vcpu, sample.name, sample.low, sample.high);
    case "digest":
      return batch.appendDigest(icount, sample.bytes);
  }
}

function batchOf(samples: readonly SampleEvent[]): EventBatch {
  const batch = new EventBatch();
  batch.begin({ firstSeq: 70_001, exitNumber: 2 ** 33, icount: 2 ** 40 });
  let icount = batch.firstIcount;
  for (const sample of samples) {
    icount += sample.step;
    append(batch, icount, sample);
  }
  return batch;
}

describe("a batch's columns", () => {
  it("come back as they were, whatever is in them", () => {
    const coder = new BatchCoder();
    const decoded = new EventBatch();
    fc.assert(
      fc.property(fc.array(event, { maxLength: 120 }), (samples) => {
        const batch = batchOf(samples);
        checkBatch(batch, batch.firstSeq, batch.firstExitNumber, batch.firstIcount);
        coder.decode(coder.encode(batch).slice(), decoded);
        expect(batchText(decoded)).toBe(batchText(batch));
      }),
      { numRuns: 150 },
    );
  });

  it("are the same bytes for the same events, whatever the coder has seen before", () => {
    const used = new BatchCoder();
    fc.assert(
      fc.property(fc.array(event, { maxLength: 60 }), (samples) => {
        expect([...used.encode(batchOf(samples))]).toEqual([...new BatchCoder().encode(batchOf(samples))]);
      }),
      { numRuns: 30 },
    );
  });

  it("are never decoded beyond their end, nor from other bytes than the coder writes, without a named error", () => {
    const coder = new BatchCoder();
    const decoded = new EventBatch();
    fc.assert(
      fc.property(
        fc.array(event, { maxLength: 40 }),
        fc.nat(),
        fc.nat({ max: 7 }),
        fc.boolean(),
        (samples, place, bit, cut) => {
          const bytes = coder.encode(batchOf(samples)).slice();
          const at = place % bytes.length;
          bytes[at] = (bytes[at] ?? 0) ^ (1 << bit);
          try {
            coder.decode(cut ? bytes.subarray(0, at) : bytes, decoded);
          } catch (error) {
            expect(error).toBeInstanceOf(ByteCodingError);
          }
        },
      ),
      { numRuns: 300 },
    );
  });

  it("fit the bound on what is inflated, even when nothing repeats", () => {
    const batch = new EventBatch();
    const numbers = new SeededNumbers(1);
    const frame = new Uint32Array(EXIT_WORD_COUNT);
    for (let index = 0; index < EVENTS_PER_BATCH_MAX - 1; index++)
      batch.appendExit(
        2 ** 50,
        frame.map(() => numbers.below(2 ** 32)),
      );
    batch.appendOutput(2 ** 50, 0, new Uint8Array(OUTPUT_BYTES_PER_BATCH_MAX));
    const bytes = new BatchCoder().encode(batch);
    expect(bytes.length).toBeGreaterThan(BATCH_BYTES_MAX / 2);
    expect(bytes.length).toBeLessThan(BATCH_BYTES_MAX);
  });

  it("take few bytes for a guest that prints", () => {
    let bytes = 0;
    let events = 0;
    const coder = new BatchCoder();
    const run = new SampleRun(4, { firstSeq: 1, exitNumber: 0, icount: 0 }, (batch) => {
      bytes += coder.encode(batch).length;
      events += batch.count;
    });
    run.run(5000);
    run.end();
    expect(bytes / events).toBeLessThan(5);
  });
});

describe("a column", () => {
  const rewritten = (values: Uint32Array, seed: number): { bytes: number; values: Uint32Array } => {
    const sink = new ByteSink();
    writeColumn(sink, values, values.length, seed);
    const read = new Uint32Array(values.length);
    const source = new ByteSource(sink.view());
    readColumn(source, read, values.length, seed);
    source.end();
    return { bytes: sink.length, values: read };
  };

  it("takes one byte when nothing in it changes", () => {
    expect(rewritten(new Uint32Array(1000).fill(0xffff_8000), 0xffff_8000).bytes).toBe(1);
  });

  it("takes a byte a value when it counts up, also across 2^32", () => {
    const values = Uint32Array.from({ length: 100 }, (_, index) => 0xffff_ffd0 + index);
    const result = rewritten(values, 0xffff_ffcf);
    expect(result.bytes).toBe(101);
    expect(result.values).toEqual(values);
  });

  it("takes any values", () => {
    fc.assert(
      fc.property(fc.uint32Array({ maxLength: 50 }), u32, (values, seed) =>
        expect([...rewritten(values, seed).values]).toEqual([...values]),
      ),
      { numRuns: 100 },
    );
  });
});
