/** KVM_IOEVENTFD on arm64: the rules are those of x86, and there are no ports. virt/kvm/eventfd.c. */
import { expect } from "@jest/globals";
import { poke32 } from "./instructions.js";
import { DEVICE, errno, type Program, touchDevice } from "./program.js";
import { type Row, testRows } from "./rows.js";

const BELL: number = DEVICE + 0x1000;
const Flag = { datamatch: 1, deassign: 4 } as const;

/** The exit of the first access that leaves for the VMM: its address. */
function leavesAt(it: Program): number {
  const run = it.run();
  if (run.exitReason !== "MMIO") throw new Error(`${run.exitReason} where a device was to be met`);
  return Number(run.mmio.physAddr);
}

const rows: readonly Row[] = [
  [
    "K25",
    "a store that an ioeventfd is for signals it, and is no exit to the VMM",
    (it) => {
      const eventfd = it.vm.eventfd();
      it.vm.ioeventfd({ addr: BigInt(BELL), len: 4, fd: eventfd.fd });
      it.load([...poke32(BELL, 1), ...poke32(BELL, 2), ...touchDevice]);
      expect(leavesAt(it)).toBe(DEVICE);
      expect(eventfd.read()).toBe(2);
      expect(errno(() => eventfd.read())).toBe("EAGAIN");
    },
  ],
  [
    "K26",
    "a length of 3 and an unknown flag are EINVAL, and a file that there is not EBADF",
    ({ vm }) => {
      const { fd } = vm.eventfd();
      expect(errno(() => vm.ioeventfd({ addr: BigInt(BELL), len: 3, fd }))).toBe("EINVAL");
      expect(errno(() => vm.ioeventfd({ addr: BigInt(BELL), len: 4, fd, flags: 0x100 }))).toBe("EINVAL");
      expect(errno(() => vm.ioeventfd({ addr: BigInt(BELL), len: 4, fd: fd + 1 }))).toBe("EBADF");
    },
  ],
  [
    "K27",
    "two entries without a length at one address are EEXIST",
    ({ vm }) => {
      const { fd } = vm.eventfd();
      vm.ioeventfd({ addr: BigInt(BELL), len: 0, fd });
      expect(errno(() => vm.ioeventfd({ addr: BigInt(BELL), len: 0, fd }))).toBe("EEXIST");
    },
  ],
  [
    "K28",
    "two data of one address and length are both taken, and any other leaves",
    (it) => {
      const [one, two] = [it.vm.eventfd(), it.vm.eventfd()];
      for (const [fd, datamatch] of [
        [one.fd, 1n],
        [two.fd, 2n],
      ] as const)
        it.vm.ioeventfd({ addr: BigInt(BELL), len: 4, fd, flags: Flag.datamatch, datamatch });
      it.load([...poke32(BELL, 2), ...poke32(BELL, 1), ...poke32(BELL, 3)]);
      expect(leavesAt(it)).toBe(BELL);
      expect([one.read(), two.read()]).toEqual([1, 1]);
    },
  ],
  [
    "K29",
    "a store of another length leaves to the VMM, and so does one to what was deassigned",
    (it) => {
      const eventfd = it.vm.eventfd();
      const entry = { addr: BigInt(BELL), len: 8, fd: eventfd.fd };
      it.vm.ioeventfd(entry);
      it.load(poke32(BELL, 1));
      expect(leavesAt(it)).toBe(BELL);
      it.vm.ioeventfd({ ...entry, flags: Flag.deassign });
      expect(errno(() => it.vm.ioeventfd({ ...entry, flags: Flag.deassign }))).toBe("ENOENT");
      expect(errno(() => eventfd.read())).toBe("EAGAIN");
    },
  ],
];

testRows("KVM_IOEVENTFD", rows);
