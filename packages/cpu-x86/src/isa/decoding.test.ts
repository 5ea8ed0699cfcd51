import { describe, expect, it } from "@jest/globals";
import { Engine, EngineExit, GUEST_RAM_BYTES_MAX } from "@hvjournal/engine";
import { x86Cpu } from "./cpu.js";
import { Vector } from "./exceptions.js";
import { ExitCode } from "./exit-code.js";
import type { DecodedFields } from "./fields.js";
import { CODE, DATA, frameOf, handledVector, machine, PageEntry, UNMAPPED } from "./testing/machine.js";
import { tiers } from "./testing/tiers.js";

const HLT = 0xf4;
const NOP = 0x90;
const LONG = 0;
const COMPATIBILITY = 1;

/** Bytes, and what binutils prints for them (Intel syntax). */
const DISASSEMBLY: readonly (readonly [string, string])[] = [
  ["01 d8", "add eax,ebx"],
  ["48 01 d8", "add rax,rbx"],
  ["66 45 11 c8", "adc r8w,r9w"],
  ["00 e0", "add al,ah"],
  ["40 00 e0", "add al,spl"],
  ["f0 48 01 4c 91 f8", "lock add QWORD PTR [rcx+rdx*4-0x8],rcx"],
  ["48 83 d0 ff", "adc rax,0xffffffffffffffff"],
  ["81 45 10 78 56 34 12", "add DWORD PTR [rbp+0x10],0x12345678"],
  ["66 81 c1 34 12", "add cx,0x1234"],
  ["42 fe 04 25 00 10 00 00", "inc BYTE PTR [r12*1+0x1000]"],
  ["ff 04 25 00 10 00 00", "inc DWORD PTR ds:0x1000"],
  ["d3 e0", "shl eax,cl"],
  ["48 c1 27 05", "shl QWORD PTR [rdi],0x5"],
  ["41 57", "push r15"],
  ["66 6a f0", "pushw 0xfff0"],
  ["64 ff 34 25 28 00 00 00", "push QWORD PTR fs:0x28"],
  ["67 ff 30", "push QWORD PTR [eax]"],
  ["4d 87 24 24", "xchg QWORD PTR [r12],r12"],
  ["41 90", "xchg r8d,eax"],
  ["90", "nop"],
  ["f0 48 0f c7 0f", "lock cmpxchg16b OWORD PTR [rdi]"],
  ["f3 a4", "rep movs BYTE PTR es:[rdi],BYTE PTR ds:[rsi]"],
  ["65 48 a5", "movs QWORD PTR es:[rdi],QWORD PTR gs:[rsi]"],
  ["48 0f ae 04 24", "fxsave64 [rsp]"],
  ["db 6d f0", "fld TBYTE PTR [rbp-0x10]"],
  ["de c1", "faddp st(1),st"],
  ["48 cf", "iretq"],
  ["48 11 1d f8 ff ff ff", "adc QWORD PTR [rip+0xfffffffffffffff8],rbx        # 0xffff"],
  ["8e d0", "mov ss,eax"],
];

const engine = new Engine(x86Cpu, { ramBase: 0, ramBytes: 4096, vcpuCount: 1 });

function disassemble(bytes: readonly number[], context = LONG): string {
  const decoded = engine.decodeBytes(
    Uint8Array.from([...bytes, ...Array.from({ length: 15 - bytes.length }, () => 0)]),
    context,
  );
  if (decoded === undefined) return "undefined";
  expect(decoded.length).toBe(bytes.length);
  return decoded.instruction.text(decoded.fields as DecodedFields as never, BigInt(CODE));
}

const parse = (text: string): number[] => text.split(" ").map((byte) => Number.parseInt(byte, 16));

