/** Moves running VMs and says how long their guests stood still. */
import { spawnSync } from "node:child_process";
import { bareMetalGuest, hvjournal } from "./guest-commands.js";
import { BenchError } from "./measured-process.js";

/** Moves one VM that runs without a pause to a process of its own on this host. */
class Move {
  #directory;
  #vms = [];

  constructor(directory) {
    this.#directory = directory;
  }

  #run(...words) {
    const [program, ...args] = hvjournal(...words);
    // Control sockets lie beside the recordings.
    const env = { ...process.env, XDG_RUNTIME_DIR: this.#directory };
    const { status, stdout, stderr } = spawnSync(program, args, { cwd: this.#directory, env, encoding: "utf8" });
    if (status !== 0)
      throw new BenchError(`hvjournal ${words.join(" ")} ended with status ${status}: ${(stderr + stdout).trim()}`);
    return stdout;
  }

  /** @returns {{ by: string, stoodStillMs: number, tookMs: number }} */
  run(scenario, name) {
    const destination = `${name}-moved`;
    const fixed = ["--seed", "1", "--rtc", "base=2026-01-01T00:00:00Z", "--no-index", "--force"];
    this.#run("record", bareMetalGuest, "--append", scenario, ...fixed, "--detach", "--headless", "-o", `${name}.hvj`);
    this.#vms = [name];
    const startedAt = performance.now();
    const { handOver } = JSON.parse(this.#run("migrate", name, destination, "--json"));
    const tookMs = performance.now() - startedAt;
    this.#vms = [destination];
    this.stop();
    return { by: handOver.by, stoodStillMs: handOver.stoodStillMs, tookMs };
  }

  stop() {
    for (const name of this.#vms.splice(0)) this.#run("ctl", name, "quit");
  }
}

/**
 * @param {string} scenario of the bare-metal guest
 * @returns {{ by: string, stoodStillMs: number, tookMs: number }[]}
 * @throws {BenchError} when a move fails
 */
export function moveRepeatedly(scenario, { directory, count, note }) {
  const [name] = scenario.replace("scenario=", "").split(" ");
  return Array.from({ length: count }, (_, index) => {
    note(`${name}: move ${index + 1} of ${count}`);
    const move = new Move(directory);
    try {
      return move.run(scenario, `${name}-${index}`);
    } finally {
      move.stop();
    }
  });
}
