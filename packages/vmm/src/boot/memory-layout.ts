/** Where initrd and device tree go (Linux, Documentation/arch/arm64/booting.rst; distances as QEMU's virt board chooses them). */
import { BootError } from "./boot-error.js";
import type { RamRange } from "./kernel-format.js";

const MEBIBYTE = 1024 * 1024;
/** A kernel that decompresses or relocates itself has this much room before anything else starts, or half of RAM. */
const KERNEL_ROOM_BYTES = 128 * MEBIBYTE;
const INITRD_ALIGNMENT = 4096;
/** The kernel maps the device tree with one 2 MiB block, so it starts at one and must not be larger. */
const DEVICE_TREE_ALIGNMENT = 2 * MEBIBYTE;
export const DEVICE_TREE_BYTES_MAX = 2 * MEBIBYTE;

export interface MemoryLayout {
  /** Undefined when there is no initrd. */
  readonly initrdAddress: number | undefined;
  readonly deviceTreeAddress: number;
}

function alignUp(value: number, alignment: number): number {
  return Math.ceil(value / alignment) * alignment;
}

function layOut(from: number, initrdBytes: number): MemoryLayout {
  const initrdAddress = alignUp(from, INITRD_ALIGNMENT);
  return {
    initrdAddress: initrdBytes > 0 ? initrdAddress : undefined,
    deviceTreeAddress: alignUp(initrdAddress + initrdBytes, DEVICE_TREE_ALIGNMENT),
  };
}

/** Behind the kernel, with room for it to grow where RAM allows. Throws `BootError` when they do not fit. */
export function planMemory(ram: RamRange, kernelEnd: number, initrdBytes: number): MemoryLayout {
  const room = ram.base + Math.min(ram.bytes / 2, KERNEL_ROOM_BYTES);
  const fits = (layout: MemoryLayout): boolean =>
    layout.deviceTreeAddress + DEVICE_TREE_BYTES_MAX <= ram.base + ram.bytes;
  const layout = [layOut(Math.max(kernelEnd, room), initrdBytes), layOut(kernelEnd, initrdBytes)].find(fits);
  if (layout === undefined) {
    const left = ram.base + ram.bytes - kernelEnd;
    throw new BootError(
      `can't boot: an initrd of ${initrdBytes} bytes and a device tree of up to ${DEVICE_TREE_BYTES_MAX} do not fit into ` +
        `the ${left} bytes of RAM behind the kernel; give it more memory`,
    );
  }
  return layout;
}
