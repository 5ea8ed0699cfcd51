/** The arm64 `virt` board: the VMM half of a VM, with QEMU's addresses. */
import {
  ExitWord,
  KvmExit,
  systemEventOf,
  PAGE_BYTES,
  encodeUtf8,
  type BoardDevice,
  type ExitFrame,
  type OutsideInput,
  type StateSection,
  type VmmHalf,
  type VmmPort,
} from "@hvjournal/core";
import { MpState } from "@hvjournal/cpu-arm64";
import { BootError } from "../boot/boot-error.js";
import { virtDeviceTree } from "../boot/device-tree.js";
import { flattenDeviceTree } from "../boot/fdt.js";
import type { RamRange } from "../boot/kernel-format.js";
import { loadKernel } from "../boot/kernel-image.js";
import { DEVICE_TREE_BYTES_MAX, planMemory } from "../boot/memory-layout.js";
import { HandlerChain } from "../hypercalls/handler-chain.js";
import { smcccCalls } from "../hypercalls/smccc-calls.js";
import type { MmioDevice } from "../devices/mmio-device.js";
import { Pl011 } from "../devices/pl011/device.js";
import { Pl031 } from "../devices/pl031/device.js";
import { VirtioBlock } from "../devices/virtio-block/device.js";
import { VirtioConsole } from "../devices/virtio-console/device.js";
import { VirtioRng } from "../devices/virtio-rng/device.js";
import { drawBytes } from "../entropy-bytes.js";
import type { VirtioDevice } from "../virtio/core.js";
import { VirtioMmioTransport } from "../virtio/mmio-transport.js";
import { BOARD_PORT, VIRTIO_SLOT, VIRT_ADDRESS_MAP } from "./address-map.js";
import { checkBoardOptions, type BoardLimits, type BoardOptions } from "./board-options.js";
import { answerMmio } from "./device-access.js";
import { MmioBus } from "./mmio-bus.js";
import { restoreDevices } from "./saved-devices.js";
import { stopFor, SystemEventType } from "./system-event.js";
import { UnexpectedExitError } from "./unexpected-exit.js";

export interface VirtBoardOptions extends BoardOptions {
  /** As `KernelHalfOptions.cpuModel`, for the device tree; default "cortex-a57". */
  readonly cpuModel?: string;
}

export interface VirtBoard extends VmmHalf {
  readonly memoryBase: number;
  readonly memoryBytes: number;
  /** Accesses that no device claimed, by page: they read zero, and writes are lost. */
  unclaimedAccesses(): ReadonlyMap<string, number>;
  /** By device: what its driver did to be told DEVICE_NEEDS_RESET. */
  driverErrors(): ReadonlyMap<string, string>;
}

const VCPU_COUNT_MAX = Math.floor(
  VIRT_ADDRESS_MAP.gicRedistributors.bytes / VIRT_ADDRESS_MAP.gicRedistributors.bytesPerVcpu,
);
const RNG_SEED_BYTES = 32;
const KASLR_SEED_BYTES = 8;
/** COMMAND_LINE_SIZE of arm64, with the final zero byte. Linux cuts off the rest without a word. */
const LINUX_COMMAND_LINE_BYTES = 2048;

const LIMITS: BoardLimits = {
  board: "virt",
  memoryBytesMin: PAGE_BYTES,
  memoryBytesMax: VIRT_ADDRESS_MAP.ram.bytesMax,
  vcpusMax: VCPU_COUNT_MAX,
  drivesMax: VIRT_ADDRESS_MAP.virtioMmio.slots - VIRTIO_SLOT.firstDrive,
};

class Virt implements VirtBoard {
  readonly memoryBase: number = VIRT_ADDRESS_MAP.ram.base;
  readonly memoryBytes: number;
  readonly #options: VirtBoardOptions;
  readonly #bus = new MmioBus();
  readonly #devices: MmioDevice[] = [];
  readonly #pl011: Pl011;
  readonly #pl031: Pl031;
  readonly #console: VirtioConsole;
  readonly #consoleTransport: VirtioMmioTransport;
  readonly #transports: VirtioMmioTransport[] = [];
  readonly #virtioSlots: number[] = [];
  readonly #handlers: HandlerChain;

