/** ACPI tables of the `pc` board (ACPI 6.5, chapter 5): processors, interrupts, power, and which of a PC's devices are not there. */
import { encodeUtf8 } from "@hvjournal/core";
import { PC_ADDRESS_MAP, PC_GSI, PC_PORT } from "../board/pc-address-map.js";
import { PM1_CONTROL_BYTES, PM1_EVENT_BYTES } from "../devices/acpi-power/registers.js";
import { CmosRegister } from "../devices/cmos/registers.js";
import { RESET_VALUE } from "../devices/reset-control/device.js";
import { acpiNamespace, type PciInterrupt, type VirtioMmioPlace } from "./acpi-namespace.js";
import { concatenate } from "./byte-pieces.js";

export interface AcpiOptions {
  readonly vcpuCount: number;
  readonly virtio: readonly VirtioMmioPlace[];
  /** Absent: there is no PCI bus. */
  readonly pci?: readonly PciInterrupt[];
}

export interface AcpiTables {
  readonly rsdpAddress: number;
  /** For guest-physical memory from `rsdpAddress` on. */
  readonly bytes: Uint8Array;
}

const HEADER_BYTES = 36;
const HeaderOffset = {
  length: 4,
  revision: 8,
  checksum: 9,
  oemId: 10,
  oemTableId: 16,
  oemRevision: 24,
  creator: 28,
} as const;
const OEM_ID = "HVJRNL";
const OEM_TABLE_ID = "HVJRNLPC";
const CREATOR_ID = "HVJL";
const OEM_REVISION = 1;
const TABLE_ALIGNMENT = 64;

const RSDP_BYTES = 36;
const RSDP_FIRST_BYTES = 20;
const RsdpOffset = { checksum: 8, oemId: 9, revision: 15, length: 20, xsdt: 24, extendedChecksum: 32 } as const;
const RSDP_REVISION = 2;

const FACS_BYTES = 64;
const FACS_VERSION = 2;
const FacsOffset = { length: 4, version: 32 } as const;

/** 5.2.9: revision 6.5. */
const FADT_BYTES = 276;
const FADT_REVISION = 6;
const FADT_MINOR_REVISION = 5;
const FadtOffset = {
  facs: 36,
  dsdt: 40,
  preferredProfile: 45,
  sciInterrupt: 46,
  pm1Event: 56,
  pm1Control: 64,
  pm1EventBytes: 88,
  pm1ControlBytes: 89,
  c2Latency: 96,
  c3Latency: 98,
  century: 108,
  bootArchitecture: 109,
  flags: 112,
  resetRegister: 116,
  resetValue: 128,
  minorRevision: 131,
  xDsdt: 140,
  xPm1Event: 148,
  xPm1Control: 172,
} as const;
/** Above these a state is not supported. */
const NO_C2_LATENCY = 101;
const NO_C3_LATENCY = 1001;
const FadtFlag = {
  wbinvd: 1 << 0,
  c1OnAllProcessors: 1 << 2,
  /** These two say that there are no such buttons among the fixed registers. */
  powerButtonIsDevice: 1 << 4,
  sleepButtonIsDevice: 1 << 5,
  /** The clock's wake status is not in the fixed registers. */
  fixedRtc: 1 << 6,
  resetRegister: 1 << 10,
} as const;
/** IAPC_BOOT_ARCH (table 5.11). Bit 0, devices on an ISA bus, and bit 1, an 8042, are clear: there are none to look for. */
const BootArchitecture = { noVga: 1 << 2, noMsi: 1 << 3, noAspm: 1 << 4 } as const;
const AddressSpace = { systemIo: 1 } as const;
const AccessSize = { byte: 1, word: 2 } as const;

const MADT_REVISION = 5;
const MADT_PC_AT_COMPATIBLE = 1;
const MadtEntry = { localApic: 0, ioApic: 1, interruptSourceOverride: 2, localApicNmi: 4 } as const;
const LOCAL_APIC_ENABLED = 1;
const ALL_PROCESSORS = 0xff;
/** MPS INTI flags (table 5.25). */
const ACTIVE_HIGH_LEVEL = 0b1101;
const ACTIVE_HIGH_EDGE = 0b0101;
const LINT1 = 1;
const ISA_BUS = 0;
/** As on every PC, the timer's interrupt arrives at the IOAPIC's input 2. */
const TIMER = { isaLine: 0, gsi: 2 } as const;

