/** Flattened device trees, version 17 (Devicetree Specification 0.4, chapter 5): writer, and a reader. */
import { decodeUtf8, encodeUtf8 } from "@hvjournal/core";
import { concatenate } from "./byte-pieces.js";

export interface DeviceTreeNode {
  /** With the unit address: "pl011@9000000"; the root's is empty. */
  readonly name: string;
  /** In order. */
  readonly properties: ReadonlyMap<string, Uint8Array>;
  readonly children: readonly DeviceTreeNode[];
}

const FDT_MAGIC = 0xd00d_feed;
const FDT_VERSION = 17;
const FDT_LAST_COMPATIBLE_VERSION = 16;
const HEADER_BYTES = 40;
/** One pair of zeros: nothing is reserved. */
const RESERVATION_BYTES = 16;
const Token = { beginNode: 1, endNode: 2, property: 3, nop: 4, end: 9 } as const;
const CELL_BYTES = 4;

/** A malformed tree or blob. */
export class DeviceTreeError extends Error {
  override readonly name = "DeviceTreeError";
}

export function node(
  name: string,
  properties: { readonly [name: string]: Uint8Array },
  children: readonly DeviceTreeNode[] = [],
): DeviceTreeNode {
  return { name, properties: new Map(Object.entries(properties)), children };
}

/** 32-bit big-endian cells. */
export function cells(...values: readonly number[]): Uint8Array {
  const bytes = new Uint8Array(values.length * CELL_BYTES);
  const view = new DataView(bytes.buffer);
  values.forEach((value, index) => view.setUint32(index * CELL_BYTES, value));
  return bytes;
}

/** Two cells for each value: addresses and sizes under `#address-cells = <2>`. */
export function wideCells(...values: readonly number[]): Uint8Array {
  return cells(...values.flatMap((value) => [Math.floor(value / 0x1_0000_0000), value % 0x1_0000_0000]));
}

/** A list of strings, each ended by a zero byte. */
export function strings(...values: readonly string[]): Uint8Array {
  return encodeUtf8(values.map((value) => `${value}\0`).join(""));
}

/** A property that is there or not. */
export const present: Uint8Array = new Uint8Array(0);

class StructureBlock {
  readonly #words: Uint8Array[] = [];
  readonly #names: Uint8Array[] = [];
  readonly #nameOffsets = new Map<string, number>();
  #namesBytes = 0;

  write(tree: DeviceTreeNode): void {
    this.#words.push(cells(Token.beginNode), paddedToCell(strings(tree.name)));
    for (const [name, value] of tree.properties) {
      this.#words.push(cells(Token.property, value.length, this.#nameOffset(name)), paddedToCell(value));
    }
    for (const child of tree.children) {
      this.write(child);
    }
    this.#words.push(cells(Token.endNode));
  }