  constructor(options: VirtBoardOptions) {
    checkBoardOptions(options, LIMITS);
    this.#options = options;
    this.memoryBytes = options.memoryBytes;
    this.#handlers = new HandlerChain(options.handlers ?? [], smcccCalls);
    const { pl011, pl031 } = VIRT_ADDRESS_MAP;
    this.#pl011 = new Pl011(pl011.spi, BOARD_PORT.console);
    this.#attach(this.#pl011, pl011.base, pl011.bytes);
    this.#pl031 = new Pl031(pl031.spi, options.rtcBaseNs);
    this.#attach(this.#pl031, pl031.base, pl031.bytes);
    this.#console = new VirtioConsole(BOARD_PORT.virtioConsole);
    this.#consoleTransport = this.#attachVirtio(this.#console, VIRTIO_SLOT.console);
    this.#attachVirtio(new VirtioRng(options.entropy.stream("virtio-rng")), VIRTIO_SLOT.rng);
    options.drives.forEach((drive, index) => {
      this.#attachVirtio(new VirtioBlock(index, drive), VIRTIO_SLOT.firstDrive + index);
    });
  }

  get deadlineNs(): number | undefined {
    return this.#pl031.deadlineNs;
  }

  boot(port: VmmPort): void {
    const { kernel: file, initrd, append = "" } = this.#options;
    if (file === undefined) {
      throw new BootError("can't boot: no kernel was given");
    }
    if (initrd?.bytes.length === 0) {
      throw new BootError(`can't boot with initrd ${initrd.name}: the file is empty`);
    }
    const ram: RamRange = { base: this.memoryBase, bytes: this.memoryBytes };
    const kernel = loadKernel(file, ram);
    const appendBytes = encodeUtf8(append).length;
    if (kernel.format === "arm64-image" && appendBytes >= LINUX_COMMAND_LINE_BYTES) {
      throw new BootError(
        `can't boot ${file.name}: its command line has ${appendBytes} bytes, arm64 Linux takes ${LINUX_COMMAND_LINE_BYTES - 1}`,
      );
    }
    const layout = planMemory(ram, kernel.end, initrd?.bytes.length ?? 0);
    const deviceTree = this.#deviceTree(append, layout.initrdAddress);
    for (const { address, bytes } of kernel.segments) {
      port.writeMemory(address, bytes);
    }
    if (initrd !== undefined && layout.initrdAddress !== undefined) {
      port.writeMemory(layout.initrdAddress, initrd.bytes);
    }
    port.writeMemory(layout.deviceTreeAddress, deviceTree);
    port.setRegister(0, "x0", BigInt(layout.deviceTreeAddress));
    port.setRegister(0, "pc", BigInt(kernel.entry));
  }

