/** The VMware backdoor's port: magic number and commands, as open-vm-tools (backdoor_def.h) and QEMU name them. */

/** "VMXh" in EAX. */
export const BACKDOOR_MAGIC = 0x564d_5868;
/** That of remote calls with a lot of data is the next one. */
export const BACKDOOR_PORTS: readonly number[] = [0x5658, 0x5659];

/** In CX. */
export const BackdoorCommand = {
  getVersion: 0x0a,
  getUuid: 0x13,
  getMemSize: 0x14,
  getHz: 0x2d,
  getVcpuInfo: 0x44,
} as const;

/** EAX of GETVERSION, and the kind of product in ECX: VMX_TYPE_SCALABLE_SERVER. */
export const VERSION = 6;
export const PRODUCT_TYPE = 2;
/** EBX of a known command about memory. */
export const MEMORY_MARK = 0x1177;
/** Of GETVCPUINFO: the guest may use an x2APIC though it sees no interrupt remapping. */
export const LEGACY_X2APIC = 1 << 3;
/** EAX of what is not known. */
export const UNKNOWN = 0xffff_ffff;
