/** Group A: the SMCCC filter (Documentation/virt/kvm/devices/vm.rst, 6.1; tools/testing/selftests/kvm/arm64/smccc_filter.c). */
import { MpState, SMCCC_CTRL, SMCCC_FILTER } from "@hvjournal/cpu-arm64";
import { expect } from "@jest/globals";
import { hvc, moveImmediate, smc } from "./instructions.js";
import { callWords, CODE, errno, NOT_SUPPORTED, type Program } from "./program.js";
import { type Row, testRows } from "./rows.js";
import {
  CPU_ON,
  CPU_ON32,
  DENY,
  FORWARD,
  HANDLE,
  PSCI_VERSION,
  replayList,
  setFilter,
  setList,
  toldRanges,
  TRNG_VERSION,
  VENDOR,
} from "./smccc-filter.js";

const FILTER = { group: SMCCC_CTRL, attr: SMCCC_FILTER };
const VENDOR_FEATURES = 0x8600_0000;
const PSCI_SYSTEM_OFF = 0x8400_0008;
const FLAG_SMC = 1n;
/** Both features and PTP. */
const VENDOR_HYP_BMAP = 3n;

/** `count` ids from `base`, with one action. */
type SetArguments = readonly [base: number, count: number, action: number, pad?: readonly number[]];

function sets(program: Program, ...calls: readonly SetArguments[]): string[] {
  return calls.map((each) => setFilter(program, ...each));
}

/** A range of the vendor service is forwarded, and the guest has called into it: the VMM looks at the exit. */
function forwardedCall(
  program: Program,
  words: readonly number[] = callWords(VENDOR),
): ReturnType<Program["forwarded"]> {
  expect(sets(program, [VENDOR, 1, FORWARD])).toEqual(["0"]);
  return program.forwarded(words);
}

/** Ranges of all actions, as the source of a migration has them. */
const SOURCE_RANGES: readonly SetArguments[] = [
  [VENDOR, 0x100, FORWARD],
  [TRNG_VERSION, 1, DENY],
  [VENDOR_FEATURES, 1, HANDLE],
];

