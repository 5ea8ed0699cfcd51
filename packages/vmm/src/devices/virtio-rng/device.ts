/** virtio entropy device (Virtual I/O Device 1.2, section 5.4), fed from a stream of the recorded seed. */
import type { EntropyStream, StateSection, VmmPort } from "@hvjournal/core";
import { restoreSection, saveSection } from "../../state-coding.js";
import type { VirtioDevice } from "../../virtio/core.js";
import { BrokenQueueError, type SplitQueue } from "../../virtio/queue.js";
import { VirtioDeviceId } from "../../virtio/registers.js";
import type { TakeSection } from "../mmio-device.js";
import { drawBytes } from "../../entropy-bytes.js";
import { ENTROPY_BYTES_PER_REQUEST_MAX, ENTROPY_QUEUE_SIZE } from "./registers.js";
import { rngFormat } from "./state.js";

const NAME = "virtio-rng";
const SECTION = `vmm.${NAME}`;

export class VirtioRng implements VirtioDevice {
  readonly name = NAME;
  readonly deviceId: number = VirtioDeviceId.entropy;
  readonly features = 0n;
  readonly queueSizesMax: readonly number[] = [ENTROPY_QUEUE_SIZE];
  readonly config: Uint8Array = new Uint8Array(0);
  readonly #stream: EntropyStream;

  constructor(stream: EntropyStream) {
    this.#stream = stream;
  }

  serve(_queueIndex: number, queue: SplitQueue, port: VmmPort): void {
    for (let chain = queue.take(port); chain !== undefined; chain = queue.take(port)) {
      if (chain.readableBytes > 0 || chain.writableBytes === 0) {
        throw new BrokenQueueError(
          `entropy request with ${chain.readableBytes} readable and ${chain.writableBytes} writable bytes`,
        );
      }
      const bytes = Math.min(chain.writableBytes, ENTROPY_BYTES_PER_REQUEST_MAX);
      chain.write(port, 0, drawBytes(this.#stream, bytes));
      queue.giveBack(chain, bytes);
    }
  }

  writeConfig(): void {
    // There is no configuration.
  }

  reset(): void {
    // The stream goes on: bytes are never given twice.
  }

  save(): StateSection[] {
    return [saveSection(rngFormat, SECTION, { drawn: this.#stream.counter })];
  }

  restore(take: TakeSection): void {
    this.#stream.counter = restoreSection(rngFormat, take(SECTION)).drawn;
  }
}
