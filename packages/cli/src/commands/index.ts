/** Every command, in the order in which the help lists them. */
import type { Command } from "./command.js";
import { completionOf } from "./completion.js";
import { fsck } from "./fsck.js";
import { index } from "./index-tables.js";
import { info } from "./info.js";
import { record } from "./record.js";
import { replay } from "./replay.js";
import { sql } from "./sql.js";

export const COMMANDS: readonly Command[] = [
  record,
  replay,
  info,
  fsck,
  sql,
  index,
  completionOf(() => COMMANDS.map(nameOf)),
];

function nameOf({ usage }: Command): string {
  return usage.split(" ")[0] ?? usage;
}
