/** The x86-64 `pc` board: the VMM half of a VM without firmware, with a PC's ports, and virtio over MMIO. */
import {
  ExitWord,
  frameU64,
  isAskedOfHandlers,
  KvmExit,
  systemEventOf,
  type BoardDevice,
  type ExitFrame,
  type OutsideInput,
  type StateSection,
  type VmmHalf,
  type VmmPort,
} from "@hvjournal/core";
import type { PciInterrupt, VirtioMmioPlace } from "../boot/acpi-namespace.js";
import { BootError } from "../boot/boot-error.js";
import { ONE_MEBIBYTE } from "../boot/memory-map.js";
import { bootX86 } from "../boot/x86-boot.js";
import { AcpiPower } from "../devices/acpi-power/device.js";
import { Cmos } from "../devices/cmos/device.js";
import { DebugExit } from "../devices/debug-exit/device.js";
import { KeyboardController } from "../devices/keyboard-controller/device.js";
import type { TakeSection } from "../devices/mmio-device.js";
import type { PortDevice } from "../devices/port-device.js";
import { PostCode } from "../devices/post-code/device.js";
import { ResetControl } from "../devices/reset-control/device.js";
import { Uart16550 } from "../devices/uart16550/device.js";
import { VirtioBlock } from "../devices/virtio-block/device.js";
import { VirtioConsole } from "../devices/virtio-console/device.js";
import { VirtioRng } from "../devices/virtio-rng/device.js";
import { Vmport } from "../devices/vmport/device.js";
import { drawBytes } from "../entropy-bytes.js";
import { HandlerChain } from "../hypercalls/handler-chain.js";
import { type X86CallInterface, x86Calls } from "../hypercalls/x86/x86-calls.js";
import { PciHost } from "../pci/host.js";
import type { VirtioDevice, VirtioTransport } from "../virtio/core.js";
import type { RamWindow } from "../virtio/queue.js";
import { VirtioMmioTransport } from "../virtio/mmio-transport.js";
import { VirtioPciTransport } from "../virtio/pci-transport.js";
import { BOARD_PORT, VIRTIO_SLOT } from "./address-map.js";
import { checkBoardOptions, type BoardLimits, type BoardOptions } from "./board-options.js";
import { firmwareCmos } from "./cmos-content.js";
import { answerIo, answerMmio } from "./device-access.js";
import { MmioBus } from "./mmio-bus.js";
import { PC_ADDRESS_MAP, PC_GSI, PC_PORT, PC_VCPU_COUNT_MAX, VIRTIO_GSIS } from "./pc-address-map.js";
import { PendingSignals } from "./pending-signals.js";
import { PortBus } from "./port-bus.js";
import { restoreDevices } from "./saved-devices.js";
import { stopFor } from "./system-event.js";
import { UnexpectedExitError } from "./unexpected-exit.js";

export const VIRTIO_BUSES = ["mmio", "pci"] as const;
export type VirtioBus = (typeof VIRTIO_BUSES)[number];

export interface PcBoardOptions extends BoardOptions {
  /** VMware's backdoor is at its port; default: it is not. */
  readonly vmport?: boolean;
  /** Where a guest finds its virtio devices; default "mmio", and then there is no PCI bus. */
  readonly virtioBus?: VirtioBus;
}

export interface PcBoard extends VmmHalf {
  readonly memoryBase: number;
  readonly memoryBytes: number;
  portDeviceAt(port: number): string | undefined;
  devices(): BoardDevice[];
  /** Accesses that no device claimed, by page or port. */
  unclaimedAccesses(): ReadonlyMap<string, number>;
  /** Calls that nobody took, by name: the guest was told so. */
  unansweredCalls(): ReadonlyMap<string, number>;
  /** By device: what its driver did to be told DEVICE_NEEDS_RESET. */
  driverErrors(): ReadonlyMap<string, string>;
}

const RNG_SEED_BYTES = 32;
const LIMITS: BoardLimits = {
  board: "pc",
  memoryBytesMin: ONE_MEBIBYTE,
  memoryBytesMax: PC_ADDRESS_MAP.ram.bytesMax,
  vcpusMax: PC_VCPU_COUNT_MAX,
  drivesMax: VIRTIO_GSIS.length - VIRTIO_SLOT.firstDrive,
};