describe("the decoder", () => {
  it.each(DISASSEMBLY)("reads %s as %s", (bytes, text) => {
    expect(disassemble(parse(bytes))).toBe(text);
  });

  it("takes only a REX that stands in front of the opcode", () => {
    expect(disassemble([0x48, 0x66, 0x01, 0xd8])).toBe("add ax,bx");
    expect(disassemble([0x66, 0x48, 0x01, 0xd8])).toBe("add rax,rbx");
    expect(disassemble([0x48, 0x41, 0x01, 0xd8])).toBe("add r8d,ebx");
  });

  it("reads addresses of 32 and 16 bits in compatibility mode", () => {
    expect(disassemble([0x01, 0x05, 0, 0x10, 0, 0], COMPATIBILITY)).toBe("add DWORD PTR ds:0x1000,eax");
    expect(disassemble([0x67, 0x01, 0x42, 0xfe], COMPATIBILITY)).toBe("add DWORD PTR [bp+si*1-0x2],eax");
    expect(disassemble([0x67, 0x01, 0x06, 0, 0x10], COMPATIBILITY)).toBe("add DWORD PTR ds:0x1000,eax");
    expect(disassemble([0x66, 0x47], COMPATIBILITY)).toBe("inc di");
    expect(disassemble([0x17], COMPATIBILITY)).toBe("pop ss");
  });

  it("asks for more bytes as long as they can't tell", () => {
    for (const [text] of DISASSEMBLY) {
      const bytes = parse(text);
      for (let count = 0; count < bytes.length; count++)
        expect(engine.decodeBytes(Uint8Array.from(bytes.slice(0, count)), LONG)).toBeUndefined();
    }
  });
});

