/** arm64 as the hypervisor takes it: CPU models, exit models, control slice, kernel half. */
import type { Architecture, ControlCommand, ControlSlice, KernelHalf, KernelHalfOptions } from "@hvjournal/core";
import { Engine } from "@hvjournal/engine";
import { cortexA57 } from "../isa/cpu.js";
import { hotVariants, warmVariants } from "../isa/hot-variants.js";
import { arm64ControlSlice } from "./control-slice.js";
import { POWER_OFF, PSCI_0_2 } from "./control/vcpu-features.js";
import { describeExit } from "./describe-exit.js";
import { resultRegisters, unruledCall } from "./hypercalls.js";
import { exitModels } from "./exit-model.js";
import type { GicAddresses } from "./gicv3/gicv3.js";
import { REDISTRIBUTOR_BYTES } from "./gicv3/registers.js";
import { Arm64KernelHalf } from "./kernel-half.js";
import { savedExit } from "./saved-state.js";
import { Vm } from "./vm.js";

/** Goes up with every change that a guest could see, or that lets an exit read differently in a recording. */
const REVISION = 3;
/** What the redistributors' region of QEMU's virt board holds. */
const VCPU_COUNT_MAX = 123;

/** Where a board puts what the kernel half answers. */
export interface Arm64Board {
  readonly gic: GicAddresses;
}

/** As on QEMU's virt board. */
export const VIRT_BOARD: Arm64Board = { gic: { distributor: 0x0800_0000, redistributors: 0x080a_0000 } };

export function createArm64(board: Arm64Board): Architecture {
  return {
    name: "arm64",
    revision: REVISION,
    cpuModels: [cortexA57.name],
    exitModels,
    control: arm64ControlSlice as ControlSlice,
    setUp: setUpVcpus,
    createKernelHalf: (options) => createKernelHalf(board, options),
    describeExit,
    resultRegisters,
    unruledCall,
    pendingExit: savedExit,
  };
}

export const arm64: Architecture = createArm64(VIRT_BOARD);

/** As QEMU sets them up: all but the first wait for PSCI CPU_ON. */
function setUpVcpus(vcpuCount: number): ControlCommand[] {
  return Array.from({ length: vcpuCount }, (_, vcpu) => ({
    name: "vcpu-init",
    vcpu,
    features: vcpu === 0 ? PSCI_0_2 : PSCI_0_2 | POWER_OFF,
  }));
}

/** Throws RangeError for a CPU or exit model that is not known, or a size that does not fit. */
function createKernelHalf(board: Arm64Board, options: KernelHalfOptions): KernelHalf {
  const { cpuModel, exitModel, vcpuCount, memoryBase, memoryBytes } = options;
  if (cpuModel !== cortexA57.name) throw new RangeError(`unknown cpu model ${cpuModel}: arm64 has ${cortexA57.name}`);
  if (!exitModels.some((model) => model.name === exitModel.name && model.version === exitModel.version))
    throw new RangeError(
      `unknown exit model ${exitModel.name} version ${exitModel.version}: arm64 has ${exitModels.map((model) => `${model.name} ${model.version}`).join(", ")}`,
    );
  if (!Number.isInteger(vcpuCount) || vcpuCount < 1 || vcpuCount > VCPU_COUNT_MAX)
    throw new RangeError(`${vcpuCount} vCPUs: arm64 has 1 to ${VCPU_COUNT_MAX}`);
  const gicEnd = board.gic.redistributors + REDISTRIBUTOR_BYTES * vcpuCount;
  if (memoryBase < gicEnd && board.gic.distributor < memoryBase + memoryBytes)
    throw new RangeError(
      `RAM at 0x${memoryBase.toString(16)} covers the GIC at 0x${board.gic.distributor.toString(16)}..0x${(gicEnd - 1).toString(16)}`,
    );
  const engine = new Engine(cortexA57, {
    ramBase: memoryBase,
    ramBytes: memoryBytes,
    vcpuCount,
    profile: hotVariants,
    warm: warmVariants,
    ...(options.tlbEntries === undefined ? {} : { tlbEntries: options.tlbEntries }),
    ...(options.tier === undefined ? {} : { tier: options.tier }),
  });
  return new Arm64KernelHalf(
    new Vm(engine, {
      vcpuCount,
      entropy: options.entropy,
      gic: board.gic,
      wallClockBaseNs: options.wallClockBaseNs ?? 0n,
    }),
  );
}