  finish(): { readonly structure: Uint8Array; readonly names: Uint8Array } {
    return { structure: concatenate([...this.#words, cells(Token.end)]), names: concatenate(this.#names) };
  }

  #nameOffset(name: string): number {
    const known = this.#nameOffsets.get(name);
    if (known !== undefined) {
      return known;
    }
    const offset = this.#namesBytes;
    const bytes = strings(name);
    this.#nameOffsets.set(name, offset);
    this.#names.push(bytes);
    this.#namesBytes += bytes.length;
    return offset;
  }
}

function paddedToCell(bytes: Uint8Array): Uint8Array {
  const padded = new Uint8Array(Math.ceil(bytes.length / CELL_BYTES) * CELL_BYTES);
  padded.set(bytes);
  return padded;
}

/** The blob, with `bootCpu` as `boot_cpuid_phys`. */
export function flattenDeviceTree(root: DeviceTreeNode, bootCpu = 0): Uint8Array {
  const block = new StructureBlock();
  block.write(root);
  const { structure, names } = block.finish();
  const structureOffset = HEADER_BYTES + RESERVATION_BYTES;
  const namesOffset = structureOffset + structure.length;
  const header = cells(
    FDT_MAGIC,
    namesOffset + names.length,
    structureOffset,
    namesOffset,
    HEADER_BYTES,
    FDT_VERSION,
    FDT_LAST_COMPATIBLE_VERSION,
    bootCpu,
    names.length,
    structure.length,
  );
  return concatenate([header, new Uint8Array(RESERVATION_BYTES), structure, names]);
}

class StructureReader {
  readonly #blob: Uint8Array;
  readonly #view: DataView;
  readonly #names: number;
  #offset: number;

  constructor(blob: Uint8Array, structure: number, names: number) {
    this.#blob = blob;
    this.#view = new DataView(blob.buffer, blob.byteOffset, blob.byteLength);
    this.#offset = structure;
    this.#names = names;
  }

  readTree(): DeviceTreeNode {
    this.#expect(Token.beginNode);
    const root = this.#readNode();
    this.#expect(Token.end);
    return root;
  }

  /** Behind the token that begins the node. */
  #readNode(): DeviceTreeNode {
    const name = this.#textAt(this.#offset);
    this.#skip(encodeUtf8(name).length + 1);
    const properties = new Map<string, Uint8Array>();
    const children: DeviceTreeNode[] = [];
    for (;;) {
      const token = this.#token();
      if (token === Token.property) {
        const length = this.#cell();
        const propertyName = this.#textAt(this.#names + this.#cell());
        properties.set(propertyName, this.#blob.slice(this.#offset, this.#offset + length));
        this.#skip(length);
      } else if (token === Token.beginNode) {
        children.push(this.#readNode());
      } else if (token === Token.endNode) {
        return { name, properties, children };
      } else {
        throw new DeviceTreeError(`token ${token} at byte ${this.#offset - CELL_BYTES} of the device tree`);
      }
    }
  }

  #expect(expected: number): void {
    const token = this.#token();
    if (token !== expected) {
      throw new DeviceTreeError(
        `token ${token} at byte ${this.#offset - CELL_BYTES} of the device tree, not ${expected}`,
      );
    }
  }

  #token(): number {
    for (;;) {
      const token = this.#cell();
      if (token !== Token.nop) {
        return token;
      }
    }
  }

  #cell(): number {
    if (this.#offset + CELL_BYTES > this.#blob.length) {
      throw new DeviceTreeError(`device tree ends at byte ${this.#blob.length}, in the middle of its structure`);
    }
    const value = this.#view.getUint32(this.#offset);
    this.#offset += CELL_BYTES;
    return value;
  }

  #skip(bytes: number): void {
    this.#offset += Math.ceil(bytes / CELL_BYTES) * CELL_BYTES;
  }

  #textAt(offset: number): string {
    const end = this.#blob.indexOf(0, offset);
    if (end < 0) {
      throw new DeviceTreeError(`string at byte ${offset} of the device tree has no end`);
    }
    return decodeUtf8(this.#blob.subarray(offset, end));
  }
}

/** Throws `DeviceTreeError` when the blob is no device tree. */
export function parseDeviceTree(blob: Uint8Array): DeviceTreeNode {
  if (blob.length < HEADER_BYTES) {
    throw new DeviceTreeError(`${blob.length} bytes are no device tree`);
  }
  const view = new DataView(blob.buffer, blob.byteOffset, blob.byteLength);
  const magic = view.getUint32(0);
  if (magic !== FDT_MAGIC) {
    throw new DeviceTreeError(`a device tree starts with 0x${FDT_MAGIC.toString(16)}, not 0x${magic.toString(16)}`);
  }
  const totalBytes = view.getUint32(4);
  if (totalBytes > blob.length) {
    throw new DeviceTreeError(`the device tree has ${totalBytes} bytes, ${blob.length} are here`);
  }
  return new StructureReader(blob.subarray(0, totalBytes), view.getUint32(8), view.getUint32(12)).readTree();
}

/** The node at a path such as "/cpus/cpu@0". */
export function findNode(root: DeviceTreeNode, path: string): DeviceTreeNode | undefined {
  return path
    .split("/")
    .filter((name) => name !== "")
    .reduce<DeviceTreeNode | undefined>((parent, name) => parent?.children.find((child) => child.name === name), root);
}