  handleExit(exit: ExitFrame, port: VmmPort): void | Promise<void> {
    switch (exit[ExitWord.kvmExit]) {
      case KvmExit.mmio:
        answerMmio(exit, this.#bus, port);
        break;
      case KvmExit.hypercall:
        return this.#handlers.answer(exit, port);
      case KvmExit.systemEvent:
        this.#handleSystemEvent(exit, port);
        break;
      default:
        throw new UnexpectedExitError(`the virt board has no answer to KVM exit ${exit[ExitWord.kvmExit]}`);
    }
    return undefined;
  }

  asksHandlers(exit: ExitFrame): boolean {
    return this.#handlers.hasHandlers && exit[ExitWord.kvmExit] === KvmExit.hypercall;
  }

  get waitsFor(): string | undefined {
    return this.#handlers.waitsFor;
  }

  withdraw(): void {
    this.#handlers.withdraw();
  }

  reachDeadline(port: VmmPort): void {
    this.#pl031.reachDeadline(port);
  }

  takeInput(input: OutsideInput, port: VmmPort): boolean {
    switch (input.port) {
      case BOARD_PORT.console:
        return this.#pl011.takeInput(input.bytes, port);
      case BOARD_PORT.virtioConsole:
        return this.#console.takeInput(input.bytes, this.#consoleTransport, port);
      default:
        throw new RangeError(`the virt board has no input port ${input.port}`);
    }
  }

  readCount(port: number): number {
    switch (port) {
      case BOARD_PORT.console:
        return this.#pl011.readCount;
      case BOARD_PORT.virtioConsole:
        return this.#console.readCount;
      default:
        throw new RangeError(`the virt board has no input port ${port}`);
    }
  }

  deviceAt(physical: number): string | undefined {
    const { gicDistributor, gicRedistributors } = VIRT_ADDRESS_MAP;
    const within = ({ base, bytes }: RamRange): boolean => physical >= base && physical < base + bytes;
    if (within(gicDistributor)) {
      return "gicd";
    }
    return within(gicRedistributors) ? "gicr" : this.#bus.deviceAt(physical)?.name;
  }

  /** The GIC's frames are the kernel half's, and devices all the same. */
  devices(): BoardDevice[] {
    const { gicDistributor, gicRedistributors } = VIRT_ADDRESS_MAP;
    const gicr = { base: gicRedistributors.base, bytes: gicRedistributors.bytesPerVcpu * this.#options.vcpuCount };
    return [
      { name: "gicd", base: gicDistributor.base, bytes: gicDistributor.bytes },
      { name: "gicr", ...gicr },
      ...this.#bus.ranges(),
    ].sort((a, b) => a.base - b.base);
  }

  save(): StateSection[] {
    return [...this.#devices.flatMap((device) => device.save()), ...this.#handlers.save()];
  }

  restore(sections: readonly StateSection[]): void {
    restoreDevices(this.#devices, sections, (takeIfThere) => this.#handlers.restore(takeIfThere));
  }

  unclaimedAccesses(): ReadonlyMap<string, number> {
    return this.#bus.unclaimed;
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

  #attach(device: MmioDevice, base: number, bytes: number): void {
    this.#bus.map(device, base, bytes);
    this.#devices.push(device);
  }

  #attachVirtio(device: VirtioDevice, slot: number): VirtioMmioTransport {
    const { base, bytesPerSlot, firstSpi } = VIRT_ADDRESS_MAP.virtioMmio;
    const ram = { base: this.memoryBase, bytes: this.memoryBytes };
    const transport = new VirtioMmioTransport(device, ram, firstSpi + slot);
    this.#attach(transport, base + slot * bytesPerSlot, bytesPerSlot);
    this.#transports.push(transport);
    this.#virtioSlots.push(slot);
    return transport;
  }

  #deviceTree(bootArguments: string, initrdAddress: number | undefined): Uint8Array {
    const { vcpuCount, cpuModel = "cortex-a57", initrd, entropy } = this.#options;
    const blob = flattenDeviceTree(
      virtDeviceTree({
        memoryBytes: this.memoryBytes,
        vcpuCount,
        cpuCompatible: `arm,${cpuModel}`,
        bootArguments,
        initrd:
          initrdAddress === undefined
            ? undefined
            : { start: initrdAddress, end: initrdAddress + (initrd?.bytes.length ?? 0) },
        virtioSlots: this.#virtioSlots,
        hasSdei: this.#handlers.providesSdei,
        rngSeed: drawBytes(entropy.stream("boot/rng-seed"), RNG_SEED_BYTES),
        kaslrSeed: drawBytes(entropy.stream("boot/kaslr-seed"), KASLR_SEED_BYTES),
      }),
    );
    if (blob.length > DEVICE_TREE_BYTES_MAX) {
      throw new BootError(
        `can't boot: the device tree has ${blob.length} bytes, ${DEVICE_TREE_BYTES_MAX} are possible`,
      );
    }
    return blob;
  }

  #handleSystemEvent(exit: ExitFrame, port: VmmPort): void {
    const { type, flags } = systemEventOf(exit[ExitWord.info] ?? 0);
    if (type === SystemEventType.wakeup) {
      // A suspended vCPU goes on when something would wake it.
      port.control({ name: "mp-state", vcpu: exit[ExitWord.vcpu] ?? 0, state: MpState.runnable });
      return;
    }
    const stop = stopFor(type, flags);
    if (stop === undefined) {
      throw new UnexpectedExitError(`the virt board has no answer to KVM_EXIT_SYSTEM_EVENT of type ${type}`);
    }
    port.stop(stop);
  }
}

/** Throws RangeError for a machine that can't be built. */
export function createVirtBoard(options: VirtBoardOptions): VirtBoard {
  return new Virt(options);
}
