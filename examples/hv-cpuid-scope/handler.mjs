/**
 * The VMM's side: it asks KVM what guests can be told of Hyper-V, keeps the answers as QEMU keeps those of
 * KVM_GET_SUPPORTED_CPUID, and looks later whether they still hold.
 */
const ASK = 0x8010;
const ENABLE = 0x8011;
const ASK_AGAIN = 0x8012;
const NESTED_FEATURES = 0x4000000a;
const VERSIONS = 0xffff;
const Status = { success: 0, operationDenied: 8 };

/** In the order in which the guest prints them. */
function answersOf(vm) {
  return [vm.vcpu(0), vm.vcpu(1), vm.system].map((scope) => scope.getSupportedHvCpuid());
}

/** Versions of the enlightened VMCS: the highest one in the high byte; 0: none. */
function versionsIn({ entries }) {
  return entries.find((entry) => entry.function === NESTED_FEATURES).eax & VERSIONS;
}

function enable(vm) {
  try {
    vm.vcpu(0).enableCap({ cap: "KVM_CAP_HYPERV_ENLIGHTENED_VMCS" });
    return Status.success;
  } catch {
    // A host whose CPUs have no VMX: ENOTTY.
    return Status.operationDenied;
  }
}

/** For each scope the kept versions and those of now, 8 bytes each. */
function tell(call, vm) {
  const words = answersOf(vm).flatMap((answer, scope) => [vm.state.kept[scope].versions, versionsIn(answer)]);
  const bytes = new DataView(new ArrayBuffer(8 * words.length));
  words.forEach((word, index) => bytes.setBigUint64(8 * index, BigInt(word), true));
  vm.writeMemory(call.output, new Uint8Array(bytes.buffer));
  return { status: Status.success };
}

/** @type {import("hvjournal/handler").X86Handler} */
export default function compareScopes(call, vm) {
  if (call.type !== "hv-call") return vm.notHandled;
  switch (call.code) {
    case ASK:
      // What an answer hangs on goes with it: under that key it may be kept, and under no shorter one.
      vm.state.kept = answersOf(vm).map((answer) => ({ key: answer.cacheKey, versions: versionsIn(answer) }));
      return tell(call, vm);
    case ENABLE:
      return { status: enable(vm) };
    case ASK_AGAIN:
      vm.state.keysHold = answersOf(vm).every(
        (answer, scope) =>
          (answer.cacheKey === vm.state.kept[scope].key) === (versionsIn(answer) === vm.state.kept[scope].versions),
      );
      return vm.state.keysHold ? tell(call, vm) : { status: Status.operationDenied };
    default:
      return vm.notHandled;
  }
}
