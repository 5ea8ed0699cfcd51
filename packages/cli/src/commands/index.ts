/** Every command, in the order in which the help lists them. */
import { type Command, commandName } from "./command.js";
import { attach } from "./attach.js";
import { attest } from "./attest.js";
import { bisect } from "./bisect.js";
import { completionOf } from "./completion.js";
import { contract } from "./contract.js";
import { ctl } from "./ctl.js";
import { diff } from "./diff.js";
import { fsck } from "./fsck.js";
import { index } from "./index-tables.js";
import { helpOf } from "./help.js";
import { info } from "./info.js";
import { log } from "./log.js";
import { migrate } from "./migrate.js";
import { ps } from "./ps.js";
import { receive } from "./receive.js";
import { record } from "./record.js";
import { replay } from "./replay.js";
import { show } from "./show.js";
import { sql } from "./sql.js";
import { stat } from "./stat.js";
import { verify } from "./verify.js";

export const COMMANDS: readonly Command[] = [
  record,
  replay,
  verify,
  bisect,
  diff,
  migrate,
  receive,
  ps,
  attach,
  ctl,
  contract,
  attest,
  log,
  show,
  stat,
  info,
  fsck,
  sql,
  index,
  completionOf(() => COMMANDS.map(commandName)),
  helpOf(() => COMMANDS.map(commandName)),
];
