/** The `virt` board as a device tree (bindings: Linux, Documentation/devicetree/bindings). */
import { vcpuAffinity } from "@hvjournal/cpu-arm64";
import { PERIPHERAL_CLOCK_HERTZ, TIMER_PPI, VIRT_ADDRESS_MAP } from "../board/address-map.js";
import { cells, node, present, strings, wideCells, type DeviceTreeNode } from "./fdt.js";

export interface VirtDeviceTreeOptions {
  readonly memoryBytes: number;
  readonly vcpuCount: number;
  /** `compatible` of each CPU: "arm,cortex-a57". */
  readonly cpuCompatible: string;
  readonly bootArguments: string;
  readonly initrd: { readonly start: number; readonly end: number } | undefined;
  /** Virtio slots that hold a device. */
  readonly virtioSlots: readonly number[];
  /** Somebody answers the calls of SDEI. */
  readonly hasSdei: boolean;
  /** For the guest's random number generator, and for where its kernel lies. */
  readonly rngSeed: Uint8Array;
  readonly kaslrSeed: Uint8Array;
}

const Phandle = { interruptController: 1, peripheralClock: 2 } as const;
const InterruptType = { shared: 0, privatePeripheral: 1 } as const;
const LEVEL_HIGH = 4;
const PL011_PATH = "/pl011@9000000";

function unit(name: string, address: number): string {
  return `${name}@${address.toString(16)}`;
}

function sharedInterrupt(spi: number): Uint8Array {
  return cells(InterruptType.shared, spi, LEVEL_HIGH);
}

function cpusNode({ vcpuCount, cpuCompatible }: VirtDeviceTreeOptions): DeviceTreeNode {
  const cpus = Array.from({ length: vcpuCount }, (_, vcpu) => {
    const affinity = vcpuAffinity(vcpu);
    return node(unit("cpu", affinity), {
      device_type: strings("cpu"),
      compatible: strings(cpuCompatible),
      reg: cells(affinity),
      "enable-method": strings("psci"),
    });
  });
  return node("cpus", { "#address-cells": cells(1), "#size-cells": cells(0) }, cpus);
}

function chosenNode(options: VirtDeviceTreeOptions): DeviceTreeNode {
  const { bootArguments, initrd, rngSeed, kaslrSeed } = options;
  return node("chosen", {
    bootargs: strings(bootArguments),
    "stdout-path": strings(PL011_PATH),
    "rng-seed": rngSeed,
    "kaslr-seed": kaslrSeed,
    ...(initrd && { "linux,initrd-start": wideCells(initrd.start), "linux,initrd-end": wideCells(initrd.end) }),
  });
}

function interruptControllerNode(vcpuCount: number): DeviceTreeNode {
  const { gicDistributor, gicRedistributors } = VIRT_ADDRESS_MAP;
  return node(unit("intc", gicDistributor.base), {
    compatible: strings("arm,gic-v3"),
    reg: wideCells(
      gicDistributor.base,
      gicDistributor.bytes,
      gicRedistributors.base,
      gicRedistributors.bytesPerVcpu * vcpuCount,
    ),
    "#redistributor-regions": cells(1),
    "interrupt-controller": present,
    "#interrupt-cells": cells(3),
    "#address-cells": cells(2),
    "#size-cells": cells(2),
    ranges: present,
    phandle: cells(Phandle.interruptController),
  });
}

function timerNode(): DeviceTreeNode {
  const ppis = [TIMER_PPI.securePhysical, TIMER_PPI.nonSecurePhysical, TIMER_PPI.virtual, TIMER_PPI.hypervisor];
  return node("timer", {
    compatible: strings("arm,armv8-timer"),
    interrupts: cells(...ppis.flatMap((ppi) => [InterruptType.privatePeripheral, ppi, LEVEL_HIGH])),
    "always-on": present,
  });
}

function primecellNodes(): DeviceTreeNode[] {
  const { pl011, pl031 } = VIRT_ADDRESS_MAP;
  const clock = Phandle.peripheralClock;
  return [
    node("apb-pclk", {
      compatible: strings("fixed-clock"),
      "#clock-cells": cells(0),
      "clock-frequency": cells(PERIPHERAL_CLOCK_HERTZ),
      "clock-output-names": strings("clk24mhz"),
      phandle: cells(clock),
    }),
    node(unit("pl011", pl011.base), {
      compatible: strings("arm,pl011", "arm,primecell"),
      reg: wideCells(pl011.base, pl011.bytes),
      interrupts: sharedInterrupt(pl011.spi),
      clocks: cells(clock, clock),
      "clock-names": strings("uartclk", "apb_pclk"),
    }),
    node(unit("pl031", pl031.base), {
      compatible: strings("arm,pl031", "arm,primecell"),
      reg: wideCells(pl031.base, pl031.bytes),
      interrupts: sharedInterrupt(pl031.spi),
      clocks: cells(clock),
      "clock-names": strings("apb_pclk"),
    }),
  ];
}

function virtioNode(slot: number): DeviceTreeNode {
  const { base, bytesPerSlot, firstSpi } = VIRT_ADDRESS_MAP.virtioMmio;
  const address = base + slot * bytesPerSlot;
  return node(unit("virtio_mmio", address), {
    compatible: strings("virtio,mmio"),
    reg: wideCells(address, bytesPerSlot),
    interrupts: sharedInterrupt(firstSpi + slot),
    "dma-coherent": present,
  });
}

function firmwareNode(): DeviceTreeNode {
  return node("firmware", {}, [node("sdei", { compatible: strings("arm,sdei-1.0"), method: strings("hvc") })]);
}

export function virtDeviceTree(options: VirtDeviceTreeOptions): DeviceTreeNode {
  const { ram } = VIRT_ADDRESS_MAP;
  return node(
    "",
    {
      "#address-cells": cells(2),
      "#size-cells": cells(2),
      compatible: strings("linux,dummy-virt"),
      model: strings("hvjournal virt"),
      "interrupt-parent": cells(Phandle.interruptController),
    },
    [
      chosenNode(options),
      node("aliases", { serial0: strings(PL011_PATH) }),
      node("psci", { compatible: strings("arm,psci-1.0", "arm,psci-0.2"), method: strings("hvc") }),
      ...(options.hasSdei ? [firmwareNode()] : []),
      cpusNode(options),
      node(unit("memory", ram.base), {
        device_type: strings("memory"),
        reg: wideCells(ram.base, options.memoryBytes),
      }),
      timerNode(),
      interruptControllerNode(options.vcpuCount),
      ...primecellNodes(),
      ...options.virtioSlots.map(virtioNode),
    ],
  );
}
