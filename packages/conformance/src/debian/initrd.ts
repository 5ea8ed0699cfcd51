/** An initial RAM file system for a stock kernel: busybox, kernel modules, and an /init that ends in a shell or in one command. */
import { cpioArchive, type CpioEntry } from "@hvjournal/vmm";
import { readFileSync } from "node:fs";
import { basename } from "node:path";
import { modulesInLoadOrder } from "./kernel-module.js";
import type { StockGuest } from "./stock-guest.js";

/** What a virtio guest needs that the cloud kernel has as modules. */
export const virtioModules = ["virtio_mmio", "virtio_blk", "virtio_console", "virtio-rng"] as const;

/** The commands of busybox that get a name of their own; all others are reached by `busybox NAME`. */
const applets = (
  "ash awk base64 cat chmod cmp cp cut date dd devmem df dmesg echo env expr false find free grep gunzip gzip head " +
  "hexdump id insmod kill ln ls lsmod md5sum mkdir mknod mount mv nproc od poweroff ps pwd readlink reboot rm rmmod sed " +
  "seq setsid sh sha256sum sleep sort stat stty sync tail tar tee test time top touch tr true umount uname uptime vi wc xxd yes"
).split(" ");

export interface InitrdOptions {
  /** Kernel modules to load before the shell, in any order; what they need is added. Default: none. */
  readonly modules?: readonly string[];
  /** A shell command to run instead of an interactive shell; the guest powers off behind it. */
  readonly command?: string;
  /** Further files, directories, links and devices. */
  readonly entries?: readonly CpioEntry[];
}

function initScript(modulePaths: readonly string[], command: string | undefined): string {
  const last =
    command === undefined
      ? ["echo 'init: shell'", "exec setsid cttyhack sh"]
      : ["/bin/sh -c '. /command' <&1", 'echo "init: command ended with status $?"', "poweroff -f"];
  return [
    "#!/bin/sh",
    "export PATH=/bin HOME=/",
    "mount -t proc proc /proc",
    "mount -t sysfs sysfs /sys",
    "mount -t devtmpfs devtmpfs /dev",
    ...modulePaths.map((path) => `insmod ${path}`),
    ...last,
    "",
  ].join("\n");
}

/** The tree of the initial RAM file system. Throws RangeError for an unknown kernel module. */
export function initrdTree(guest: StockGuest, options: InitrdOptions = {}): CpioEntry[] {
  const encode = (text: string): Uint8Array => Buffer.from(text);
  const modules = modulesInLoadOrder(guest.modulesDir, options.modules ?? []);
  const modulePath = (path: string): string => `/lib/modules/${basename(path)}`;
  const script = initScript(modules.map(modulePath), options.command);
  return [
    { kind: "directory", path: "/proc" },
    { kind: "directory", path: "/sys" },
    { kind: "directory", path: "/tmp" },
    { kind: "characterDevice", path: "/dev/console", major: 5, minor: 1 },
    { kind: "file", path: "/bin/busybox", content: readFileSync(guest.busybox), mode: 0o755 },
    ...[...applets, "cttyhack"].map((name): CpioEntry => ({
      kind: "symlink",
      path: `/bin/${name}`,
      target: "busybox",
    })),
    ...modules.map((path): CpioEntry => ({ kind: "file", path: modulePath(path), content: readFileSync(path) })),
    ...(options.command === undefined
      ? []
      : [{ kind: "file", path: "/command", content: encode(options.command) } as const]),
    { kind: "file", path: "/init", content: encode(script), mode: 0o755 },
    ...(options.entries ?? []),
  ];
}

/** The tree as an uncompressed archive: equal options give equal bytes. */
export function buildInitrd(guest: StockGuest, options: InitrdOptions = {}): Uint8Array {
  return cpioArchive(initrdTree(guest, options));
}
