/**
 * Interrupts that a VMM raises on x86: KVM_SIGNAL_MSI, KVM_SET_GSI_ROUTING, KVM_IRQFD, and by them Hyper-V's messages and events.
 * Documentation/virt/kvm/api.rst 4.52, 4.71, 4.75; kvm-unit-tests, x86/hyperv_connections.c.
 */
import { expect } from "@jest/globals";
import { callBytes, FAST, identify, putWords, Status, wordAt } from "./hyperv-calls.js";
import { move, spin, storeByte, storeRax, writeMsr } from "./instructions.js";
import { DATA, DEVICE, errno, outcomeOf, type Program } from "./program.js";
import { type Row, testRows } from "./rows.js";

const VECTOR = 0x1e;
/** To APIC 0, physical, fixed, edge. */
const MESSAGE = { address: 0xfee0_0000n, data: VECTOR };
const GSI = 30;
const BELL: number = DEVICE + 0x1000;
const DEASSIGN = 1;
const SINT = 2;
const MESSAGES = DATA + 0x1000;
const EVENTS = DATA + 0x2000;
const SLOT = MESSAGES + 256 * SINT;
const CONNECTION = 7n;
const Msr = {
  control: 0x4000_0080,
  eventPage: 0x4000_0082,
  messagePage: 0x4000_0083,
  eom: 0x4000_0084,
  sint0: 0x4000_0090,
};
const POST_MESSAGE = 0x5cn;
const SIGNAL_EVENT = 0x5dn;

/** MOV dword [apic + 0xf0], 0x1ff. */
const enableApic = [...move("rax", 0xfee0_00f0), 0xc7, 0x00, 0xff, 0x01, 0, 0];
/** With interrupts on, to no end. */
const wait = [0xfb, ...spin];
const endOfInterrupt = [...move("rax", 0xfee0_00b0), 0xc7, 0x00, 0, 0, 0, 0];

/** Its APIC takes interrupts. */
function enabled(it: Program): Program {
  expect(it.outcome(enableApic)).toBe("done");
  return it;
}

/** What a guest that waits is interrupted by within a millisecond; EINTR: by nothing. */
function interruption(it: Program, vcpu = 0): string | undefined {
  it.load(wait, vcpu);
  let found: string | undefined;
  const stopped = errno(() => {
    found = outcomeOf(it.run({ units: 100_000 }));
  });
  return stopped === "0" ? found : stopped;
}

/** The VMM enables the SynIC of a vCPU, with one page for both of them: SINT2 interrupts. */
function enableSynic(it: Program, vcpu = 0): void {
  identify(it);
  const own = it.vm.vcpu(vcpu);
  own.enableCap({ cap: "HYPERV_SYNIC2" });
  const entries = [
    { index: Msr.control, data: 1n },
    { index: Msr.eventPage, data: BigInt(EVENTS) | 1n },
    { index: Msr.messagePage, data: BigInt(MESSAGES) | 1n },
    { index: Msr.sint0 + SINT, data: BigInt(VECTOR) },
  ];
  expect(own.setMsrs(entries)).toBe(entries.length);
  it.vm.setGsiRouting([{ gsi: GSI, type: "hv-sint", vcpu, sint: SINT }]);
}

/** As QEMU's: into the slot where that is free, else the guest is told that one waits. */
function post({ vm }: Program, payload: bigint): boolean {
  const isBusy = (vm.readMemory(SLOT, 4)[0] ?? 0) !== 0;
  if (isBusy) vm.writeMemory(SLOT + 5, Uint8Array.of(1));
  else {
    const view = new DataView(new ArrayBuffer(24));
    view.setUint32(0, 1, true);
    view.setUint8(4, 8);
    view.setBigUint64(16, payload, true);
    vm.writeMemory(SLOT, new Uint8Array(view.buffer));
    raise(vm);
  }
  return !isBusy;
}

function raise(vm: Program["vm"]): void {
  vm.setIrqLine(GSI, 1);
  vm.setIrqLine(GSI, 0);
}

