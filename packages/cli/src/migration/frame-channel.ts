/**
 * A migration channel over any byte stream. A frame is
 *
 *     u32 big-endian: bytes that follow    u8: 0 as it is, 1 deflated    the message in core's canonical encoding
 */
import type { Duplex } from "node:stream";
import { promisify } from "node:util";
import { constants, deflateRaw, deflateRawSync, inflateRawSync } from "node:zlib";
import {
  ChannelClosedError,
  decodeCanonicalMap,
  encodeCanonical,
  type EventPayload,
  type MigrationChannel,
} from "@hvjournal/core";
import { reachSent } from "./fault-point.js";

const HEADER_BYTES = 5;
const LENGTH_BYTES = 4;
const MESSAGE_BYTES_MAX = 1024 * 1024 * 1024;
/** Below this nothing is won. */
const DEFLATE_BYTES_MIN = 512;
/** Above this a message is deflated beside the guest's run, not in its place. */
const DEFLATE_BYTES_SYNC_MAX = 512 * 1024;
/** Bytes that the host has yet to send; then the sender waits. */
const UNSENT_BYTES_MAX = 8 * 1024 * 1024;
/** Messages that wait to be read; then the stream waits. */
const INBOX_MAX = 8;
const Form = { plain: 0, deflated: 1 } as const;
const deflate = promisify(deflateRaw);

function deflated(bytes: Uint8Array): Uint8Array | Promise<Uint8Array> {
  const options = { level: constants.Z_BEST_SPEED };
  return bytes.length <= DEFLATE_BYTES_SYNC_MAX ? deflateRawSync(bytes, options) : deflate(bytes, options);
}

export interface FrameChannelOptions {
  /** Pages too are deflated: for streams that are slower than that. Events are in any case. */
  readonly deflatesPages: boolean;
  /** Of pages, in bytes a second. */
  readonly bandwidth?: number;
  /** More to end with the channel. */
  readonly onClose?: () => void;
}

export class FrameChannel implements MigrationChannel {
  readonly #stream: Duplex;
  readonly #options: FrameChannelOptions;
  readonly #inbox: EventPayload[] = [];
  readonly #waiting: { readonly resolve: (message: EventPayload) => void; readonly reject: (error: Error) => void }[] =
    [];
  #chunks: Buffer[] = [];
  #pendingBytes = 0;
  #closed: ChannelClosedError | undefined;
  #mayGoAtMs = 0;
  #endRest = (): void => undefined;
  bytesSent = 0;

