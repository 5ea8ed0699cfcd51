export { BOARD_PORT, PERIPHERAL_CLOCK_HERTZ, TIMER_PPI, VIRTIO_SLOT, VIRT_ADDRESS_MAP } from "./board/address-map.js";
export { SystemEventType } from "./board/system-event.js";
export { createPcBoard, type PcBoard, type PcBoardOptions, VIRTIO_BUSES, type VirtioBus } from "./board/pc.js";
export { PC_ADDRESS_MAP } from "./board/pc-address-map.js";
export type { BoardOptions } from "./board/board-options.js";
export { UnexpectedExitError } from "./board/unexpected-exit.js";
export { createVirtBoard, type VirtBoard, type VirtBoardOptions } from "./board/virt.js";
export { BootError } from "./boot/boot-error.js";
export { cpioArchive, type CpioEntry } from "./boot/cpio.js";
export { DeviceTreeError, findNode, flattenDeviceTree, parseDeviceTree, type DeviceTreeNode } from "./boot/fdt.js";
export { isArm64Image } from "./boot/arm64-image.js";
export { kernelText } from "./boot/kernel-text.js";
export { loadKernel } from "./boot/kernel-image.js";
export type { KernelFile } from "./boot/kernel-format.js";
export { BUILTIN_HANDLER_NAMES, builtinHandler } from "./hypercalls/builtin-handlers.js";
export type { HandlerAnswer } from "./hypercalls/answer-forms.js";
export type { HandlerVm } from "./hypercalls/handler-vm.js";
export type { HypercallCall } from "./hypercalls/hypercall-call.js";
export {
  HandlerError,
  HandlerTimeoutError,
  HandlerWithdrawnError,
  type HypercallHandler,
  type NamedHandler,
  isBuiltinName,
} from "./hypercalls/hypercall-handler.js";
export type { HvAnswer, MsrAnswer, X86Answer } from "./hypercalls/x86/exit-answer.js";
export type * from "./hypercalls/x86/exit-call.js";
export type { X86Handler, X86HandlerVm } from "./hypercalls/x86/x86-handler-vm.js";
