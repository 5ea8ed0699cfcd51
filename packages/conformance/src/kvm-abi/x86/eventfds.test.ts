/**
 * Eventfds of x86: KVM_IOEVENTFD on both buses, and KVM_HYPERV_EVENTFD. Documentation/virt/kvm/api.rst 4.59 and 4.113;
 * virt/kvm/eventfd.c; arch/x86/kvm/hyperv.c, kvm_hvcall_signal_event.
 */
import { expect } from "@jest/globals";
import { move, out8, storeByte, storeRax, vmcall, writeMsr } from "./instructions.js";
import { DATA, DEVICE, errno, type Program, type ProgramOptions } from "./program.js";
import { type Row, testRows } from "./rows.js";

const PORT = 0x510;
const BELL: number = DEVICE + 0x1000;
const Flag = { datamatch: 1, pio: 2, deassign: 4 } as const;
const SIGNAL_EVENT_FAST = 0x1_005d;
const SIGNAL_EVENT = 0x5d;
const CONNECTION = 0x2a;
const LINUX = 0x8100_0000_0000_0000n;

/** OUT dx, ax; OUT dx, eax. */
const out16 = (port: number, value: number): number[] => [...move("rdx", port), ...move("rax", value), 0x66, 0xef];

const speakHyperv = writeMsr(0x4000_0000, LINUX);

function signalFast(connection: bigint): number[] {
  return [...move("rcx", SIGNAL_EVENT_FAST), ...move("rdx", connection), ...move("r8", 0), ...vmcall];
}

/** What the call gives back; fails where it is the VMM's. */
function signalled(it: Program, connection: bigint): bigint {
  expect(it.outcome([...speakHyperv, ...signalFast(connection)])).toBe("done");
  return it.vcpu.getReg("rax");
}

/** HVJ_HC_NOTIFY: the bell's address, and what would be written there. */
const NOTIFY = 0x4e01n;
function notify(bell: number, data: bigint): number[] {
  const registers = [...move("rbx", bell), ...move("rcx", data), ...move("rdx", 0), ...move("rsi", 0)];
  return [...registers, ...move("rax", NOTIFY), ...vmcall];
}

function via(value: string): ProgramOptions {
  return { configuration: [["policy", `notify.via=${value}`]] };
}

const hyperv = {
  configuration: [
    ["hv", "all"],
    ["cap", "hyperv_synic"],
  ],
} as const;

