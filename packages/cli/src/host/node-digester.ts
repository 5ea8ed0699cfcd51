/** SHA-256 by Node's own crypto. */
import { hash } from "node:crypto";

export const nodeDigester = {
  sha256(bytes: Uint8Array): Uint8Array {
    return hash("sha256", bytes, "buffer");
  },
};
