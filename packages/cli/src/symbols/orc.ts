/**
 * The chain of callers in an x86 Linux kernel by its ORC tables (Linux, Documentation/x86/orc-unwinder.rst and
 * arch/x86/kernel/unwind_orc.c): stock kernels are built without frame pointers.
 *
 * `__start_orc_unwind_ip` holds, in order, where each entry of `__start_orc_unwind` begins to hold, as a signed distance from
 * the place itself. An entry has six bytes: the distance of the caller's stack pointer and of where the caller's RBP is
 * saved, from which registers these count, and what lies at the caller's stack pointer. Up to 6.3 the type has two bits and
 * an end mark beside it; from 6.4 on it has three bits, and the first two types are none and the end.
 */
import { type Machine, readVirtual, type SymbolTable } from "@hvjournal/core";
import type { Caller } from "./caller.js";

const IP_BYTES = 4;
const ENTRY_BYTES = 6;
const WORD_BYTES = 8n;
/** Entries that are looked at to tell the two forms apart: one of them is of an ordinary function. */
const SAMPLE_ENTRIES = 256;

const Register = {
  undefined: 0,
  previousSp: 1,
  rdx: 2,
  rdi: 3,
  rbp: 4,
  rsp: 5,
  r10: 6,
  r13: 7,
  atRbp: 8,
  atRsp: 9,
} as const;
/** Those that an interrupted function's registers alone tell: of a caller they are not known any more. */
const LIVE: ReadonlyMap<number, string> = new Map([
  [Register.rdx, "rdx"],
  [Register.rdi, "rdi"],
  [Register.r10, "r10"],
  [Register.r13, "r13"],
]);
type FrameType = "call" | "registers" | "interrupt" | "end";
const TYPES_UP_TO_6_3: readonly FrameType[] = ["call", "registers", "interrupt", "end"];
const TYPES_FROM_6_4: readonly FrameType[] = ["end", "end", "call", "registers", "interrupt", "end", "end", "end"];
const END_UP_TO_6_3 = 0x4;

/** Within `struct pt_regs`, and within what an interrupt pushes. */
const PtRegs = { rbp: 32n, rip: 128n, cs: 136n, rsp: 152n } as const;
const InterruptFrame = { rip: 0n, cs: 8n, rsp: 24n } as const;
const PRIVILEGE = 3n;

interface Entry {
  readonly spOffset: bigint;
  readonly bpOffset: bigint;
  readonly spRegister: number;
  readonly bpRegister: number;
  readonly typeBits: number;
}

interface Frame {
  readonly rip: bigint;
  readonly rsp: bigint;
  readonly rbp: bigint;
  /** Its address is of the instruction that is next, and not of one behind a call. */
  readonly isInterrupted: boolean;
  /** It has no entry here. */
  readonly isUserMode: boolean;
}

/** Innermost first, user mode last where the kernel was entered from there; undefined: there are no such tables, or pc is in none of their code. */
export function orcCallers(
  machine: Machine,
  vcpu: number,
  symbols: SymbolTable,
  depthMax: number,
): Caller[] | undefined {
  return OrcTables.of(machine, vcpu, symbols)?.callers(depthMax);
}

class OrcTables {
  readonly #machine: Machine;
  readonly #vcpu: number;
  readonly #ips: bigint;
  readonly #entries: bigint;
  readonly #count: number;
  readonly #isUpTo63: boolean;

