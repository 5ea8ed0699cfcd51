/** What expressions that need no guest state see: the journal's own events. */
import type { Digester } from "../ports/digester.js";
import type { JournalReader } from "../ports/journal-store.js";
import type { GuestSymbol, SymbolTable } from "../ports/symbols.js";
import type { EventCursor } from "../event/event-cursor.js";
import { HotKind } from "../event/event-kind.js";
import { ExitWord, type ExitFrame } from "../event/exit-frame.js";
import { type CallReader, HypercallExits } from "../position/hypercall-exits.js";
import { parseMachine } from "../machine/machine-description.js";
import type { ExpressionEnvironment } from "./evaluate.js";
import { exitNumberByName } from "./machine-environment.js";

export interface JournalEnvironmentOptions {
  readonly reader: JournalReader;
  readonly architecture: CallReader;
  readonly digester: Digester;
  readonly symbols?: SymbolTable | undefined;
}

/** At the event that the cursor stands at. Whatever needs guest state is unknown. */
export class JournalEnvironment implements ExpressionEnvironment {
  readonly #cursor: EventCursor;
  readonly #reasons: readonly { readonly name: string }[];
  readonly #calls: HypercallExits;
  readonly digester: Digester;
  readonly guestTimeNs = 0;
  readonly #symbols: SymbolTable | undefined;

  constructor({ reader, architecture, digester, symbols }: JournalEnvironmentOptions, cursor: EventCursor) {
    this.#cursor = cursor;
    this.#symbols = symbols;
    this.digester = digester;
    const { reasons } = parseMachine(reader.header.machine).exitModel;
    this.#reasons = reasons.map((name) => ({ name }));
    this.#calls = new HypercallExits(reasons, architecture);
  }

  get exit(): ExitFrame | undefined {
    return this.#cursor.kind === HotKind.exited ? this.#cursor.exit : undefined;
  }

  get vcpu(): number {
    return this.exit?.[ExitWord.vcpu] ?? 0;
  }

  get icount(): number {
    return this.#cursor.icount;
  }

  get exitNumber(): number {
    return this.#cursor.exitsBefore + (this.exit === undefined ? 0 : 1);
  }

  callNumber(frame: ExitFrame): bigint {
    return this.#calls.numberOf(frame);
  }

  register(): undefined {
    return undefined;
  }

  read(): undefined {
    return undefined;
  }

  symbol(name: string): GuestSymbol | undefined {
    return this.#symbols?.find(name);
  }

  symbolAdvice(name: string): string | undefined {
    return this.#symbols?.adviceOn?.(name);
  }

  config(): undefined {
    return undefined;
  }

  exitName(space: "reason" | "kvm", name: string): bigint | undefined {
    return exitNumberByName(this.#reasons, space, name);
  }
}
