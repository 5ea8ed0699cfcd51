/** What every transport of virtio shares: negotiation, status, queues (Virtual I/O Device 1.2, sections 2 and 3). */
import { StateSectionError, type StateSection, type VmmPort } from "@hvjournal/core";
import type { TakeSection } from "../devices/mmio-device.js";
import { restoreSection, saveSection } from "../state-coding.js";
import { BrokenQueueError, SplitQueue, type RamWindow } from "./queue.js";
import { DeviceStatus, VirtioFeature } from "./registers.js";
import { resetTransportState, transportCodec, type QueueState, type TransportState } from "./state.js";

/** A kind of device behind the transport. */
export interface VirtioDevice {
  readonly name: string;
  readonly deviceId: number;
  /** Offered beside what the transport offers itself. */
  readonly features: bigint;
  /** Most entries of each queue, powers of two. */
  readonly queueSizesMax: readonly number[];
  /** Takes and answers what it can of a queue. The transport flushes it. */
  serve(queueIndex: number, queue: SplitQueue, port: VmmPort): void;
  /** Config space, by bytes from its start; zero where nothing is. */
  readonly config: Uint8Array;
  writeConfig(offset: number, bytes: number, value: number, port: VmmPort): void;
  reset(): void;
  save(): StateSection[];
  restore(take: TakeSection): void;
}

/** What a device's own code sees of its transport. */
export interface VirtioTransport {
  readonly name: string;
  /** What the driver did to be told DEVICE_NEEDS_RESET, for people; no part of the machine's state. */
  readonly driverError: string | undefined;
  /**
   * Whether serving the queue would find something: a buffer, or a ring that the driver broke. Looking
   * does nothing to the guest, so a device may still say no to an input.
   */
  hasAvailable(queueIndex: number, port: VmmPort): boolean;
  /** Lets the device work on a queue, as a notification does. */
  notify(queueIndex: number, port: VmmPort): void;
}

/** What a device tells its driver by; the transport raises it when the access is over. */
export interface InterruptCauses {
  usedBuffer(queueIndex: number): void;
  configurationChange(): void;
}

const transportFormat = { version: 1, codec: transportCodec };
const TRANSPORT_FEATURES = VirtioFeature.version1 | VirtioFeature.indirectDescriptors | VirtioFeature.eventIndex;
const QUEUE_SIZE_LIMIT = 32768;
/** Alignment of descriptor table, driver area and device area, as bits that must be zero (section 2.7). */
const AreaAlignmentMask = { descriptor: 15, driver: 1, device: 3 } as const;

export class VirtioCore {
  readonly device: VirtioDevice;
  readonly #ram: RamWindow;
  readonly #offered: bigint;
  readonly #section: string;
  readonly #causes: InterruptCauses;
  #state: TransportState;
  #driverError: string | undefined;

  constructor(device: VirtioDevice, ram: RamWindow, causes: InterruptCauses) {
    this.device = device;
    this.#ram = ram;
    this.#causes = causes;
    this.#offered = device.features | TRANSPORT_FEATURES;
    this.#section = `vmm.${device.name}.transport`;
    this.#state = resetTransportState(device.queueSizesMax);
  }

  get driverError(): string | undefined {
    return this.#driverError;
  }

  get state(): TransportState {
    return this.#state;
  }

  hasAvailable(queueIndex: number, port: VmmPort): boolean {
    try {
      return this.#liveQueue(queueIndex)?.hasAvailable(port) ?? false;
    } catch (error) {
      if (error instanceof BrokenQueueError) {
        return true;
      }
      throw error;
    }
  }

