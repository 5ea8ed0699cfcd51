import { describe, expect, it } from "@jest/globals";
import { acpiTables } from "./acpi-tables.js";
import { amlBuffer, amlDevice, amlEisaId, amlInteger, amlName, amlPackage, amlScope, amlString } from "./aml.js";

const BASE = 0xe_0000;

function tables(vcpuCount: number): { bytes: Buffer; table(address: number): Buffer; sum(bytes: Buffer): number } {
  const { bytes } = acpiTables({
    vcpuCount,
    virtio: [
      { base: 0xfeb0_0000, bytes: 0x200, gsi: 16 },
      { base: 0xfeb0_0200, bytes: 0x200, gsi: 17 },
    ],
  });
  const all = Buffer.from(bytes);
  return {
    bytes: all,
    table(address) {
      const at = address - BASE;
      return all.subarray(at, at + all.readUInt32LE(at + 4));
    },
    sum: (part) => part.reduce((total, byte) => total + byte, 0) & 0xff,
  };
}

describe("ACPI tables", () => {
  it("hang together, and their sums are right", () => {
    const { bytes, table, sum } = tables(2);
    expect(bytes.toString("latin1", 0, 8)).toBe("RSD PTR ");
    expect([sum(bytes.subarray(0, 20)), sum(bytes.subarray(0, 36)), bytes[15]]).toEqual([0, 0, 2]);
    const xsdt = table(Number(bytes.readBigUInt64LE(24)));
    const [fadt, madt] = [table(Number(xsdt.readBigUInt64LE(36))), table(Number(xsdt.readBigUInt64LE(44)))];
    const dsdt = table(fadt.readUInt32LE(40));
    const named = [xsdt, fadt, madt, dsdt].map((each) => [each.toString("latin1", 0, 4), sum(each)]);
    expect(named).toEqual([
      ["XSDT", 0],
      ["FACP", 0],
      ["APIC", 0],
      ["DSDT", 0],
    ]);
    const facs = fadt.readUInt32LE(36) - BASE;
    expect(bytes.toString("latin1", facs, facs + 4)).toBe("FACS");
    expect(fadt.readBigUInt64LE(140)).toBe(BigInt(fadt.readUInt32LE(40)));
  });

  it("say how to power off and reset, and that there is no 8042, VGA or ISA bus to look for", () => {
    const { bytes, table } = tables(1);
    const fadt = table(Number(table(Number(bytes.readBigUInt64LE(24))).readBigUInt64LE(36)));
    expect([fadt.readUInt16LE(46), fadt.readUInt32LE(56), fadt.readUInt32LE(64)]).toEqual([9, 0x600, 0x604]);
    expect([fadt.readUInt16LE(109), fadt.readUInt32LE(112) & 0x10_0430]).toEqual([0b1_1100, 0x430]);
    expect([fadt[116], Number(fadt.readBigUInt64LE(120)), fadt[128]]).toEqual([1, 0xcf9, 6]);
  });

  it("have a PCI host bridge with its window and pins, and allow messages, where there is a PCI bus only", () => {
    const dsdtAndFlags = (pci?: { device: number; gsi: number }[]): readonly [Buffer, number] => {
      const all = Buffer.from(acpiTables({ vcpuCount: 1, virtio: [], ...(pci === undefined ? {} : { pci }) }).bytes);
      const table = (address: number): Buffer => all.subarray(address - BASE);
      const fadt = table(Number(table(Number(all.readBigUInt64LE(24))).readBigUInt64LE(36)));
      return [table(fadt.readUInt32LE(40)), fadt.readUInt16LE(109)];
    };
    const [dsdt, flags] = dsdtAndFlags([{ device: 3, gsi: 18 }]);
    const has = (bytes: readonly number[]): boolean => dsdt.includes(Buffer.from(bytes));
    // _HID PNP0A03, a bus 0, memory from 0xe0000000 to 0xefffffff, and INTA# of device 3.
    expect(has([0x0c, 0x41, 0xd0, 0x0a, 0x03])).toBe(true);
    expect(has([0x88, 13, 0, 2, 12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0])).toBe(true);
    expect(has([0x87, 23, 0, 0, 12, 1, 0, 0, 0, 0, 0, 0, 0, 0xe0, 0xff, 0xff, 0xff, 0xef])).toBe(true);
    expect(has([0x12, 11, 4, 0x0c, 0xff, 0xff, 3, 0, 0, 0, 0x0a, 18])).toBe(true);
    expect(flags & 8).toBe(0);
    const [without, withoutFlags] = dsdtAndFlags();
    expect([without.includes("PCI0"), withoutFlags & 8]).toEqual([false, 8]);
  });

  it("count the processors", () => {
    for (const count of [1, 4, 8]) {
      const { bytes, table } = tables(count);
      const madt = table(Number(table(Number(bytes.readBigUInt64LE(24))).readBigUInt64LE(44)));
      const entries: number[][] = [];
      for (let at = 44; at < madt.length; at += madt[at + 1] ?? 1)
        entries.push([...madt.subarray(at, at + (madt[at + 1] ?? 1))]);
      const processors = entries.filter(([type]) => type === 0);
      expect(processors.map(([, , uid, id, enabled]) => [uid, id, enabled])).toEqual(
        Array.from({ length: count }, (_, index) => [index, index, 1]),
      );
      expect(entries.find(([type]) => type === 1)?.slice(2, 8)).toEqual([count, 0, 0, 0, 0xc0, 0xfe]);
      expect(entries.filter(([type]) => type === 2).map((entry) => entry.slice(3))).toEqual([
        [0, 2, 0, 0, 0, 5, 0],
        [9, 9, 0, 0, 0, 13, 0],
      ]);
    }
  });
});

describe("AML", () => {
  const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString("hex");

  it("encodes integers in as few bytes as it can", () => {
    expect([0, 1, 2, 0xff, 0x100, 0xffff, 0x1_0000, 0xfeb0_0000].map((value) => hex(amlInteger(value)))).toEqual([
      "00",
      "01",
      "0a02",
      "0aff",
      "0b0001",
      "0bffff",
      "0c00000100",
      "0c0000b0fe",
    ]);
  });

  it("encodes names, identifiers and packages as iasl does", () => {
    expect(hex(amlEisaId("PNP0501"))).toBe("0c41d00501");
    expect(hex(amlName("_HID", amlString("LNRO0005")))).toBe("085f4849440d4c4e524f3030303500");
    expect(hex(amlName("\\_S5", amlPackage([0, 0, 0, 0].map(amlInteger))))).toBe("085c5f53355f12060400000000");
    expect(hex(amlScope("\\_SB", [amlDevice("A", [])]))).toBe("100d5c5f53425f5b8205415f5f5f");
    expect(() => amlName("_toolong", amlInteger(0))).toThrow(/_toolong is no ACPI name/);
    expect(() => amlEisaId("PNP")).toThrow(/PNP is no EISA id/);
  });

  it("counts long content in more bytes", () => {
    const start = (bytes: number): string => hex(amlBuffer(new Uint8Array(bytes)).subarray(0, 5));
    expect(start(60)).toBe("113f0a3c00");
    expect(start(61)).toBe("1141040a3d");
    expect(start(5000)).toBe("118e38010b");
  });
});