/** The guest calls, and the VMM is asked. */
function called(
  it: Program,
  input: bigint,
  first: bigint,
): Extract<ReturnType<Program["exit"]>, { exitReason: "HYPERV" }> {
  const run = it.exit(callBytes(input, first));
  if (run.exitReason !== "HYPERV" || run.hyperv.type !== 2) throw new Error(run.exitReason);
  run.hyperv.result = Status.success;
  return run;
}

const HYPERV = { configuration: [["hv", "all"]] } as const;

const rows: readonly Row[] = [
  [
    "K34",
    "KVM_SIGNAL_MSI: the vector of the message comes to the APIC of its address",
    (it) => {
      expect(it.vm.checkExtension("SIGNAL_MSI")).toBe(1);
      enabled(it).vm.signalMsi(MESSAGE);
      expect(interruption(it)).toBe(`exception ${VECTOR}`);
    },
  ],
  [
    "K35",
    "a GSI with a route is a message on its rise, and nothing once the routes are others",
    (it) => {
      enabled(it).vm.setGsiRouting([{ gsi: GSI, type: "msi", ...MESSAGE }]);
      it.vm.setIrqLine(GSI, 0);
      expect(interruption(it)).toBe("EINTR");
      it.vm.setIrqLine(GSI, 1);
      expect(interruption(it)).toBe(`exception ${VECTOR}`);
      it.vm.setGsiRouting([]);
      expect(() => it.vm.setIrqLine(GSI, 1)).toThrow("line 30: no route leads from there");
    },
  ],
  [
    "K35a",
    "routes that no GSI can have, and two of one, are EINVAL; 4096 can be had",
    ({ vm }) => {
      expect([vm.checkExtension("IRQ_ROUTING"), vm.checkExtension("IRQFD")]).toEqual([4096, 1]);
      const message = { type: "msi", ...MESSAGE } as const;
      const refused = [
        [{ gsi: 4, ...message }],
        [{ gsi: 4096, ...message }],
        [GSI, GSI].map((gsi) => ({ gsi, ...message })),
        [{ gsi: GSI, type: "hv-sint", vcpu: 1, sint: 2 } as const],
        [{ gsi: GSI, type: "hv-sint", vcpu: 0, sint: 16 } as const],
      ];
      expect(refused.map((routes) => errno(() => vm.setGsiRouting(routes)))).toEqual(refused.map(() => "EINVAL"));
    },
  ],
  [
    "K36",
    "KVM_IRQFD behind an ioeventfd: the guest rings, and is interrupted, with no exit to the VMM",
    (it) => {
      const bell = enabled(it).vm.eventfd();
      it.vm.setGsiRouting([{ gsi: GSI, type: "msi", ...MESSAGE }]);
      it.vm.ioeventfd({ addr: BigInt(BELL), len: 0, fd: bell.fd });
      it.vm.irqfd({ fd: bell.fd, gsi: GSI });
      expect(it.outcome(storeByte(BELL, 1))).toBe("done");
      // The kernel has read it.
      expect(errno(() => bell.read())).toBe("EAGAIN");
      expect(interruption(it)).toBe(`exception ${VECTOR}`);
      it.outcome(endOfInterrupt);
      it.vm.irqfd({ fd: bell.fd, gsi: GSI, flags: DEASSIGN });
      expect(it.outcome(storeByte(BELL, 1))).toBe("done");
      expect([bell.read(), interruption(it)]).toEqual([1, "EINTR"]);
    },
  ],
  [
    "K36a",
    "the VMM writes to a bound eventfd; bound twice is EBUSY, no file EBADF, an unknown flag EINVAL; it moves with the VM",
    (it) => {
      const [one, two] = [enabled(it).vm.eventfd().fd, it.vm.eventfd().fd];
      it.vm.setGsiRouting([{ gsi: GSI, type: "msi", ...MESSAGE }]);
      it.vm.irqfd({ fd: one, gsi: GSI });
      expect(errno(() => it.vm.irqfd({ fd: one, gsi: GSI + 1 }))).toBe("EBUSY");
      expect(errno(() => it.vm.irqfd({ fd: 77, gsi: GSI }))).toBe("EBADF");
      expect(errno(() => it.vm.irqfd({ fd: two, gsi: GSI, flags: 4 }))).toBe("EINVAL");
      expect(errno(() => it.vm.irqfd({ fd: two, gsi: GSI, flags: DEASSIGN }))).toBe("0");
      expect(errno(() => it.vm.signalIrqfd(two))).toBe("EBADF");
      const there = it.moved();
      // The exit that waits is told to the next VMM too.
      there.run();
      there.vm.signalIrqfd(one);
      expect(interruption(there)).toBe(`exception ${VECTOR}`);
    },
  ],
  [
    "F27",
    "POST_MESSAGE: the VMM writes the message into its SINT's slot and raises the SINT",
    (it) => {
      enabled(it);
      enableSynic(it);
      called(it, POST_MESSAGE, BigInt(DATA));
      expect(post(it, 0x77n)).toBe(true);
      expect(it.outcomeNow()).toBe("done");
      expect(it.vcpu.getReg("rax")).toBe(Status.success);
      expect(interruption(it)).toBe(`exception ${VECTOR}`);
      expect(wordAt(it, SLOT + 16)).toBe(0x77n);
    },
    HYPERV,
  ],
  [
    "F27a",
    "the slot is taken: the message waits, its flag says so, and it comes behind EOM",
    (it) => {
      enabled(it);
      enableSynic(it);
      expect(post(it, 0x11n)).toBe(true);
      expect(interruption(it)).toBe(`exception ${VECTOR}`);
      expect(post(it, 0x22n)).toBe(false);
      expect((wordAt(it, SLOT) >> 40n) & 1n).toBe(1n);
      const free = [...move("rax", 0), ...storeRax(SLOT)];
      expect(it.outcome([...endOfInterrupt, ...free, ...writeMsr(Msr.eom, 0n)])).toBe("done");
      expect([post(it, 0x22n), interruption(it), wordAt(it, SLOT + 16)]).toEqual([true, `exception ${VECTOR}`, 0x22n]);
    },
    HYPERV,
  ],
  [
    "F27b",
    "SIGNAL_EVENT: the VMM sets the flag in the SINT's part of the event page; a masked SINT does not interrupt",
    (it) => {
      enabled(it);
      enableSynic(it);
      called(it, SIGNAL_EVENT | FAST, CONNECTION);
      putWords(it, EVENTS + 256 * SINT, 1n << CONNECTION);
      raise(it.vm);
      expect(it.outcomeNow()).toBe("done");
      expect(interruption(it)).toBe(`exception ${VECTOR}`);
      it.outcome([...endOfInterrupt, ...writeMsr(Msr.sint0 + SINT, 0x1_0000n | BigInt(VECTOR))]);
      raise(it.vm);
      expect(interruption(it)).toBe("EINTR");
    },
    HYPERV,
  ],
  [
    "F27c",
    "to another vCPU: its own SINT interrupts, and this one goes on",
    (it) => {
      it.load([...enableApic, ...wait], 1);
      it.vm.vcpu(1).setMpState(0);
      enabled(it);
      enableSynic(it, 1);
      it.load([
        ...move("rcx", 200_000),
        0x48,
        0xff,
        0xc9,
        0x75,
        0xfb,
        ...callBytes(POST_MESSAGE, BigInt(DATA)),
        ...spin,
      ]);
      const run = it.run();
      if (run.exitReason !== "HYPERV" || run.hyperv.type !== 2) throw new Error(run.exitReason);
      run.hyperv.result = Status.success;
      expect(post(it, 5n)).toBe(true);
      expect(it.run()).toMatchObject({ exitReason: "MMIO", vcpu: 1 });
    },
    { ...HYPERV, vcpuCount: 2 },
  ],
];

testRows("interrupts of the VMM, x86", rows);