function little(value: number, bytes: number): number[] {
  return Array.from({ length: bytes }, (_, index) => Math.floor(value / 2 ** (8 * index)) & 0xff);
}

function checksumOf(bytes: Uint8Array): number {
  return -bytes.reduce((sum, byte) => sum + byte, 0) & 0xff;
}

/** `content` starts behind the header. */
function table(signature: string, revision: number, content: Uint8Array): Uint8Array {
  const bytes = concatenate([new Uint8Array(HEADER_BYTES), content]);
  const view = new DataView(bytes.buffer);
  bytes.set(encodeUtf8(signature));
  view.setUint32(HeaderOffset.length, bytes.length, true);
  bytes[HeaderOffset.revision] = revision;
  bytes.set(encodeUtf8(OEM_ID), HeaderOffset.oemId);
  bytes.set(encodeUtf8(OEM_TABLE_ID), HeaderOffset.oemTableId);
  view.setUint32(HeaderOffset.oemRevision, OEM_REVISION, true);
  bytes.set(encodeUtf8(CREATOR_ID), HeaderOffset.creator);
  view.setUint32(HeaderOffset.creator + CREATOR_ID.length, OEM_REVISION, true);
  bytes[HeaderOffset.checksum] = checksumOf(bytes);
  return bytes;
}

function facs(): Uint8Array {
  const bytes = new Uint8Array(FACS_BYTES);
  bytes.set(encodeUtf8("FACS"));
  bytes[FacsOffset.length] = FACS_BYTES;
  bytes[FacsOffset.version] = FACS_VERSION;
  return bytes;
}

/** Generic address structure (5.2.3.2). */
function ioAddress(port: number, bits: number, accessSize: number): number[] {
  return [AddressSpace.systemIo, bits, 0, accessSize, ...little(port, 8)];
}

function fadt(facsAddress: number, dsdtAddress: number, hasPci: boolean): Uint8Array {
  const bytes = new Uint8Array(FADT_BYTES);
  const put = (offset: number, values: readonly number[]): void => bytes.set(values, offset);
  put(FadtOffset.facs, little(facsAddress, 4));
  put(FadtOffset.dsdt, little(dsdtAddress, 4));
  put(FadtOffset.sciInterrupt, little(PC_GSI.sci, 2));
  put(FadtOffset.pm1Event, little(PC_PORT.pm1Event, 4));
  put(FadtOffset.pm1Control, little(PC_PORT.pm1Control, 4));
  put(FadtOffset.pm1EventBytes, [PM1_EVENT_BYTES]);
  put(FadtOffset.pm1ControlBytes, [PM1_CONTROL_BYTES]);
  put(FadtOffset.c2Latency, little(NO_C2_LATENCY, 2));
  put(FadtOffset.c3Latency, little(NO_C3_LATENCY, 2));
  put(FadtOffset.century, [CmosRegister.century]);
  put(
    FadtOffset.bootArchitecture,
    little(BootArchitecture.noVga | (hasPci ? 0 : BootArchitecture.noMsi) | BootArchitecture.noAspm, 2),
  );
  const flags =
    FadtFlag.wbinvd |
    FadtFlag.c1OnAllProcessors |
    FadtFlag.powerButtonIsDevice |
    FadtFlag.sleepButtonIsDevice |
    FadtFlag.fixedRtc |
    FadtFlag.resetRegister;
  put(FadtOffset.flags, little(flags, 4));
  put(FadtOffset.resetRegister, ioAddress(PC_PORT.resetControl, 8, AccessSize.byte));
  put(FadtOffset.resetValue, [RESET_VALUE]);
  put(FadtOffset.minorRevision, [FADT_MINOR_REVISION]);
  // With an X_ field for the FACS both would have to be told apart: the 32-bit one is enough below 4 GiB.
  put(FadtOffset.xDsdt, little(dsdtAddress, 8));
  put(FadtOffset.xPm1Event, ioAddress(PC_PORT.pm1Event, PM1_EVENT_BYTES * 8, AccessSize.word));
  put(FadtOffset.xPm1Control, ioAddress(PC_PORT.pm1Control, PM1_CONTROL_BYTES * 8, AccessSize.word));
  return table("FACP", FADT_REVISION, bytes.subarray(HEADER_BYTES));
}

