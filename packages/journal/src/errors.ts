/** What can go wrong with a recording, as classes whose fields say what, where, and up to where it still replays. */
import { shellWord } from "@hvjournal/core";

/** A moment of a recording, as the journal knows it. */
export interface JournalPosition {
  /** The last event up to here. */
  readonly seq: number;
  readonly exitNumber: number;
  readonly icount: number;
}

/** The part of a recording that an error is about. Ranges are inclusive. */
export interface JournalPlace {
  /** The store's part: "header", "batch 17", "snapshot 3", "page 1f…", "row event 52". */
  readonly part: string;
  readonly events?: readonly [first: number, last: number] | undefined;
  readonly exits?: readonly [first: number, last: number] | undefined;
}

function placeText(place: JournalPlace): string {
  const events = place.events === undefined ? "" : `, event:${place.events[0]}..${place.events[1]}`;
  const exits = place.exits === undefined ? "" : `, exit:${place.exits[0]}..${place.exits[1]}`;
  return place.part + events + exits;
}

export type JournalErrorCode =
  | "exists"
  | "journal-busy"
  | "journal-damaged"
  | "journal-format"
  | "journal-query"
  | "journal-write"
  | "no-file"
  | "not-found"
  | "vm-moved";

/** Every error of the store. */
export abstract class JournalError extends Error {
  /** What `--json` prints. */
  abstract readonly code: JournalErrorCode;
  readonly path: string;
  /** A command that helps. */
  readonly next: string | undefined;

  constructor(
    path: string,
    message: string,
    options: { readonly next?: string | undefined; readonly cause?: unknown },
  ) {
    super(message, options.cause === undefined ? {} : { cause: options.cause });
    this.path = path;
    this.next = options.next;
  }
}

/** The file is a recording, and something in it is not what was written. */
export class JournalDamagedError extends JournalError {
  override readonly name = "JournalDamagedError";
  readonly code = "journal-damaged";
  readonly what: string;
  readonly place: JournalPlace;
  /** Everything up to here is whole; undefined when not even that can be said. */
  readonly replaysTo: JournalPosition | undefined;

  constructor(path: string, what: string, place: JournalPlace, replaysTo?: JournalPosition, cause?: unknown) {
    const upTo =
      replaysTo === undefined ? "" : `; it replays up to event:${replaysTo.seq} (exit:${replaysTo.exitNumber})`;
    super(path, `${path} is damaged at ${placeText(place)}: ${what}${upTo}`, {
      next: `hvjournal fsck ${shellWord(path)}`,
      cause,
    });
    this.what = what;
    this.place = place;
    this.replaysTo = replaysTo;
  }
}

/** Not a recording, or one of a format that this build does not read. */
export class JournalFormatError extends JournalError {
  override readonly name = "JournalFormatError";
  readonly code = "journal-format";
  /** The file's format version; undefined when it is no recording at all. */
  readonly formatVersion: number | undefined;

  constructor(path: string, message: string, formatVersion: number | undefined) {
    super(path, message, {});
    this.formatVersion = formatVersion;
  }
}

export class JournalMissingError extends JournalError {
  override readonly name = "JournalMissingError";
  readonly code = "no-file";

  constructor(path: string, reason: string, cause?: unknown) {
    super(path, `can't open ${path}: ${reason}`, { cause });
  }
}

/** A recording is made where a file already stands. */
export class JournalExistsError extends JournalError {
  override readonly name = "JournalExistsError";
  readonly code = "exists";

  /** `leftOver`: what stands there is not the file, but beside it. */
  constructor(path: string, leftOver?: string) {
    const reason =
      leftOver === undefined
        ? "the file exists"
        : `${leftOver} is left of a recording whose own file is gone; bring that back, or remove what is left`;
    super(path, `can't create ${path}: ${reason}`, {});
  }
}

/** Another process has the recording open in a way that excludes this one. */
export class JournalBusyError extends JournalError {
  override readonly name = "JournalBusyError";
  readonly code = "journal-busy";

  constructor(path: string, act: string, cause?: unknown) {
    super(path, `can't ${act} ${path}: another process has it open`, { next: "hvjournal ps", cause });
  }
}

/** A sealed recording can be replayed for ever, and never be written again. */
export class JournalSealedError extends JournalError {
  override readonly name = "JournalSealedError";
  readonly code = "vm-moved";

  constructor(path: string, act: string) {
    super(path, `can't ${act} ${path}: it is sealed, its VM was moved`, {
      next: `hvjournal replay ${shellWord(path)}`,
    });
  }
}

/** The host did not take what was written. What had been committed before stays in the file. */
export class JournalWriteError extends JournalError {
  override readonly name = "JournalWriteError";
  readonly code = "journal-write";
  /** The last position that is in the file. */
  readonly committedTo: JournalPosition | undefined;

  constructor(path: string, reason: string, advice: string, committedTo: JournalPosition | undefined, cause?: unknown) {
    // Before its first exit whoever made the file takes it away again.
    const kept =
      committedTo === undefined || committedTo.exitNumber === 0
        ? ""
        : `; it keeps everything up to event:${committedTo.seq} (exit:${committedTo.exitNumber})`;
    super(path, `can't write ${path}: ${reason}${kept}; ${advice}`, { cause });
    this.committedTo = committedTo;
  }
}

/** A query that SQLite refuses, in its words. */
export class JournalQueryError extends JournalError {
  override readonly name = "JournalQueryError";
  readonly code = "journal-query";

  constructor(path: string, reason: string, cause?: unknown) {
    super(path, `can't query ${path}: ${reason}`, { next: `hvjournal sql ${shellWord(path)} --schema`, cause });
  }
}

/** The journal holds no such snapshot, or not the event that was asked for. */
export class JournalNotFoundError extends JournalError {
  override readonly name = "JournalNotFoundError";
  readonly code = "not-found";

  constructor(path: string, what: string) {
    super(path, `${path} has no ${what}`, { next: `hvjournal info ${shellWord(path)}` });
  }
}
