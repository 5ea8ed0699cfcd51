/** Code for VMs that is built with the program, so that no command builds it when it starts. */
import { amd64Code } from "@hvjournal/cpu-x86";
import { arm64Code } from "@hvjournal/cpu-arm64";
import { deserialize, serialize } from "node:v8";

const CODE = { arm64: arm64Code, amd64: amd64Code } as const;

/** By architecture, bytes for `usePreparedCode` of this very program: nothing tells whether they fit another. */
export function prepareCode(): Record<string, Buffer> {
  return Object.fromEntries(Object.entries(CODE).map(([name, code]) => [name, serialize(code.build())]));
}

/** `read` is asked for the code of an architecture with its first VM; undefined: it is built then. */
export function usePreparedCode(read: (architecture: string) => Buffer | undefined): void {
  for (const [name, code] of Object.entries(CODE)) {
    code.use(() => {
      const bytes = read(name);
      return bytes && (deserialize(bytes) as ReturnType<typeof code.build>);
    });
  }
}
