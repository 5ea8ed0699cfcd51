/** The structure of stolen time, as the VMM places it and the guest reads it (DEN0057, 3.3). */
import { errno, type Program } from "./program.js";

/** KVM_ARM_VCPU_PVTIME_CTRL and its one attribute. */
export const PVTIME_IPA = { group: 2, attr: 0 } as const;
const STRUCTURE_BYTES = 64;

export interface StolenTime {
  readonly revision: number;
  readonly attributes: number;
  readonly stolenNs: bigint;
}

/** KVM_SET_DEVICE_ATTR of a vCPU: its errno. */
export function setPvTimeIpa({ vm }: Program, ipa: number, vcpu = 0): string {
  return errno(() => vm.vcpu(vcpu).setDeviceAttr(PVTIME_IPA, BigInt(ipa)));
}

export function readStolenTime({ vm }: Program, ipa: number): StolenTime {
  const bytes = vm.readMemory(ipa, STRUCTURE_BYTES);
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const [revision, attributes] = [view.getUint32(0, true), view.getUint32(4, true)];
  return { revision, attributes, stolenNs: view.getBigUint64(8, true) };
}
