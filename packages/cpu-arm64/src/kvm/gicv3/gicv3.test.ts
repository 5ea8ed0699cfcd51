import { describe, expect, it } from "@jest/globals";
import { selectorOf } from "../../isa/system-registers.js";
import { RegisterValue } from "../register-value.js";
import { Gicv3 } from "./gicv3.js";
import { interfaceRegisterAt } from "./system-registers.js";

const GICD = 0x0800_0000;
const GICR = 0x080a_0000;
const SGI = 0x1_0000;
const IAR1 = selectorOf(3, 0, 12, 12, 0);
const EOIR1 = selectorOf(3, 0, 12, 12, 1);
const HPPIR1 = selectorOf(3, 0, 12, 12, 2);
const BPR1 = selectorOf(3, 0, 12, 12, 3);
const CTLR = selectorOf(3, 0, 12, 12, 4);
const IGRPEN0 = selectorOf(3, 0, 12, 12, 6);
const IGRPEN1 = selectorOf(3, 0, 12, 12, 7);
const IAR0 = selectorOf(3, 0, 12, 8, 0);
const BPR0 = selectorOf(3, 0, 12, 8, 3);
const AP1R0 = selectorOf(3, 0, 12, 9, 0);
const AP1R1 = selectorOf(3, 0, 12, 9, 1);
const DIR = selectorOf(3, 0, 12, 11, 1);
const RPR = selectorOf(3, 0, 12, 11, 3);
const SGI1R = selectorOf(3, 0, 12, 11, 5);
const ASGI1R = selectorOf(3, 0, 12, 11, 6);
const PMR = selectorOf(3, 0, 4, 6, 0);
const SPURIOUS = 1023;

function gic(vcpuCount = 1) {
  const it = new Gicv3(vcpuCount, { distributor: GICD, redistributors: GICR });
  const interrupts = it.interrupts;
  return {
    it,
    interrupts,
    read32: (physical: number) => it.read(physical, 4)[0] >>> 0,
    write32: (physical: number, value: number) => {
      it.write(physical, 4, value);
    },
    icc: (register: number, vcpu = 0) => interfaceRegisterAt(register)?.read?.(interrupts, vcpu),
    /** The INTID that the write deactivated, or -1; undefined: it can't be written. */
    setIcc: (register: number, written: number | bigint, vcpu = 0) => {
      const value = new RegisterValue();
      value.setBigint(BigInt(written));
      return interfaceRegisterAt(register)?.write?.(interrupts, vcpu, value);
    },
  };
}

/** As Linux sets it up: group 1 on, mask open, SPI 33 (INTID) level-sensitive and enabled. */
function ready(vcpuCount = 1) {
  const g = gic(vcpuCount);
  g.write32(GICD, 0x12);
  for (let vcpu = 0; vcpu < vcpuCount; vcpu++) {
    g.setIcc(PMR, 0xf0, vcpu);
    g.setIcc(IGRPEN1, 1, vcpu);
    for (let intid = 0; intid < 32; intid += 4) g.write32(GICR + vcpu * 0x2_0000 + SGI + 0x400 + intid, 0xa0a0a0a0);
  }
  for (let intid = 32; intid < 256; intid += 4) g.write32(GICD + 0x400 + intid, 0xa0a0a0a0);
  g.write32(GICD + 0x104, 0x2);
  return g;
}