  private constructor(machine: Machine, vcpu: number, ips: bigint, ipsEnd: bigint, entries: bigint) {
    this.#machine = machine;
    this.#vcpu = vcpu;
    this.#ips = ips;
    this.#entries = entries;
    this.#count = Number(ipsEnd - ips) / IP_BYTES;
    this.#isUpTo63 = Array.from({ length: Math.min(SAMPLE_ENTRIES, this.#count) }, (_, index) =>
      this.#entry(index),
    ).some((entry) => entry !== undefined && entry.spRegister === Register.rsp && (entry.typeBits & 7) === 0);
  }

  static of(machine: Machine, vcpu: number, symbols: SymbolTable): OrcTables | undefined {
    const [ips, end, entries] = ["__start_orc_unwind_ip", "__stop_orc_unwind_ip", "__start_orc_unwind"].map(
      (name) => symbols.find(name)?.address,
    );
    if (ips === undefined || end === undefined || entries === undefined || end <= ips) return undefined;
    return new OrcTables(machine, vcpu, ips, end, entries);
  }

  callers(depthMax: number): Caller[] | undefined {
    let frame: Frame | undefined = {
      rip: this.#register("rip"),
      rsp: this.#register("rsp"),
      rbp: this.#register("rbp"),
      isInterrupted: true,
      isUserMode: false,
    };
    if (this.#entryOf(frame) === undefined) return undefined;
    const callers: Caller[] = [];
    for (let isInnermost = true; callers.length < depthMax; isInnermost = false) {
      frame = this.#callerOf(frame, isInnermost);
      if (frame === undefined) break;
      callers.push({ address: frame.rip, isUserMode: frame.isUserMode });
      if (frame.isUserMode) break;
    }
    return callers;
  }

  #callerOf(frame: Frame, isInnermost: boolean): Frame | undefined {
    const entry = this.#entryOf(frame);
    const sp = entry && this.#stackPointer(frame, entry, isInnermost);
    if (entry === undefined || sp === undefined) return undefined;
    const type = this.#typeOf(entry);
    if (type === "end") return undefined;
    if (type === "call") return this.#frame(this.#word(sp - WORD_BYTES), sp, this.#savedRbp(frame, entry, sp), false);
    const layout = type === "registers" ? PtRegs : InterruptFrame;
    const [cs, rip] = [this.#word(sp + layout.cs), this.#word(sp + layout.rip)];
    if (cs === undefined) return undefined;
    if ((cs & PRIVILEGE) !== 0n) return userFrame(rip);
    const rbp = type === "registers" ? this.#word(sp + PtRegs.rbp) : this.#savedRbp(frame, entry, sp);
    return this.#frame(rip, this.#word(sp + layout.rsp), rbp, true);
  }

  #frame(
    rip: bigint | undefined,
    rsp: bigint | undefined,
    rbp: bigint | undefined,
    isInterrupted: boolean,
  ): Frame | undefined {
    if (rip === undefined || rip === 0n || rsp === undefined || rbp === undefined) return undefined;
    return { rip, rsp, rbp, isInterrupted, isUserMode: false };
  }

  #stackPointer({ rsp, rbp }: Frame, { spRegister, spOffset }: Entry, isInnermost: boolean): bigint | undefined {
    switch (spRegister) {
      case Register.rsp:
        return rsp + spOffset;
      case Register.rbp:
        return rbp + spOffset;
      case Register.atRbp:
        return this.#word(rbp + spOffset);
      case Register.atRsp: {
        const pointer = this.#word(rsp);
        return pointer === undefined ? undefined : pointer + spOffset;
      }
      default: {
        const live = isInnermost ? LIVE.get(spRegister) : undefined;
        return live === undefined ? undefined : this.#register(live);
      }
    }
  }

  #savedRbp({ rbp }: Frame, { bpRegister, bpOffset }: Entry, sp: bigint): bigint | undefined {
    if (bpRegister === Register.previousSp) return this.#word(sp + bpOffset);
    return bpRegister === Register.rbp ? this.#word(rbp + bpOffset) : rbp;
  }

  #typeOf({ typeBits }: Entry): FrameType {
    if (!this.#isUpTo63) return TYPES_FROM_6_4[typeBits & 7] ?? "end";
    return (typeBits & END_UP_TO_6_3) !== 0 ? "end" : (TYPES_UP_TO_6_3[typeBits & 3] ?? "end");
  }

  /** A return address lies behind its call, which may be the last instruction of its function. */
  #entryOf({ rip, isInterrupted }: Frame): Entry | undefined {
    const address = isInterrupted ? rip : rip - 1n;
    let [low, high] = [0, this.#count];
    while (low < high) {
      const middle = (low + high) >>> 1;
      const start = this.#startOf(middle);
      if (start === undefined) return undefined;
      if (start <= address) low = middle + 1;
      else high = middle;
    }
    const entry = low === 0 || low === this.#count ? undefined : this.#entry(low - 1);
    return entry === undefined || entry.spRegister === Register.undefined ? undefined : entry;
  }

  #startOf(index: number): bigint | undefined {
    const place = this.#ips + BigInt(index * IP_BYTES);
    const view = this.#view(place, IP_BYTES);
    return view === undefined ? undefined : BigInt.asUintN(64, place + BigInt(view.getInt32(0, true)));
  }

  #entry(index: number): Entry | undefined {
    const view = this.#view(this.#entries + BigInt(index * ENTRY_BYTES), ENTRY_BYTES);
    if (view === undefined) return undefined;
    const registers = view.getUint8(4);
    return {
      spOffset: BigInt(view.getInt16(0, true)),
      bpOffset: BigInt(view.getInt16(2, true)),
      spRegister: registers & 15,
      bpRegister: registers >> 4,
      typeBits: view.getUint8(5),
    };
  }

  #word(address: bigint): bigint | undefined {
    return this.#view(BigInt.asUintN(64, address), Number(WORD_BYTES))?.getBigUint64(0, true);
  }

  #view(address: bigint, bytes: number): DataView | undefined {
    const content = readVirtual(this.#machine, this.#vcpu, address, bytes);
    return content && new DataView(content.buffer, content.byteOffset, content.byteLength);
  }

  #register(name: string): bigint {
    return this.#machine.kernel.readRegister(this.#vcpu, name);
  }
}

/** The chain ends with it: user code's own callers are in its own tables. */
function userFrame(rip: bigint | undefined): Frame | undefined {
  if (rip === undefined || rip === 0n) return undefined;
  return { rip, rsp: 0n, rbp: 0n, isInterrupted: true, isUserMode: true };
}
