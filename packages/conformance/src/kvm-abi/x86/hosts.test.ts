/** VMs that go on under another VMM, on a host of the other vendor, or of another kernel: what is made anew, and what is told. */
import {
  compareAsMove,
  type ContractComparison,
  compareContracts,
  type ContractedVm,
  type ContractItem,
  contractOf,
  judgeConfiguration,
} from "@hvjournal/core";
import { FORMAT_VERSION } from "@hvjournal/journal";
import { expect } from "@jest/globals";
import { move, vmcall, vmmcall, writeMsr } from "./instructions.js";
import { CODE, DATA, errno, type Program } from "./program.js";
import { type Row, testRows } from "./rows.js";

const GUEST_OS_ID = 0x4000_0000;
const HYPERCALL = 0x4000_0001;
const SCONTROL = 0x4000_0080;
const SIMP = 0x4000_0083;
const SINT2 = 0x4000_0092;
const LINUX = 0x8100_0000_0000_0000n;
const PAGE = BigInt(DATA);
const CALL = { intel: [0x0f, 0x01, 0xc1, 0xc3], amd: [0x0f, 0x01, 0xd9, 0xc3] } as const;
/** HvCallNotifyLongSpinWait, fast: served by KVM itself. */
const SPIN_WAIT = 0x1_0008n;
const QUERY_CAPABILITIES = 0x8001n;
const VAPIC_POLL_IRQ = 1n;
const MAP_GPA_RANGE = 12n;
const HYPERV = [["hv", "all"]] as const;
const UNPATCHED = [["policy", "x86.hypercall.patch=ud"]] as const;
const QUIRKS = "KVM_CAP_DISABLE_QUIRKS2";
const FIX_HYPERCALL_INSN = 1n << 5n;

/** CALL RAX, with the input value in RCX. */
function callPage(input: bigint, output = 0n): number[] {
  return [...move("rcx", input), ...move("rdx", 0), ...move("r8", output), ...move("rax", PAGE), 0xff, 0xd0];
}

function enablePage(p: Program): void {
  expect(p.writeMsr(GUEST_OS_ID, LINUX)).toBe("done");
  expect(p.writeMsr(HYPERCALL, PAGE | 1n)).toBe("done");
}

function pageOf({ vm }: Program): number[] {
  return [...vm.readMemory(DATA, 5)];
}

/** Another VMM takes the VM over, on this host. */
function movedTo(p: Program, name: string): Program {
  const to = p.moved();
  const { machine } = to.session.recorder;
  const old = machine.architecture.contract?.hostOf(machine.control.architecture, machine.description);
  const command = { name: "host", host: { name, version: 1 }, old: { ...old } };
  expect(to.session.recorder.control(command)).toBeUndefined();
  return to;
}

/** The same of a guest that stands at its end: the other VMM is told of that too. */
function settledOn(p: Program, name: string): Program {
  const to = movedTo(p, name);
  expect(to.outcomeNow()).toBe("done");
  return to;
}

function contract({ session: { recorder } }: Program): readonly ContractItem[] {
  const { machine } = recorder;
  const { architecture, description, kernel } = machine;
  const control = machine.plainControl();
  return contractOf({ architecture, machine: description, kernel, control, formatVersion: FORMAT_VERSION });
}

/** What a host would say of the VM: a verdict and a name each. */
function toldBy(p: Program, name: string): string[] {
  const { machine } = p.session.recorder;
  const { architecture, description, kernel } = machine;
  const control = machine.plainControl();
  const source = contract(p);
  const judged = judgeConfiguration({ architecture, machine: description, control, host: { name, version: 1 } });
  const fresh = p.another().session.recorder.machine.kernel;
  fresh.configure(machine.control.architecture);
  const offered = contractOf({
    ...{ architecture, machine: description, kernel: fresh, control: judged.made.control },
    formatVersion: FORMAT_VERSION,
  });
  expect(kernel).not.toBe(fresh);
  return texts(compareContracts(source, judged.remark(offered, source)));
}

function texts({ differences }: ContractComparison): string[] {
  return differences.map((each) => `${each.verdict} ${each.name}: ${each.reason}`);
}

/** What is said of two VMs that are there. */
function toldOfBoth(...programs: readonly [Program, Program]): string[] {
  const [one, other] = programs.map((p): ContractedVm => {
    const { machine } = p.session.recorder;
    const { architecture, description } = machine;
    return { architecture, machine: description, control: machine.plainControl(), items: contract(p) };
  });
  if (one === undefined || other === undefined) throw new Error("there are two programs");
  return texts(compareAsMove(one, other));
}