describe("the distributor's registers", () => {
  it("identifies itself as KVM's GICv3 with 256 interrupts and one security state", () => {
    const g = gic();
    expect(g.read32(GICD)).toBe(0x50);
    expect(g.read32(GICD + 4)).toBe(7 | (9 << 19));
    expect(g.read32(GICD + 8)).toBe(0x4b00343b);
    expect(g.read32(GICD + 0xffe8)).toBe(0x3b);
    g.write32(GICD, 0xffff_ffff);
    expect(g.read32(GICD)).toBe(0x52);
  });

  it("sets and clears enables with separate registers and leaves private interrupts to the redistributors", () => {
    const g = gic();
    g.write32(GICD + 0x104, 0xff);
    g.write32(GICD + 0x184, 0x0f);
    expect(g.read32(GICD + 0x104)).toBe(0xf0);
    expect(g.read32(GICD + 0x184)).toBe(0xf0);
    g.write32(GICD + 0x100, 0xffff_ffff);
    expect(g.read32(GICD + 0x100)).toBe(0);
    expect(g.read32(GICR + SGI + 0x100)).toBe(0xffff);
  });

  it("keeps five bits of a priority, written by bytes or words", () => {
    const g = gic();
    g.it.write(GICD + 0x421, 1, 0xff);
    g.it.write(GICD + 0x424, 4, 0x0102_0304);
    expect(g.read32(GICD + 0x420)).toBe(0xf800);
    expect(g.it.read(GICD + 0x421, 1)[0]).toBe(0xf8);
    expect(g.read32(GICD + 0x424)).toBe(0);
  });

  it("configures edges for SPIs and refuses to for private interrupts", () => {
    const g = gic();
    g.write32(GICD + 0xc08, 0x8);
    expect(g.read32(GICD + 0xc08)).toBe(0x8);
    g.write32(GICR + SGI + 0xc04, 0xffff_ffff);
    expect(g.read32(GICR + SGI + 0xc04)).toBe(0);
    expect(g.read32(GICR + SGI + 0xc00)).toBe(0xaaaa_aaaa);
  });

  it("routes 64-bit and 32-bit, keeping the affinities that vCPUs have", () => {
    const g = gic();
    g.it.write(GICD + 0x6100, 8, 0x8123_4567);
    expect(g.it.read(GICD + 0x6100, 8)).toEqual([0x0023_4567, 0]);
    expect(g.read32(GICD + 0x6100)).toBe(0x0023_4567);
    expect(g.it.read(GICD + 0x60f8, 8)).toEqual([0, 0]);
  });

  it("reads zero with a width that a register does not have", () => {
    const g = ready();
    expect(g.it.read(GICD, 2)).toEqual([0, 0]);
    g.it.write(GICD, 2, 0);
    expect(g.read32(GICD)).toBe(0x52);
  });
});

describe("the redistributors' registers", () => {
  it("tell affinity, number, and which one is the last", () => {
    const g = gic(18);
    expect(g.it.read(GICR + 8, 8)).toEqual([0, 0]);
    const last = GICR + 17 * 0x2_0000;
    expect(g.it.read(last + 8, 8)).toEqual([(17 << 8) | 0x10, 0x101]);
    expect(g.read32(last + 12)).toBe(0x101);
    expect(g.read32(last + 0xffe8)).toBe(0x3b);
    expect(g.it.contains(last + 0x1_fffc, 4)).toBe(true);
    expect(g.it.contains(last + 0x2_0000, 4)).toBe(false);
    expect(g.it.contains(last + 0x1_fffc, 8)).toBe(false);
  });

  it("keep each vCPU's private interrupts apart", () => {
    const g = gic(2);
    g.write32(GICR + 0x2_0000 + SGI + 0x100, 1 << 27);
    expect(g.read32(GICR + SGI + 0x100)).toBe(0xffff);
    expect(g.read32(GICR + 0x2_0000 + SGI + 0x100)).toBe(0x0800_ffff);
  });
});

