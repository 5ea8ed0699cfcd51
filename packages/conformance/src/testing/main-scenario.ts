/** The bare-metal guest with a little of everything: timer, EL0, calls, disk, entropy, typed lines. */
import { command, type GuestSetup } from "./guest-recording.js";
import { memoryDrive, randomSectors } from "./memory-drive.js";

const SECTORS = 16;

export const mainScript = `
at console /quit ends/ send "first line\\n"
at console /echo: first line/ send "second\\nquit\\n"
`;

/** Each call gives drives of its own. */
export function mainScenario(changes: Partial<GuestSetup> = {}): GuestSetup {
  return {
    append: "scenario=main ticks=5 period=500",
    script: mainScript,
    drives: [memoryDrive("disk0", randomSectors(SECTORS, 7))],
    commands: [command("smccc-filter", "0xc6000000+0x100=forward")],
    ...changes,
  };
}
