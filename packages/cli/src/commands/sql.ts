/** `hvjournal sql`: a query over a recording, with or without derived tables in the file. */
import { shellCommand } from "@hvjournal/core";
import { query, type QueryResult, querySchema } from "@hvjournal/journal";
import { UsageError } from "../cli-error.js";
import { type ExitCode, ExitStatus } from "../exit-status.js";
import { jsonLine, type Output } from "../output/console-output.js";
import { csvCell, jsonCell, plainCell } from "../output/sql-cells.js";
import { defaultRecording, wordsOption } from "../recording-path.js";
import { type Arguments, type Command, flag, flagOption, listOption } from "./command.js";

export const sql: Command = {
  usage: "sql [words..]",
  summary: "query a recording: sql [RECORDING] QUERY",
  isEndedBySignals: true,
  options: (yargs) =>
    wordsOption(yargs)
      .usage("usage: $0 sql [RECORDING] QUERY [OPTIONS]\n       $0 sql --schema")
      .option("csv", flagOption("comma-separated values"))
      .option("header", { type: "boolean", default: true, describe: "names of the columns on the first line" })
      .option("schema", flagOption("what a query may ask: tables and their columns")),
  run(args, context) {
    const { output } = context;
    if (flag(args, "schema")) return Promise.resolve(printSchema(output));
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
    const answer = query(named ?? defaultRecording(args, context), text);
    if (output.json) printJson(answer, output);
    else printText(answer, args, output);
    return Promise.resolve(ExitStatus.done);
  },
};

function printSchema(output: Output): ExitCode {
  for (const statement of querySchema()) output.line(output.json ? jsonLine({ sql: statement }) : `${statement};`);
  return ExitStatus.done;
}

function printJson({ columns, rows }: QueryResult, output: Output): void {
  for (const row of rows)
    output.line(jsonLine(Object.fromEntries(columns.map((column, index) => [column, jsonCell(row[index])]))));
}

/** As `sqlite3 -header`: `|` between the columns, or commas. */
function printText({ columns, rows }: QueryResult, args: Arguments, output: Output): void {
  const [cell, separator] = flag(args, "csv") ? ([csvCell, ","] as const) : ([plainCell, "|"] as const);
  if (args["header"] !== false) output.line(columns.map(cell).join(separator));
  for (const row of rows) output.line(row.map(cell).join(separator));
}
