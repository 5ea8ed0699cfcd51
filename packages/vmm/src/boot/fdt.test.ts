import { describe, expect, it } from "@jest/globals";
import { spawnSync } from "node:child_process";
import { vcpuAffinity } from "@hvjournal/cpu-arm64";
import { virtDeviceTree } from "./device-tree.js";
import {
  DeviceTreeError,
  cells,
  findNode,
  flattenDeviceTree,
  node,
  parseDeviceTree,
  present,
  strings,
  wideCells,
  type DeviceTreeNode,
} from "./fdt.js";

function boardTree(vcpuCount = 2): DeviceTreeNode {
  return virtDeviceTree({
    memoryBytes: 0x1000_0000,
    vcpuCount,
    cpuCompatible: "arm,cortex-a57",
    bootArguments: "console=ttyAMA0",
    initrd: { start: 0x4800_0000, end: 0x4812_3456 },
    virtioSlots: [0, 1, 2],
    hasSdei: false,
    rngSeed: new Uint8Array(32).fill(1),
    kaslrSeed: new Uint8Array(8).fill(2),
  });
}

function property(tree: DeviceTreeNode, path: string, name: string): Uint8Array | undefined {
  return findNode(tree, path)?.properties.get(name);
}

describe("flattened device tree", () => {
  it("has the bytes that the specification says", () => {
    const blob = flattenDeviceTree(node("", { a: cells(7) }, [node("b", { a: strings("xy"), c: present })]), 3);
    const text = (value: string): number[] => [...Buffer.from(value, "latin1")];
    const structure = [
      [0, 0, 0, 1, 0, 0, 0, 0],
      [0, 0, 0, 3, 0, 0, 0, 4, 0, 0, 0, 0, 0, 0, 0, 7],
      [0, 0, 0, 1, ...text("b\0\0\0")],
      [0, 0, 0, 3, 0, 0, 0, 3, 0, 0, 0, 0, ...text("xy\0\0")],
      [0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0, 2],
      [0, 0, 0, 2, 0, 0, 0, 2, 0, 0, 0, 9],
    ].flat();
    const header = [
      0xd00dfeed,
      56 + structure.length + 4,
      56,
      56 + structure.length,
      40,
      17,
      16,
      3,
      4,
      structure.length,
    ];
    expect([...blob]).toEqual([...cells(...header), ...new Uint8Array(16), ...structure, ...text("a\0c\0")]);
  });

  it("comes back from its blob as it was", () => {
    const tree = boardTree();
    expect(parseDeviceTree(flattenDeviceTree(tree))).toEqual(tree);
  });

  it("says what is wrong with a blob", () => {
    const blob = flattenDeviceTree(boardTree());
    expect(() => parseDeviceTree(blob.subarray(0, 20))).toThrow(DeviceTreeError);
    expect(() => parseDeviceTree(blob.subarray(0, 100))).toThrow(/100 are here/);
    expect(() => parseDeviceTree(new Uint8Array(64))).toThrow(/starts with 0xd00dfeed, not 0x0/);
    const broken = blob.slice();
    broken[59] = 7;
    expect(() => parseDeviceTree(broken)).toThrow(/token 7 at byte 56/);
  });

  it("writes 64-bit cells as high and low word", () => {
    expect(wideCells(0x12_3456_789a)).toEqual(cells(0x12, 0x3456_789a));
  });
});

describe("device tree of the virt board", () => {
  const tree = boardTree();

  it("describes memory, console, command line and initrd", () => {
    expect(property(tree, "/memory@40000000", "reg")).toEqual(cells(0, 0x4000_0000, 0, 0x1000_0000));
    expect(property(tree, "/chosen", "bootargs")).toEqual(strings("console=ttyAMA0"));
    expect(property(tree, "/chosen", "linux,initrd-start")).toEqual(cells(0, 0x4800_0000));
    expect(property(tree, "/chosen", "linux,initrd-end")).toEqual(cells(0, 0x4812_3456));
    expect(property(tree, "/chosen", "rng-seed")).toHaveLength(32);
    expect(property(tree, "/chosen", "stdout-path")).toEqual(strings("/pl011@9000000"));
    expect(property(tree, "/pl011@9000000", "interrupts")).toEqual(cells(0, 1, 4));
  });

  it("describes interrupt controller, timer and firmware", () => {
    const gic = [0, 0x0800_0000, 0, 0x1_0000, 0, 0x080a_0000, 0, 0x4_0000];
    expect(property(tree, "/intc@8000000", "reg")).toEqual(cells(...gic));
    expect(property(tree, "/intc@8000000", "phandle")).toEqual(property(tree, "/", "interrupt-parent"));
    expect(property(tree, "/timer", "interrupts")).toEqual(cells(1, 13, 4, 1, 14, 4, 1, 11, 4, 1, 10, 4));
    expect(property(tree, "/psci", "method")).toEqual(strings("hvc"));
    expect(property(tree, "/cpus/cpu@1", "enable-method")).toEqual(strings("psci"));
  });

  it("describes one virtio slot for each device", () => {
    expect(tree.children.filter(({ name }) => name.startsWith("virtio_mmio")).map(({ name }) => name)).toEqual([
      "virtio_mmio@a000000",
      "virtio_mmio@a000200",
      "virtio_mmio@a000400",
    ]);
    expect(property(tree, "/virtio_mmio@a000400", "interrupts")).toEqual(cells(0, 18, 4));
  });

  it("names vCPUs by their affinity, 16 in level 0 as KVM does", () => {
    expect(
      findNode(boardTree(18), "/cpus")
        ?.children.map(({ name }) => name)
        .slice(14),
    ).toEqual(["cpu@e", "cpu@f", "cpu@100", "cpu@101"]);
    expect(vcpuAffinity(4096 + 33)).toBe(0x1_0201);
  });
});

const compiler = spawnSync("dtc", ["--version"]);
const describeWithCompiler = compiler.error === undefined ? describe : describe.skip;

describeWithCompiler("device tree compiler", () => {
  it("accepts the virt board's tree", () => {
    const { status, stderr } = spawnSync("dtc", ["-I", "dtb", "-O", "dts", "-o", "/dev/null", "-"], {
      input: flattenDeviceTree(boardTree()),
    });
    expect({ status, errors: String(stderr).match(/ERROR.*/g) }).toEqual({ status: 0, errors: null });
  });
});
