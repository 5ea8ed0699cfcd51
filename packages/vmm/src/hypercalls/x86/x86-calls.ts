/** What an amd64 guest's VMM is asked, as its handlers are asked for it, and what board `pc` does about the rest. */
import { type ExitFrame, ExitWord, type VmmPort } from "@hvjournal/core";
import { HvStatus } from "@hvjournal/cpu-x86";
import type { AnswerEffect, AskedCall, CallInterface } from "../handler-chain.js";
import { HandlerError } from "../hypercall-handler.js";
import { msrError, type VmportAnswer, x86Effect } from "./exit-answer.js";
import { accessOf, type VmportCall, type X86Call, x86CallNumber, x86CallOf, x86CallText } from "./exit-call.js";
import { connectionStatus } from "./hv-connections.js";
import { X86HandlerVm } from "./x86-handler-vm.js";

/** -KVM_ENOSYS. */
const KVM_ENOSYS = -1000n;
/** -XEN_ENOSYS, which is Linux' number too. */
const XEN_ENOSYS = -38n;
const BOARD = "board pc";

/** What board `pc` does itself. */
export interface X86Board {
  /** Told of each call that nobody takes, by its name. */
  noteUnanswered(what: string): void;
  /** An access to the VMware backdoor that no handler takes. */
  answerBackdoor(call: VmportCall): VmportAnswer | undefined;
  /** An access to what no device claims, and no handler takes. */
  answerAccess(exit: ExitFrame, port: VmmPort): void;
}

class X86AskedCall implements AskedCall {
  readonly plain: X86Call;
  readonly #port: VmmPort;
  readonly #board: X86Board;
  readonly #exit: ExitFrame | undefined;

  /** `exit`: where the board answers it as it came. */
  constructor(plain: X86Call, port: VmmPort, board: X86Board, exit?: ExitFrame) {
    this.plain = plain;
    this.#exit = exit;
    this.#port = port;
    this.#board = board;
  }

  get vcpu(): number {
    return this.plain.vcpu;
  }

  get text(): string {
    return x86CallText(this.plain);
  }

  get number(): number {
    return x86CallNumber(this.plain);
  }

  settle(): void {
    // All of it was read as the guest left.
  }

  toPlain(): X86Call {
    return this.plain;
  }

  effectOf(answer: unknown): AnswerEffect {
    return x86Effect(this.plain, answer);
  }

  decline(): AnswerEffect {
    const { plain } = this;
    switch (plain.type) {
      case "hv-synic":
        return this.effectOf(undefined);
      case "hv-call-xmm":
        // A VMM of before would take it for nothing: whatever it gave back, the guest would read registers that nobody wrote.
        throw this.#unknown("it knows KVM_EXIT_HYPERV up to type 3, and no handler takes it");
      case "hv-call":
        return this.#declineHv(connectionStatus(plain, this.#port));
      case "hv-syndbg":
        this.#board.noteUnanswered(this.text);
        return this.effectOf(undefined);
      case "kvm-call":
        this.#board.noteUnanswered(this.text);
        return this.effectOf(KVM_ENOSYS);
      case "xen-call":
        this.#board.noteUnanswered(this.text);
        return this.effectOf(XEN_ENOSYS);
      case "rdmsr":
      case "wrmsr":
        this.#board.noteUnanswered(this.text);
        return msrError(plain.vcpu);
      case "vmport":
        return this.effectOf(this.#board.answerBackdoor(plain));
      case "io":
      case "mmio":
        return (port) => this.#exit !== undefined && this.#board.answerAccess(this.#exit, port);
      case "eventfd":
        return this.effectOf(undefined);
      default:
        return plain satisfies never;
    }
  }

  #declineHv(status: number | undefined): AnswerEffect {
    if (status === undefined) this.#board.noteUnanswered(this.text);
    return this.effectOf(status ?? HvStatus.INVALID_HYPERCALL_CODE);
  }

  #unknown(reason: string): HandlerError {
    return new HandlerError("unknown-exit", { handler: BOARD, call: this, reason });
  }
}

export interface X86CallInterface extends CallInterface {
  /** An access to what no device claims. */
  access(exit: ExitFrame, port: VmmPort): AskedCall;
  signal(fd: number, port: VmmPort): AskedCall;
}

export function x86Calls(board: X86Board): X86CallInterface {
  return {
    access(exit, port) {
      const plain = accessOf(exit);
      if (plain === undefined) throw new RangeError(`KVM exit ${exit[ExitWord.kvmExit]} is no access`);
      return new X86AskedCall(plain, port, board, exit);
    },
    signal(fd, port) {
      const plain: X86Call = { type: "eventfd", vcpu: 0, fd, count: port.eventfdCount(fd) };
      return new X86AskedCall(plain, port, board);
    },
    call(exit: ExitFrame, port: VmmPort): AskedCall {
      const plain = x86CallOf(exit, port);
      if (plain !== undefined) return new X86AskedCall(plain, port, board);
      const [vcpu, type] = [exit[ExitWord.vcpu] ?? 0, exit[ExitWord.info] ?? 0];
      const call = { vcpu, text: `KVM_EXIT_HYPERV type ${type}` };
      throw new HandlerError("unknown-exit", { handler: BOARD, call, reason: "this build does not know it" });
    },
    vm: (port, load) => new X86HandlerVm(port, load),
  };
}
