/** virtio console device (Virtual I/O Device 1.2, section 5.3) with one port. */
import type { StateSection, VmmPort } from "@hvjournal/core";
import { restoreSection, saveSection } from "../../state-coding.js";
import type { VirtioDevice, VirtioTransport } from "../../virtio/core.js";
import { BrokenQueueError, type SplitQueue } from "../../virtio/queue.js";
import { VirtioDeviceId } from "../../virtio/registers.js";
import type { TakeSection } from "../mmio-device.js";
import {
  CONSOLE_QUEUE_SIZE,
  ConsoleConfig,
  ConsoleFeature,
  OUTPUT_BYTES_PER_EVENT_MAX,
  RECEIVE_QUEUE,
  TRANSMIT_QUEUE,
} from "./registers.js";
import { consoleFormat, resetConsoleState, type ConsoleState } from "./state.js";

const NAME = "virtio-console";
const SECTION = `vmm.${NAME}`;

export class VirtioConsole implements VirtioDevice {
  readonly name = NAME;
  readonly deviceId: number = VirtioDeviceId.console;
  readonly features: bigint = ConsoleFeature.emergencyWrite;
  readonly queueSizesMax: readonly number[] = [CONSOLE_QUEUE_SIZE, CONSOLE_QUEUE_SIZE];
  readonly config: Uint8Array = new Uint8Array(ConsoleConfig.bytes);
  readonly #outputPort: number;
  #state: ConsoleState = resetConsoleState();

  constructor(outputPort: number) {
    this.#outputPort = outputPort;
  }

  get readCount(): number {
    return this.#state.emptyReads;
  }

  /** False while the driver has no buffer for it, or earlier input still waits. */
  takeInput(bytes: Uint8Array, transport: VirtioTransport, port: VmmPort): boolean {
    if (this.#state.input.length > 0 || !transport.hasAvailable(RECEIVE_QUEUE, port)) {
      return false;
    }
    this.#state.input = bytes.slice();
    transport.notify(RECEIVE_QUEUE, port);
    return true;
  }

  serve(queueIndex: number, queue: SplitQueue, port: VmmPort): void {
    if (queueIndex === RECEIVE_QUEUE) {
      this.#receive(queue, port);
    } else if (queueIndex === TRANSMIT_QUEUE) {
      this.#transmit(queue, port);
    }
  }

  writeConfig(offset: number, _bytes: number, value: number, port: VmmPort): void {
    if (offset === ConsoleConfig.emergencyWrite) {
      port.output(this.#outputPort, Uint8Array.of(value & 0xff));
    }
  }

  reset(): void {
    this.#state.input = new Uint8Array(0);
  }

  save(): StateSection[] {
    return [saveSection(consoleFormat, SECTION, this.#state)];
  }

  restore(take: TakeSection): void {
    this.#state = restoreSection(consoleFormat, take(SECTION));
  }

  #receive(queue: SplitQueue, port: VmmPort): void {
    const state = this.#state;
    if (state.input.length === 0) {
      state.emptyReads += 1;
    }
    while (state.input.length > 0) {
      const chain = queue.take(port);
      if (chain === undefined) {
        return;
      }
      if (chain.writableBytes === 0) {
        throw new BrokenQueueError("console receive buffer without writable bytes");
      }
      const bytes = Math.min(chain.writableBytes, state.input.length);
      chain.write(port, 0, state.input.subarray(0, bytes));
      state.input = state.input.subarray(bytes);
      queue.giveBack(chain, bytes);
    }
  }

  #transmit(queue: SplitQueue, port: VmmPort): void {
    for (let chain = queue.take(port); chain !== undefined; chain = queue.take(port)) {
      for (let offset = 0; offset < chain.readableBytes; offset += OUTPUT_BYTES_PER_EVENT_MAX) {
        const bytes = Math.min(chain.readableBytes - offset, OUTPUT_BYTES_PER_EVENT_MAX);
        port.output(this.#outputPort, chain.read(port, offset, bytes));
      }
      queue.giveBack(chain, 0);
    }
  }
}
