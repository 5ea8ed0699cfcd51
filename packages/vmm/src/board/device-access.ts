/** From an exit to a device and back. */
import { type ExitFrame, ExitWord, type VmmPort } from "@hvjournal/core";
import type { MmioBus } from "./mmio-bus.js";
import type { PortBus } from "./port-bus.js";

const WRITE = 0x100;
const LENGTH_MASK = 0xff;

const data = new Uint8Array(8);
const dataView = new DataView(data.buffer);

/** KVM_EXIT_MMIO. */
export function answerMmio(exit: ExitFrame, bus: MmioBus, port: VmmPort): void {
  const info = exit[ExitWord.info] ?? 0;
  const bytes = info & LENGTH_MASK;
  const address = (exit[ExitWord.arg0High] ?? 0) * 0x1_0000_0000 + (exit[ExitWord.arg0Low] ?? 0);
  if (info & WRITE) {
    dataView.setUint32(0, exit[ExitWord.arg1Low] ?? 0, true);
    dataView.setUint32(4, exit[ExitWord.arg1High] ?? 0, true);
    bus.write(address, bytes, data, port);
    return;
  }
  data.fill(0);
  bus.read(address, bytes, data, port);
  port.complete(dataView.getUint32(0, true), dataView.getUint32(4, true));
}

/** KVM_EXIT_IO. */
export function answerIo(exit: ExitFrame, bus: PortBus, port: VmmPort): void {
  const info = exit[ExitWord.info] ?? 0;
  const bytes = info & LENGTH_MASK;
  const address = exit[ExitWord.arg0Low] ?? 0;
  if (info & WRITE) bus.write(address, bytes, exit[ExitWord.arg1Low] ?? 0, port);
  else port.complete(bus.read(address, bytes, port), 0);
}
