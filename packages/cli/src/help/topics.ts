/** What `hvjournal help TOPIC` says of the words that many commands take. docs/cli.md says the same at length. */

import { ERRORS_HELP } from "./errors-help.js";
import { POLICIES_HELP } from "./policies-help.js";

export const TOPICS = {
  positions: `POSITION: a moment of a run. What is printed as a position can be pasted back.

  start, end                the start, and where the recording stops
  exit:4821                 exit 4821 has occurred, nothing has been answered
  exit:4821+12              it has been answered, and 12 units later (a unit for each retired instruction)
  event:N  icount:N         events 1 to N have taken effect; N units have been counted on the VM
  time:1.65s                guest time reaches it (s, ms, us, ns)
  console:/RE/              the guest writes the byte that completes the match
  hypercall:0xc4000003      the first exit of that function; of a Hyper-V call: of that code, or of that whole input value
  exit:HVC64                the first exit of that reason, or of that KVM exit
  snapshot:N                snapshot N was taken

#K picks the K-th match, #-1 the last: console:/login:/#2, exit:MMIO#-1
Two words do as well: --until exit 4821
RANGE is A..B, either end may be missing. FILE@POSITION is a moment of one of two recordings.

In a shell, put whatever holds / or # between single quotes:
  hvjournal replay --until 'console:/login: $/#2'
  hvjournal log exit:4800..exit:4821
`,
  expressions: `EXPR: as in gdb and C, on unsigned 64-bit integers, without side effects.

  $x0..$x30 $w0..$w30 $fp $lr $sp $pc $pstate (or $cpsr), $v0..$v31 $fpcr $fpsr, $vcpu
  $sp_el0 $esr_el1 ...      system registers, by their names in the Arm ARM
  $rax..$r15 $rip $rflags   amd64; $cr0 $cr2 $cr3 $cr4 $efer ..., segments as $cs, $cs_base (hvjournal show REC POSITION lists them)
  &panic, jiffies           where a symbol lies, a variable's value (a kernel's own table may name functions only)
  *(u32 *)ADDR              memory by the guest's translation: u8 to u64, s8 to s64, int, unsigned long ...; where an address is not mapped for the
                            moment (a kernel's at EL0, with KPTI), at the physical place at which it was last seen
  phys(u64, ADDR)           memory by physical address
  hash(ADDR, LENGTH)        of memory: the first 64 bits of its SHA-256
  changed(ADDR, LENGTH)     memory differs from what it was at the moment before: bisect --all lists each such moment
  exit.nr  exit.reason  exit.kvm  exit.gpa  exit.args[0]
                            of an arm64 call: nr is the function (x0), args[0] to args[2] are x1 to x3. In JSON of log, and as
                            arg0 to arg3 of sql, the function comes first
  exit.input                of a Hyper-V call: nr is its code, whatever its other fields (fast, repCount ...); input is its whole
                            input value, as in args of JSON, and arg0 of sql. Of any other call both are the function
  count(EXPR)               how often it held
  icount  time              units, guest time: time > 1.5s (s, ms, us, ns; a number alone is nanoseconds)
  console =~ /RE/           what the guest has written so far matches
  config.cap(NAME)  config.smccc(FUNCTION)  config.reg(NAME)
                            smccc: 0 handle, 1 deny, 2 forward; == forward does as well

console =~ /RE/ is a condition, true from the match on, and can be joined to others by && and ||. console:/RE/ is a
POSITION, the moment of the match (hvjournal help positions), and stands alone.

A shell takes $ and & for itself: always put an EXPR between single quotes.
  hvjournal replay --until '$pc == 0x40080000 && exit.reason == HVC64'
  hvjournal bisect --when '*(u64 *)0xffff800009f3a018 != 0x51a7'
`,
  "machine-file": `A machine file: options of hvjournal record, by their long names, in YAML. hvjournal record -c FILE reads it, and
hvjournal record with no arguments reads ./vm.yaml.

  # yaml-language-server: $schema=machine.schema.json
  kernel: Image
  initrd: initrd.gz
  append: console=ttyAMA0
  smp: 2
  memory: 512M
  cap: [ARM_SYSTEM_SUSPEND]
  smccc-filter:
    - 0xc6000000+0x100=forward
    - {base: 0xc7000000, count: 0x100, action: deny}
  firmware-reg: {STD_HYP_BMAP: 0x0}
  drive:
    - {file: disk.img, readonly: true, id: root}
  seed: 1
  rtc: base=2026-01-01
  headless: true
  until: 'console:/login: $/'

The command line goes before the file. What may be repeated is a list, and the command line's is added behind it; an item
is the option's own text, or a map. Paths are relative to the file. --no-index is index: false. Text with ': ', or that
begins with * or &, stands between quotes.

The schema, with which an editor completes and checks the file:
  hvjournal help machine-file --json > machine.schema.json
`,
  handlers: `--handler FILE|builtin:NAME answers what a guest asks its VMM: on arm64 the calls that --smccc-filter forwards, on amd64
Hyper-V's and KVM's hypercalls and MSRs that KVM leaves to it. It may be repeated: they are asked in turn.

FILE is .js, .mjs, .cjs or .ts (types are taken off, not checked); its default export is the handler:

  import type { Handler } from "hvjournal/handler";        // packages/cli/handler.d.ts
  const handler: Handler = (call, vm) => {
    if (call.nr !== 0xc6000001) return vm.notHandled;      // the next one is asked, the board last: x0 = -1
    return { x0: 0, x1: call.args[1] };
  };
  export default handler;

On arm64:
call: nr, conduit ("hvc" or "smc"), is16Bit, immediate, vcpu, args (x0 to x17 as bigint)
answer, or a promise of it; the whole VM stands still until it is there:
  nothing                   registers as they are: x0 keeps the function id, as with KVM
  5n, -1, [0, 7n]           x0; x0, x1 ...
  { x0: 0, x3: 7n }         registers x0 to x17 by name
  vm.notHandled             not mine
vm, where addresses, counts and values are numbers or bigints, as call.args are:
  readMemory(physical, count): Uint8Array      writeMemory(physical, bytes: Uint8Array)
  vcpu(index).getOneReg(name): bigint          vcpu(index).setOneReg(name, value)        (amd64: getReg, setReg)
  setIrqLine(spi, 0 | 1)                       output(port, bytes: Uint8Array)
  stop({what, by}), guestTimeNs, vcpuCount; vcpu(index).getMpState, setMpState, vcpuInit; enableCap, setDeviceAttr
  vm.psci(call), vm.sdei(call)
  Text is none of these: vm.writeMemory(call.args[1], new TextEncoder().encode("hello")). An error of KVM is thrown with its
  errno. vm.state is plain data that is saved with the VM, and moves with it; a variable of the handler's own is not, and
  does not.

On amd64 (X86Handler) call.type says what is asked, and the other fields are kvm_run's: codes, indices and counts are numbers,
args, input, output, inputValue and data bigints. if (call.type === "hv-call" && call.code === 0x8002) return { status: 0 };
  hv-call                   code, fast, repCount, repStart, input, output (params), inputValue; KVM_EXIT_HYPERV type 2
  hv-call-xmm               the same with xmm, type 4; not upstream: --policy hv.xmmOutput=new-type
  hv-synic                  msr, control, evtPage, msgPage; told, not asked
  hv-syndbg                 msr, control, status, sendPage, recvPage, pendingPage; the answer is the new status
  kvm-call                  nr, args, longMode; with --cap exit_hypercall=0x1000, --policy x86.hypercall.unhandled=forward
  xen-call                  nr, params (six), longMode, cpl; with --xen MSR
  rdmsr, wrmsr              index, reason ("inval", "unknown", "filter"), data; with --cap x86_user_space_msr=7
  vmport                    port, isWrite, bytes, eax, ebx, ecx, edx, esi, edi; with --vmport on
  io, mmio                  port or address, isWrite, bytes, data; of what no device claims
  eventfd                   fd, count; told, at once and no promise; with --ioeventfd, --hv-eventfd
answer:
  { status: 0, repsCompleted: 3, xmm: [{ low, high }] }      of a hypercall; a number is the whole result
  7n, { data: 7n }, { error: 1 }                             of an MSR: data, #GP
  { eax: 6, ebx: 0x564d5868 }                                of the backdoor
  nothing                   what kvm_run holds: result 2 of Hyper-V's calls, 0 of KVM's and Xen's, data 0, a WRMSR that succeeds
  vm.notHandled             the board last: 2, -1000, -38 of Xen's, #GP, and the end of the run names such calls. An exit of a type that the
                            board does not know (4 and up) waits instead, as after a handler that fails.

builtin:psci                PSCI by KVM's own rules, for a forwarded 0x84000000+0x20 and 0xc4000000+0x20
builtin:sdei                SDEI 1.0 for a forwarded 0xc4000020+0x20: its event 0 can be registered, nothing signals it
builtin:hv-ext              amd64: Hyper-V's extended calls 0x8001, 0x8002 and 0x8003; builtin:hv-ext,mask=BITS offers fewer

What a handler does takes effect with its answer, all of it or nothing, and is recorded: replay needs neither the file nor
what it gives. A handler that throws, answers nonsense or takes longer than --handler-timeout (10s) leaves the call waiting
and the VM as it was: paused, and asked again on resume; with --headless the recording is closed, and
  hvjournal record --from vm.hvj --handler mended.ts
goes on there. One that blocks the process is ended with it; what was committed stays.
verify and a move load the recorded file again: another file is another machine.
`,
  policies: POLICIES_HELP,
  errors: ERRORS_HELP,
  statuses: `Exit status of every command, fit for git bisect run and for CI:

    0   done; equal; found; reached; the guest ended well
    1   the answer is no: diverged, differs, damaged (fsck), not found, not reached, the guest ended badly
  124   ran out of --timeout (guest time; of ctl and migrate, the wall clock) or --host-timeout (wall clock)
  125   can't be told with this build: it lacks a format, a feature or a CPU model (git bisect skips)
  128   error: a damaged or missing file, I/O, a peer that is gone, a bug (git bisect stops)
  129   wrong usage
  130   interrupted: SIGINT, SIGTERM, SIGHUP
  137   killed: SIGKILL, by the host, or where a handler blocks its process (an error says so); a recording replays up to its last commit

record --exit-status exits with the guest's own status where the guest gave one: on amd64 by a write of N to port 0xf4
(isa-debug-exit: 2N + 1, so 1, 125, 129 and 139 are possible), elsewhere by a handler's stop({status}). Then, and only then, a note
says "exit status N is the guest's own", the end of the run says "status N", and --json has guestStatus. Without guestStatus a
status is the command's own: 1 for a guest that ended badly or never came to --until, 124 for a time-out.

  git bisect run hvjournal verify ~/good.hvj
  hvjournal record Image --headless --until 'console:/login:/' --fail-on 'console:/Kernel panic/' --timeout 60s
`,
} as const;

export type Topic = keyof typeof TOPICS;