describe("an interrupt's life", () => {
  it("goes from pending to active to inactive, and stays pending while its level is high", () => {
    const g = ready();
    expect(g.interrupts.signalled(0)).toBeUndefined();
    g.interrupts.setSpiLine(1, 1);
    expect(g.interrupts.signalled(0)).toBe(1);
    expect(g.icc(HPPIR1)).toBe(33);
    expect(g.icc(IAR1)).toBe(33);
    expect(g.icc(RPR)).toBe(0xa0);
    expect(g.read32(GICD + 0x304)).toBe(2);
    expect(g.read32(GICD + 0x204)).toBe(2);
    expect(g.interrupts.signalled(0)).toBeUndefined();
    expect(g.icc(IAR1)).toBe(SPURIOUS);
    expect(g.setIcc(EOIR1, 33)).toBe(33);
    expect(g.icc(RPR)).toBe(0xff);
    expect(g.interrupts.signalled(0)).toBe(1);
    g.interrupts.setSpiLine(1, 0);
    expect(g.interrupts.signalled(0)).toBeUndefined();
  });

  it("is remembered by an edge until it is acknowledged", () => {
    const g = ready();
    g.write32(GICD + 0xc08, 0x8);
    g.interrupts.setSpiLine(1, 1);
    g.interrupts.setSpiLine(1, 0);
    expect(g.icc(IAR1)).toBe(33);
    expect(g.read32(GICD + 0x204)).toBe(0);
    g.interrupts.setSpiLine(1, 1);
    g.setIcc(EOIR1, 33);
    expect(g.icc(IAR1)).toBe(33);
  });

  it("can be made pending by software, which an acknowledgement takes back", () => {
    const g = ready();
    g.write32(GICD + 0x204, 2);
    expect(g.icc(IAR1)).toBe(33);
    g.setIcc(EOIR1, 33);
    expect(g.icc(IAR1)).toBe(SPURIOUS);
    g.write32(GICD + 0x204, 2);
    g.write32(GICD + 0x284, 2);
    expect(g.icc(IAR1)).toBe(SPURIOUS);
  });

  it("needs enable, group enable, distributor and mask", () => {
    const g = ready();
    g.interrupts.setSpiLine(1, 1);
    const blocks: (readonly [() => void, () => void])[] = [
      [() => g.write32(GICD + 0x184, 2), () => g.write32(GICD + 0x104, 2)],
      [() => g.setIcc(IGRPEN1, 0), () => g.setIcc(IGRPEN1, 1)],
      [() => g.write32(GICD, 0), () => g.write32(GICD, 2)],
      [() => g.setIcc(PMR, 0xa0), () => g.setIcc(PMR, 0xa8)],
    ];
    for (const [block, open] of blocks) {
      expect(g.interrupts.signalled(0)).toBe(1);
      block();
      expect(g.interrupts.signalled(0)).toBeUndefined();
      open();
    }
  });

  it("is preempted by a more urgent one only, as the binary point divides priorities", () => {
    const g = ready();
    g.write32(GICD + 0x104, 0xff);
    g.it.write(GICD + 0x422, 1, 0x90);
    g.interrupts.setSpiLine(1, 1);
    expect(g.icc(IAR1)).toBe(33);
    g.interrupts.setSpiLine(2, 1);
    expect(g.interrupts.signalled(0)).toBe(1);
    g.setIcc(BPR1, 6);
    expect(g.interrupts.signalled(0)).toBeUndefined();
    g.setIcc(BPR1, 0);
    expect(g.icc(BPR1)).toBe(3);
    expect(g.icc(IAR1)).toBe(34);
    expect(g.icc(AP1R0)).toBe((1 << (0xa0 >> 3)) | (1 << (0x90 >> 3)));
    g.setIcc(EOIR1, 34);
    expect(g.icc(RPR)).toBe(0xa0);
  });

  it("of equal priority is taken in the order of INTIDs", () => {
    const g = ready();
    g.write32(GICD + 0x104, 0xff);
    g.interrupts.setSpiLine(5, 1);
    g.interrupts.setSpiLine(3, 1);
    expect(g.icc(IAR1)).toBe(35);
  });

  it("is deactivated by DIR when EOImode splits the two", () => {
    const g = ready();
    g.setIcc(CTLR, 2);
    g.interrupts.setSpiLine(1, 1);
    g.icc(IAR1);
    expect(g.setIcc(EOIR1, 33)).toBe(-1);
    expect(g.icc(RPR)).toBe(0xff);
    expect(g.interrupts.signalled(0)).toBeUndefined();
    expect(g.setIcc(DIR, 33)).toBe(33);
    expect(g.interrupts.signalled(0)).toBe(1);
  });

  it("of group 0 is signalled as FIQ and acknowledged by IAR0", () => {
    const g = ready();
    g.setIcc(IGRPEN0, 1);
    g.write32(GICD + 0x84, 0xffff_fffd);
    g.interrupts.setSpiLine(1, 1);
    expect(g.interrupts.signalled(0)).toBe(0);
    expect(g.icc(IAR1)).toBe(SPURIOUS);
    expect(g.icc(IAR0)).toBe(33);
  });

  it("goes to the vCPU that its route names, and nowhere when there is none", () => {
    const g = ready(2);
    g.interrupts.setSpiLine(1, 1);
    expect([g.interrupts.signalled(0), g.interrupts.signalled(1)]).toEqual([1, undefined]);
    g.it.write(GICD + 0x6108, 8, 1);
    expect([g.interrupts.signalled(0), g.interrupts.signalled(1)]).toEqual([undefined, 1]);
    g.it.write(GICD + 0x6108, 8, 7);
    expect([g.interrupts.signalled(0), g.interrupts.signalled(1)]).toEqual([undefined, undefined]);
  });
});

