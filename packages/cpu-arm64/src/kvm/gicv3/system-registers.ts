/** ICC_*_EL1: what reading and writing the CPU interface's system registers does (IHI 0069 12.2). */
import { selectorOf } from "../../isa/system-registers.js";
import { vcpuOfAffinity } from "../affinity.js";
import type { RegisterValue } from "../register-value.js";
import { ICC_SRE_VALUE } from "./cpu-interface.js";
import type { Interrupts } from "./interrupts.js";
import { SPECIAL_INTID_START } from "./registers.js";

/** `write` gives the INTID that it has deactivated, or `NOTHING_DEACTIVATED`. */
export interface InterfaceRegister {
  readonly name: string;
  /** Absent: can't be read, so the access is undefined. 32 bits. */
  readonly read?: (interrupts: Interrupts, vcpu: number) => number;
  /** Absent: can't be written, so the access is undefined. */
  readonly write?: (interrupts: Interrupts, vcpu: number, value: RegisterValue) => number;
}

export const NOTHING_DEACTIVATED = -1;
const INTID_MASK = 0xff_ffff;

function endOfInterrupt(interrupts: Interrupts, vcpu: number, value: RegisterValue): number {
  const intid = value.low & INTID_MASK;
  return interrupts.endOfInterrupt(vcpu, intid) ? intid : NOTHING_DEACTIVATED;
}

function deactivate(interrupts: Interrupts, vcpu: number, value: RegisterValue): number {
  const intid = value.low & INTID_MASK;
  if (!interrupts.interfaceOf(vcpu).splitsDeactivation || intid >= SPECIAL_INTID_START) return NOTHING_DEACTIVATED;
  return interrupts.deactivate(vcpu, intid) ? intid : NOTHING_DEACTIVATED;
}

/** ICC_SGI1R_EL1 and its like: Aff3 and the range selector name no vCPU of ours. */
function sendSgi(interrupts: Interrupts, sender: number, value: RegisterValue, allowGroup1: boolean): void {
  const { low, high } = value;
  const intid = (low >>> 24) & 0xf;
  if (((high >>> 8) & 1) === 1) {
    for (let vcpu = 0; vcpu < interrupts.vcpuCount; vcpu++)
      if (vcpu !== sender) interrupts.pendSgi(vcpu, intid, allowGroup1);
    return;
  }
  if (((high >>> 16) & 0xff) !== 0 || ((high >>> 12) & 0xf) !== 0) return;
  const cluster = ((high & 0xff) << 16) | (((low >>> 16) & 0xff) << 8);
  for (let bit = 0; bit < 16; bit++) {
    if (((low >>> bit) & 1) === 0) continue;
    const vcpu = vcpuOfAffinity(cluster | bit, interrupts.vcpuCount);
    if (vcpu !== undefined) interrupts.pendSgi(vcpu, intid, allowGroup1);
  }
}

function sgiRegister(name: string, allowGroup1: boolean): InterfaceRegister {
  return {
    name,
    write(interrupts, vcpu, value) {
      sendSgi(interrupts, vcpu, value, allowGroup1);
      return NOTHING_DEACTIVATED;
    },
  };
}

/** A register that is a plain field of the interface. */
function fieldRegister(
  name: string,
  read: (interrupts: Interrupts, vcpu: number) => number,
  write: (interrupts: Interrupts, vcpu: number, value: number) => void,
): InterfaceRegister {
  return {
    name,
    read,
    write(interrupts, vcpu, value) {
      write(interrupts, vcpu, value.low);
      return NOTHING_DEACTIVATED;
    },
  };
}