function virtioPlace(slot: number): VirtioMmioPlace {
  const { base, bytesPerSlot } = PC_ADDRESS_MAP.virtioMmio;
  const gsi = VIRTIO_GSIS[slot];
  if (gsi === undefined) throw new RangeError(`there is no virtio slot ${slot}`);
  return { base: base + slot * bytesPerSlot, bytes: bytesPerSlot, gsi };
}

interface SavedDevice {
  save(): StateSection[];
  restore(take: TakeSection): void;
}

class Pc implements PcBoard {
  readonly memoryBase: number = PC_ADDRESS_MAP.ram.base;
  readonly memoryBytes: number;
  readonly #options: PcBoardOptions;
  readonly #bus = new MmioBus();
  readonly #ports = new PortBus();
  readonly #devices: SavedDevice[] = [];
  readonly #uart = new Uart16550({ name: "com1", irqLine: PC_GSI.com1, outputPort: BOARD_PORT.console });
  readonly #cmos: Cmos;
  readonly #console: VirtioConsole;
  readonly #consoleTransport: VirtioTransport;
  readonly #transports: VirtioTransport[] = [];
  readonly #virtio: VirtioMmioPlace[] = [];
  readonly #pci: PciHost | undefined;
  readonly #pciInterrupts: PciInterrupt[] = [];
  readonly #vmport: Vmport | undefined;
  readonly #calls: X86CallInterface;
  readonly #handlers: HandlerChain;
  readonly #signals = new PendingSignals();
  readonly #unanswered = new Map<string, number>();