describe("software generated interrupts", () => {
  it("reach the vCPUs of the target list, or all but the sender", () => {
    const g = ready(3);
    g.setIcc(SGI1R, (5n << 24n) | 0b110n);
    expect([0, 1, 2].map((vcpu) => g.icc(IAR1, vcpu))).toEqual([SPURIOUS, 5, 5]);
    g.setIcc(SGI1R, (1n << 40n) | (6n << 24n), 1);
    for (const vcpu of [1, 2]) g.setIcc(EOIR1, 5, vcpu);
    expect([0, 1, 2].map((vcpu) => g.icc(IAR1, vcpu))).toEqual([6, SPURIOUS, 6]);
  });

  it("of another cluster, and of group 1 by a group 0 register, reach nobody", () => {
    const g = ready(2);
    g.setIcc(SGI1R, (1n << 16n) | (5n << 24n) | 1n);
    g.setIcc(SGI1R, (1n << 48n) | (5n << 24n) | 1n);
    g.setIcc(ASGI1R, (5n << 24n) | 1n);
    expect(g.icc(IAR1)).toBe(SPURIOUS);
  });
});

describe("CPU interface registers", () => {
  it("tell 5 priority bits and keep what can be written", () => {
    const g = gic();
    expect(g.icc(CTLR)).toBe(0x400);
    g.setIcc(CTLR, 0xffff_ffff);
    expect(g.icc(CTLR)).toBe(0x403);
    g.setIcc(BPR0, 0);
    expect(g.icc(BPR0)).toBe(2);
    expect(g.icc(BPR1)).toBe(3);
    g.setIcc(PMR, 0xff);
    expect(g.icc(PMR)).toBe(0xf8);
  });

  it("that five bits of priority don't need are not there", () => {
    const g = gic();
    expect(g.icc(AP1R1)).toBeUndefined();
    expect(g.setIcc(AP1R1, 0)).toBeUndefined();
    expect(g.setIcc(IAR1, 0)).toBeUndefined();
    expect(g.icc(EOIR1)).toBeUndefined();
  });
});

describe("the saved GIC", () => {
  it("comes back byte-equal, and every kind of change shows", () => {
    const g = ready(2);
    const changes: (() => void)[] = [
      () => g.interrupts.setSpiLine(1, 1),
      () => g.icc(IAR1),
      () => g.write32(GICD + 0x108, 4),
      () => g.write32(GICD + 0xc10, 2),
      () => g.it.write(GICD + 0x440, 1, 0x40),
      () => g.it.write(GICD + 0x6118, 8, 1),
      () => g.setIcc(PMR, 0x80, 1),
      () => g.setIcc(CTLR, 2, 1),
      () => g.setIcc(BPR0, 5),
      () => g.setIcc(IGRPEN0, 1),
      () => g.write32(GICD + 0x80 + 8, 0),
      () => g.interrupts.pendSgi(1, 3, true),
      () => g.write32(GICD, 0),
    ];
    let before = g.it.save(0);
    for (const change of changes) {
      change();
      const after = g.it.save(0);
      expect(after).not.toEqual(before);
      const other = gic(2);
      other.it.restore(after);
      expect(other.it.save(0)).toEqual(after);
      before = after;
    }
  });

  it("leaves out lines that follow from other state, and refuses what is not its own", () => {
    const g = ready();
    const before = g.it.save(1 << 27);
    g.interrupts.privateBank(0).setLine(27, 1);
    expect(g.it.save(1 << 27)).toEqual(before);
    expect(g.it.save(0)).not.toEqual(before);
    expect(() => gic(2).it.restore(before)).toThrow("2 privateBanks expected, found 1");
    expect(() => gic().it.restore(before.slice(1))).toThrow("behind the value");
  });
});