const rows: readonly Row[] = [
  ["A01", "padding that is not zero is EINVAL", (p) => expect(sets(p, [CPU_ON, 1, DENY, [0, 1]])).toEqual(["EINVAL"])],
  ["A02", "no functions at all is EINVAL", (p) => expect(sets(p, [CPU_ON, 0, DENY])).toEqual(["EINVAL"])],
  ["A03", "no functions from 0 is EINVAL too", (p) => expect(sets(p, [0, 0, DENY])).toEqual(["EINVAL"])],
  ["A06", "action 0xff is EINVAL", (p) => expect(sets(p, [CPU_ON, 1, 0xff])).toEqual(["EINVAL"])],
  ["A07", "the first unused action is EINVAL", (p) => expect(sets(p, [CPU_ON, 1, 3])).toEqual(["EINVAL"])],
  ["A09", "a reserved id is EEXIST", (p) => expect(sets(p, [0xc000_0000, 1, DENY])).toEqual(["EEXIST"])],
  ["A10", "the end of the reserved ids is EEXIST", (p) => expect(sets(p, [0x8000_ffff, 2, DENY])).toEqual(["EEXIST"])],
  ["A11", "the id behind the reserved ones is free", (p) => expect(sets(p, [0x8001_0000, 1, DENY])).toEqual(["0"])],
  ["A12", "the id before the reserved ones is free", (p) => expect(sets(p, [0x7fff_ffff, 1, DENY])).toEqual(["0"])],
  [
    "A13",
    "the same range again is EEXIST",
    (p) => expect(sets(p, [CPU_ON, 1, DENY], [CPU_ON, 1, DENY])).toEqual(["0", "EEXIST"]),
  ],
  [
    "A16",
    "after a vCPU has run, every range is EBUSY",
    (p) => {
      p.runOnce();
      expect(sets(p, [CPU_ON, 1, DENY], [0xc000_0000, 1, DENY])).toEqual(["EBUSY", "EBUSY"]);
    },
  ],
  [
    "A17",
    "after a vCPU has run, what is wrong in the structure is still EINVAL",
    (p) => {
      p.runOnce();
      expect(sets(p, [CPU_ON, 1, DENY, [1]], [CPU_ON, 0, DENY], [CPU_ON, 1, 3])).toEqual(Array(3).fill("EINVAL"));
    },
  ],
  [
    "A18",
    "a pointer to nothing is EFAULT, before anything is looked at",
    (p) => expect(errno(() => p.vm.setDeviceAttr(FILTER, undefined))).toBe("EFAULT"),
  ],
  [
    "A19",
    "a denied call returns NOT_SUPPORTED and does not reach the VMM",
    (p) => {
      expect(sets(p, [PSCI_VERSION, 1, DENY])).toEqual(["0"]);
      expect(p.call(PSCI_VERSION)).toEqual([NOT_SUPPORTED, 0n, 0n, 0n]);
    },
  ],
  [
    "A21",
    "a forwarded HVC is KVM_EXIT_HYPERCALL with the id, and the SMC flag clear",
    (p) => expect(forwardedCall(p).hypercall).toMatchObject({ nr: BigInt(VENDOR), flags: 0n }),
  ],
  [
    "A22",
    "a forwarded SMC is the same with the SMC flag set",
    (p) => {
      const run = forwardedCall(p, callWords(VENDOR, [], "smc"));
      expect(run.hypercall).toMatchObject({ nr: BigInt(VENDOR), flags: FLAG_SMC });
    },
  ],
  [
    "A23",
    "a VMM that does nothing gives the guest its function id back, behind the call",
    (p) => {
      forwardedCall(p, callWords(VENDOR, [11n, 12n, 13n]));
      expect(p.resultsNow()).toEqual([BigInt(VENDOR), 11n, 12n, 13n]);
    },
  ],
  [
    "A24",
    "at the exit pc is behind the instruction, for HVC and SMC",
    (p) => {
      expect(sets(p, [VENDOR, 1, FORWARD])).toEqual(["0"]);
      for (const words of [callWords(VENDOR, [], "hvc"), callWords(VENDOR, [], "smc")]) {
        p.forwarded(words);
        expect(p.vcpu.getOneReg("pc")).toBe(BigInt(CODE + 4 * words.length));
      }
    },
  ],
  [
    "A25",
    "args and ret are zero, and what is put into ret does nothing",
    (p) => {
      const { hypercall } = forwardedCall(p, callWords(VENDOR, [1n, 2n, 3n]));
      expect(hypercall).toMatchObject({ args: Array(6).fill(0n), ret: 0n });
      hypercall.ret = 0x1234n;
      expect(p.resultsNow()).toEqual([BigInt(VENDOR), 1n, 2n, 3n]);
    },
  ],
  [
    "A26",
    "the guest sees the registers that the VMM sets",
    (p) => {
      forwardedCall(p);
      for (let index = 0; index < 4; index++) p.vcpu.setOneReg(`x${index}`, 100n + BigInt(index));
      expect(p.resultsNow()).toEqual([100n, 101n, 102n, 103n]);
    },
  ],
  [
    "A27",
    "SMC with an immediate is all ones in x0, also in a forwarded range",
    (p) => {
      expect(sets(p, [VENDOR, 1, FORWARD])).toEqual(["0"]);
      const words = [...moveImmediate(0, BigInt(VENDOR)), ...moveImmediate(1, 7n), smc(1)];
      expect(p.results(words)).toEqual([NOT_SUPPORTED, 7n, 0n, 0n]);
    },
  ],
  [
    "A28",
    "HVC with an immediate goes the usual way",
    (p) => {
      const run = forwardedCall(p, [...moveImmediate(0, BigInt(VENDOR)), hvc(0xffff)]);
      expect(run).toMatchObject({ hypercall: { nr: BigInt(VENDOR), flags: 0n }, immediate: 0xffff });
      expect(p.results([...moveImmediate(0, BigInt(VENDOR_FEATURES)), hvc(1)])[0]).toBe(VENDOR_HYP_BMAP);
    },
  ],
  [
    "A29",
    "a forwarded Thumb HVC has the 16BIT flag",
    "the CPU has no AArch32 at EL1: KVM_ARM_VCPU_EL1_32BIT is EINVAL",
  ],
  ["A30", "KVM_HAS_DEVICE_ATTR knows the filter", (p) => expect(errno(() => p.vm.hasDeviceAttr(FILTER))).toBe("0")],
  [
    "A31",
    "KVM_HAS_DEVICE_ATTR is ENXIO for another attribute or group",
    (p) => {
      for (const other of [
        { group: 0, attr: 1 },
        { group: 1, attr: 0 },
      ]) {
        expect(errno(() => p.vm.hasDeviceAttr(other))).toBe("ENXIO");
        expect(errno(() => p.vm.setDeviceAttr(other, new Uint8Array(24)))).toBe("ENXIO");
      }
    },
  ],
  [
    "A34",
    "a range to handle over what KVM implements is served as without a filter",
    (p) => {
      expect(sets(p, [VENDOR_FEATURES, 1, HANDLE])).toEqual(["0"]);
      expect(p.call(VENDOR_FEATURES)).toEqual([VENDOR_HYP_BMAP, 0n, 0n, 0n]);
    },
  ],
  [
    "A36",
    "a range to deny comes before the bitmap that would allow",
    (p) => {
      expect(p.vcpu.getOneReg("KVM_REG_ARM_STD_BMAP")).toBe(1n);
      expect(sets(p, [TRNG_VERSION, 1, DENY])).toEqual(["0"]);
      expect(p.call(TRNG_VERSION)).toEqual([NOT_SUPPORTED, 0n, 0n, 0n]);
      expect(p.call(TRNG_VERSION + 1, [BigInt(TRNG_VERSION)])[0]).toBe(0n);
    },
  ],
  [
    "A38",
    "forwarded PSCI is the VMM's: the kernel half turns nothing on or off",
    (p) => {
      expect(sets(p, [PSCI_VERSION, 0x20, FORWARD])).toEqual(["0"]);
      for (const id of [PSCI_VERSION, CPU_ON32, PSCI_SYSTEM_OFF]) {
        expect(p.forwarded(callWords(id, [1n, BigInt(CODE)])).hypercall.nr).toBe(BigInt(id));
        expect([0, 1].map((index) => p.vm.vcpu(index).getMpState())).toEqual([MpState.runnable, MpState.stopped]);
      }
      expect(p.resultsNow()).toEqual([BigInt(PSCI_SYSTEM_OFF), 1n, BigInt(CODE), 0n]);
    },
    { vcpuCount: 2 },
  ],
  ["A39", "HVC of a guest with EL2 goes to that", "the CPU has no EL2 for guests: KVM_ARM_VCPU_HAS_EL2 is EINVAL"],
  ["A40", "a guest with EL2 calls by SMC", "the CPU has no EL2 for guests; A22 has the flag that such exits carry"],
  [
    "A41",
    "the list of ranges, set again in a fresh VM, makes it the same VM, and once is enough",
    (source) => {
      expect(sets(source, ...SOURCE_RANGES)).toEqual(["0", "0", "0"]);
      const destination = source.another();
      const list = setList(source);
      expect(list).toHaveLength(SOURCE_RANGES.length);
      expect(replayList(destination, list)).toEqual(["0", "0", "0"]);
      expect(toldRanges(destination)).toEqual(toldRanges(source));
      expect(replayList(destination, list)).toEqual(["EEXIST", "EEXIST", "EEXIST"]);
      for (const vm of [source, destination]) {
        expect(vm.call(TRNG_VERSION)).toEqual([NOT_SUPPORTED, 0n, 0n, 0n]);
        expect(vm.call(VENDOR_FEATURES)).toEqual([VENDOR_HYP_BMAP, 0n, 0n, 0n]);
        expect(vm.forwarded(callWords(VENDOR + 0xff)).hypercall.nr).toBe(BigInt(VENDOR + 0xff));
      }
    },
  ],
  [
    "A42",
    "after the destination has run, the list comes too late: EBUSY, and nothing of it is set",
    (source) => {
      expect(sets(source, ...SOURCE_RANGES)).toEqual(["0", "0", "0"]);
      const destination = source.another();
      destination.runOnce();
      expect(replayList(destination, setList(source))).toEqual(["EBUSY", "EBUSY", "EBUSY"]);
      expect(toldRanges(destination)).toEqual([]);
      expect(destination.call(VENDOR)).toEqual([NOT_SUPPORTED, 0n, 0n, 0n]);
    },
  ],
];

testRows("group A", rows);
