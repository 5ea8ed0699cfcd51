/** Runs a VM with its control socket, until it ends or goes elsewhere. */
import type { MigrationReport } from "@hvjournal/core";
import type { ControlServer, Farewell } from "./control-server.js";
import type { Instance } from "./instance.js";
import type { SessionEnd } from "./live-session.js";

export interface InstanceEnd {
  readonly end: SessionEnd;
  /** Says good-bye to whoever is attached; once the recording is closed. */
  readonly close: (farewell: Farewell) => Promise<void>;
}

/** `server` undefined: nobody can ask it for anything. */
export async function runInstance(instance: Instance, server: ControlServer | undefined): Promise<InstanceEnd> {
  server?.serve(instance);
  const end = await instance.session.run();
  await server?.settle();
  return {
    end: end.why === "moved" ? movedEnd(server?.moved) : end,
    close: (farewell) => server?.close(farewell) ?? Promise.resolve(),
  };
}

function movedEnd(moved: MigrationReport | undefined): SessionEnd {
  if (moved === undefined) return { why: "moved" };
  const { name, processId } = moved.destination;
  return { why: "moved", to: { name, processId, paused: moved.handOver.paused } };
}
