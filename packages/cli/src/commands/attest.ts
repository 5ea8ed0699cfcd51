/** `hvjournal attest`: what measured pages hold at a moment, and what wrote to them since an earlier one. */
import {
  formatPosition,
  type Machine,
  measurePagesSteps,
  parsePosition,
  type Replayer,
  startSeq,
} from "@hvjournal/core";
import { type MeasuredList, measuredList } from "../attest/measured-list.js";
import { UsageError } from "../cli-error.js";
import { type ExitCode, ExitStatus } from "../exit-status.js";
import { nodeDigester } from "../host/node-digester.js";
import { AttestText, isChanged, measurement } from "../output/attest-text.js";
import { jsonLine } from "../output/console-output.js";
import { counted } from "../output/value-text.js";
import { recordingOption, recordingPath } from "../recording-path.js";
import { nameByGuest } from "../symbols/guest-symbols.js";
import { symbolOptions, symbolsFromFiles } from "../symbols/symbol-files.js";
import { type LongAct, withLongAct } from "../vm/long-act.js";
import {
  checkReached,
  createReplayer,
  findPlace,
  liesBeforeEnd,
  type OpenRecording,
  type Place,
  withRecording,
} from "../vm/open-recording.js";
import { type Arguments, type Command, type CommandContext, stringOption, textOption } from "./command.js";

const START = "start";

export const attest: Command = {
  usage: "attest [recording]",
  summary: "what measured pages hold at a moment, and for each that changed, what changed it",
  options: (yargs) =>
    symbolOptions(recordingOption(yargs.positional("recording", { type: "string" })))
      .usage("usage: $0 attest [RECORDING] [--at POSITION] [--since POSITION] [--pages text|LIST]")
      .option("at", textOption("POSITION at which they are measured (end)"))
      .option("since", textOption("POSITION that they are compared with (start)"))
      .option(
        "pages",
        textOption(
          "text (from _stext to _etext; without symbols what the kernel's file says is code, and not its data, page tables or initrd), or guest-physical ADDR, ADDR+BYTES, FIRST-LAST, with commas between (text)",
        ),
      ),
  run(args, context) {
    const at = stringOption(args, "at") ?? "end";
    const options = { salvage: liesBeforeEnd(parsePosition(at)) };
    const path = recordingPath(args, context);
    const { output } = context;
    return withRecording(
      path,
      context,
      symbolsFromFiles(args),
      (it) =>
        withLongAct({ act: `measuring ${path}`, total: it.reader.end.icount, output }, (act) =>
          runAttest(it, at, args, { ...context, act }),
        ),
      options,
    );
  },
};

async function runAttest(
  recording: OpenRecording,
  atText: string,
  args: Arguments,
  { output, act }: CommandContext & { readonly act: LongAct },
): Promise<ExitCode> {
  const { path, reader } = recording;
  const replayer = createReplayer(recording);
  const [at, since] = [findPlace(atText, reader), sinceOption(args, recording)];
  checkReached(await act.seek(replayer, at.goal), at, replayer, path);
  const end = momentOf(replayer);
  nameByGuest(recording.symbols, replayer.machine);
  const list = measuredList(stringOption(args, "pages") ?? "text", replayer.machine, recording);
  checkReached(await act.seek(replayer, since.goal), since, replayer, path);
  const start = momentOf(replayer);
  if (start.seq > end.seq || start.icount > end.icount)
    throw new UsageError(`--since ${formatPosition(since.position)} lies behind --at ${formatPosition(at.position)}`);
  const steps = measurePagesSteps({ replayer, pages: list.pages, since: since.goal, at: at.goal });
  const { pages } = await act.run(steps);
  const changed = pages.filter(isChanged).length;
  const total = measurement(pages, (bytes) => nodeDigester.sha256(bytes));
  const text = new AttestText(recording);
  output.startPager();
  if (output.json) {
    for (const page of pages) output.line(jsonLine(text.json(page)));
    output.line(jsonLine({ at: formatPosition(at.position), pages: pages.length, changed, measurement: total }));
  } else {
    for (const line of headLines(at, list)) output.line(line);
    for (const page of pages) for (const line of text.lines(page, formatPosition(since.position))) output.line(line);
    output.line(`measurement sha256:${total}, ${changed} of ${counted(pages.length, "page")} changed`);
  }
  return changed === 0 ? ExitStatus.done : ExitStatus.no;
}

function sinceOption(args: Arguments, { reader }: OpenRecording): Place {
  const text = stringOption(args, "since");
  if (text !== undefined && text !== START) return findPlace(text, reader);
  return { position: { at: START }, goal: { seq: startSeq(reader) } };
}

function momentOf({ machine, nextSeq }: Replayer): { readonly seq: number } & Pick<Machine, "icount"> {
  return { seq: nextSeq - 1, icount: machine.icount };
}

function headLines({ position }: Place, { pages, what }: MeasuredList): string[] {
  return [`measured at ${formatPosition(position)}: ${counted(pages.length, "page")}, ${what}`];
}