  constructor(options: PcBoardOptions) {
    checkBoardOptions(options, LIMITS);
    this.#options = options;
    this.memoryBytes = options.memoryBytes;
    this.#vmport = options.vmport === true ? new Vmport(options.memoryBytes) : undefined;
    this.#calls = x86Calls({
      noteUnanswered: (what) => void this.#unanswered.set(what, (this.#unanswered.get(what) ?? 0) + 1),
      answerBackdoor: (call) => this.#vmport?.answer(call),
      answerAccess: (exit, port) => this.#answerAccess(exit, port),
    });
    this.#handlers = new HandlerChain(options.handlers ?? [], this.#calls);
    this.#cmos = new Cmos(PC_GSI.cmos, options.rtcBaseNs, firmwareCmos(options.memoryBytes));
    this.#attachPort(new KeyboardController(), PC_PORT.keyboardController);
    this.#attachPort(this.#cmos, PC_PORT.cmos);
    this.#attachPort(new PostCode(), PC_PORT.postCode);
    this.#attachPort(new DebugExit(), PC_PORT.debugExit);
    this.#attachPort(this.#uart, PC_PORT.com1);
    this.#attachPort(new AcpiPower(), PC_PORT.pm1Event);
    this.#attachPort(new ResetControl(), PC_PORT.resetControl);
    this.#pci = options.virtioBus === "pci" ? this.#attachPci() : undefined;
    this.#console = new VirtioConsole(BOARD_PORT.virtioConsole);
    this.#consoleTransport = this.#attachVirtio(this.#console, VIRTIO_SLOT.console);
    this.#attachVirtio(new VirtioRng(options.entropy.stream("virtio-rng")), VIRTIO_SLOT.rng);
    options.drives.forEach((drive, index) => {
      this.#attachVirtio(new VirtioBlock(index, drive), VIRTIO_SLOT.firstDrive + index);
    });
  }

  noteSignal(fd: number): void {
    if (this.#handlers.hasHandlers) this.#signals.add(fd);
  }

  /** A signal is served at once. */
  get deadlineNs(): number | undefined {
    return this.#signals.first === undefined ? this.#cmos.deadlineNs : 0;
  }

  boot(port: VmmPort): void {
    const { kernel, initrd, append = "", vcpuCount, entropy } = this.#options;
    if (kernel === undefined) {
      throw new BootError("can't boot: no kernel was given");
    }
    if (initrd?.bytes.length === 0) {
      throw new BootError(`can't boot with initrd ${initrd.name}: the file is empty`);
    }
    const { segments, registers } = bootX86({
      kernel,
      initrd,
      append,
      ram: { base: this.memoryBase, bytes: this.memoryBytes },
      acpi: { vcpuCount, virtio: this.#virtio, ...(this.#pci === undefined ? {} : { pci: this.#pciInterrupts }) },
      rngSeed: drawBytes(entropy.stream("boot/rng-seed"), RNG_SEED_BYTES),
    });
    for (const { address, bytes } of segments) {
      port.writeMemory(address, bytes);
    }
    for (const { name, value } of registers) {
      port.setRegister(0, name, value);
    }
  }

  handleExit(exit: ExitFrame, port: VmmPort): void | Promise<void> {
    switch (exit[ExitWord.kvmExit]) {
      case KvmExit.io:
        if (this.#vmport?.claims(exit[ExitWord.arg0Low] ?? 0) === true) return this.#handlers.answer(exit, port);
        if (this.#isForHandlers(this.#ports.deviceAt(exit[ExitWord.arg0Low] ?? 0)))
          return this.#handlers.answerCall(this.#calls.access(exit, port), port);
        answerIo(exit, this.#ports, port);
        break;
      case KvmExit.mmio:
        if (this.#isForHandlers(this.#bus.deviceAt(Number(frameU64(exit, ExitWord.arg0Low)))))
          return this.#handlers.answerCall(this.#calls.access(exit, port), port);
        answerMmio(exit, this.#bus, port);
        break;
      case KvmExit.hypercall:
      case KvmExit.hyperv:
      case KvmExit.xen:
      case KvmExit.x86Rdmsr:
      case KvmExit.x86Wrmsr:
        return this.#handlers.answer(exit, port);
      case KvmExit.shutdown:
        port.stop({ what: "crashed", by: "triple fault" });
        break;
      case KvmExit.systemEvent:
        this.#handleSystemEvent(exit, port);
        break;
      default:
        throw new UnexpectedExitError(`the pc board has no answer to KVM exit ${exit[ExitWord.kvmExit]}`);
    }
    return undefined;
  }

  asksHandlers(exit: ExitFrame): boolean {
    if (!this.#handlers.hasHandlers) return false;
    switch (exit[ExitWord.kvmExit]) {
      case KvmExit.io: {
        const ioPort = exit[ExitWord.arg0Low] ?? 0;
        return this.#vmport?.claims(ioPort) === true || this.#isForHandlers(this.#ports.deviceAt(ioPort));
      }
      case KvmExit.mmio:
        return this.#isForHandlers(this.#bus.deviceAt(Number(frameU64(exit, ExitWord.arg0Low))));
      default:
        return isAskedOfHandlers(exit);
    }
  }

  get waitsFor(): string | undefined {
    return this.#handlers.waitsFor;
  }

  withdraw(): void {
    this.#handlers.withdraw();
  }

  reachDeadline(port: VmmPort): void {
    const fd = this.#signals.first;
    if (fd === undefined) return this.#cmos.reachDeadline(port);
    const answer = this.#handlers.answerCall(this.#calls.signal(fd, port), port);
    if (answer !== undefined)
      throw new RangeError(`a handler of eventfd ${fd} gave a promise: a signal is served at once, or not at all`);
    this.#signals.takeFirst();
  }

  takeInput(input: OutsideInput, port: VmmPort): boolean {
    switch (input.port) {
      case BOARD_PORT.console:
        return this.#uart.takeInput(input.bytes, port);
      case BOARD_PORT.virtioConsole:
        return this.#console.takeInput(input.bytes, this.#consoleTransport, port);
      default:
        throw new RangeError(`the pc board has no input port ${input.port}`);
    }
  }

  readCount(port: number): number {
    switch (port) {
      case BOARD_PORT.console:
        return this.#uart.readCount;
      case BOARD_PORT.virtioConsole:
        return this.#console.readCount;
      default:
        throw new RangeError(`the pc board has no input port ${port}`);
    }
  }

  deviceAt(physical: number): string | undefined {
    const { ioApic, localApic } = PC_ADDRESS_MAP;
    const found = [
      { name: "ioapic", ...ioApic },
      { name: "lapic", ...localApic },
    ].find(({ base, bytes }) => physical >= base && physical < base + bytes);
    return found?.name ?? this.#bus.deviceAt(physical)?.name;
  }

  portDeviceAt(port: number): string | undefined {
    return this.#vmport?.claims(port) === true ? this.#vmport.name : this.#ports.deviceAt(port)?.name;
  }

  /** The interrupt controllers' pages are the kernel half's, and devices all the same. */
  devices(): BoardDevice[] {
    const { ioApic, localApic } = PC_ADDRESS_MAP;
    return [
      { name: "ioapic", ...ioApic },
      { name: "lapic", ...localApic },
      ...this.#bus.ranges(),
      ...this.#pciRanges(),
    ].sort((a, b) => a.base - b.base);
  }

  save(): StateSection[] {
    return [...this.#devices.flatMap((device) => device.save()), ...this.#handlers.save(), ...this.#signals.save()];
  }

  restore(sections: readonly StateSection[]): void {
    restoreDevices(this.#devices, sections, (takeIfThere) => {
      this.#handlers.restore(takeIfThere);
      this.#signals.restore(takeIfThere);
    });
  }

  unansweredCalls(): ReadonlyMap<string, number> {
    return this.#unanswered;
  }

  unclaimedAccesses(): ReadonlyMap<string, number> {
    const ports = [...this.#ports.unclaimed].map(([port, count]) => [`port 0x${port.toString(16)}`, count] as const);
    return new Map([...this.#bus.unclaimed, ...ports]);
  }

  driverErrors(): ReadonlyMap<string, string> {
    const errors = new Map<string, string>();
    for (const { name, driverError } of this.#transports) {
      if (driverError !== undefined) {
        errors.set(name, driverError);
      }
    }
    return errors;
  }

  #attachPort(device: PortDevice, base: number): void {
    this.#ports.map(device, base);
    this.#devices.push(device);
  }

  /** Its functions are saved by it. */
  #attachPci(): PciHost {
    const host = new PciHost();
    this.#ports.mapWide(host);
    this.#bus.mapMoving((address) => host.barAt(address));
    this.#devices.push(host);
    return host;
  }

  /** Each BAR where it is decoded now. */
  #pciRanges(): BoardDevice[] {
    return (this.#pci?.bars() ?? []).map(({ device, base, bytes }) => ({ name: device.name, base, bytes }));
  }

  #attachVirtio(device: VirtioDevice, slot: number): VirtioTransport {
    const place = virtioPlace(slot);
    const ram = { base: this.memoryBase, bytes: this.memoryBytes };
    if (this.#pci !== undefined) return this.#attachToPci(this.#pci, device, ram, place.gsi);
    const transport = new VirtioMmioTransport(device, ram, place.gsi);
    this.#bus.map(transport, place.base, place.bytes);
    this.#devices.push(transport);
    this.#transports.push(transport);
    this.#virtio.push(place);
    return transport;
  }

  #attachToPci(host: PciHost, device: VirtioDevice, ram: RamWindow, gsi: number): VirtioTransport {
    const { base, bytesPerDevice, virtioOffset } = PC_ADDRESS_MAP.pciMemory;
    const msixBase = base + this.#pciInterrupts.length * bytesPerDevice;
    const transport = new VirtioPciTransport(device, ram, { msixBase, virtioBase: msixBase + virtioOffset, gsi });
    this.#pciInterrupts.push({ device: host.add(transport), gsi });
    this.#transports.push(transport);
    return transport;
  }

  /** What no device claims is the handlers', where there are any. */
  #isForHandlers(device: unknown): boolean {
    return device === undefined && this.#handlers.hasHandlers;
  }

  #answerAccess(exit: ExitFrame, port: VmmPort): void {
    if (exit[ExitWord.kvmExit] === KvmExit.io) answerIo(exit, this.#ports, port);
    else answerMmio(exit, this.#bus, port);
  }

  #handleSystemEvent(exit: ExitFrame, port: VmmPort): void {
    const { type, flags } = systemEventOf(exit[ExitWord.info] ?? 0);
    const stop = stopFor(type, flags);
    if (stop === undefined) {
      throw new UnexpectedExitError(`the pc board has no answer to KVM_EXIT_SYSTEM_EVENT of type ${type}`);
    }
    port.stop(stop);
  }
}

/** Throws RangeError for a machine that can't be built. */
export function createPcBoard(options: PcBoardOptions): PcBoard {
  return new Pc(options);
}
