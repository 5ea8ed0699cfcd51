/** A stock Linux whose PSCI and vendor hypervisor service are the VMM half's: a handler's file, and what forwards to it. */
import { rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";

const FILE = "vendor.mjs";
/** What the service depends on outside of the VM. */
const BACKEND = "backend";

/** KVM's UID, and features that KVM does not have. */
const source = `import { existsSync } from "node:fs";

const UID = [0xb66fb428n, 0xe911c52en, 0x564bcaa9n, 0x743a004dn];
const never = () => new Promise(() => {});

export default (call, vm) => {
  vm.state.calls = Number(vm.state.calls ?? 0) + 1;
  if (call.nr === 0x8600ff01) return UID;
  if (call.nr !== 0x86000000) return vm.notHandled;
  return existsSync("${BACKEND}") ? [0x5an, 0n, 0n, 0n] : never();
};
`;

/** What Linux says once it has an answer. */
export const VENDOR_SERVICES = "smccc: KVM: hypervisor services detected (0x00000000 0x00000000 0x00000000 0x0000005a)";

/** A range of the filter each: PSCI's two, and the vendor's. */
export const forwardedRanges = ["0x84000000+0x20", "0xc4000000+0x20", "0x86000000+0x10000"];

/** For `record`. */
export const firmwareWords: readonly string[] = [
  ...forwardedRanges.flatMap((range) => ["--smccc-filter", `${range}=forward`]),
  ...["--handler", FILE, "--handler", "builtin:psci", "--handler-timeout", "500ms"],
];

export class FirmwareFiles {
  readonly #directory: string;

  constructor(directory: string) {
    this.#directory = directory;
    writeFileSync(join(directory, FILE), source);
  }

  startBackend(): void {
    writeFileSync(join(this.#directory, BACKEND), "");
  }

  stopBackend(): void {
    rmSync(join(this.#directory, BACKEND));
  }

  remove(): void {
    rmSync(join(this.#directory, FILE));
  }
}
