/** The CPU architectures of this build. */
import type { Architecture } from "@hvjournal/core";
import { arm64 } from "@hvjournal/cpu-arm64";
import { CliError } from "./cli-error.js";
import { ExitStatus } from "./exit-status.js";

const ARCHITECTURES: readonly Architecture[] = [arm64];

/** Other names that users have for one. */
const ALIASES: Readonly<Record<string, string>> = { aarch64: "arm64", x86_64: "amd64" };

/** Throws CliError with status 125: another build may have it. */
export function architectureNamed(name: string): Architecture {
  const wanted = ALIASES[name] ?? name;
  const found = ARCHITECTURES.find((architecture) => architecture.name === wanted);
  if (found === undefined) {
    throw new CliError(
      `this build has no architecture ${name}: it has ${ARCHITECTURES.map((each) => each.name).join(", ")}`,
      { code: "no-architecture", status: ExitStatus.untestable },
    );
  }
  return found;
}
