/** cpio archives in the "newc" format (Linux, Documentation/driver-api/early-userspace/buffer-format.rst): initial RAM file systems. */
import { encodeUtf8 } from "@hvjournal/core";

export type CpioEntry =
  | { readonly kind: "file"; readonly path: string; readonly content: Uint8Array; readonly mode?: number }
  | { readonly kind: "directory"; readonly path: string; readonly mode?: number }
  | { readonly kind: "symlink"; readonly path: string; readonly target: string }
  | {
      readonly kind: "characterDevice" | "blockDevice";
      readonly path: string;
      readonly major: number;
      readonly minor: number;
      readonly mode?: number;
    };

/** S_IFMT values and the permissions that an entry without `mode` gets. */
const TYPES = {
  file: { type: 0o100000, mode: 0o644 },
  directory: { type: 0o040000, mode: 0o755 },
  symlink: { type: 0o120000, mode: 0o777 },
  characterDevice: { type: 0o020000, mode: 0o600 },
  blockDevice: { type: 0o060000, mode: 0o600 },
} as const;

const NEWC_MAGIC = "070701";
const TRAILER_PATH = "TRAILER!!!";
const FIELD_ALIGNMENT = 4;
/** Archives are padded to whole blocks, as cpio(1) does. */
const ARCHIVE_BLOCK_BYTES = 512;

interface Header {
  readonly inode: number;
  readonly mode: number;
  readonly links: number;
  readonly modifiedSeconds: number;
  readonly contentBytes: number;
  readonly major: number;
  readonly minor: number;
}

function padTo(parts: Uint8Array[], length: number, alignment: number): number {
  const padding = (alignment - (length % alignment)) % alignment;
  if (padding > 0) {
    parts.push(new Uint8Array(padding));
  }
  return length + padding;
}

function headerText(header: Header, nameBytes: number): string {
  const { inode, mode, links, modifiedSeconds, contentBytes, major, minor } = header;
  const owner = 0;
  const archiveDevice = 0;
  const checksum = 0;
  const identity = [inode, mode, owner, owner, links, modifiedSeconds, contentBytes];
  const fields = [...identity, archiveDevice, archiveDevice, major, minor, nameBytes, checksum];
  return fields.reduce((text, field) => text + field.toString(16).padStart(8, "0"), NEWC_MAGIC);
}

class CpioWriter {
  readonly #parts: Uint8Array[] = [];
  #length = 0;

  add(path: string, header: Header, content: Uint8Array): void {
    const name = encodeUtf8(`${path}\0`);
    this.#append(encodeUtf8(headerText(header, name.length)));
    this.#append(name);
    this.#length = padTo(this.#parts, this.#length, FIELD_ALIGNMENT);
    this.#append(content);
    this.#length = padTo(this.#parts, this.#length, FIELD_ALIGNMENT);
  }

  finish(): Uint8Array {
    this.#length = padTo(this.#parts, this.#length, ARCHIVE_BLOCK_BYTES);
    const archive = new Uint8Array(this.#length);
    let offset = 0;
    for (const part of this.#parts) {
      archive.set(part, offset);
      offset += part.length;
    }
    return archive;
  }

  #append(bytes: Uint8Array): void {
    this.#parts.push(bytes);
    this.#length += bytes.length;
  }
}

/** "/etc/passwd" and "etc/passwd" are the same; "." and ".." are no paths of an archive. */
function normalised(path: string): string {
  const names = path.split("/").filter((name) => name !== "");
  if (names.length === 0 || names.some((name) => name === "." || name === "..")) {
    throw new RangeError(`can't archive path "${path}"`);
  }
  return names.join("/");
}

/**
 * Every entry once, each behind the directories above it: the kernel unpacks in order. Directories that
 * nobody has named are added. Throws RangeError for a path that occurs twice.
 */
function parentsFirst(entries: readonly CpioEntry[]): CpioEntry[] {
  const named = new Map<string, CpioEntry>();
  for (const entry of entries) {
    const path = normalised(entry.path);
    if (named.has(path)) {
      throw new RangeError(`path "${path}" occurs twice in the archive`);
    }
    named.set(path, entry);
  }
  const ordered = new Map<string, CpioEntry>();
  for (const path of named.keys()) {
    const names = path.split("/");
    names.forEach((_, depth) => {
      const above = names.slice(0, depth + 1).join("/");
      if (!ordered.has(above)) {
        ordered.set(above, named.get(above) ?? { kind: "directory", path: above });
      }
    });
  }
  return [...ordered.values()];
}

function contentOf(entry: CpioEntry): Uint8Array {
  if (entry.kind === "file") {
    return entry.content;
  }
  return entry.kind === "symlink" ? encodeUtf8(entry.target) : new Uint8Array(0);
}

function isDevice(entry: CpioEntry): entry is Extract<CpioEntry, { major: number }> {
  return entry.kind === "characterDevice" || entry.kind === "blockDevice";
}

/**
 * Makes an archive: owned by root, all times `modifiedSeconds` (default 0), so that equal entries give equal bytes.
 * Missing parent directories are added. Throws RangeError for impossible or repeated paths.
 */
export function cpioArchive(entries: readonly CpioEntry[], modifiedSeconds = 0): Uint8Array {
  const writer = new CpioWriter();
  parentsFirst(entries).forEach((entry, index) => {
    const { type, mode } = TYPES[entry.kind];
    const permissions = entry.kind === "symlink" ? mode : (entry.mode ?? mode);
    const content = contentOf(entry);
    const header = {
      inode: index + 1,
      mode: type | permissions,
      links: entry.kind === "directory" ? 2 : 1,
      modifiedSeconds,
      contentBytes: content.length,
      major: isDevice(entry) ? entry.major : 0,
      minor: isDevice(entry) ? entry.minor : 0,
    };
    writer.add(normalised(entry.path), header, content);
  });
  const trailer = { inode: 0, mode: 0, links: 1, modifiedSeconds: 0, contentBytes: 0, major: 0, minor: 0 };
  writer.add(TRAILER_PATH, trailer, new Uint8Array(0));
  return writer.finish();
}
