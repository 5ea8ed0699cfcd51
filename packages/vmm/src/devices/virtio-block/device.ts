/**
 * virtio block device (Virtual I/O Device 1.2, section 5.2): a read-only image with the guest's
 * writes over it in the VM's own state. Requests are carried out at once, within the notification.
 */
import { StateSectionError, encodeUtf8, type BlockBackend, type StateSection, type VmmPort } from "@hvjournal/core";
import { restoreSection, saveSection } from "../../state-coding.js";
import type { VirtioDevice } from "../../virtio/core.js";
import { BrokenQueueError, type DescriptorChain, type SplitQueue } from "../../virtio/queue.js";
import { VirtioDeviceId } from "../../virtio/registers.js";
import type { TakeSection } from "../mmio-device.js";
import { readThrough, writeOver, type OverlayBlocks } from "./overlay.js";
import {
  BLOCK_QUEUE_SIZE,
  BlockConfig,
  BlockFeature,
  BlockRequest,
  BlockStatus,
  DEVICE_ID_BYTES,
  REQUEST_HEADER_BYTES,
  SECTOR_BYTES,
  STATUS_BYTES,
} from "./registers.js";
import { blockIdentityFormat, blockOverlayFormat, type BlockIdentity } from "./state.js";

/** What a request leaves: its status, and whether all data bytes of the chain were written. */
interface Outcome {
  readonly status: number;
  readonly dataWritten: boolean;
}

const IO_ERROR: Outcome = { status: BlockStatus.ioError, dataWritten: false };

export class VirtioBlock implements VirtioDevice {
  readonly name: string;
  readonly deviceId: number = VirtioDeviceId.block;
  readonly features: bigint;
  readonly queueSizesMax: readonly number[] = [BLOCK_QUEUE_SIZE];
  readonly config: Uint8Array = new Uint8Array(BlockConfig.bytes);
  readonly #image: BlockBackend;
  readonly #sectors: number;
  #blocks: OverlayBlocks = new Map();

  /** `index`: which of the board's drives. An image that is no whole number of sectors ends in zeros. */
  constructor(index: number, image: BlockBackend) {
    this.name = `virtio-blk${index}`;
    this.#image = image;
    this.#sectors = Math.ceil(image.bytes / SECTOR_BYTES);
    this.features =
      BlockFeature.segmentsMax |
      BlockFeature.blockSize |
      BlockFeature.flush |
      (image.readOnly ? BlockFeature.readOnly : 0n);
    const config = new DataView(this.config.buffer);
    config.setBigUint64(BlockConfig.capacity, BigInt(this.#sectors), true);
    // A request also has a header and a status descriptor.
    config.setUint32(BlockConfig.segmentsMax, BLOCK_QUEUE_SIZE - 2, true);
    config.setUint32(BlockConfig.blockSize, SECTOR_BYTES, true);
  }

  /** Bytes that the guest's writes take in the VM's state. */
  get overlayBlockCount(): number {
    return this.#blocks.size;
  }

  serve(_queueIndex: number, queue: SplitQueue, port: VmmPort): void {
    for (let chain = queue.take(port); chain !== undefined; chain = queue.take(port)) {
      this.#answer(chain, queue, port);
    }
  }

  writeConfig(): void {
    // Every field of what is offered is read-only.
  }

  reset(): void {
    // The overlay is the medium: it outlives a reset of the device.
  }

  save(): StateSection[] {
    return [
      saveSection(blockIdentityFormat, `vmm.${this.name}.image`, this.#identity()),
      saveSection(blockOverlayFormat, `vmm.${this.name}.overlay`, { blocks: this.#blocks }),
    ];
  }

  restore(take: TakeSection): void {
    const section = take(`vmm.${this.name}.image`);
    const saved = restoreSection(blockIdentityFormat, section);
    const here = this.#identity();
    for (const field of ["driveId", "imageBytes", "fingerprint", "readOnly"] as const) {
      if (saved[field] !== here[field]) {
        throw new StateSectionError(
          section.name,
          `drive ${here.driveId} has ${field} ${here[field]}, the saved machine ${saved[field]}`,
        );
      }
    }
    this.#blocks = restoreSection(blockOverlayFormat, take(`vmm.${this.name}.overlay`)).blocks;
  }

  #identity(): BlockIdentity {
    const { id, bytes, readOnly } = this.#image;
    return { driveId: id, imageBytes: bytes, fingerprint: this.#image.fingerprint(), readOnly };
  }

  #answer(chain: DescriptorChain, queue: SplitQueue, port: VmmPort): void {
    if (chain.readableBytes < REQUEST_HEADER_BYTES || chain.writableBytes < STATUS_BYTES) {
      throw new BrokenQueueError(
        `block request with ${chain.readableBytes} readable and ${chain.writableBytes} writable bytes`,
      );
    }
    const { status, dataWritten } = this.#carryOut(chain, port);
    const statusOffset = chain.writableBytes - STATUS_BYTES;
    chain.write(port, statusOffset, Uint8Array.of(status));
    // The length counts from the first writable byte, so it covers the status only when the data is there.
    queue.giveBack(chain, dataWritten || statusOffset === 0 ? chain.writableBytes : 0);
  }

  #carryOut(chain: DescriptorChain, port: VmmPort): Outcome {
    const header = chain.read(port, 0, REQUEST_HEADER_BYTES);
    const view = new DataView(header.buffer);
    const sector = view.getBigUint64(8, true);
    switch (view.getUint32(0, true)) {
      case BlockRequest.read:
        return this.#readSectors(chain, sector, port);
      case BlockRequest.write:
        return this.#writeSectors(chain, sector, port);
      case BlockRequest.flush:
        return { status: BlockStatus.ok, dataWritten: false };
      case BlockRequest.getId:
        return this.#giveId(chain, port);
      default:
        return { status: BlockStatus.unsupported, dataWritten: false };
    }
  }

  #readSectors(chain: DescriptorChain, sector: bigint, port: VmmPort): Outcome {
    const bytes = chain.writableBytes - STATUS_BYTES;
    if (!this.#onMedium(sector, bytes)) {
      return IO_ERROR;
    }
    chain.write(port, 0, readThrough(this.#image, this.#blocks, Number(sector) * SECTOR_BYTES, bytes));
    return { status: BlockStatus.ok, dataWritten: true };
  }

  #writeSectors(chain: DescriptorChain, sector: bigint, port: VmmPort): Outcome {
    const bytes = chain.readableBytes - REQUEST_HEADER_BYTES;
    if (this.#image.readOnly || !this.#onMedium(sector, bytes)) {
      return IO_ERROR;
    }
    const content = chain.read(port, REQUEST_HEADER_BYTES, bytes);
    writeOver(this.#image, this.#blocks, Number(sector) * SECTOR_BYTES, content);
    return { status: BlockStatus.ok, dataWritten: false };
  }

  #giveId(chain: DescriptorChain, port: VmmPort): Outcome {
    if (chain.writableBytes - STATUS_BYTES < DEVICE_ID_BYTES) {
      return IO_ERROR;
    }
    const id = new Uint8Array(DEVICE_ID_BYTES);
    id.set(encodeUtf8(this.#image.id).subarray(0, DEVICE_ID_BYTES));
    chain.write(port, 0, id);
    return { status: BlockStatus.ok, dataWritten: chain.writableBytes - STATUS_BYTES === DEVICE_ID_BYTES };
  }

  #onMedium(sector: bigint, bytes: number): boolean {
    return bytes % SECTOR_BYTES === 0 && sector + BigInt(bytes / SECTOR_BYTES) <= BigInt(this.#sectors);
  }
}