const ICC_REGISTERS: ReadonlyMap<number, InterfaceRegister> = new Map([
  [
    selectorOf(3, 0, 4, 6, 0),
    fieldRegister(
      "icc_pmr_el1",
      (gic, vcpu) => gic.interfaceOf(vcpu).priorityMask,
      (gic, vcpu, value) => {
        gic.interfaceOf(vcpu).writePriorityMask(value);
      },
    ),
  ],
  [selectorOf(3, 0, 12, 8, 0), { name: "icc_iar0_el1", read: (gic, vcpu) => gic.acknowledge(vcpu, 0) }],
  [selectorOf(3, 0, 12, 8, 1), { name: "icc_eoir0_el1", write: endOfInterrupt }],
  [selectorOf(3, 0, 12, 8, 2), { name: "icc_hppir0_el1", read: (gic, vcpu) => gic.highestPendingIntid(vcpu, 0) }],
  [
    selectorOf(3, 0, 12, 8, 3),
    fieldRegister(
      "icc_bpr0_el1",
      (gic, vcpu) => gic.interfaceOf(vcpu).binaryPoint0,
      (gic, vcpu, value) => {
        gic.interfaceOf(vcpu).writeBinaryPoint(0, value);
      },
    ),
  ],
  [
    selectorOf(3, 0, 12, 8, 4),
    fieldRegister(
      "icc_ap0r0_el1",
      (gic, vcpu) => gic.interfaceOf(vcpu).active0,
      (gic, vcpu, value) => {
        gic.interfaceOf(vcpu).active0 = value;
      },
    ),
  ],
  [
    selectorOf(3, 0, 12, 9, 0),
    fieldRegister(
      "icc_ap1r0_el1",
      (gic, vcpu) => gic.interfaceOf(vcpu).active1,
      (gic, vcpu, value) => {
        gic.interfaceOf(vcpu).active1 = value;
      },
    ),
  ],
  [selectorOf(3, 0, 12, 11, 1), { name: "icc_dir_el1", write: deactivate }],
  [selectorOf(3, 0, 12, 11, 3), { name: "icc_rpr_el1", read: (gic, vcpu) => gic.interfaceOf(vcpu).runningPriority }],
  [selectorOf(3, 0, 12, 11, 5), sgiRegister("icc_sgi1r_el1", true)],
  [selectorOf(3, 0, 12, 11, 6), sgiRegister("icc_asgi1r_el1", false)],
  [selectorOf(3, 0, 12, 11, 7), sgiRegister("icc_sgi0r_el1", false)],
  [selectorOf(3, 0, 12, 12, 0), { name: "icc_iar1_el1", read: (gic, vcpu) => gic.acknowledge(vcpu, 1) }],
  [selectorOf(3, 0, 12, 12, 1), { name: "icc_eoir1_el1", write: endOfInterrupt }],
  [selectorOf(3, 0, 12, 12, 2), { name: "icc_hppir1_el1", read: (gic, vcpu) => gic.highestPendingIntid(vcpu, 1) }],
  [
    selectorOf(3, 0, 12, 12, 3),
    fieldRegister(
      "icc_bpr1_el1",
      (gic, vcpu) => gic.interfaceOf(vcpu).binaryPoint1Register,
      (gic, vcpu, value) => {
        gic.interfaceOf(vcpu).writeBinaryPoint(1, value);
      },
    ),
  ],
  [
    selectorOf(3, 0, 12, 12, 4),
    fieldRegister(
      "icc_ctlr_el1",
      (gic, vcpu) => gic.interfaceOf(vcpu).controlRegister,
      (gic, vcpu, value) => {
        gic.interfaceOf(vcpu).writeControl(value);
      },
    ),
  ],
  [selectorOf(3, 0, 12, 12, 5), { name: "icc_sre_el1", read: () => ICC_SRE_VALUE, write: () => NOTHING_DEACTIVATED }],
  [
    selectorOf(3, 0, 12, 12, 6),
    fieldRegister(
      "icc_igrpen0_el1",
      (gic, vcpu) => gic.interfaceOf(vcpu).enabled0,
      (gic, vcpu, value) => {
        gic.interfaceOf(vcpu).enabled0 = value & 1;
      },
    ),
  ],
  [
    selectorOf(3, 0, 12, 12, 7),
    fieldRegister(
      "icc_igrpen1_el1",
      (gic, vcpu) => gic.interfaceOf(vcpu).enabled1,
      (gic, vcpu, value) => {
        gic.interfaceOf(vcpu).enabled1 = value & 1;
      },
    ),
  ],
]);

/** Writes that HCR_EL2.{IMO, FMO} trap: they reach other vCPUs, which only the hypervisor can do. */
const SGI_REGISTERS: ReadonlySet<number> = new Set([
  selectorOf(3, 0, 12, 11, 5),
  selectorOf(3, 0, 12, 11, 6),
  selectorOf(3, 0, 12, 11, 7),
]);
/** ICC_SRE_EL1 traps while ICC_SRE_EL2.Enable is 0, which is how KVM runs a guest. */
const ICC_SRE_EL1: number = selectorOf(3, 0, 12, 12, 5);

export function interfaceRegisterAt(selector: number): InterfaceRegister | undefined {
  return ICC_REGISTERS.get(selector);
}

export function interfaceRegisterTraps(register: number): boolean {
  return SGI_REGISTERS.has(register) || register === ICC_SRE_EL1;
}
