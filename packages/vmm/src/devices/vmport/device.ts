/**
 * VMware's backdoor: an IN from port 0x5658 with a magic number in EAX and a command in CX; registers give and take the rest.
 * Nothing of it is the device's own state.
 */
import { APIC_BUS_HZ, TSC_HZ } from "@hvjournal/cpu-x86";
import type { VmportAnswer } from "../../hypercalls/x86/exit-answer.js";
import type { VmportCall } from "../../hypercalls/x86/exit-call.js";
import {
  BACKDOOR_MAGIC,
  BACKDOOR_PORTS,
  BackdoorCommand,
  LEGACY_X2APIC,
  MEMORY_MARK,
  PRODUCT_TYPE,
  UNKNOWN,
  VERSION,
} from "./registers.js";

const COMMAND_MASK = 0xffff;

export class Vmport {
  readonly name = "vmport";
  readonly #memoryBytes: number;

  constructor(memoryBytes: number) {
    this.#memoryBytes = memoryBytes;
  }

  claims(port: number): boolean {
    return BACKDOOR_PORTS.includes(port);
  }

  /** Registers that are not named stay. */
  answer({ port, eax, ecx }: VmportCall): VmportAnswer {
    if (port !== BACKDOOR_PORTS[0] || eax !== BACKDOOR_MAGIC) return { eax: UNKNOWN };
    switch (ecx & COMMAND_MASK) {
      case BackdoorCommand.getVersion:
        return { eax: VERSION, ebx: BACKDOOR_MAGIC, ecx: PRODUCT_TYPE };
      case BackdoorCommand.getUuid:
        // The board has none.
        return { eax: 0, ebx: 0, ecx: 0, edx: 0 };
      case BackdoorCommand.getMemSize:
        return { eax: this.#memoryBytes, ebx: MEMORY_MARK };
      case BackdoorCommand.getHz:
        return { eax: TSC_HZ % 2 ** 32, ebx: Math.floor(TSC_HZ / 2 ** 32), ecx: APIC_BUS_HZ };
      case BackdoorCommand.getVcpuInfo:
        return { eax: LEGACY_X2APIC };
      default:
        return { eax: UNKNOWN };
    }
  }
}
