/** The DSDT's content: what a driver can't find by itself. */
import { PC_ADDRESS_MAP, PC_GSI, PC_PORT } from "../board/pc-address-map.js";
import { SLEEP_TYPE_S5 } from "../devices/acpi-power/registers.js";
import { UART_PORTS } from "../devices/uart16550/registers.js";
import {
  busNumbers,
  fixedMemory,
  isaInterrupt,
  levelInterrupt,
  memoryWindow,
  ports,
  resourceTemplate,
} from "./acpi-resources.js";
import { amlBuffer, amlDevice, amlEisaId, amlInteger, amlName, amlPackage, amlScope, amlString } from "./aml.js";
import { concatenate } from "./byte-pieces.js";

export interface VirtioMmioPlace {
  readonly base: number;
  readonly bytes: number;
  readonly gsi: number;
}

/** Where INTA# of a device on PCI bus 0 arrives. */
export interface PciInterrupt {
  readonly device: number;
  readonly gsi: number;
}

const CMOS_PORTS = 2;
const PCI_PORTS = { base: 0xcf8, count: 8 } as const;
const ANY_FUNCTION = 0xffff;
const INTA = 0;
/** The source is a global system interrupt by itself (6.2.13). */
const NO_LINK = 0;

/** SLP_TYP for PM1a and PM1b, and two that are reserved (7.4.2.2). */
function softOff(): Uint8Array {
  return amlName("\\_S5", amlPackage([SLEEP_TYPE_S5, SLEEP_TYPE_S5, 0, 0].map(amlInteger)));
}

function serialPort(): Uint8Array {
  return amlDevice("COM1", [
    amlName("_HID", amlEisaId("PNP0501")),
    amlName("_UID", amlInteger(1)),
    amlName("_CRS", amlBuffer(resourceTemplate([ports(PC_PORT.com1, UART_PORTS), isaInterrupt(PC_GSI.com1)]))),
  ]);
}

function clock(): Uint8Array {
  return amlDevice("RTC", [
    amlName("_HID", amlEisaId("PNP0B00")),
    amlName("_CRS", amlBuffer(resourceTemplate([ports(PC_PORT.cmos, CMOS_PORTS), isaInterrupt(PC_GSI.cmos)]))),
  ]);
}

/** LNRO0005 is the id of virtio over MMIO that Linux and EDK II know. */
function virtioDevice({ base, bytes, gsi }: VirtioMmioPlace, index: number): Uint8Array {
  const number = index.toString(16).toUpperCase().padStart(2, "0");
  return amlDevice(`VR${number}`, [
    amlName("_HID", amlString("LNRO0005")),
    amlName("_UID", amlInteger(index)),
    amlName("_CCA", amlInteger(1)),
    amlName("_CRS", amlBuffer(resourceTemplate([fixedMemory(base, bytes), levelInterrupt(gsi)]))),
  ]);
}

/** PNP0A03: a PCI host bridge, whose configuration space is behind its ports. */
function pciHost(interrupts: readonly PciInterrupt[]): Uint8Array {
  const { base, bytes } = PC_ADDRESS_MAP.pciMemory;
  const windows = [busNumbers(0, 0), ports(PCI_PORTS.base, PCI_PORTS.count), memoryWindow(base, bytes)];
  const routes = interrupts.map(({ device, gsi }) =>
    amlPackage([((device << 16) | ANY_FUNCTION) >>> 0, INTA, NO_LINK, gsi].map(amlInteger)),
  );
  return amlDevice("PCI0", [
    amlName("_HID", amlEisaId("PNP0A03")),
    amlName("_UID", amlInteger(0)),
    amlName("_BBN", amlInteger(0)),
    amlName("_CRS", amlBuffer(resourceTemplate(windows))),
    amlName("_PRT", amlPackage(routes)),
  ]);
}

/** `pci`: absent, there is no such bus. */
export function acpiNamespace(virtio: readonly VirtioMmioPlace[], pci?: readonly PciInterrupt[]): Uint8Array {
  const devices = [serialPort(), clock(), ...virtio.map(virtioDevice), ...(pci === undefined ? [] : [pciHost(pci)])];
  return concatenate([softOff(), amlScope("\\_SB", devices)]);
}
