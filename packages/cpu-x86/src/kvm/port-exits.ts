/** Accesses to ports: their exits, and those that the irqchip answers. */
import { eventfdOfExit, type ExitFrame, ExitWord, KvmExit } from "@hvjournal/core";
import { leaveToVmm, MMIO_WRITE } from "./exit-frames.js";
import { signalEventfd } from "./gsi.js";
import type { Vm } from "./vm.js";

/** Exit qualification of VMX for I/O instructions (Intel SDM volume 3, table 28-5), without its string and REP bits. */
const QUALIFICATION_IN = 1 << 3;
const QUALIFICATION_PORT_SHIFT = 16;
/** EXITINFO1 of SVM's IOIO intercept (AMD APM volume 2, 15.10.2). */
const IOIO_IN = 1;
const IOIO_SIZE_SHIFT = 4;

function syndromeOf(vm: Vm, port: number, bytes: number, isWrite: boolean): number {
  const place = port << QUALIFICATION_PORT_SHIFT;
  if (vm.hostVendor === "amd") return (place | (bytes << IOIO_SIZE_SHIFT) | (isWrite ? 0 : IOIO_IN)) >>> 0;
  return (place | (bytes - 1) | (isWrite ? 0 : QUALIFICATION_IN)) >>> 0;
}

/** The rest of an exit's frame. Operands: next instruction, port, bytes, data. */
export function fillPortExit(vm: Vm, frame: ExitFrame, isWrite: boolean): void {
  const { engine } = vm;
  const port = engine.exitWord(2);
  const bytes = engine.exitWord(4);
  frame[ExitWord.info] = bytes | (isWrite ? MMIO_WRITE : 0);
  frame[ExitWord.syndromeLow] = syndromeOf(vm, port, bytes, isWrite);
  frame[ExitWord.arg0Low] = port;
  if (isWrite) {
    frame[ExitWord.arg1Low] = engine.exitWord(6);
    frame[ExitWord.arg1High] = engine.exitWord(7);
  }
  if (!vm.irqchip.hasPort(port) && eventfdOfExit(vm.control, "pio", frame) === undefined) leaveToVmm(frame, KvmExit.io);
}

/** A port of the irqchip. Accesses of several bytes reach as many ports one after the other. */
export function finishPortExit(vm: Vm, frame: ExitFrame): bigint | undefined {
  const info = frame[ExitWord.info] ?? 0;
  const port = frame[ExitWord.arg0Low] ?? 0;
  const bytes = info & 0xff;
  if ((info & MMIO_WRITE) !== 0) {
    const data = frame[ExitWord.arg1Low] ?? 0;
    const fd = vm.irqchip.hasPort(port) ? undefined : eventfdOfExit(vm.control, "pio", frame);
    if (fd !== undefined) signalEventfd(vm, fd);
    for (let byte = 0; byte < bytes; byte++)
      if (vm.irqchip.hasPort(port + byte)) vm.irqchip.writePort(port + byte, (data >>> (8 * byte)) & 0xff);
    vm.states.completePort(0);
    return undefined;
  }
  let data = 0;
  for (let byte = 0; byte < bytes; byte++)
    data |= (vm.irqchip.hasPort(port + byte) ? vm.irqchip.readPort(port + byte) : 0xff) << (8 * byte);
  vm.states.completePort(data);
  return BigInt(data >>> 0);
}