function madt(vcpuCount: number): Uint8Array {
  const entry = (type: number, content: readonly number[]): number[] => [type, content.length + 2, ...content];
  const override = (isaLine: number, gsi: number, flags: number): number[] =>
    entry(MadtEntry.interruptSourceOverride, [ISA_BUS, isaLine, ...little(gsi, 4), ...little(flags, 2)]);
  const ioApicId = vcpuCount;
  return table(
    "APIC",
    MADT_REVISION,
    Uint8Array.of(
      ...little(PC_ADDRESS_MAP.localApic.base, 4),
      ...little(MADT_PC_AT_COMPATIBLE, 4),
      ...Array.from({ length: vcpuCount }, (_, vcpu) =>
        entry(MadtEntry.localApic, [vcpu, vcpu, ...little(LOCAL_APIC_ENABLED, 4)]),
      ).flat(),
      ...entry(MadtEntry.ioApic, [ioApicId, 0, ...little(PC_ADDRESS_MAP.ioApic.base, 4), ...little(0, 4)]),
      ...override(TIMER.isaLine, TIMER.gsi, ACTIVE_HIGH_EDGE),
      ...override(PC_GSI.sci, PC_GSI.sci, ACTIVE_HIGH_LEVEL),
      ...entry(MadtEntry.localApicNmi, [ALL_PROCESSORS, ...little(0, 2), LINT1]),
    ),
  );
}

function xsdt(tables: readonly number[]): Uint8Array {
  return table("XSDT", 1, Uint8Array.from(tables.flatMap((address) => little(address, 8))));
}

function rsdp(xsdtAddress: number): Uint8Array {
  const bytes = new Uint8Array(RSDP_BYTES);
  bytes.set(encodeUtf8("RSD PTR "));
  bytes.set(encodeUtf8(OEM_ID), RsdpOffset.oemId);
  bytes[RsdpOffset.revision] = RSDP_REVISION;
  bytes[RsdpOffset.length] = RSDP_BYTES;
  bytes.set(little(xsdtAddress, 8), RsdpOffset.xsdt);
  bytes[RsdpOffset.checksum] = checksumOf(bytes.subarray(0, RSDP_FIRST_BYTES));
  bytes[RsdpOffset.extendedChecksum] = checksumOf(bytes);
  return bytes;
}

/** In the firmware's area, where also a guest finds them that is told nothing: it searches from 0xe0000 on (5.2.5.1). */
export function acpiTables({ vcpuCount, virtio, pci }: AcpiOptions): AcpiTables {
  const { base } = PC_ADDRESS_MAP.firmwareArea;
  const pieces: { readonly offset: number; readonly bytes: Uint8Array }[] = [];
  let end = RSDP_BYTES;
  const place = (bytes: Uint8Array): number => {
    const offset = Math.ceil(end / TABLE_ALIGNMENT) * TABLE_ALIGNMENT;
    pieces.push({ offset, bytes });
    end = offset + bytes.length;
    return base + offset;
  };
  const facsAddress = place(facs());
  const dsdtAddress = place(table("DSDT", 2, acpiNamespace(virtio, pci)));
  const fadtAddress = place(fadt(facsAddress, dsdtAddress, pci !== undefined));
  const madtAddress = place(madt(vcpuCount));
  pieces.push({ offset: 0, bytes: rsdp(place(xsdt([fadtAddress, madtAddress]))) });
  const bytes = new Uint8Array(end);
  for (const piece of pieces) bytes.set(piece.bytes, piece.offset);
  return { rsdpAddress: base, bytes };
}