const rows: readonly Row[] = [
  [
    "K25",
    "a write that an ioeventfd is for signals it, on either bus: the guest goes on with no exit to the VMM, which reads how often",
    (it) => {
      const [port, memory] = [it.vm.eventfd(), it.vm.eventfd()];
      it.vm.ioeventfd({ addr: BigInt(PORT), len: 1, fd: port.fd, flags: Flag.pio });
      it.vm.ioeventfd({ addr: BigInt(BELL), len: 0, fd: memory.fd });
      expect(it.outcome([...out8(PORT, 1), ...out8(PORT, 2), ...storeByte(BELL, 7), ...storeRax(BELL)])).toBe("done");
      expect([port.read(), memory.read()]).toEqual([2, 2]);
      expect(errno(() => port.read())).toBe("EAGAIN");
      expect(it.outcome(out8(PORT, 1))).toBe("done");
      expect(port.read()).toBe(1);
    },
  ],
  [
    "K26",
    "a length of 3, an unknown flag, data that no length has, and an address beyond 64 bits are EINVAL",
    ({ vm }) => {
      const { fd } = vm.eventfd();
      const addr = BigInt(BELL);
      const refused = [
        { addr, len: 3, fd },
        { addr, len: 4, fd, flags: 0x100 },
        { addr, len: 0, fd, flags: Flag.datamatch },
        { addr: 0xffff_ffff_ffff_fffcn, len: 4, fd },
        // 1 is an open file, and none of this kind.
        { addr, len: 4, fd: 1 },
      ];
      for (const each of refused) expect(errno(() => vm.ioeventfd(each))).toBe("EINVAL");
      expect(errno(() => vm.ioeventfd({ addr, len: 4, fd: 77 }))).toBe("EBADF");
      expect(errno(() => vm.ioeventfd({ addr, len: 4, fd, flags: 0x10 }))).toBe("0");
    },
  ],
  [
    "K27",
    "two entries without a length at one address are EEXIST, and so is what one write could be for; another bus is not",
    ({ vm }) => {
      const { fd } = vm.eventfd();
      const addr = BigInt(PORT);
      vm.ioeventfd({ addr, len: 0, fd });
      expect(errno(() => vm.ioeventfd({ addr, len: 0, fd }))).toBe("EEXIST");
      expect(errno(() => vm.ioeventfd({ addr, len: 4, fd, flags: Flag.datamatch }))).toBe("EEXIST");
      expect(errno(() => vm.ioeventfd({ addr, len: 0, fd, flags: Flag.pio }))).toBe("0");
      expect(errno(() => vm.ioeventfd({ addr, len: 4, fd, flags: Flag.deassign }))).toBe("ENOENT");
      expect(errno(() => vm.ioeventfd({ addr, len: 0, fd, flags: Flag.deassign }))).toBe("0");
      expect(errno(() => vm.ioeventfd({ addr, len: 4, fd }))).toBe("0");
    },
  ],
  [
    "K28",
    "two data of one address and length are both taken, each to its own eventfd, and any other data leaves",
    (it) => {
      const [one, two] = [it.vm.eventfd(), it.vm.eventfd()];
      const flags = Flag.datamatch | Flag.pio;
      it.vm.ioeventfd({ addr: BigInt(PORT), len: 1, fd: one.fd, flags, datamatch: 1n });
      it.vm.ioeventfd({ addr: BigInt(PORT), len: 1, fd: two.fd, flags, datamatch: 2n });
      expect(it.outcome([...out8(PORT, 1), ...out8(PORT, 2), ...out8(PORT, 2)])).toBe("done");
      expect([one.read(), two.read()]).toEqual([1, 2]);
      expect(it.exit(out8(PORT, 3)).exitReason).toBe("IO");
    },
  ],
  [
    "K29",
    "a write of another length leaves to the VMM, as does a read and a write once it is deassigned",
    (it) => {
      const eventfd = it.vm.eventfd();
      const entry = { addr: BigInt(PORT), len: 1, fd: eventfd.fd, flags: Flag.pio };
      it.vm.ioeventfd(entry);
      expect(it.exit(out16(PORT, 1)).exitReason).toBe("IO");
      expect(it.outcomeNow()).toBe("done");
      it.vm.ioeventfd({ ...entry, flags: Flag.pio | Flag.deassign });
      expect(it.exit(out8(PORT, 1)).exitReason).toBe("IO");
      expect(errno(() => eventfd.read())).toBe("EAGAIN");
    },
  ],
  [
    "K25",
    "signals that were not read are there for the next VMM",
    (it) => {
      const eventfd = it.vm.eventfd();
      it.vm.ioeventfd({ addr: BigInt(PORT), len: 1, fd: eventfd.fd, flags: Flag.pio });
      expect(it.outcome([...out8(PORT, 1), ...out8(PORT, 1)])).toBe("done");
      const moved = it.moved();
      // The exit that was not answered is told to it first.
      moved.run();
      expect(moved.outcome(out8(PORT, 1))).toBe("done");
      expect(moved.session.recorder.machine.kernel.eventfdCount?.(eventfd.fd)).toBe(3);
    },
  ],
  [
    "K33",
    "notify.via with hypercall: a call rings the bell of an address, in the kernel where an ioeventfd is there, and else at the VMM",
    (it) => {
      const [any, some] = [it.vm.eventfd(), it.vm.eventfd()];
      it.vm.ioeventfd({ addr: BigInt(BELL), len: 0, fd: any.fd });
      it.vm.ioeventfd({ addr: BigInt(BELL + 8), len: 4, fd: some.fd, flags: Flag.datamatch, datamatch: 7n });
      expect(it.outcome([...notify(BELL, 1n), ...notify(BELL + 8, 7n)])).toBe("done");
      expect([it.vcpu.getReg("rax"), any.read(), some.read()]).toEqual([0n, 1, 1]);
      const run = it.exit(notify(BELL + 8, 6n));
      if (run.exitReason !== "HYPERCALL") throw new Error(run.exitReason);
      expect(run.hypercall).toMatchObject({ nr: NOTIFY, args: [BigInt(BELL + 8), 6n, 0n, 0n, 0n, 0n] });
      run.hypercall.ret = 5n;
      expect(it.outcomeNow()).toBe("done");
      expect(it.vcpu.getReg("rax")).toBe(5n);
    },
    { configuration: [["policy", "notify.via=pio+mmio+ioeventfd+hypercall"]] },
  ],
  [
    "K33a",
    "by upstream's rule there is no such call, and the guest is told of none",
    (it) => {
      expect(it.outcome(notify(BELL, 1n))).toBe("done");
      expect(BigInt.asIntN(64, it.vcpu.getReg("rax"))).toBe(-1000n);
      expect(it.cpuid(0x4000_0001)[2]).toBe(0);
      const told = (value: string): unknown => it.another(via(value)).cpuid(0x4000_0001)[2];
      expect([told("hypercall+pio"), told("mmio+ioeventfd")]).toEqual([9, 6]);
    },
  ],
  [
    "K33b",
    "notify.via without ioeventfd: KVM_IOEVENTFD is an unknown ioctl, its capability is 0, and each bell leaves",
    (it) => {
      const { fd } = it.vm.eventfd();
      expect(errno(() => it.vm.ioeventfd({ addr: BigInt(BELL), len: 4, fd }))).toBe("ENOTTY");
      expect([36, 100, 122].map((cap) => it.vm.checkExtension(cap))).toEqual([0, 0, 0]);
      expect(it.exit(notify(BELL, 1n)).exitReason).toBe("HYPERCALL");
    },
    via("pio+mmio+hypercall"),
  ],
  [
    "K33c",
    "notify.via with one bus: an ioeventfd of the other one is EINVAL",
    (it) => {
      const { fd } = it.vm.eventfd();
      const pio = { addr: BigInt(PORT), len: 1, fd, flags: Flag.pio };
      expect(errno(() => it.vm.ioeventfd(pio))).toBe("0");
      expect(errno(() => it.vm.ioeventfd({ addr: BigInt(BELL), len: 4, fd }))).toBe("EINVAL");
      const other = it.another(via("ioeventfd+mmio"));
      expect(errno(() => other.vm.ioeventfd({ ...pio, fd: other.vm.eventfd().fd }))).toBe("EINVAL");
      for (const value of ["pio,mmio", "", "irq"])
        expect(() => it.vm.configure("policy", `notify.via=${value}`)).toThrow(
          `'${value}': notify.via takes some of pio, mmio, ioeventfd, hypercall, with + between them`,
        );
      const cap = "HVJ_CAP_NOTIFY_VIA";
      expect(errno(() => it.vm.enableCap({ cap, args: [0x10n] }))).toBe("EINVAL");
      expect(errno(() => it.another().vm.enableCap({ cap, args: [0xfn] }))).toBe("0");
    },
    via("ioeventfd+pio"),
  ],
  [
    "F29",
    "KVM_HYPERV_EVENTFD of a connection with more than 24 bits is EINVAL",
    ({ vm }) => {
      const { fd } = vm.eventfd();
      expect(errno(() => vm.hypervEventfd({ connId: 0x100_0000, fd }))).toBe("EINVAL");
      expect(errno(() => vm.hypervEventfd({ connId: 0xff_ffff, fd }))).toBe("0");
    },
  ],
  [
    "F30",
    "KVM_HYPERV_EVENTFD with an unknown flag is EINVAL",
    ({ vm }) => {
      const { fd } = vm.eventfd();
      expect(errno(() => vm.hypervEventfd({ connId: CONNECTION, fd, flags: 2 }))).toBe("EINVAL");
    },
  ],
  [
    "F31",
    "a connection that is assigned twice is EEXIST, one that is taken away and not there ENOENT, a file that is none EBADF",
    ({ vm }) => {
      const { fd } = vm.eventfd();
      expect(errno(() => vm.hypervEventfd({ connId: CONNECTION, fd: 55 }))).toBe("EBADF");
      expect(errno(() => vm.hypervEventfd({ connId: CONNECTION, fd: -1, flags: 1 }))).toBe("ENOENT");
      vm.hypervEventfd({ connId: CONNECTION, fd });
      expect(errno(() => vm.hypervEventfd({ connId: CONNECTION, fd }))).toBe("EEXIST");
      expect(errno(() => vm.hypervEventfd({ connId: CONNECTION, fd: -1, flags: 1 }))).toBe("0");
      expect(errno(() => vm.hypervEventfd({ connId: CONNECTION, fd }))).toBe("0");
    },
  ],
  [
    "F31",
    "HvCallSignalEvent of an assigned connection signals its eventfd and gives 0, by value and by memory, with no exit to the VMM",
    (it) => {
      const eventfd = it.vm.eventfd();
      it.vm.hypervEventfd({ connId: CONNECTION, fd: eventfd.fd });
      expect(signalled(it, BigInt(CONNECTION))).toBe(0n);
      it.vm.writeMemory(DATA, Uint8Array.of(CONNECTION, 0, 0, 0, 0, 0, 0, 0));
      const slow = [...move("rcx", SIGNAL_EVENT), ...move("rdx", DATA), ...move("r8", 0), ...vmcall];
      expect(it.outcome([...speakHyperv, ...slow])).toBe("done");
      expect([it.vcpu.getReg("rax"), eventfd.read()]).toEqual([0n, 2]);
    },
    hyperv,
  ],
  [
    "F31",
    "HvCallSignalEvent of a connection that nobody assigned, or with a flag number, is the VMM's; reserved bits are refused",
    (it) => {
      const eventfd = it.vm.eventfd();
      it.vm.hypervEventfd({ connId: CONNECTION, fd: eventfd.fd });
      expect(it.exit([...speakHyperv, ...signalFast(0x2bn)]).exitReason).toBe("HYPERV");
      expect(it.exit([...speakHyperv, ...signalFast(0x1_0000_002an)]).exitReason).toBe("HYPERV");
      expect(signalled(it, 0x100_002an)).toBe(3n);
      expect(errno(() => eventfd.read())).toBe("EAGAIN");
    },
    hyperv,
  ],
];

testRows("eventfds, x86", rows);