  save(): StateSection[] {
    return [saveSection(transportFormat, this.#section, this.#state), ...this.device.save()];
  }

  restore(take: TakeSection): void {
    const section = take(this.#section);
    const state = restoreSection(transportFormat, section);
    if (state.queues.length !== this.device.queueSizesMax.length) {
      throw new StateSectionError(
        section.name,
        `${state.queues.length} queues, the device has ${this.device.queueSizesMax.length}`,
      );
    }
    this.device.restore(take);
    this.#state = state;
  }

  /** The selected 32 bits of what is offered. */
  get deviceFeatures(): number {
    const { deviceFeaturesSelect } = this.#state;
    return deviceFeaturesSelect > 1 ? 0 : Number((this.#offered >> BigInt(32 * deviceFeaturesSelect)) & 0xffff_ffffn);
  }

  get queueSizeMax(): number {
    return this.device.queueSizesMax[this.#state.queueSelect] ?? 0;
  }

  setDriverFeatures(value: number): void {
    const state = this.#state;
    if (state.status & DeviceStatus.featuresOk) {
      return;
    }
    if (state.driverFeaturesSelect === 0) {
      state.driverFeaturesLow = value;
    } else if (state.driverFeaturesSelect === 1) {
      state.driverFeaturesHigh = value;
    }
  }

  setQueueReady(ready: boolean): void {
    const queue = this.selectedQueue;
    if (queue === undefined || queue.ready === ready) {
      return;
    }
    if (!ready) {
      // Stopped and set up again, a queue starts at index 0.
      Object.assign(queue, { ready: false, nextAvailable: 0, nextUsed: 0 });
      return;
    }
    const sizeMax = this.device.queueSizesMax[this.#state.queueSelect] ?? 0;
    if (queue.size === 0 || queue.size > Math.min(sizeMax, QUEUE_SIZE_LIMIT) || (queue.size & (queue.size - 1)) !== 0) {
      this.#breakDevice(
        `queue ${this.#state.queueSelect} of ${queue.size} entries; a power of 2 up to ${sizeMax} is allowed`,
      );
      return;
    }
    if (
      queue.descriptorLow & AreaAlignmentMask.descriptor ||
      queue.driverLow & AreaAlignmentMask.driver ||
      queue.deviceLow & AreaAlignmentMask.device
    ) {
      this.#breakDevice(`an area of queue ${this.#state.queueSelect} is not aligned`);
      return;
    }
    queue.ready = true;
  }

  /** Section 3.1.1. Bits are only ever added, until 0 resets the device. */
  setStatus(value: number, port: VmmPort): void {
    const state = this.#state;
    if (value === 0) {
      this.#reset();
      return;
    }
    const wasLive = this.#isLive();
    const added = value & ~DeviceStatus.needsReset;
    const refused =
      (added & DeviceStatus.featuresOk) !== 0 && !this.#featuresAcceptable() ? DeviceStatus.featuresOk : 0;
    state.status |= added & ~refused;
    if (!wasLive && this.#isLive()) {
      // Buffers that became available before DRIVER_OK are looked at now.
      state.queues.forEach((_, index) => this.serve(index, port));
    }
  }

  #reset(): void {
    this.device.reset();
    this.#driverError = undefined;
    this.#state = resetTransportState(this.device.queueSizesMax);
  }

  #featuresAcceptable(): boolean {
    const accepted = this.#driverFeatures();
    return (accepted & ~this.#offered) === 0n && (accepted & VirtioFeature.version1) !== 0n;
  }

  #driverFeatures(): bigint {
    return (BigInt(this.#state.driverFeaturesHigh) << 32n) | BigInt(this.#state.driverFeaturesLow);
  }

  #isLive(): boolean {
    const needed = DeviceStatus.featuresOk | DeviceStatus.driverOk;
    return (this.#state.status & (needed | DeviceStatus.needsReset | DeviceStatus.failed)) === needed;
  }

  get selectedQueue(): QueueState | undefined {
    return this.#state.queues[this.#state.queueSelect];
  }

  #liveQueue(index: number): SplitQueue | undefined {
    const queue = this.#state.queues[index];
    if (queue === undefined || !queue.ready || !this.#isLive()) {
      return undefined;
    }
    const accepted = this.#driverFeatures();
    return new SplitQueue(this.#ram, queue, {
      indirectDescriptors: (accepted & VirtioFeature.indirectDescriptors) !== 0n,
      eventIndex: (accepted & VirtioFeature.eventIndex) !== 0n,
    });
  }

  /** A notification of the driver's, or of the device's own. */
  serve(index: number, port: VmmPort): void {
    const queue = this.#liveQueue(index);
    if (queue === undefined) {
      return;
    }
    this.#guarded(() => this.device.serve(index, queue, port));
    // What was answered before a broken request still reaches the driver.
    if (this.#guarded(() => queue.flush(port)) === true) {
      this.#causes.usedBuffer(index);
    }
  }

  /** Runs what reads the driver's rings; a broken ring is the driver's fault and breaks the device, not the VMM. */
  #guarded<Result>(act: () => Result): Result | undefined {
    try {
      return act();
    } catch (error) {
      if (!(error instanceof BrokenQueueError)) {
        throw error;
      }
      this.#breakDevice(error.message);
      return undefined;
    }
  }

  /** Section 2.1.2: a live device also tells its driver. */
  #breakDevice(reason: string): void {
    this.#driverError ??= reason;
    if (this.#state.status & DeviceStatus.driverOk) {
      this.#causes.configurationChange();
    }
    this.#state.status |= DeviceStatus.needsReset;
  }

  readConfig(offset: number, bytes: number): number {
    let value = 0;
    for (let index = 0; index < bytes; index += 1) {
      value |= (this.device.config[offset + index] ?? 0) << (8 * index);
    }
    return value >>> 0;
  }
}