describe.each(tiers)("instructions of variable length with %s", (_name, options) => {
  it("are decoded, and met again elsewhere, in the largest RAM", () => {
    // inc eax; add ebx, imm8; the same once more with another number; jmp back
    const guest = machine([0xff, 0xc0, 0x83, 0xc3, 5, 0x83, 0xc3, 7, 0xeb, 0xf6], {
      ...options,
      ramBytes: GUEST_RAM_BYTES_MAX,
    });
    expect(guest.engine.run(400)).toBe(EngineExit.budget);
    expect([guest.get("rax"), guest.get("rbx")]).toEqual([100n, 1200n]);
  });

  it("raise #GP beyond 15 bytes and #UD for what the architecture leaves out or forbids to lock", () => {
    const fifteen = [...Array.from({ length: 13 }, () => 0x66), 0x01, 0xd8];
    expect(machine([...fifteen, HLT], options).engine.run(1)).toBe(EngineExit.budget);
    for (const [code, vector] of [
      [[0x66, ...fifteen], Vector.generalProtection],
      [[0x0f, 0x0b], Vector.invalidOpcode],
      [[0x06], Vector.invalidOpcode],
      [[0xf0, 0x01, 0xd8], Vector.invalidOpcode],
      [[0xf0, 0xff, 0x37], Vector.invalidOpcode],
    ] as const) {
      const guest = machine(code, options);
      expect(guest.engine.run(100)).toBe(ExitCode.halt);
      expect(handledVector(guest)).toBe(vector);
      expect(frameOf(guest, vector === Vector.generalProtection)["rip"]).toBe(BigInt(CODE));
      expect(guest.engine.unitsLeft).toBe(98);
    }
  });

  it("raise #UD where CPUID does not offer them", () => {
    for (const bytes of [
      // UD2, RSM, PFADD, VADDPS, BNDMOV, AESENC, SHA1MSG1, PCLMULQDQ, MONITORX
      [0x0f, 0x0b],
      [0x0f, 0xaa],
      [0x0f, 0x0f, 0xc1, 0x9e],
      [0xc5, 0xf8, 0x58, 0xc1],
      [0x62, 0xf1, 0x7c, 0x48, 0x58, 0xc1],
      [0x66, 0x0f, 0x38, 0xdc, 0xc1],
      [0x0f, 0x38, 0xc9, 0xc1],
      [0x66, 0x0f, 0x3a, 0x44, 0xc1, 0],
      [0x0f, 0x01, 0xfa],
    ]) {
      expect([bytes, disassemble(bytes)]).toEqual([bytes, "undefined"]);
    }
    const guest = machine([NOP, 0x0f, 0xaa], options);
    expect(guest.engine.run(10)).toBe(ExitCode.halt);
    expect([handledVector(guest), frameOf(guest, false)["rip"]]).toEqual([Vector.invalidOpcode, BigInt(CODE + 1)]);
  });

  it("are decoded again each time when they reach into another page, whichever stands there", () => {
    // add rax, imm32 with its last two bytes in the next page; then hlt
    const start = CODE + 0x1000 - 4;
    const guest = machine([], options);
    guest.place(start, [0x48, 0x05, 0x01, 0x00]);
    guest.place(0x2_8000, [0x02, 0x00, HLT]);
    guest.place(0x2_9000, [0x03, 0x00, HLT]);
    guest.map(CODE + 0x1000, 0x2_8000);
    const runOnce = (): bigint => {
      guest.set("rip", start);
      guest.set("rax", 0);
      expect(guest.engine.run(10)).toBe(ExitCode.halt);
      expect([guest.get("rip"), guest.engine.unitsLeft]).toEqual([BigInt(CODE + 0x1003), 8]);
      return guest.get("rax");
    };
    expect([runOnce(), runOnce()]).toEqual([0x2_0001n, 0x2_0001n]);
    guest.map(CODE + 0x1000, 0x2_9000);
    expect(runOnce()).toBe(0x3_0001n);
    guest.place(0x2_9000, [0x04]);
    expect(runOnce()).toBe(0x4_0001n);
  });

  it("raise the page fault of their second page with its address, and their own as the place to return to", () => {
    const start = UNMAPPED - 2;
    const guest = machine([], options);
    guest.map(UNMAPPED - 0x1000, 0x2_8000);
    guest.place(0x2_8ffe, [0x48, 0x05]);
    guest.set("rip", start);
    expect(guest.engine.run(100)).toBe(ExitCode.halt);
    expect([handledVector(guest), guest.get("cr2")]).toEqual([Vector.pageFault, BigInt(UNMAPPED)]);
    expect([frameOf(guest, true)["error"], frameOf(guest, true)["rip"]]).toEqual([16n, BigInt(start)]);
    expect(guest.engine.unitsLeft).toBe(98);
    // Two bytes that say enough need no second page.
    guest.place(0x2_8ffe, [0x0f, 0x0b]);
    guest.set("rip", start);
    expect(guest.engine.run(100)).toBe(ExitCode.halt);
    expect(handledVector(guest)).toBe(Vector.invalidOpcode);
  });

  it("run across a page boundary with faults, devices and repetitions as anywhere else", () => {
    // rep movsb with its opcode in the next page
    const start = CODE + 0x1000 - 1;
    const guest = machine([], options);
    guest.place(start, [0xf3, 0xa4, HLT]);
    guest.set("rip", start);
    guest.place(DATA, [1, 2, 3]);
    guest.map(UNMAPPED - 0x1000, 0x2_8000);
    for (const [name, value] of [
      ["rsi", DATA],
      ["rdi", UNMAPPED - 2],
      ["rcx", 3],
    ] as const)
      guest.set(name, value);
    expect(guest.engine.run(1)).toBe(EngineExit.budget);
    expect([guest.get("rip"), guest.get("rcx")]).toEqual([BigInt(start), 2n]);
    expect(guest.engine.run(100)).toBe(ExitCode.halt);
    expect([handledVector(guest), frameOf(guest, true)["rip"], guest.get("rcx")]).toEqual([
      Vector.pageFault,
      BigInt(start),
      1n,
    ]);
  });

  it("that begin alike differ by the numbers at their end", () => {
    const code = [
      ...[0x48, 0x05, 1, 0, 0, 0, 0x48, 0x05, 0xfe, 0xff, 0xff, 0xff], // add rax, 1; add rax, -2
      ...[0x48, 0xbb, 1, 2, 3, 4, 5, 6, 7, 8, 0x48, 0xbb, 8, 7, 6, 5, 4, 3, 2, 0x81], // mov rbx, imm64, twice
      ...[0x8b, 0x4f, 0x04, 0x8b, 0x57, 0xfc], // mov ecx, [rdi+4]; mov edx, [rdi-4]
      ...[0x8b, 0x4f, 0x08], // mov ecx, [rdi+8]
      ...[0xc7, 0x47, 0x10, 1, 0, 0, 0, 0xc7, 0x47, 0x14, 2, 0, 0, 0], // mov dword [rdi+16], 1; [rdi+20], 2
      ...[0x48, 0xa1, 0, 0, 2, 0, 0, 0, 0, 0, 0x49, 0x89, 0xc0], // mov rax, [DATA]; mov r8, rax
      ...[0x48, 0xa1, 8, 0, 2, 0, 0, 0, 0, 0], // mov rax, [DATA + 8]
      ...[0x0f, 0xc2, 0xc1, 0, 0x0f, 0xc2, 0xd1, 4], // cmpeqps xmm0, xmm1; cmpneqps xmm2, xmm1
      HLT,
    ];
    const guest = machine(code, options);
    guest.set("cr4", guest.get("cr4") | 0x200n);
    guest.set("rdi", DATA + 0x40);
    guest.place(DATA, [1, 0, 0, 0, 0, 0, 0, 0, 2]);
    guest.place(DATA + 0x3c, [3, 0, 0, 0, 0, 0, 0, 0, 4, 0, 0, 0, 5]);
    expect(guest.engine.run(100)).toBe(ExitCode.halt);
    expect(["rax", "rbx", "rcx", "rdx", "r8"].map((name) => guest.get(name))).toEqual([
      2n,
      0x8102_0304_0506_0708n,
      5n,
      3n,
      1n,
    ]);
    expect(guest.word64(DATA + 0x50)).toBe(0x2_0000_0001n);
    expect([guest.get("xmm0"), guest.get("xmm2")]).toEqual([(1n << 128n) - 1n, 0n]);
  });

  it("see a write to bytes of theirs that lie in a later line than their first", () => {
    // xchg [rdi],bl; nops; at CODE + 60 add rax, imm32, whose immediate lies in the next line of 64 bytes
    const nops = Array.from({ length: 58 }, () => NOP);
    const guest = machine([0x86, 0x1f, ...nops, 0x48, 0x05, 1, 0, 0, 0, HLT], options);
    const patch = CODE + 65;
    expect(Math.floor((CODE + 60) / 64)).not.toBe(Math.floor(patch / 64));
    guest.set("rip", CODE + 60);
    expect(guest.engine.run(10)).toBe(ExitCode.halt);
    expect(guest.get("rax")).toBe(1n);
    guest.set("rip", CODE);
    guest.set("rax", 0);
    guest.set("rdi", patch);
    guest.set("rbx", 0x7f);
    expect(guest.engine.run(100)).toBe(ExitCode.halt);
    expect(guest.get("rax")).toBe(0x7f_0000_01n);
  });

  it("execute what the instruction before has written over them", () => {
    // xchg [rdi],bl; inc eax, which becomes inc ecx
    const guest = machine([0x86, 0x1f, 0xff, 0xc0, HLT], options);
    guest.set("rdi", CODE + 3);
    guest.set("rbx", 0xc1);
    expect(guest.engine.run(10)).toBe(ExitCode.halt);
    expect([guest.get("rax"), guest.get("rcx"), guest.engine.unitsLeft]).toEqual([0n, 1n, 7]);
  });

  it("fall from a page into one that may not be executed", () => {
    const guest = machine([], options);
    guest.place(CODE + 0xfff, [NOP, HLT]);
    guest.map(CODE + 0x1000, CODE + 0x1000, PageEntry.P | PageEntry.XD);
    guest.set("rip", CODE + 0xfff);
    expect(guest.engine.run(100)).toBe(ExitCode.halt);
    expect([handledVector(guest), frameOf(guest, true)["error"], frameOf(guest, true)["rip"]]).toEqual([
      Vector.pageFault,
      17n,
      BigInt(CODE + 0x1000),
    ]);
  });
});
