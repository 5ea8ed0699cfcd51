/** The DSDT's content: what a driver can't find by itself. */
import { PC_GSI, PC_PORT } from "../board/pc-address-map.js";
import { SLEEP_TYPE_S5 } from "../devices/acpi-power/registers.js";
import { UART_PORTS } from "../devices/uart16550/registers.js";
import { fixedMemory, isaInterrupt, levelInterrupt, ports, resourceTemplate } from "./acpi-resources.js";
import { amlBuffer, amlDevice, amlEisaId, amlInteger, amlName, amlPackage, amlScope, amlString } from "./aml.js";
import { concatenate } from "./byte-pieces.js";

export interface VirtioMmioPlace {
  readonly base: number;
  readonly bytes: number;
  readonly gsi: number;
}

const CMOS_PORTS = 2;

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

export function acpiNamespace(virtio: readonly VirtioMmioPlace[]): Uint8Array {
  return concatenate([softOff(), amlScope("\\_SB", [serialPort(), clock(), ...virtio.map(virtioDevice)])]);
}
