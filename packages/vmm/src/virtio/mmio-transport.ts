/** virtio over MMIO, version 2 (Virtual I/O Device 1.2, section 4.2): registers, notification, interrupts. */
import type { StateSection, VmmPort } from "@hvjournal/core";
import type { MmioDevice, TakeSection } from "../devices/mmio-device.js";
import { VirtioCore, type VirtioDevice, type VirtioTransport } from "./core.js";
import type { RamWindow } from "./queue.js";
import {
  NO_SHARED_MEMORY_WORD,
  VIRTIO_MMIO_MAGIC,
  VIRTIO_MMIO_VERSION,
  VIRTIO_VENDOR_ID,
  VirtioInterrupt,
  VirtioMmioRegister,
} from "./registers.js";

export class VirtioMmioTransport implements MmioDevice, VirtioTransport {
  readonly name: string;
  readonly #core: VirtioCore;
  readonly #irqLine: number;

  /** `irqLine`: an SPI number from 0. */
  constructor(device: VirtioDevice, ram: RamWindow, irqLine: number) {
    this.name = device.name;
    this.#irqLine = irqLine;
    this.#core = new VirtioCore(device, ram, {
      usedBuffer: () => this.#raise(VirtioInterrupt.usedBuffer),
      configurationChange: () => this.#raise(VirtioInterrupt.configurationChange),
    });
  }

  get driverError(): string | undefined {
    return this.#core.driverError;
  }

  read(offset: number, bytes: number): number {
    if (offset >= VirtioMmioRegister.config) {
      return this.#core.readConfig(offset - VirtioMmioRegister.config, bytes);
    }
    return bytes === 4 ? this.#readRegister(offset) >>> 0 : 0;
  }

  write(offset: number, bytes: number, value: number, port: VmmPort): void {
    this.#changing(port, () => {
      if (offset >= VirtioMmioRegister.config) {
        this.#core.device.writeConfig(offset - VirtioMmioRegister.config, bytes, value, port);
      } else if (bytes === 4) {
        this.#writeRegister(offset, value >>> 0, port);
      }
    });
  }

  hasAvailable(queueIndex: number, port: VmmPort): boolean {
    return this.#core.hasAvailable(queueIndex, port);
  }

  notify(queueIndex: number, port: VmmPort): void {
    this.#changing(port, () => this.#core.serve(queueIndex, port));
  }

  save(): StateSection[] {
    return this.#core.save();
  }

  restore(take: TakeSection): void {
    this.#core.restore(take);
  }

  #readRegister(register: number): number {
    const { state } = this.#core;
    switch (register) {
      case VirtioMmioRegister.magicValue:
        return VIRTIO_MMIO_MAGIC;
      case VirtioMmioRegister.version:
        return VIRTIO_MMIO_VERSION;
      case VirtioMmioRegister.deviceId:
        return this.#core.device.deviceId;
      case VirtioMmioRegister.vendorId:
        return VIRTIO_VENDOR_ID;
      case VirtioMmioRegister.deviceFeatures:
        return this.#core.deviceFeatures;
      case VirtioMmioRegister.queueSizeMax:
        return this.#core.queueSizeMax;
      case VirtioMmioRegister.queueReady:
        return this.#core.selectedQueue?.ready ? 1 : 0;
      case VirtioMmioRegister.interruptStatus:
        return state.interruptStatus;
      case VirtioMmioRegister.status:
        return state.status;
      case VirtioMmioRegister.sharedMemoryLengthLow:
      case VirtioMmioRegister.sharedMemoryLengthHigh:
      case VirtioMmioRegister.sharedMemoryBaseLow:
      case VirtioMmioRegister.sharedMemoryBaseHigh:
        return NO_SHARED_MEMORY_WORD;
      default:
        // ConfigGeneration too: no device changes its configuration by itself.
        return 0;
    }
  }

  #writeRegister(register: number, value: number, port: VmmPort): void {
    const { state } = this.#core;
    switch (register) {
      case VirtioMmioRegister.deviceFeaturesSelect:
        state.deviceFeaturesSelect = value;
        break;
      case VirtioMmioRegister.driverFeaturesSelect:
        state.driverFeaturesSelect = value;
        break;
      case VirtioMmioRegister.driverFeatures:
        this.#core.setDriverFeatures(value);
        break;
      case VirtioMmioRegister.queueSelect:
        state.queueSelect = value;
        break;
      case VirtioMmioRegister.queueReady:
        this.#core.setQueueReady((value & 1) !== 0);
        break;
      case VirtioMmioRegister.queueNotify:
        this.#core.serve(value & 0xffff, port);
        break;
      case VirtioMmioRegister.interruptAcknowledge:
        state.interruptStatus &= ~value;
        break;
      case VirtioMmioRegister.status:
        this.#core.setStatus(value & 0xff, port);
        break;
      default:
        this.#writeQueueRegister(register, value);
    }
  }

  /** A queue's size and areas are fixed while it is ready. */
  #writeQueueRegister(register: number, value: number): void {
    const queue = this.#core.selectedQueue;
    if (queue === undefined || queue.ready) {
      return;
    }
    switch (register) {
      case VirtioMmioRegister.queueSize:
        queue.size = value;
        break;
      case VirtioMmioRegister.queueDescriptorLow:
        queue.descriptorLow = value;
        break;
      case VirtioMmioRegister.queueDescriptorHigh:
        queue.descriptorHigh = value;
        break;
      case VirtioMmioRegister.queueDriverLow:
        queue.driverLow = value;
        break;
      case VirtioMmioRegister.queueDriverHigh:
        queue.driverHigh = value;
        break;
      case VirtioMmioRegister.queueDeviceLow:
        queue.deviceLow = value;
        break;
      case VirtioMmioRegister.queueDeviceHigh:
        queue.deviceHigh = value;
        break;
      default:
        break;
    }
  }

  #raise(interrupt: number): void {
    this.#core.state.interruptStatus |= interrupt;
  }

  /** The line is the OR of InterruptStatus, so it is derived and never saved. */
  #changing(port: VmmPort, change: () => void): void {
    const before = this.#core.state.interruptStatus !== 0;
    change();
    const after = this.#core.state.interruptStatus !== 0;
    if (before !== after) {
      port.setIrqLine(this.#irqLine, after ? 1 : 0);
    }
  }
}
