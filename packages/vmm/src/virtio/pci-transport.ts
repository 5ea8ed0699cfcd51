/** virtio over PCI without its legacy interface (Virtual I/O Device 1.2, section 4.1): capabilities, registers, interrupts. */
import { StateSectionError, type StateSection, type VmmPort } from "@hvjournal/core";
import type { MmioDevice, TakeSection } from "../devices/mmio-device.js";
import { ConfigurationSpace } from "../pci/configuration-space.js";
import type { DecodedBar, PciFunction } from "../pci/function.js";
import { Msix, MSIX_BAR_BYTES } from "../pci/msix.js";
import { PciCapability, PciClass, PciCommand, PciRegister, PciStatus } from "../pci/registers.js";
import { restoreSection, saveSection } from "../state-coding.js";
import { VirtioCore, type VirtioDevice, type VirtioTransport } from "./core.js";
import {
  CommonRegister,
  NO_VECTOR,
  NOTIFY_MULTIPLIER,
  VIRTIO_BAR,
  VIRTIO_BAR_BYTES,
  VIRTIO_PCI_DEVICE_BASE,
  VIRTIO_PCI_REVISION,
  VIRTIO_PCI_SUBSYSTEM,
  VIRTIO_PCI_VENDOR,
  VirtioPciCapability,
  VirtioPlace,
} from "./pci-registers.js";
import { pciTransportFormat } from "./pci-state.js";
import type { RamWindow } from "./queue.js";
import { VirtioDeviceId, VirtioInterrupt } from "./registers.js";
import type { QueueState } from "./state.js";

const MSIX_BAR = 1;
/** INTA#. */
const INTERRUPT_PIN = 1;
/** `struct virtio_pci_cap` (section 4.1.4). */
const Capability = { length: 2, type: 3, bar: 4, offset: 8, extent: 12, bytes: 16, further: 16 } as const;
const CLASSES: Readonly<Record<number, number>> = {
  [VirtioDeviceId.block]: PciClass.storage,
  [VirtioDeviceId.console]: PciClass.communication,
};
/** Fields of 16 bits, and the status; all others have 32. */
const HALVES: readonly number[] = [
  CommonRegister.configVector,
  CommonRegister.queueCount,
  CommonRegister.queueSelect,
  CommonRegister.queueSize,
  CommonRegister.queueVector,
  CommonRegister.queueEnable,
  CommonRegister.queueNotifyOffset,
];
const BYTES: readonly number[] = [CommonRegister.deviceStatus, CommonRegister.configGeneration];

type QueueWord = Exclude<keyof QueueState, "ready" | "size" | "nextAvailable" | "nextUsed">;
const QUEUE_WORDS: ReadonlyMap<number, QueueWord> = new Map([
  [CommonRegister.queueDescriptorLow, "descriptorLow"],
  [CommonRegister.queueDescriptorHigh, "descriptorHigh"],
  [CommonRegister.queueDriverLow, "driverLow"],
  [CommonRegister.queueDriverHigh, "driverHigh"],
  [CommonRegister.queueDeviceLow, "deviceLow"],
  [CommonRegister.queueDeviceHigh, "deviceHigh"],
]);

/** Where its BARs are before a guest moves them, and its interrupt: what firmware would have chosen. */
export interface PciPlace {
  readonly msixBase: number;
  readonly virtioBase: number;
  /** Of INTA#. */
  readonly gsi: number;
}

function widthOf(register: number): number {
  if (BYTES.includes(register)) return 1;
  return HALVES.includes(register) ? 2 : 4;
}

export class VirtioPciTransport implements PciFunction, VirtioTransport {
  readonly name: string;
  readonly #core: VirtioCore;
  readonly #gsi: number;
  readonly #space = new ConfigurationSpace();
  readonly #msix: Msix;
  readonly #accessCapability: number;
  readonly #section: string;
  readonly #registers: MmioDevice;
  readonly #table: MmioDevice;
  /** Vectors to be raised when the access is over. */
  readonly #raised: number[] = [];
  #configVector = NO_VECTOR;
  #queueVectors: number[];

