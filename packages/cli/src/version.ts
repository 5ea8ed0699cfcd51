/** The product's version, from its package. */
import { readFileSync } from "node:fs";

let version: string | undefined;

export function productVersion(): string {
  if (version === undefined) {
    const parsed: unknown = JSON.parse(readFileSync(new URL("../package.json", import.meta.url), "utf8"));
    version = typeof parsed === "object" && parsed !== null && "version" in parsed ? String(parsed.version) : "unknown";
  }
  return version;
}
