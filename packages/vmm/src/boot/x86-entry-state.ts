/**
 * The state in which a boot protocol enters an x86 kernel, as the kernel half's registers by name. `NAME_base`, `NAME_limit`
 * and `NAME_attributes` are a segment register's hidden part; attributes are bits 55 to 40 of a descriptor (Intel SDM
 * volume 3, 3.4.5), as VMX's access rights. Like KVM_SET_SREGS they are taken as they are: nothing is checked between two.
 */

export interface RegisterValue {
  readonly name: string;
  readonly value: bigint;
}

const SEGMENT_LIMIT = 0xffff_ffffn;
/** Types: code, readable, accessed; data, writable, accessed; with S, P and G; L or D/B. */
const Attributes = { code64: 0xa09bn, code32: 0xc09bn, data: 0xc093n, taskState32: 0x8bn } as const;
const Cr0 = { PE: 1n, ET: 1n << 4n, PG: 1n << 31n } as const;
const Cr4 = { PAE: 1n << 5n } as const;
const Efer = { LME: 1n << 8n, LMA: 1n << 10n } as const;
/** Bit 1 is always set; interrupts are off. */
const RFLAGS = 2n;
const DATA_SEGMENTS = ["ds", "es", "ss", "fs", "gs"] as const;

function segment(name: string, selector: bigint, attributes: bigint, limit = SEGMENT_LIMIT): RegisterValue[] {
  return [
    { name, value: selector },
    { name: `${name}_base`, value: 0n },
    { name: `${name}_limit`, value: limit },
    { name: `${name}_attributes`, value: attributes },
  ];
}

export interface DescriptorTable {
  readonly base: number;
  readonly bytes: number;
  readonly codeSelector: number;
  readonly dataSelector: number;
}

function flatSegments({ base, bytes, codeSelector, dataSelector }: DescriptorTable, code: bigint): RegisterValue[] {
  return [
    ...segment("cs", BigInt(codeSelector), code),
    ...DATA_SEGMENTS.flatMap((name) => segment(name, BigInt(dataSelector), Attributes.data)),
    { name: "gdtr_base", value: BigInt(base) },
    { name: "gdtr_limit", value: BigInt(bytes - 1) },
  ];
}

/** 64-bit mode with paging on (Linux, Documentation/arch/x86/boot.rst, "64-bit Boot Protocol"). */
export function longModeEntry(rip: number, pageTables: number, table: DescriptorTable): RegisterValue[] {
  return [
    { name: "efer", value: Efer.LME | Efer.LMA },
    { name: "cr4", value: Cr4.PAE },
    { name: "cr3", value: BigInt(pageTables) },
    { name: "cr0", value: Cr0.PE | Cr0.ET | Cr0.PG },
    ...flatSegments(table, Attributes.code64),
    { name: "rflags", value: RFLAGS },
    { name: "rip", value: BigInt(rip) },
  ];
}

/** 32-bit protected mode with paging off (Xen, docs/misc/pvh.pandoc; Multiboot specification 0.6.96, 3.2). */
export function protectedModeEntry(eip: number, table: DescriptorTable): RegisterValue[] {
  return [
    { name: "cr0", value: Cr0.PE | Cr0.ET },
    ...flatSegments(table, Attributes.code32),
    ...segment("tr", 0n, Attributes.taskState32, 0x67n),
    { name: "rflags", value: RFLAGS },
    { name: "rip", value: BigInt(eip) },
  ];
}
