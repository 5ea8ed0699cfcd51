/** Rows of the tables for x86. */
import { type TableRow, testTable } from "../table.js";
import { type Program, type ProgramOptions, withProgram } from "./program.js";

export type Row = TableRow<Program, ProgramOptions>;

/** `defaults`: the options of rows that have none. */
export function testRows(group: string, rows: readonly Row[], defaults: ProgramOptions = {}): void {
  testTable({ group, withProgram, defaults }, rows);
}
