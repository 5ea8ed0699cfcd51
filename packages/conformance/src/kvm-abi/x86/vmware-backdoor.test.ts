/**
 * KVM's parameter enable_vmware_backdoor, here a policy: kvm-unit-tests, x86/vmware_backdoors.c. What the port answers is the
 * VMM's; here it is told what the guest asked, and answers as a device would.
 */
import { expect } from "@jest/globals";
import { move } from "./instructions.js";
import type { Program } from "./program.js";
import { type Row, testRows } from "./rows.js";

const BACKDOOR = ["policy", "x86.vmware.backdoor=on"] as const;
const PORT = 0x5658;
const MAGIC = 0x564d_5868;
const GETVERSION = 0x0a;

/** Where the TSS of a program says that its I/O permission bitmap lies. */
const IO_MAP_BASE = 0x3866;

/** CPL 3, without any I/O permission: the bitmap lies behind the end of the TSS. */
function enterUserMode({ vcpu, vm }: Program): void {
  vm.writeMemory(IO_MAP_BASE, Uint8Array.of(0xff, 0xff));
  vcpu.setReg("cs", 0x23);
  vcpu.setReg("cs_attributes", 0xa0fb);
  vcpu.setReg("ss", 0x1b);
  vcpu.setReg("ss_attributes", 0xc0f3);
  vcpu.setReg("cpl", 3);
}

const readPort = (port: number): number[] => [
  ...[...move("rax", MAGIC), ...move("rcx", GETVERSION), ...move("rdx", port)],
  0xed,
];
const writePort = (port: number): number[] => [...readPort(port).slice(0, -1), 0xef];
const readCounter = (number: number): number[] => [...move("rcx", number), 0x0f, 0x33];

/** Lets the guest ask, answers EAX and EBX, and gives EBX of the guest afterwards. */
function version(p: Program): unknown {
  const run = p.exit(readPort(PORT));
  if (run.exitReason !== "IO") return run.exitReason;
  expect(run.io).toMatchObject({ direction: 0, size: 4, port: PORT });
  expect(p.vcpu.getReg("rcx")).toBe(BigInt(GETVERSION));
  p.vcpu.setReg("rbx", MAGIC);
  new DataView(run.io.data.buffer).setUint32(0, 6, true);
  return [p.outcomeNow(), p.vcpu.getReg("rax"), p.vcpu.getReg("rbx")];
}

const rows: readonly Row[] = [
  [
    "K21",
    "GETVERSION at CPL 0 leaves as any port, whatever the parameter",
    (p) => {
      expect(version(p)).toEqual(["done", 6n, BigInt(MAGIC)]);
    },
  ],
  [
    "K21a",
    "GETVERSION at CPL 3 leaves where the parameter is on, though the TSS permits no port",
    (p) => {
      enterUserMode(p);
      expect(version(p)).toEqual(["done", 6n, BigInt(MAGIC)]);
      enterUserMode(p);
      const run = p.exit(writePort(PORT + 1));
      expect(run).toMatchObject({ exitReason: "IO", io: { direction: 1, size: 4, port: PORT + 1 } });
      expect(p.outcomeNow()).toBe("done");
    },
    { configuration: [BACKDOOR] },
  ],
  [
    "K22",
    "GETVERSION at CPL 3 is #GP where it is off",
    (p) => {
      enterUserMode(p);
      expect(p.outcome(readPort(PORT))).toBe("#GP");
      enterUserMode(p);
      expect(p.outcome(writePort(PORT))).toBe("#GP");
    },
  ],
  [
    "K23",
    "any other port is #GP at CPL 3",
    (p) => {
      for (const port of [PORT - 1, PORT + 2, 0x80]) {
        enterUserMode(p);
        expect(p.outcome(readPort(port))).toBe("#GP");
      }
    },
    { configuration: [BACKDOOR] },
  ],
  [
    "K24",
    "RDPMC reads the three counters at every level, and 0xfff is #GP",
    (p) => {
      for (const number of [0x1_0000, 0x1_0001, 0x1_0002]) {
        enterUserMode(p);
        expect(p.outcome(readCounter(number))).toBe("done");
        const time = (p.vcpu.getReg("rdx") << 32n) | p.vcpu.getReg("rax");
        expect([time > 0n, time <= BigInt(p.vm.guestTimeNs)]).toEqual([true, true]);
      }
      for (const number of [0xfff, 0xffff, 0x1_0003]) {
        enterUserMode(p);
        expect(p.outcome(readCounter(number))).toBe("#GP");
      }
    },
    { configuration: [BACKDOOR] },
  ],
  [
    "K24a",
    "RDPMC of them is #GP where the parameter is off, at CPL 0 too",
    (p) => {
      expect(p.outcome(readCounter(0x1_0000))).toBe("#GP");
    },
  ],
];

testRows("K, VMware's backdoor", rows);
