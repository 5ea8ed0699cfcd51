/**
 * The VMM's side: one consumer for one ring, whichever way it is told. Each way comes as a question of its own type; an eventfd
 * is told by its signal, for the write or the call that was behind it never left to the VMM.
 */
const SETUP_PORT = 0x518;
const BELL_PORT = 0x510;
const BELL_ADDRESS = 0xd0000000;
const NOTIFY_CALL = 0x4e00;
const SIGNAL_EVENT = 0x5d;
const BELL_CONNECTION = 1n;
const SLOTS = 64;
const HEADER_BYTES = 16;

/** Takes what has been posted since, in order, and tells the guest by two words in the ring. */
function consume(vm) {
  const { ring } = vm.state;
  const bytes = vm.readMemory(ring, HEADER_BYTES + 4 * SLOTS);
  const words = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  const posted = words.getUint32(0, true);
  let sum = words.getUint32(8, true);
  for (let index = words.getUint32(4, true); index < posted; index++)
    sum += words.getUint32(HEADER_BYTES + 4 * (index % SLOTS), true);
  const told = new DataView(new ArrayBuffer(8));
  told.setUint32(0, posted, true);
  told.setUint32(4, sum, true);
  vm.writeMemory(ring + 4, new Uint8Array(told.buffer));
}

/** Whether a question is one of the ways to ring the bell. */
function isBell(call) {
  switch (call.type) {
    case "io":
      return call.isWrite && call.port === BELL_PORT;
    case "mmio":
      return call.isWrite && call.address === BELL_ADDRESS;
    case "kvm-call":
      return call.nr === NOTIFY_CALL;
    case "hv-call":
      return call.code === SIGNAL_EVENT && call.input === BELL_CONNECTION;
    case "eventfd":
      return true;
    default:
      return false;
  }
}

/** @type {import("hvjournal/handler").X86Handler} */
export default function consumeRing(call, vm) {
  if (call.type === "io" && call.isWrite && call.port === SETUP_PORT) {
    vm.state.ring = Number(call.data);
    return undefined;
  }
  if (!isBell(call)) return vm.notHandled;
  consume(vm);
  return call.type === "hv-call" ? { status: 0 } : undefined;
}
