/** `hvjournal help errors`: the words of errors in `--json`. */
import { ERROR_CAUSES } from "../error-codes.js";

const CODE_WIDTH = 22;

const causes = Object.entries(ERROR_CAUSES)
  .map(([code, cause]) => `  ${code.padEnd(CODE_WIDTH - 2)}${cause}`)
  .join("\n");

export const ERRORS_HELP = `With --json an error is an object on stdout, as the answer would be. error is its word, for scripts; message is for people
and may change; position, next (a command that can be pasted) and further fields are there where they help.

  {"error":"journal-damaged","message":"boot.hvj is damaged at batch 17 ...","next":"hvjournal fsck boot.hvj"}

error is one of these, or an errno by which KVM's rules refuse a command (EBUSY, EINVAL):

${causes}
`;
