/** SHA-256 by Node's own crypto. */
import { createHash } from "node:crypto";

export const nodeDigester = {
  sha256(bytes: Uint8Array): Uint8Array {
    return createHash("sha256").update(bytes).digest();
  },
};
