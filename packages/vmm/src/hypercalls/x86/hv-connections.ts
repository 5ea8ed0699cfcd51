/**
 * HvCallPostMessage and HvCallSignalEvent as a VMM answers them that has no connections (TLFS, 11.11 and 11.12): what is wrong
 * with the call first, then that there is no such connection.
 */
import type { VmmPort } from "@hvjournal/core";
import { HvCall, HvStatus } from "@hvjournal/cpu-x86";
import type { HvCall as HvCallExit } from "./exit-call.js";
import { guestBlock } from "./hv-memory.js";

/** Connection, reserved, type, size of the payload, and up to 240 bytes of it. */
const MESSAGE_BYTES = 256;
const PAYLOAD_BYTES_MAX = 240;
const PAYLOAD_SIZE_OFFSET = 12;
const FLAG_NUMBER_SHIFT = 32n;
const FLAG_NUMBER_MASK = 0xffffn;

/** undefined: the call is another. */
export function connectionStatus(call: HvCallExit, port: VmmPort): number | undefined {
  if (call.code === HvCall.POST_MESSAGE) return messageStatus(call, port);
  return call.code === HvCall.SIGNAL_EVENT ? eventStatus(call) : undefined;
}

function messageStatus({ fast, input }: HvCallExit, port: VmmPort): number {
  // Its input does not fit into registers.
  if (fast) return HvStatus.INVALID_HYPERCALL_CODE;
  const block = guestBlock(port, input, MESSAGE_BYTES);
  if (typeof block === "number") return block;
  const size = new DataView(block.buffer, block.byteOffset).getUint32(PAYLOAD_SIZE_OFFSET, true);
  return size > PAYLOAD_BYTES_MAX ? HvStatus.INVALID_HYPERCALL_INPUT : HvStatus.INVALID_CONNECTION_ID;
}

/** KVM has read the parameter of a slow call already: it is a value in both forms. */
function eventStatus({ input }: HvCallExit): number {
  const flag = (input >> FLAG_NUMBER_SHIFT) & FLAG_NUMBER_MASK;
  return flag === 0n ? HvStatus.INVALID_CONNECTION_ID : HvStatus.INVALID_PORT_ID;
}
