/** amd64 as the hypervisor takes it: CPU models, exit models, control slice, kernel half. */
import type { Architecture, ControlSlice, KernelHalf, KernelHalfOptions } from "@hvjournal/core";
import { Engine } from "@hvjournal/engine";
import { x86Cpu } from "../isa/cpu.js";
import { hotVariants, warmVariants } from "../isa/hot-variants.js";
import { amd64Contract } from "./contract/amd64-contract.js";
import { amd64ControlSlice } from "./control-slice.js";
import { CPU_MODEL } from "./cpu-model.js";
import { recordedHypervCall } from "./recorded-calls.js";
import { describeExit } from "./describe-exit.js";
import { exitModels, vendorOfRow } from "./exit-model.js";
import { APIC_PAGE } from "./irqchip/apic-registers.js";
import { IOAPIC_BASE } from "./irqchip/io-apic.js";
import { Amd64KernelHalf } from "./kernel-half.js";
import { savedExit } from "./saved-state.js";
import { Vm } from "./vm.js";

/** Goes up with every change that a guest could see, or that lets an exit read differently in a recording. */
const REVISION = 2;
/** Local APIC ids have 8 bits in xAPIC mode, and 255 is everybody. */
const VCPU_COUNT_MAX = 64;

export const amd64: Architecture = {
  name: "amd64",
  revision: REVISION,
  cpuModels: [CPU_MODEL],
  exitModels,
  control: amd64ControlSlice as ControlSlice,
  contract: amd64Contract,
  createKernelHalf,
  describeExit,
  callNumber: (frame) => recordedHypervCall(frame)?.code,
  pendingExit: savedExit,
  vendorOfExit: vendorOfRow,
};

/** Throws RangeError for a CPU or exit model that is not known, or a size that does not fit. */
function createKernelHalf(options: KernelHalfOptions): KernelHalf {
  const { cpuModel, exitModel, vcpuCount, memoryBase, memoryBytes } = options;
  if (cpuModel !== CPU_MODEL) throw new RangeError(`unknown cpu model ${cpuModel}: amd64 has ${CPU_MODEL}`);
  if (!exitModels.some((model) => model.name === exitModel.name && model.version === exitModel.version))
    throw new RangeError(
      `unknown exit model ${exitModel.name} version ${exitModel.version}: amd64 has ${exitModels.map((model) => `${model.name} ${model.version}`).join(", ")}`,
    );
  if (!Number.isInteger(vcpuCount) || vcpuCount < 1 || vcpuCount > VCPU_COUNT_MAX)
    throw new RangeError(`${vcpuCount} vCPUs: amd64 has 1 to ${VCPU_COUNT_MAX}`);
  if (memoryBase + memoryBytes > IOAPIC_BASE)
    throw new RangeError(
      `RAM up to 0x${(memoryBase + memoryBytes - 1).toString(16)} covers the IOAPIC at 0x${IOAPIC_BASE.toString(16)} and the local APICs at 0x${APIC_PAGE.toString(16)}`,
    );
  const engine = new Engine(x86Cpu, {
    ramBase: memoryBase,
    ramBytes: memoryBytes,
    vcpuCount,
    profile: hotVariants,
    warm: warmVariants,
    ...(options.tlbEntries === undefined ? {} : { tlbEntries: options.tlbEntries }),
    ...(options.tier === undefined ? {} : { tier: options.tier }),
  });
  return new Amd64KernelHalf(
    new Vm(engine, {
      vcpuCount,
      entropy: options.entropy,
      exitModel,
      wallClockBaseNs: options.wallClockBaseNs ?? 0n,
    }),
  );
}
