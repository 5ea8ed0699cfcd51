/**
 * The VMM's side. It looks at each extended call as it comes, keeps count of them with the VM, and answers one: how the mask
 * is put together is its own policy. What the mask offers is `builtin:hv-ext`'s to answer, behind it.
 */
const QUERY_CAPABILITIES = 0x8001;
const BOOT_ZEROED_MEMORY = 1n << 0n;
const MEMORY_HEAT_HINT = 1n << 1n;
const COLD_DISCARD = 1n << 8n;

/** @type {import("hvjournal/handler").X86Handler} */
export default function countExtendedCalls(call, vm) {
  if (call.type !== "hv-call" || call.code < QUERY_CAPABILITIES) return vm.notHandled;
  const counts = vm.state.calls ?? {};
  const name = `0x${call.code.toString(16)}`;
  vm.state.calls = { ...counts, [name]: (counts[name] ?? 0) + 1 };
  if (call.code !== QUERY_CAPABILITIES) return vm.notHandled;
  return vm.hvExt(call, BOOT_ZEROED_MEMORY | MEMORY_HEAT_HINT | COLD_DISCARD);
}
