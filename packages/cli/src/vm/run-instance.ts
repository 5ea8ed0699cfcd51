/** Runs a VM with its control socket, until it ends or goes elsewhere. */
import type { ControlServer, Farewell } from "./control-server.js";
import type { Instance } from "./instance.js";
import type { SessionEnd } from "./live-session.js";

export interface InstanceEnd {
  readonly end: SessionEnd;
  /** Says good-bye to whoever is attached; once the recording is closed. */
  readonly close: (farewell: Farewell) => Promise<void>;
}

export async function runInstance(instance: Instance, server: ControlServer): Promise<InstanceEnd> {
  server.serve(instance);
  const close = (farewell: Farewell): Promise<void> => server.close(farewell);
  try {
    const end = await instance.session.run();
    await server.settle();
    return { end: end.why === "moved" ? movedEnd(server) : end, close };
  } catch (error) {
    await close({ text: `${instance.name} has broken off` });
    throw error;
  }
}

function movedEnd({ moved }: ControlServer): SessionEnd {
  if (moved === undefined) return { why: "moved" };
  const { name, processId } = moved.destination;
  return { why: "moved", to: { name, processId } };
}