  constructor(stream: Duplex, options: FrameChannelOptions) {
    this.#stream = stream;
    this.#options = options;
    stream.on("data", (chunk: Buffer) => this.#take(chunk));
    stream.on("error", (cause) => this.#end(new ChannelClosedError(`the connection broke: ${cause.message}`)));
    stream.on("end", () => this.#end(new ChannelClosedError("the peer is gone")));
    stream.on("close", () => this.#end(new ChannelClosedError("the peer is gone")));
  }

  async send(message: EventPayload): Promise<void> {
    const plain = encodeCanonical(message);
    const isPages = message["kind"] === "pages";
    const deflates = plain.length >= DEFLATE_BYTES_MIN && (!isPages || this.#options.deflatesPages);
    const body = deflates ? await deflated(plain) : plain;
    if (isPages) await this.#pace(body.length);
    if (this.#closed !== undefined) throw this.#closed;
    const header = Buffer.alloc(HEADER_BYTES);
    header.writeUInt32BE(body.length + 1);
    header.writeUInt8(deflates ? Form.deflated : Form.plain, LENGTH_BYTES);
    this.bytesSent += HEADER_BYTES + body.length;
    this.#stream.cork();
    this.#stream.write(header);
    this.#stream.write(body);
    this.#stream.uncork();
    reachSent(message);
    if (this.#stream.writableLength > UNSENT_BYTES_MAX) await this.#drained();
  }

  #drained(): Promise<void> {
    return new Promise((resolve, reject) => {
      const done = (): void => {
        this.#stream.off("drain", done);
        this.#stream.off("close", done);
        if (this.#closed === undefined) resolve();
        else reject(this.#closed);
      };
      this.#stream.on("drain", done);
      this.#stream.on("close", done);
    });
  }

  async #pace(bytes: number): Promise<void> {
    const { bandwidth } = this.#options;
    if (bandwidth === undefined) return;
    const now = performance.now();
    const waitMs = this.#mayGoAtMs - now;
    this.#mayGoAtMs = Math.max(now, this.#mayGoAtMs) + (bytes / bandwidth) * 1000;
    if (waitMs > 0) await this.#rest(waitMs);
  }

  /** Not beyond the end of the channel: the sender has to hear of that. */
  #rest(milliseconds: number): Promise<void> {
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, milliseconds);
      this.#endRest = () => {
        clearTimeout(timer);
        resolve();
      };
      if (this.#closed !== undefined) this.#endRest();
    });
  }

  #take(chunk: Buffer): void {
    this.#chunks.push(chunk);
    this.#pendingBytes += chunk.length;
    try {
      for (let message = this.#nextMessage(); message !== undefined; message = this.#nextMessage())
        this.#deliver(message);
    } catch (error) {
      this.#end(new ChannelClosedError(`the peer does not speak as it should: ${String(error)}`));
      this.#stream.destroy();
    }
    if (this.#inbox.length > INBOX_MAX) this.#stream.pause();
  }

  #nextMessage(): EventPayload | undefined {
    if (this.#pendingBytes < HEADER_BYTES) return undefined;
    const first = this.#joined(HEADER_BYTES);
    const length = first.readUInt32BE();
    if (length < 1 || length > MESSAGE_BYTES_MAX) throw new RangeError(`a message of ${length} bytes`);
    if (this.#pendingBytes < LENGTH_BYTES + length) return undefined;
    const frame = this.#joined(LENGTH_BYTES + length);
    this.#chunks[0] = frame.subarray(LENGTH_BYTES + length);
    this.#pendingBytes -= LENGTH_BYTES + length;
    const body = frame.subarray(HEADER_BYTES, LENGTH_BYTES + length);
    const isDeflated = frame.readUInt8(LENGTH_BYTES) === Form.deflated;
    return decodeCanonicalMap(isDeflated ? inflateRawSync(body, { maxOutputLength: MESSAGE_BYTES_MAX }) : body);
  }

  /** The first chunk, made to hold at least `bytes`. */
  #joined(bytes: number): Buffer {
    const [first] = this.#chunks;
    if (first !== undefined && first.length >= bytes) return first;
    const joined = Buffer.concat(this.#chunks);
    this.#chunks = [joined];
    return joined;
  }

  #deliver(message: EventPayload): void {
    const waiting = this.#waiting.shift();
    if (waiting === undefined) this.#inbox.push(message);
    else waiting.resolve(message);
  }

  receive(): Promise<EventPayload> {
    const message = this.#inbox.shift();
    if (this.#stream.isPaused() && this.#inbox.length <= INBOX_MAX) this.#stream.resume();
    if (message !== undefined) return Promise.resolve(message);
    if (this.#closed !== undefined) return Promise.reject(this.#closed);
    return new Promise((resolve, reject) => this.#waiting.push({ resolve, reject }));
  }

  #end(error: ChannelClosedError): void {
    if (this.#closed !== undefined) return;
    this.#closed = error;
    this.#endRest();
    for (const { reject } of this.#waiting.splice(0)) reject(error);
    this.#options.onClose?.();
  }

  /** What was sent still goes out. */
  close(): void {
    this.#end(new ChannelClosedError("the channel is closed"));
    this.#stream.end();
  }

  /** At once, whatever is under way. */
  abort(reason: ChannelClosedError): void {
    this.#end(reason);
    this.#stream.destroy();
  }
}
