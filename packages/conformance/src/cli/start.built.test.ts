import { expect, it } from "@jest/globals";
import { readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { deserialize } from "node:v8";
import { hvjournalCommand } from "../testing/repository.js";

const bundle = join(dirname(hvjournalCommand), "..", "dist", "hvjournal.cjs");

/** The name of the bundle's own files holds the hash in its first line. */
function made(kind: string): Buffer {
  const hash = /^\/\/(\w+)\n/.exec(readFileSync(bundle, "utf8"))?.[1];
  return readFileSync(`${bundle}.${hash}.${kind}`);
}

it.each(["arm64", "amd64"])("the code that every %s VM runs stands beside the bundle", (architecture) => {
  const modules = deserialize(made(`${architecture}.code`)) as ReadonlyMap<string, { readonly bytes: Uint8Array }>;
  const kinds = [...modules.keys()].map((key) => (JSON.parse(key) as string[])[0]);
  expect(kinds).toEqual(["host routines", "main loop", "warm handlers"]);
  for (const { bytes } of modules.values())
    expect(() => new WebAssembly.Module(bytes as Uint8Array<ArrayBuffer>)).not.toThrow();
});
