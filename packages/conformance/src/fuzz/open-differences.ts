/** What is not compared, for people to read. */
import { openDifferences as arm64Differences } from "../arm64/open-differences.js";
import { openDifferences as x86Differences } from "../x86/open-differences.js";

export function openDifferencesText(architectures: readonly ("amd64" | "arm64")[]): string {
  return architectures.flatMap((architecture) => (architecture === "amd64" ? x86Lines() : arm64Lines())).join("\n");
}

function x86Lines(): string[] {
  return x86Differences.map(({ oracle, what, section, explains }) => {
    const how = explains === undefined ? "not drawn" : "where it explains the difference";
    return `amd64, ${oracle === "both" ? "each oracle" : oracle}: ${what} (${section}); ${how}`;
  });
}

function arm64Lines(): string[] {
  return arm64Differences.map(
    ({ definitions, what, section }) => `arm64, qemu-aarch64: ${definitions}: ${what} (${section})`,
  );
}
