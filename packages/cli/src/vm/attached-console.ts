/** A VM's console on its way to somebody who is attached. */
import type { Socket } from "node:net";
import { type JsonObject, jsonText } from "./control-protocol.js";

/** So much may wait for a reader; what comes on top is left out. */
const WAITING_BYTES_MAX = 4 * 1024 * 1024;

/**
 * A reader that stands still holds nobody up: the recording has everything. What comes while it is behind waits here, and is
 * sent in one message: guests print byte by byte.
 */
export class AttachedConsole {
  readonly #socket: Socket;
  readonly #id: number;
  readonly #waiting: Uint8Array[] = [];
  #waitingBytes = 0;
  #leftOut = 0;

  /** `id`: of the request to attach, whose events these are. */
  constructor(socket: Socket, id: number) {
    this.#socket = socket;
    this.#id = id;
    socket.on("drain", () => this.#send());
  }

  show(bytes: Uint8Array): void {
    if (this.#leftOut > 0 || this.#waitingBytes + bytes.length > WAITING_BYTES_MAX) this.#leftOut += bytes.length;
    else {
      this.#waiting.push(Uint8Array.from(bytes));
      this.#waitingBytes += bytes.length;
    }
    if (!this.#socket.writableNeedDrain) this.#send();
  }

  /** Behind all output so far. */
  tell(event: JsonObject): void {
    this.#send();
    this.#write({ event });
  }

  /** The last word, the answer to the request. */
  end(answer: JsonObject): void {
    this.#send();
    this.#write({ ok: answer });
  }

  #send(): void {
    if (this.#waitingBytes > 0) this.#write({ event: { output: Buffer.concat(this.#waiting).toString("base64") } });
    if (this.#leftOut > 0) this.#write({ event: { leftOut: this.#leftOut } });
    this.#waiting.length = 0;
    this.#waitingBytes = 0;
    this.#leftOut = 0;
  }

  #write(message: JsonObject): void {
    this.#socket.write(jsonText({ id: this.#id, ...message }));
  }
}
