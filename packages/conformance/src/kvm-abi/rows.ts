/** Rows of the tables for arm64. */
import { type Program, type ProgramOptions, withProgram } from "./program.js";
import { type TableRow, testTable } from "./table.js";

export type Row = TableRow<Program, ProgramOptions>;

export function testRows(group: string, rows: readonly Row[]): void {
  testTable({ group, withProgram, defaults: {} }, rows);
}
