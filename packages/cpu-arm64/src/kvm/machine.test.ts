import { createHash } from "node:crypto";
import { describe, expect, it } from "@jest/globals";
import {
  Evaluator,
  exitModelOf,
  Machine,
  type MachineDescription,
  MachineEnvironment,
  parseExpression,
} from "@hvjournal/core";
import * as a from "../isa/testing/encodings.js";
import { arm64 } from "./architecture.js";
import { kvmArm64 } from "./exit-model.js";
import { CODE, RAM_BASE, RAM_BYTES } from "./testing/guest.js";

const PTP = 0x8600_0001n;
const VIRTUAL_COUNTER = 0n;

/** arm64 as core makes it from a description. */
function machine(boardOptions: MachineDescription["boardOptions"], words: readonly number[] = []): Machine {
  const made = new Machine({
    architecture: arm64,
    digester: { sha256: (bytes) => createHash("sha256").update(bytes).digest() },
    machine: {
      architecture: "arm64",
      board: "virt",
      cpuModel: "cortex-a57",
      vcpuCount: 1,
      memoryBase: RAM_BASE,
      memoryBytes: RAM_BYTES,
      exitModel: exitModelOf(kvmArm64),
      seed: 1n,
      boardOptions,
    },
  });
  made.kernel.memory.write(CODE, new Uint8Array(Uint32Array.from(words).buffer));
  made.kernel.writeRegister(0, "pc", BigInt(CODE));
  return made;
}

describe("the wall clock that a guest asks its hypervisor for", () => {
  it.each([1_790_000_000_123_456_789n, 0n])("starts at the machine's %d ns and follows guest time", (rtcBaseNs) => {
    const words = [...a.moveImmediate(0, PTP), ...a.moveImmediate(1, VIRTUAL_COUNTER), a.hvc(0)];
    const { kernel } = machine({ rtcBaseNs }, words);
    expect(kernel.run(100)).toBe("exit");
    kernel.finishExit();
    const [high = 0n, low = 0n] = ["x0", "x1"].map((name) => kernel.readRegister(0, name));
    expect((high << 32n) | low).toBe(rtcBaseNs + BigInt(kernel.guestTimeNs));
  });
});

describe("the configuration in an expression", () => {
  const made = machine({});
  const ask = (source: string): bigint | undefined =>
    new Evaluator(parseExpression(source)).evaluate(new MachineEnvironment(made));
  const configure = (word: string, text: string): void => {
    const command = arm64.control.parse(word, text);
    if (typeof command === "string") throw new Error(command);
    const decision = made.decide(command);
    if ("refused" in decision) throw new Error(decision.refused.reason);
    for (const event of decision.events) made.evolve(event, 1);
  };

  it("knows registers by the names of gdb and of the ABI, and names the nearest", () => {
    made.kernel.writeRegister(0, "x30", 0x1234_5678_9abc_def0n);
    expect(ask("$lr == $x30 && $w30 == 0x9abcdef0 && $fp == $x29 && $cpsr == $pstate")).toBe(1n);
    expect(() => ask("$esr_el11")).toThrow("there is no register $esr_el11; did you mean $esr_el1?");
  });

  it("tells what becomes of a call: 0 handled, 1 denied, 2 forwarded", () => {
    const actions = (): unknown[] => ["0xc4000003", "0x84000050", "0xc6000001"].map((id) => ask(`config.smccc(${id})`));
    expect(actions()).toEqual([0n, 0n, 1n]);
    configure("smccc-filter", "0xc6000000+0x100=forward");
    configure("smccc-filter", "0xc4000003+1=deny");
    configure("one-reg", "KVM_REG_ARM_STD_BMAP=0");
    expect(actions()).toEqual([1n, 1n, 2n]);
    expect(() => ask("config.smccc(0x100000000)")).toThrow("there is no such item");
  });

  it("tells firmware registers and capabilities by KVM's names, and no others", () => {
    expect(ask("config.reg(KVM_REG_ARM_PSCI_VERSION)")).toBe(0x1_0003n);
    configure("one-reg", "KVM_REG_ARM_PSCI_VERSION=0x10001");
    expect(ask("config.reg(KVM_REG_ARM_PSCI_VERSION) == 0x10001")).toBe(1n);
    expect(ask("config.cap(KVM_CAP_ARM_SYSTEM_SUSPEND)")).toBe(0n);
    configure("cap", "KVM_CAP_ARM_SYSTEM_SUSPEND");
    expect(ask("config.cap(KVM_CAP_ARM_SYSTEM_SUSPEND)")).toBe(1n);
    expect(ask("config.cap(KVM_CAP_ARM_MTE)")).toBe(0n);
    expect(() => ask("config.cap(KVM_CAP_HYPERV)")).toThrow("there is no such item");
    expect(() => ask("config.reg(KVM_REG_ARM_TIMER_CNT)")).toThrow("there is no such item");
  });
});
