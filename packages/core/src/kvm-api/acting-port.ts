/** The VMM's port for a program that runs outside of the VM's own loop: each call is a turn of its own. */
import type { VmmPort } from "../ports/vmm-half.js";
import type { Recorder } from "../record/recorder.js";

export function actingPort(recorder: Recorder): VmmPort {
  const act = <Result>(action: (port: VmmPort) => Result): Result => recorder.act(action);
  const { machine } = recorder;
  return {
    complete: (low, high) => act((port) => port.complete(low, high)),
    readMemory: (physical, bytes) => machine.kernel.memory.read(physical, bytes),
    writeMemory: (physical, bytes) => act((port) => port.writeMemory(physical, bytes)),
    readRegister: (vcpu, name) => machine.kernel.readRegister(vcpu, name),
    eventfdCount: (fd) => machine.kernel.eventfdCount?.(fd) ?? 0,
    setRegister: (vcpu, name, value) => act((port) => port.setRegister(vcpu, name, value)),
    setIrqLine: (line, level) => act((port) => port.setIrqLine(line, level)),
    sendMsi: (address, data) => act((port) => port.sendMsi(address, data)),
    output: (number, bytes) => act((port) => port.output(number, bytes)),
    control: (command) => act((port) => port.control(command)),
    stop: (reason) => act((port) => port.stop(reason)),
    begin: () => act((port) => port.begin()),
    get guestTimeNs() {
      return machine.guestTimeNs;
    },
    get configuration() {
      return machine.control.architecture;
    },
    get context() {
      return machine.context;
    },
  };
}
