/** Which affinity a vCPU has, as KVM numbers them: sixteen to a cluster, since an SGI's target list has sixteen bits. */

const AFFINITY_0_MAX = 16;

/** MPIDR_EL1.{Aff2, Aff1, Aff0} of a vCPU, in bits 23 to 0. */
export function vcpuAffinity(vcpu: number): number {
  return (vcpu % AFFINITY_0_MAX) | (((vcpu >> 4) & 0xff) << 8) | (((vcpu >> 12) & 0xff) << 16);
}

/** The vCPU with this affinity, if there is one. */
export function vcpuOfAffinity(affinity: number, vcpuCount: number): number | undefined {
  const vcpu = (affinity & 0xff) | (((affinity >> 8) & 0xff) << 4) | (((affinity >> 16) & 0xff) << 12);
  return (affinity & 0xff) < AFFINITY_0_MAX && vcpu < vcpuCount && vcpuAffinity(vcpu) === affinity ? vcpu : undefined;
}
