import { expect, it } from "@jest/globals";
import { csvCell, jsonCell, plainCell } from "./sql-cells.js";

it("prints numbers as the sqlite3 shell does: whole, negative, real", () => {
  const values = [
    -1n,
    9_223_372_036_854_775_807n,
    -9_223_372_036_854_775_808n,
    1.5,
    -2.5,
    1,
    -0.1,
    3e30,
    1e16,
    1e-7,
    1 / 3,
  ];
  expect(values.map(plainCell)).toEqual([
    "-1",
    "9223372036854775807",
    "-9223372036854775808",
    "1.5",
    "-2.5",
    "1.0",
    "-0.1",
    "3.0e+30",
    "1.0e+16",
    "1.0e-07",
    "0.333333333333333",
  ]);
  expect([plainCell(Infinity), plainCell(-Infinity), plainCell(null)]).toEqual(["Inf", "-Inf", ""]);
});

it("quotes what would break a line of CSV, and keeps 64 bits in JSON", () => {
  expect([csvCell('a"b'), csvCell("a,b"), csvCell("plain"), csvCell(-2n)]).toEqual(['"a""b"', '"a,b"', "plain", "-2"]);
  expect([jsonCell(-1n), jsonCell(2n ** 62n), jsonCell(-(2n ** 62n)), jsonCell(Uint8Array.of(0, 255))]).toEqual([
    -1,
    2n ** 62n,
    2n ** 64n - 2n ** 62n,
    "00ff",
  ]);
});
