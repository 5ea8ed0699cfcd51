/** KVM's own hypercalls: Documentation/virt/kvm/x86/hypercalls.rst. Number in RAX, arguments in RBX, RCX, RDX, RSI. */
import { Register } from "../isa/state.js";
import { argumentOf, callNumberOf } from "./call-registers.js";
import { signalEventfd } from "./gsi.js";
import { Delivery } from "./irqchip/apic-registers.js";
import { KvmFeature, mayUseFeature } from "./kvm-features.js";
import { isNotifyCall, notifiedEventfd } from "./notification.js";
import { isInRam } from "./paravirtual.js";
import type { Vm } from "./vm.js";

/** As include/uapi/linux/kvm_para.h. */
export const KvmCall = {
  vapicPollIrq: 1,
  kickCpu: 5,
  clockPairing: 9,
  sendIpi: 10,
  schedYield: 11,
  mapGpaRange: 12,
} as const;

export const KvmError = { EPERM: 1n, EFAULT: 14n, EINVAL: 22n, EOPNOTSUPP: 95n, ENOSYS: 1000n } as const;

const WALL_CLOCK = 0n;
/** struct kvm_clock_pairing: seconds, nanoseconds, counter, flags, nine words of padding. */
const CLOCK_PAIRING_BYTES = 64;
const PAGE_MASK = 0xfffn;
const NANOSECONDS_PER_SECOND = 1_000_000_000n;

/** Of the current vCPU at CPL 0. Gives what RAX is to be. */
export function callKvm(vm: Vm): bigint {
  if (isNotifyCall(vm)) return notify(vm);
  switch (callNumberOf(vm)) {
    case KvmCall.vapicPollIrq:
      return 0n;
    case KvmCall.kickCpu:
      return mayUseFeature(vm, KvmFeature.unhalt) ? kick(vm, argumentOf(vm, Register.rcx)) : -KvmError.ENOSYS;
    case KvmCall.clockPairing:
      return pairClocks(vm, argumentOf(vm, Register.rbx), argumentOf(vm, Register.rcx));
    case KvmCall.sendIpi:
      if (!mayUseFeature(vm, KvmFeature.sendIpi)) return -KvmError.ENOSYS;
      return sendIpi(vm, askedIpi(vm));
    case KvmCall.schedYield:
      if (!mayUseFeature(vm, KvmFeature.schedYield)) return -KvmError.ENOSYS;
      vm.schedule.endSlice();
      return 0n;
    case KvmCall.mapGpaRange:
      // Where its arguments are good it is the VMM's, if that wants it.
      return vm.wantsMapGpaRange ? -KvmError.EINVAL : -KvmError.ENOSYS;
    default:
      return -KvmError.ENOSYS;
  }
}

/** Where its bell went between the exit and here, nobody hears it. */
function notify(vm: Vm): bigint {
  const fd = notifiedEventfd(vm);
  if (fd === undefined) return -KvmError.ENOSYS;
  signalEventfd(vm, fd);
  return 0n;
}

/** Ends the HLT of a vCPU, by its APIC's id, or its next one: a kick that comes just before is not lost. */
function kick(vm: Vm, apicId: bigint): bigint {
  const target = vm.irqchip.apics.findIndex(({ id }) => BigInt(id) === apicId);
  if (target >= 0) vm.schedule.of(target).isUnhalted = true;
  vm.schedule.endSlice();
  return 0n;
}

function pairClocks(vm: Vm, address: bigint, type: bigint): bigint {
  const { engine, wallClockNs } = vm;
  if (type !== WALL_CLOCK) return -KvmError.EOPNOTSUPP;
  if (!isInRam(engine.memory, address, CLOCK_PAIRING_BYTES)) return -KvmError.EFAULT;
  const view = new DataView(new ArrayBuffer(CLOCK_PAIRING_BYTES));
  view.setBigUint64(0, wallClockNs / NANOSECONDS_PER_SECOND, true);
  view.setBigUint64(8, wallClockNs % NANOSECONDS_PER_SECOND, true);
  view.setBigUint64(16, vm.timeStampOf(vm.current).at(vm.guestTimeNs), true);
  engine.memory.write(Number(address), new Uint8Array(view.buffer));
  return 0n;
}

interface MultipleIpi {
  /** By APIC id from `lowest` on. */
  readonly bitmap: bigint;
  readonly lowest: bigint;
  readonly icr: bigint;
}

function askedIpi(vm: Vm): MultipleIpi {
  const upper = vm.states.isLongMode ? 64n : 32n;
  return {
    bitmap: argumentOf(vm, Register.rbx) | (argumentOf(vm, Register.rcx) << upper),
    lowest: argumentOf(vm, Register.rdx),
    icr: argumentOf(vm, Register.rsi),
  };
}

/** Gives how many vCPUs it has reached. */
function sendIpi(vm: Vm, { bitmap, lowest, icr }: MultipleIpi): bigint {
  const delivery = Number((icr >> 8n) & 7n);
  if (delivery !== Delivery.fixed && delivery !== Delivery.nmi) return -KvmError.EINVAL;
  let reached = 0n;
  for (const { id } of vm.irqchip.apics) {
    const at = BigInt(id) - lowest;
    if (at < 0n || ((bitmap >> at) & 1n) === 0n) continue;
    vm.irqchip.send({ vector: Number(icr & 0xffn), delivery, isLogical: false, destination: id, isWide: true });
    reached += 1n;
  }
  return reached;
}

/** A page-aligned range that does not wrap (kvm_emulate_hypercall). */
export function mapRangeArgumentsFit(vm: Vm): boolean {
  const address = argumentOf(vm, Register.rbx);
  const pages = argumentOf(vm, Register.rcx);
  const frames = 1n << 52n;
  return (address & PAGE_MASK) === 0n && pages > 0n && (address >> 12n) + pages <= frames;
}
