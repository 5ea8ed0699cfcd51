/** `struct kvm_regs` and `struct kvm_sregs` of x86 (Documentation/virt/kvm/api.rst, 4.11 to 4.14). */
import { KvmError, type VmmPort } from "@hvjournal/core";
import { Msr } from "../kvm/msr-names.js";
import { msrRegister } from "../kvm/named-registers.js";

const GENERAL = [
  ...["rax", "rbx", "rcx", "rdx", "rsi", "rdi", "rsp", "rbp"],
  ...["r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15", "rip", "rflags"],
] as const;
const SEGMENTS = ["cs", "ds", "es", "fs", "gs", "ss", "tr", "ldt"] as const;
const CONTROLS = ["cr0", "cr2", "cr3", "cr4", "cr8", "efer"] as const;

/** By name: rax to r15, rip, rflags. */
export type KvmRegs = Readonly<Record<string, bigint>>;

/** `struct kvm_segment`. */
export interface KvmSegment {
  readonly base: bigint;
  /** In bytes, inclusive. */
  readonly limit: number;
  readonly selector: number;
  /** Four bits of the descriptor. */
  readonly type: number;
  readonly present: number;
  readonly dpl: number;
  readonly db: number;
  readonly s: number;
  readonly l: number;
  readonly g: number;
  readonly avl: number;
  readonly unusable: number;
}

/** `struct kvm_dtable`. */
export interface KvmTable {
  readonly base: bigint;
  readonly limit: number;
}

export interface KvmSregs {
  /** By name: cs, ds, es, fs, gs, ss, tr, ldt. */
  readonly segments: Readonly<Record<string, KvmSegment>>;
  readonly gdt: KvmTable;
  readonly idt: KvmTable;
  /** By name: cr0, cr2, cr3, cr4, cr8, efer. */
  readonly controls: Readonly<Record<string, bigint>>;
  readonly apicBase: bigint;
}

/** Where each field of the attributes lies, and how many bits it has (VMX access rights). */
const ATTRIBUTES = [
  ["type", 0, 4],
  ["s", 4, 1],
  ["dpl", 5, 2],
  ["present", 7, 1],
  ["avl", 12, 1],
  ["l", 13, 1],
  ["db", 14, 1],
  ["g", 15, 1],
  ["unusable", 16, 1],
] as const;

const PAGING = 0x8000_0000n;
const PAE = 0x20n;
const LME = 0x100n;
const LMA = 0x400n;
const PAGE_MASK = 0xfffn;

function registerOf(segment: string): string {
  return segment === "ldt" ? "ldtr" : segment;
}

/** KVM_GET_REGS. */
export function readRegs(port: VmmPort, vcpu: number): KvmRegs {
  return Object.fromEntries(GENERAL.map((name) => [name, port.readRegister(vcpu, name)]));
}

/** KVM_SET_REGS: those that are given. A pending exception is gone. */
export function writeRegs(port: VmmPort, vcpu: number, regs: KvmRegs): void {
  const unknown = Object.keys(regs).find((name) => !(GENERAL as readonly string[]).includes(name));
  if (unknown !== undefined)
    throw new KvmError({ errno: "EINVAL", call: "KVM_SET_REGS", reason: `${unknown} is no register of it` });
  for (const [name, value] of Object.entries(regs)) port.setRegister(vcpu, name, value);
  if (port.readRegister(vcpu, "exception_pending") !== 0n) port.setRegister(vcpu, "exception_pending", 0n);
}

function readSegment(port: VmmPort, vcpu: number, segment: string): KvmSegment {
  const name = registerOf(segment);
  const attributes = Number(port.readRegister(vcpu, `${name}_attributes`));
  const fields = Object.fromEntries(
    ATTRIBUTES.map(([field, at, bits]) => [field, (attributes >>> at) & ((1 << bits) - 1)]),
  );
  return {
    base: port.readRegister(vcpu, `${name}_base`),
    limit: Number(port.readRegister(vcpu, `${name}_limit`)),
    selector: Number(port.readRegister(vcpu, name)),
    ...(fields as Record<(typeof ATTRIBUTES)[number][0], number>),
  };
}

function writeSegment(port: VmmPort, vcpu: number, segment: string, value: KvmSegment): void {
  const name = registerOf(segment);
  const attributes = ATTRIBUTES.reduce((sum, [field, at, bits]) => sum | ((value[field] & ((1 << bits) - 1)) << at), 0);
  port.setRegister(vcpu, name, BigInt(value.selector));
  port.setRegister(vcpu, `${name}_base`, value.base);
  port.setRegister(vcpu, `${name}_limit`, BigInt(value.limit >>> 0));
  port.setRegister(vcpu, `${name}_attributes`, BigInt(attributes));
}

function readTable(port: VmmPort, vcpu: number, name: "gdtr" | "idtr"): KvmTable {
  return {
    base: port.readRegister(vcpu, `${name}_base`),
    limit: Number(port.readRegister(vcpu, `${name}_limit`)),
  };
}

function writeTable(port: VmmPort, vcpu: number, name: "gdtr" | "idtr", { base, limit }: KvmTable): void {
  port.setRegister(vcpu, `${name}_base`, base);
  port.setRegister(vcpu, `${name}_limit`, BigInt(limit));
}

/** KVM_GET_SREGS. */
export function readSregs(port: VmmPort, vcpu: number): KvmSregs {
  return {
    segments: Object.fromEntries(SEGMENTS.map((name) => [name, readSegment(port, vcpu, name)])),
    gdt: readTable(port, vcpu, "gdtr"),
    idt: readTable(port, vcpu, "idtr"),
    controls: Object.fromEntries(CONTROLS.map((name) => [name, port.readRegister(vcpu, name)])),
    apicBase: port.readRegister(vcpu, msrRegister(Msr.IA32_APIC_BASE)),
  };
}

/** Modes that there are not (kvm_is_valid_sregs). */
function brokenMode({ segments, controls }: KvmSregs): string | undefined {
  const [cr0 = 0n, cr4 = 0n, efer = 0n] = [controls["cr0"], controls["cr4"], controls["efer"]];
  const pages = (cr0 & PAGING) !== 0n;
  if (pages && (efer & LME) !== 0n) {
    if ((cr4 & PAE) === 0n || (efer & LMA) === 0n) return "64-bit paging without CR4.PAE or EFER.LMA";
    return undefined;
  }
  return (efer & LMA) !== 0n || segments["cs"]?.l === 1 ? "EFER.LMA or CS.L without 64-bit paging" : undefined;
}

/** KVM_SET_SREGS. Throws KvmError: EINVAL, and nothing has changed. */
export function writeSregs(port: VmmPort, vcpu: number, sregs: KvmSregs): void {
  const moved = (sregs.apicBase ^ readSregs(port, vcpu).apicBase) & ~PAGE_MASK;
  const broken = brokenMode(sregs) ?? (moved === 0n ? undefined : "the local APIC does not move here");
  if (broken !== undefined) throw new KvmError({ errno: "EINVAL", call: "KVM_SET_SREGS", reason: broken });
  port.setRegister(vcpu, msrRegister(Msr.IA32_APIC_BASE), sregs.apicBase);
  for (const name of CONTROLS) port.setRegister(vcpu, name, sregs.controls[name] ?? 0n);
  for (const name of SEGMENTS) {
    const segment = sregs.segments[name];
    if (segment !== undefined) writeSegment(port, vcpu, name, segment);
  }
  writeTable(port, vcpu, "gdtr", sregs.gdt);
  writeTable(port, vcpu, "idtr", sregs.idt);
}
