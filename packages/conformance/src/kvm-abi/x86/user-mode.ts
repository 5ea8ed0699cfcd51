/** Other modes of a program's first vCPU than 64-bit mode at CPL 0. */
import type { Program } from "./program.js";

/** CPL 3 in 64-bit mode. */
export function enterUserMode({ vcpu }: Program): void {
  vcpu.setReg("cs", 0x23);
  vcpu.setReg("cs_attributes", 0xa0fb);
  vcpu.setReg("ss", 0x1b);
  vcpu.setReg("ss_attributes", 0xc0f3);
  vcpu.setReg("cpl", 3);
}

/** 32-bit code at CPL 0 under EFER.LMA: a guest's calls are those of 32 bits. */
export function enterCompatibilityMode({ vcpu }: Program): void {
  vcpu.setReg("cs_attributes", 0xc09b);
}

/** Real mode; a program's memory is where it was. */
export function enterRealMode({ vcpu }: Program): void {
  vcpu.setReg("cr0", 0x10);
  vcpu.setReg("cr4", 0);
  vcpu.setReg("efer", 0);
  vcpu.setReg("cs", 0);
  vcpu.setReg("cs_base", 0);
  vcpu.setReg("cs_attributes", 0x9b);
}
