/** `hvjournal help`: what the words mean that many commands take. */
import { readFileSync } from "node:fs";
import { UsageError } from "../cli-error.js";
import { ExitStatus } from "../exit-status.js";
import { TOPICS } from "../help/topics.js";
import { MACHINE_SCHEMA_PATH } from "../machine-schema-path.js";
import { nearestWord } from "@hvjournal/core";
import { jsonLine } from "../output/console-output.js";
import { type Command, stringOption } from "./command.js";

const isTopic = (name: string): name is keyof typeof TOPICS => Object.hasOwn(TOPICS, name);

/** `commandNames`: what else may stand behind it; main.ts shows their --help. */
export function helpOf(commandNames: () => readonly string[]): Command {
  return {
    usage: "help [topic]",
    summary: `a command, or one of ${Object.keys(TOPICS).join(", ")}`,
    options: (yargs) => yargs.positional("topic", { type: "string", describe: Object.keys(TOPICS).join(", ") }),
    run(args, { output }) {
      const topic = stringOption(args, "topic") ?? "";
      if (!isTopic(topic)) throw noTopic(topic, commandNames());
      if (output.json && topic === "machine-file") {
        output.line(jsonLine(JSON.parse(readFileSync(MACHINE_SCHEMA_PATH, "utf8"))));
        return Promise.resolve(ExitStatus.done);
      }
      output.startPager();
      for (const line of TOPICS[topic].trimEnd().split("\n")) output.line(line);
      return Promise.resolve(ExitStatus.done);
    },
  };
}

function noTopic(topic: string, commandNames: readonly string[]): UsageError {
  const topics = Object.keys(TOPICS);
  const meant = nearestWord(topic, [...topics, ...commandNames]);
  return new UsageError(
    `there is no help for ${topic}: there is for ${topics.join(", ")}, and each command`,
    meant === undefined ? "hvjournal --help" : `hvjournal help ${meant}`,
  );
}