const rows: readonly Row[] = [
  [
    "L19",
    "the page of calls is made anew for the host that the VM has moved to, and back; both are events",
    (p) => {
      enablePage(p);
      expect(pageOf(p)).toEqual([...CALL.intel, 0]);
      const there = settledOn(p, "amd");
      expect(pageOf(there)).toEqual([...CALL.amd, 0]);
      expect(there.outcome(callPage(SPIN_WAIT))).toBe("done");
      expect(there.vcpu.getReg("rax")).toBe(0n);
      const back = settledOn(there, "intel");
      expect(pageOf(back)).toEqual([...CALL.intel, 0]);
      expect(back.outcome(callPage(SPIN_WAIT))).toBe("done");
    },
    { configuration: HYPERV },
  ],
  [
    "L19",
    "the MSRs set by another VMM once RAM is there put its host's call into the page, and the guest calls by it",
    (p) => {
      enablePage(p);
      const there = p.another({ host: "amd", configuration: HYPERV });
      there.vm.writeMemory(DATA, p.vm.readMemory(DATA, 4096));
      expect(pageOf(there)).toEqual([...CALL.intel, 0]);
      expect(there.vcpu.setMsrs(p.vcpu.getMsrs([GUEST_OS_ID, HYPERCALL]))).toBe(2);
      expect(pageOf(there)).toEqual([...CALL.amd, 0]);
      expect(there.outcome(callPage(SPIN_WAIT))).toBe("done");
    },
    { configuration: HYPERV },
  ],
  [
    "L20",
    "HYPERCALL restored before GUEST_OS_ID is lost: the page is as RAM brought it",
    (p) => {
      enablePage(p);
      const there = p.another({ host: "amd", configuration: HYPERV });
      there.vm.writeMemory(DATA, p.vm.readMemory(DATA, 4096));
      expect(there.vcpu.setMsrs(p.vcpu.getMsrs([HYPERCALL, GUEST_OS_ID]))).toBe(2);
      expect([there.vcpu.getMsr(HYPERCALL), pageOf(there)]).toEqual([0n, [...CALL.intel, 0]]);
    },
    { configuration: HYPERV },
  ],
  [
    "L21",
    "SIMP and SINTs, which no list of KVM's names, go along",
    (p) => {
      const page = BigInt(DATA + 0x1000) | 1n;
      for (const [msr, value] of [
        [SCONTROL, 1n],
        [SIMP, page],
      ] as const) {
        // The VMM is told of these.
        expect(p.exit(writeMsr(msr, value))).toMatchObject({ exitReason: "HYPERV", hyperv: { type: 1, msr } });
        expect(p.outcomeNow()).toBe("done");
      }
      expect(p.writeMsr(SINT2, 0x40n)).toBe("done");
      const there = settledOn(p, "amd");
      expect([SCONTROL, SIMP, SINT2].map((msr) => there.readMsr(msr))).toEqual([1n, page, 0x40n]);
    },
    { configuration: HYPERV },
  ],
  [
    "L22",
    "a Hyper-V call that waits for its answer goes along, by the other vendor's page as well",
    (p) => {
      enablePage(p);
      const told = p.exit(callPage(QUERY_CAPABILITIES, PAGE + 0x100n));
      expect(told).toMatchObject({ exitReason: "HYPERV", hyperv: { type: 2, input: QUERY_CAPABILITIES } });
      const there = movedTo(p, "amd");
      const run = there.run();
      if (run.exitReason !== "HYPERV" || run.hyperv.type !== 2) throw new Error(run.exitReason);
      run.hyperv.result = 0x1_0000_0000n;
      expect(there.outcomeNow()).toBe("done");
      expect(there.vcpu.getReg("rax")).toBe(0x1_0000_0000n);
    },
    { configuration: HYPERV },
  ],
  [
    "K19",
    "KVM_HC_MAP_GPA_RANGE that waits goes along, and the other VMM's answer is what it gives",
    (p) => {
      const call = [...move("rax", MAP_GPA_RANGE), ...move("rbx", DATA), ...move("rcx", 1), ...move("rdx", 0x10)];
      expect(p.exit([...call, ...vmcall])).toMatchObject({ exitReason: "HYPERCALL", hypercall: { nr: MAP_GPA_RANGE } });
      const there = movedTo(p, "amd");
      const run = there.run();
      if (run.exitReason !== "HYPERCALL") throw new Error(run.exitReason);
      run.hypercall.ret = 77n;
      expect(there.outcomeNow()).toBe("done");
      expect(there.vcpu.getReg("rax")).toBe(77n);
    },
    { configuration: [["cap", "EXIT_HYPERCALL=0x1000"]] },
  ],
  [
    "L24",
    "what an older kernel lacks is told item by item, by name and bit",
    (p) => {
      p.vm.enableCap({ cap: QUIRKS, args: [1n] });
      const told = toldBy(p, "intel-linux-5.10");
      expect(told).toContainEqual(expect.stringMatching(/^block KVM_CAP_DISABLE_QUIRKS2: .*EINVAL.*does not have it/));
      expect(told).toContainEqual(
        expect.stringMatching(/^warn CPUID 0x40000003\.EBX\[20\] extended hypercalls: .*linux-5\.10 does not serve it/),
      );
      expect(toldBy(p, "intel")).toEqual([]);
    },
    { configuration: HYPERV },
  ],
  [
    "verdicts",
    "of two VMs that are there are those of a move from the one's host to the other's; exits have names of their own",
    (p) => {
      enablePage(p);
      const there = p.another({ host: "amd", configuration: HYPERV });
      enablePage(there);
      const ofMove = toldBy(p, "amd");
      const ofBoth = toldOfBoth(p, there).filter((told) => !/^warn exit (model|reason \w+): no guest/.test(told));
      expect(ofBoth.toSorted()).toEqual(ofMove.toSorted());
      expect(ofMove).toContainEqual(expect.stringMatching(/^fix hypercall page 0x\w+: rewritten when MSR/));
      expect(toldOfBoth(p, p)).toEqual([]);
    },
    { configuration: HYPERV },
  ],
  [
    "verdicts",
    "of two VMs say nothing of a page of calls as made anew that only the first has",
    (p) => {
      enablePage(p);
      const there = p.another({ host: "amd", configuration: HYPERV });
      expect(toldOfBoth(p, there)).toContainEqual(
        expect.stringMatching(/^block hypercall page 0x\w+: the destination does not have it$/),
      );
    },
    { configuration: HYPERV },
  ],
  [
    "patch",
    "a call of the guest's own is written over by each host in turn",
    (p) => {
      const call = [...move("rax", VAPIC_POLL_IRQ), ...vmcall];
      const at = CODE + call.length - vmcall.length;
      const textOf = ({ vm }: Program): number[] => [...vm.readMemory(at, vmcall.length)];
      expect(p.outcome(call)).toBe("done");
      const there = settledOn(p, "amd");
      expect(textOf(there)).toEqual(vmcall);
      there.vcpu.setReg("rip", CODE);
      expect(there.outcomeNow()).toBe("done");
      expect([textOf(there), there.vcpu.getReg("rax")]).toEqual([vmmcall, 0n]);
    },
  ],
  [
    "patch",
    "without patching it is #UD on the other vendor's host, and its bytes are as they were",
    (p) => {
      const call = [...move("rax", VAPIC_POLL_IRQ), ...vmcall];
      expect(p.outcome(call)).toBe("done");
      const there = settledOn(p, "amd");
      there.vcpu.setReg("rip", CODE);
      expect(there.outcomeNow()).toBe("#UD");
      expect([...there.vm.readMemory(CODE + call.length - vmcall.length, 3)]).toEqual(vmcall);
      expect(there.outcome([...move("rax", VAPIC_POLL_IRQ), ...vmmcall])).toBe("done");
    },
    { configuration: UNPATCHED },
  ],
  [
    "K02",
    "with the quirk disabled by KVM_CAP_DISABLE_QUIRKS2 it is #UD as well",
    (p) => {
      p.vm.enableCap({ cap: QUIRKS, args: [FIX_HYPERCALL_INSN] });
      expect(p.outcome([...move("rax", VAPIC_POLL_IRQ), ...vmmcall])).toBe("#UD");
      expect([...p.vm.readMemory(CODE + 10, 3)]).toEqual(vmmcall);
    },
  ],
  [
    "identity",
    "the guest keeps its CPUID, and with it the vendor that it began with",
    (p) => {
      const before = [0, 1, 7, 0x4000_0000, 0x4000_0001, 0x8000_0001].map((leaf) => p.cpuid(leaf));
      const there = settledOn(p, "amd");
      const after = [0, 1, 7, 0x4000_0000, 0x4000_0001, 0x8000_0001].map((leaf) => there.cpuid(leaf));
      expect(after).toEqual(before);
    },
  ],
  [
    "capabilities",
    "a host without VMX for guests has no enlightened VMCS: ENOTTY",
    (p) => {
      const cap = { cap: "KVM_CAP_HYPERV_ENLIGHTENED_VMCS" };
      expect(errno(() => p.vcpu.enableCap(cap))).toBe("0");
      expect(errno(() => p.another({ host: "amd" }).vcpu.enableCap(cap))).toBe("ENOTTY");
    },
    { configuration: HYPERV },
  ],
];

testRows("hosts, x86", rows);
