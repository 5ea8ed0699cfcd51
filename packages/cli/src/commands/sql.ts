/** `hvjournal sql`: a query over a recording, with or without derived tables in the file. */
import { shellCommand } from "@hvjournal/core";
import { query } from "@hvjournal/journal";
import { UsageError } from "../cli-error.js";
import { ExitStatus } from "../exit-status.js";
import { jsonLine } from "../output/console-output.js";
import { defaultRecording, wordsOption } from "../recording-path.js";
import { type Command, flag, flagOption, listOption } from "./command.js";

export const sql: Command = {
  usage: "sql [words..]",
  summary: "query a recording: sql [RECORDING] QUERY",
  options: (yargs) => wordsOption(yargs).option("csv", flagOption("comma-separated values")),
  run(args, context) {
    const words = listOption(args, "words");
    const text = words.at(-1);
    if (text === undefined || words.length > 2)
      throw new UsageError(
        "sql [RECORDING] QUERY",
        shellCommand(
          "hvjournal",
          "sql",
          words[0] ?? defaultRecording(args, context),
          "select reason, count(*) from exits group by 1",
        ),
      );
    const [named] = words.length === 2 ? words : [];
    const path = named ?? defaultRecording(args, context);
    const { columns, rows } = query(path, text);
    const { output } = context;
    if (flag(args, "csv")) output.line(columns.map(csvCell).join(","));
    for (const row of rows) {
      if (output.json)
        output.line(jsonLine(Object.fromEntries(columns.map((column, index) => [column, jsonCell(row[index])]))));
      else output.line(row.map(flag(args, "csv") ? csvCell : plainCell).join(flag(args, "csv") ? "," : "|"));
    }
    return Promise.resolve(ExitStatus.done);
  },
};

/** Numbers as numbers, as far as JSON's readers keep them whole. */
function jsonCell(value: unknown): unknown {
  if (typeof value !== "bigint") return value;
  const number = Number(value);
  return Number.isSafeInteger(number) ? number : BigInt.asUintN(64, value);
}

/** As the sqlite3 shell prints them. */
function plainCell(value: unknown): string {
  if (value === null || value === undefined) return "";
  return value instanceof Uint8Array ? Buffer.from(value).toString("hex") : String(value);
}

function csvCell(value: unknown): string {
  const text = plainCell(value);
  return /[",\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}
