/** A raw disk image, opened read-only: what the guest writes stays in the VM's state. */
import { createHash } from "node:crypto";
import { closeSync, fstatSync, openSync, readSync } from "node:fs";
import { type BlockBackend, shellWord } from "@hvjournal/core";
import { CliError } from "../cli-error.js";

const CHUNK_BYTES = 1 << 20;

export interface DriveFile extends BlockBackend {
  readonly path: string;
  close(): void;
}

/** Throws CliError when the file can't be opened or is no whole number of sectors. */
export function openDriveFile(path: string, id: string, readOnly: boolean): DriveFile {
  let file: number;
  try {
    file = openSync(path, "r");
  } catch (cause) {
    throw new CliError(`can't open drive ${id}: ${path}: ${reason(cause)}`, { code: "no-file", cause });
  }
  const { size } = fstatSync(file);
  if (size % 512 !== 0)
    throw new CliError(`drive ${id}: ${path} has ${size} bytes, no whole number of 512-byte sectors`, {
      code: "drive",
      next: `truncate -s %512 ${shellWord(path)}`,
    });
  let fingerprint: string | undefined;
  return {
    id,
    path,
    bytes: size,
    readOnly,
    read(offset, bytes) {
      const into = Buffer.alloc(bytes);
      for (let done = 0; done < bytes;) {
        const count = readSync(file, into, done, bytes - done, offset + done);
        if (count === 0)
          throw new CliError(`drive ${id}: ${path} became shorter than ${size} bytes while the VM ran`, {
            code: "drive",
          });
        done += count;
      }
      return into;
    },
    fingerprint() {
      fingerprint ??= hashFile(file, size);
      return fingerprint;
    },
    close() {
      closeSync(file);
    },
  };
}

function hashFile(file: number, size: number): string {
  const hash = createHash("sha256");
  const chunk = Buffer.alloc(CHUNK_BYTES);
  for (let at = 0; at < size;) {
    const count = readSync(file, chunk, 0, CHUNK_BYTES, at);
    if (count === 0) break;
    hash.update(chunk.subarray(0, count));
    at += count;
  }
  return hash.digest("hex");
}

export function reason(cause: unknown): string {
  if (cause instanceof Error && "code" in cause) {
    if (cause.code === "ENOENT") return "no such file";
    if (cause.code === "EACCES") return "permission denied";
    if (cause.code === "EISDIR") return "it is a directory";
  }
  return cause instanceof Error ? cause.message : String(cause);
}
