/** Generated code around decoded records: what their places say of pc, and the way from one to the next. */
import { PackedPlace, PackedRecord, RECORD_UNIT, type RecordGeometry } from "../decode/record.js";
import type { FunctionBuilder } from "../wasm/function-builder.js";

/** A record in a local, and the base of its page. */
export interface RunningRecord {
  readonly record: number;
  pushBase(): void;
}

/** Pushes the offset of a record's instruction in its page as i64; 4096 for the record behind the last. */
export function pushOffset(code: FunctionBuilder, records: RecordGeometry, { record, pushBase }: RunningRecord): void {
  code.get(record);
  if (records.kind === "packed") {
    code.memory("i64.load16_u", PackedRecord.offset);
    return;
  }
  pushBase();
  code.op("i32.sub");
  code.i32(records.shift);
  code.op("i32.shr_u");
  code.op("i64.extend_i32_u");
}

/** The same of the instruction behind it. Packed: that of the record behind it, which every record has. */
export function pushNextOffset(
  code: FunctionBuilder,
  records: RecordGeometry,
  running: RunningRecord,
  recordBytes: number,
): void {
  if (records.kind === "packed") {
    code.get(running.record);
    code.memory("i64.load16_u", recordBytes + PackedRecord.offset);
    return;
  }
  pushOffset(code, records, running);
  code.i64(4n);
  code.op("i64.add");
}

/** Packed: the offset behind the record that is not kept, as i64. */
export function pushOffsetBehindUnkept(code: FunctionBuilder, base: number): void {
  code.get(base);
  code.memory("i64.load16_u", PackedPlace.nextOfUnkept + PackedRecord.offset);
}

/**
 * Sets `record` to that of an offset, which `pushTarget` pushes as an i64 with more bits in front. Packed: where nothing is
 * decoded, to the record that is not kept, with that offset.
 */
export function setRecordAt(
  code: FunctionBuilder,
  records: RecordGeometry,
  { record, base }: { readonly record: number; readonly base: number },
  pushTarget: () => void,
): void {
  const pushTargetOffset = (): void => {
    pushTarget();
    code.op("i32.wrap_i64");
    code.i32(4095);
    code.op("i32.and");
  };
  code.get(base);
  pushTargetOffset();
  code.i32(records.kind === "packed" ? 1 : records.shift);
  code.op("i32.shl");
  code.op("i32.add");
  if (records.kind === "dense") {
    code.set(record);
    return;
  }
  code.memory("i32.load16_u", PackedPlace.table);
  code.tee(record);
  code.op("i32.eqz");
  code.if();
  code.get(base);
  pushTargetOffset();
  code.memory("i32.store16", PackedPlace.unkept + PackedRecord.offset);
  code.end();
  code.get(base);
  code.get(record);
  code.i32(Math.log2(RECORD_UNIT));
  code.op("i32.shl");
  code.op("i32.add");
  code.set(record);
}