  constructor(device: VirtioDevice, ram: RamWindow, place: PciPlace) {
    this.name = device.name;
    this.#gsi = place.gsi;
    this.#section = `vmm.${device.name}.pci`;
    this.#core = new VirtioCore(device, ram, {
      usedBuffer: (queue) => this.#raise(VirtioInterrupt.usedBuffer, this.#queueVectors[queue] ?? NO_VECTOR),
      configurationChange: () => this.#raise(VirtioInterrupt.configurationChange, this.#configVector),
    });
    this.#queueVectors = device.queueSizesMax.map(() => NO_VECTOR);
    this.#describe(device, place);
    this.#msix = new Msix(this.#space, device.queueSizesMax.length + 1, MSIX_BAR);
    this.#accessCapability = this.#addCapabilities();
    this.#registers = this.#part({
      read: (offset, bytes, port) => this.#readBar(offset, bytes, port),
      write: (offset, bytes, value, port) => this.#changing(port, () => this.#writeBar(offset, bytes, value, port)),
    });
    this.#table = this.#part({
      read: (offset, bytes) => this.#msix.read(offset, bytes),
      write: (offset, bytes, value, port) => this.#msix.write(offset, bytes, value, port),
    });
  }

  get driverError(): string | undefined {
    return this.#core.driverError;
  }

  hasAvailable(queueIndex: number, port: VmmPort): boolean {
    return this.#core.hasAvailable(queueIndex, port);
  }

  notify(queueIndex: number, port: VmmPort): void {
    this.#changing(port, () => this.#core.serve(queueIndex, port));
  }

  readConfiguration(offset: number, bytes: number, port: VmmPort): number {
    if (this.#isAccessData(offset)) this.#space.set(offset & ~3, 4, this.#throughCapability(port), 0xffff_ffff);
    return this.#space.get(offset, bytes);
  }

  writeConfiguration(offset: number, bytes: number, value: number, port: VmmPort): void {
    this.#changing(port, () => this.#space.write(offset, bytes, value));
    if (this.#isAccessData(offset)) this.#throughCapability(port, this.#space.get(offset & ~3, 4));
    this.#msix.sendPending(port);
  }

  decodedBars(): readonly DecodedBar[] {
    if ((this.#command & PciCommand.memorySpace) === 0) return [];
    return [
      { device: this.#table, base: this.#space.bar(MSIX_BAR), bytes: MSIX_BAR_BYTES },
      { device: this.#registers, base: this.#space.bar(VIRTIO_BAR), bytes: VIRTIO_BAR_BYTES },
    ];
  }

  save(): StateSection[] {
    const state = {
      configuration: this.#space.bytes,
      configVector: this.#configVector,
      queueVectors: this.#queueVectors,
      messages: this.#msix.table,
      pending: this.#msix.pending,
    };
    return [saveSection(pciTransportFormat, this.#section, state), ...this.#core.save()];
  }

  restore(take: TakeSection): void {
    const section = take(this.#section);
    const state = restoreSection(pciTransportFormat, section);
    const own = [this.#space.bytes, this.#queueVectors, this.#msix.table, this.#msix.pending];
    const saved = [state.configuration, state.queueVectors, state.messages, state.pending];
    if (saved.some(({ length }, index) => length !== own[index]?.length))
      throw new StateSectionError(section.name, "it is of a device with another configuration space, or other queues");
    this.#core.restore(take);
    this.#space.bytes.set(state.configuration);
    this.#configVector = state.configVector;
    this.#queueVectors = state.queueVectors;
    this.#msix.table.set(state.messages);
    this.#msix.pending.set(state.pending);
  }

  // Configuration space

  get #command(): number {
    return this.#space.get(PciRegister.command, 2);
  }

  #describe({ deviceId }: VirtioDevice, { msixBase, virtioBase, gsi }: PciPlace): void {
    const space = this.#space;
    space.set(PciRegister.vendor, 2, VIRTIO_PCI_VENDOR);
    space.set(PciRegister.device, 2, VIRTIO_PCI_DEVICE_BASE + deviceId);
    const { memorySpace, busMaster, interruptDisable } = PciCommand;
    space.set(PciRegister.command, 2, memorySpace, memorySpace | busMaster | interruptDisable);
    space.set(PciRegister.revision, 1, VIRTIO_PCI_REVISION);
    space.set(PciRegister.classCode, 3, CLASSES[deviceId] ?? PciClass.other);
    space.set(PciRegister.subsystemVendor, 2, VIRTIO_PCI_VENDOR);
    space.set(PciRegister.subsystem, 2, VIRTIO_PCI_SUBSYSTEM);
    space.set(PciRegister.interruptLine, 1, gsi, 0xff);
    space.set(PciRegister.interruptPin, 1, INTERRUPT_PIN);
    space.addMemoryBar(MSIX_BAR, MSIX_BAR_BYTES, msixBase);
    space.addMemoryBar(VIRTIO_BAR, VIRTIO_BAR_BYTES, virtioBase);
  }

  /** Gives where the capability lies that is a window onto the BAR. */
  #addCapabilities(): number {
    const { common, notify, isr, device, configurationAccess } = VirtioPciCapability;
    this.#addCapability(common, VirtioPlace.common);
    this.#addCapability(isr, VirtioPlace.isr);
    this.#addCapability(device, VirtioPlace.device);
    const atNotify = this.#addCapability(notify, VirtioPlace.notify, 4);
    this.#space.set(atNotify + Capability.further, 4, NOTIFY_MULTIPLIER);
    const at = this.#addCapability(configurationAccess, { offset: 0, bytes: 0 }, 4);
    this.#space.set(at + Capability.bar, 1, 0, 0xff);
    for (const field of [Capability.offset, Capability.extent, Capability.further])
      this.#space.set(at + field, 4, 0, 0xffff_ffff);
    return at;
  }

  #addCapability(type: number, place: { readonly offset: number; readonly bytes: number }, further = 0): number {
    const bytes = Capability.bytes + further;
    const at = this.#space.addCapability(PciCapability.vendorSpecific, bytes);
    this.#space.set(at + Capability.length, 1, bytes);
    this.#space.set(at + Capability.type, 1, type);
    this.#space.set(at + Capability.bar, 1, VIRTIO_BAR);
    this.#space.set(at + Capability.offset, 4, place.offset);
    this.#space.set(at + Capability.extent, 4, place.bytes);
    return at;
  }

  #isAccessData(offset: number): boolean {
    return (offset & ~3) === this.#accessCapability + Capability.further;
  }

  /** Section 4.1.4.9: an access by way of configuration space, for who can't reach the BAR. Without `value`, a read. */
  #throughCapability(port: VmmPort, value?: number): number {
    const at = this.#accessCapability;
    const [bar, offset, bytes] = [
      this.#space.get(at + Capability.bar, 1),
      this.#space.get(at + Capability.offset, 4),
      this.#space.get(at + Capability.extent, 4),
    ];
    const isPossible = bar === VIRTIO_BAR && [1, 2, 4].includes(bytes) && offset % bytes === 0;
    if (!isPossible || offset + bytes > VIRTIO_BAR_BYTES) return 0;
    if (value === undefined) return this.#registers.read(offset, bytes, port);
    this.#registers.write(offset, bytes, bytes === 4 ? value : value & ((1 << (8 * bytes)) - 1), port);
    return 0;
  }

  // The structures in the BAR

  #part(accesses: Pick<MmioDevice, "read" | "write">): MmioDevice {
    return { name: this.name, save: () => [], restore: () => undefined, ...accesses };
  }

  #readBar(offset: number, bytes: number, port: VmmPort): number {
    const { isr, device, notify } = VirtioPlace;
    if (offset < isr.offset) return widthOf(offset) === bytes ? this.#readCommon(offset) >>> 0 : 0;
    if (offset < device.offset) return offset === isr.offset ? this.#takeIsr(port) : 0;
    return offset < notify.offset ? this.#core.readConfig(offset - device.offset, bytes) : 0;
  }

  #writeBar(offset: number, bytes: number, value: number, port: VmmPort): void {
    const { isr, device, notify } = VirtioPlace;
    if (offset < isr.offset) {
      if (widthOf(offset) === bytes) this.#writeCommon(offset, value >>> 0, port);
    } else if (offset >= notify.offset) this.#core.serve((offset - notify.offset) / NOTIFY_MULTIPLIER, port);
    else if (offset >= device.offset) this.#core.device.writeConfig(offset - device.offset, bytes, value, port);
  }

  /** Section 4.1.4.5: reading acknowledges. */
  #takeIsr(port: VmmPort): number {
    const value = this.#core.state.interruptStatus;
    this.#changing(port, () => {
      this.#core.state.interruptStatus = 0;
    });
    return value;
  }

  #readCommon(register: number): number {
    const core = this.#core;
    const { state, selectedQueue } = core;
    switch (register) {
      case CommonRegister.deviceFeatureSelect:
        return state.deviceFeaturesSelect;
      case CommonRegister.deviceFeature:
        return core.deviceFeatures;
      case CommonRegister.driverFeatureSelect:
        return state.driverFeaturesSelect;
      case CommonRegister.driverFeature:
        return [state.driverFeaturesLow, state.driverFeaturesHigh][state.driverFeaturesSelect] ?? 0;
      case CommonRegister.configVector:
        return this.#configVector;
      case CommonRegister.queueCount:
        return state.queues.length;
      case CommonRegister.deviceStatus:
        return state.status;
      case CommonRegister.queueSelect:
        return state.queueSelect;
      case CommonRegister.queueSize:
        return selectedQueue?.size ?? 0;
      case CommonRegister.queueVector:
        return this.#queueVectors[state.queueSelect] ?? NO_VECTOR;
      case CommonRegister.queueEnable:
        return selectedQueue?.ready ? 1 : 0;
      case CommonRegister.queueNotifyOffset:
        return selectedQueue === undefined ? 0 : state.queueSelect;
      default: {
        const word = QUEUE_WORDS.get(register);
        return word === undefined ? 0 : (selectedQueue?.[word] ?? 0);
      }
    }
  }

  #writeCommon(register: number, value: number, port: VmmPort): void {
    const core = this.#core;
    const { state } = core;
    switch (register) {
      case CommonRegister.deviceFeatureSelect:
        state.deviceFeaturesSelect = value;
        break;
      case CommonRegister.driverFeatureSelect:
        state.driverFeaturesSelect = value;
        break;
      case CommonRegister.driverFeature:
        core.setDriverFeatures(value);
        break;
      case CommonRegister.configVector:
        this.#configVector = this.#knownVector(value);
        break;
      case CommonRegister.deviceStatus:
        core.setStatus(value & 0xff, port);
        if ((value & 0xff) === 0) this.#forgetVectors();
        break;
      case CommonRegister.queueSelect:
        state.queueSelect = value & 0xffff;
        break;
      case CommonRegister.queueVector:
        if (core.selectedQueue !== undefined) this.#queueVectors[state.queueSelect] = this.#knownVector(value);
        break;
      case CommonRegister.queueEnable:
        // A queue is stopped by a reset of the device only.
        if (value === 1) core.setQueueReady(true);
        break;
      default:
        this.#writeQueue(register, value);
    }
  }

  /** A queue's size and areas are fixed while it is enabled. */
  #writeQueue(register: number, value: number): void {
    const queue = this.#core.selectedQueue;
    if (queue === undefined || queue.ready) return;
    const word = QUEUE_WORDS.get(register);
    if (word !== undefined) queue[word] = value;
    else if (register === CommonRegister.queueSize) queue.size = value & 0xffff;
  }

  // Interrupts

  /** Section 4.1.5.1.2: a vector that is not there reads back as none. */
  #knownVector(value: number): number {
    return (value & 0xffff) < this.#msix.vectorCount ? value & 0xffff : NO_VECTOR;
  }

  #forgetVectors(): void {
    this.#configVector = NO_VECTOR;
    this.#queueVectors.fill(NO_VECTOR);
    this.#msix.dropPending();
    this.#raised.length = 0;
  }

  /** With MSI-X, ISR status stays as it is (section 4.1.4.5.1). */
  #raise(interrupt: number, vector: number): void {
    if (this.#msix.isEnabled) this.#raised.push(vector);
    else this.#core.state.interruptStatus |= interrupt;
  }

  /** INTA# is the OR of ISR status while it is not MSI-X's turn, so it is derived and never saved. */
  get #line(): boolean {
    const isOff = this.#msix.isEnabled || (this.#command & PciCommand.interruptDisable) !== 0;
    return !isOff && this.#core.state.interruptStatus !== 0;
  }

  #changing(port: VmmPort, change: () => void): void {
    const before = this.#line;
    change();
    const after = this.#line;
    this.#space.setBits(PciRegister.status, PciStatus.interrupt, this.#core.state.interruptStatus !== 0);
    if (before !== after) port.setIrqLine(this.#gsi, after ? 1 : 0);
    for (const vector of new Set(this.#raised.splice(0))) this.#msix.raise(vector, port);
  }
}
