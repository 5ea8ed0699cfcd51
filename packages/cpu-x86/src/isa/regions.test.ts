/** Loops in compiled regions end as they do in the interpreter, wherever they are stopped and disturbed. */
import { describe, expect, it } from "@jest/globals";
import { ExitCode } from "./exit-code.js";
import { Flag } from "./registers.js";
import { CODE, DATA, frameOf, machine, type Machine, savedState, STACK } from "./testing/machine.js";

/** Parts of a loop's body; R15 counts, RSI points to data, the stack stays where it is. */
const PARTS: readonly (readonly number[])[] = [
  [0x48, 0x01, 0xd8], // add rax, rbx
  [0x13, 0x1e], // adc ebx, [rsi]
  [0x89, 0x46, 0x08], // mov [rsi+8], eax
  [0x66, 0x29, 0xc3], // sub bx, ax
  [0xd3, 0xc3], // rol ebx, cl
  [0x0f, 0xaf, 0xd8], // imul ebx, eax
  [0x39, 0xd8], // cmp eax, ebx
  [0x0f, 0x92, 0xc1], // setb cl
  [0x0f, 0x4f, 0xd3], // cmovg edx, ebx
  [0x72, 0x02, 0x31, 0xd0], // jb over: xor eax, edx
  [0x50, 0x5a], // push rax; pop rdx
  [0xe8, 0x02, 0x00, 0x00, 0x00, 0xeb, 0x01, 0xc3], // call over: jmp; ret
  [0xb9, 0x05, 0, 0, 0, 0x48, 0x8d, 0xbe, 0, 1, 0, 0, 0x56, 0xf3, 0xa4, 0x5e], // rep movsb
  [0xb9, 0x03, 0, 0, 0, 0x48, 0x8d, 0xbe, 0, 2, 0, 0, 0xf3, 0x48, 0xab], // rep stosq
  [0x48, 0xff, 0xc3], // inc rbx
  [0x0f, 0xba, 0xe0, 0x05], // bt eax, 5
  // Parts of registers, and what is written on a condition only.
  [0x88, 0xdc], // mov ah, bl
  [0x66, 0x0f, 0xb6, 0xd4], // movzx dx, ah
  [0x86, 0xe2], // xchg dl, ah
  [0xd3, 0xe3, 0x0f, 0x92, 0xc0], // shl ebx, cl; setc al
  [0x48, 0xd3, 0xea, 0x48, 0x11, 0xd0], // shr rdx, cl; adc rax, rdx
  [0x48, 0xc1, 0xe8, 0x11], // shr rax, 17
  [0x0f, 0xb1, 0x1e, 0x0f, 0x44, 0xc3], // cmpxchg [rsi], ebx; cmove eax, ebx
  [0x48, 0x8d, 0x3d, 2, 0, 0, 0, 0xff, 0xd7, 0x5f], // lea rdi, [rip+2]; call rdi; pop rdi
  // Vectors in whole and in halves.
  [0x66, 0x48, 0x0f, 0x6e, 0xc0, 0x66, 0x0f, 0xfe, 0xc8], // movq xmm0, rax; paddd xmm1, xmm0
  [0x66, 0x0f, 0x6c, 0xc1, 0x66, 0x48, 0x0f, 0x7e, 0xc2], // punpcklqdq xmm0, xmm1; movq rdx, xmm0
  [0x0f, 0x12, 0x0e, 0x66, 0x0f, 0x7e, 0xcb], // movlps xmm1, [rsi]; movd ebx, xmm1
  [0x66, 0x0f, 0xfe, 0xc8, 0x0f, 0x16, 0x0e, 0x66, 0x0f, 0xfe, 0xc1], // paddd xmm1, xmm0; movhps xmm1, [rsi]; paddd xmm0, xmm1
];

function xorshift(seed: number): () => number {
  let state = seed;
  return () => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return state >>> 0;
  };
}

/** mov r15d, count; body; dec r15; jnz body; hlt. */
function prepare(guest: Machine, random: () => number): void {
  const body: number[] = [];
  for (let count = 0; count < 12; count++) body.push(...(PARTS[random() % PARTS.length] ?? []));
  const back = -(body.length + 9);
  guest.place(CODE, [
    0x41,
    0xbf,
    0xc8,
    0,
    0,
    0,
    ...body,
    0x49,
    0xff,
    0xcf,
    0x0f,
    0x85,
    back & 0xff,
    0xff,
    0xff,
    0xff,
    0xf4,
  ]);
  guest.place(
    DATA,
    Array.from({ length: 0x400 }, () => random() & 0xff),
  );
  for (const name of ["rax", "rbx", "rcx", "rdx"]) guest.set(name, (BigInt(random()) << 32n) | BigInt(random()));
  guest.set("rsi", DATA);
  guest.set("rsp", STACK);
  guest.set("rip", CODE);
  guest.set("rflags", Flag.fixed);
}

function run(guest: Machine, budget: () => number, drops: boolean): string {
  for (let turn = 0; ; turn++) {
    const code = guest.engine.run(budget());
    if (code === ExitCode.halt) return `${savedState(guest)}\n${guest.engine.memory.read(DATA, 0x800).join()}`;
    if (code !== 0) throw new Error(`exit ${code}`);
    if (drops && turn % 5 === 4) guest.engine.dropCaches();
  }
}

describe("loops of x86 in compiled regions", () => {
  const seed = 20_261_127;
  const plain = machine([], { tier: "interpreter" });
  const compiled = machine([], { tier: "regions" });

  it("end as in the interpreter, however the budget falls", () => {
    for (let round = 0; round < 12; round++) {
      prepare(plain, xorshift(seed + round));
      prepare(compiled, xorshift(seed + round));
      const random = xorshift(seed + 77 * round + 1);
      const expected = run(plain, () => 100_000, false);
      const actual = run(compiled, () => (round % 3 === 0 ? 100_000 : 1 + (random() % 300)), round % 4 === 3);
      expect([seed + round, actual]).toEqual([seed + round, expected]);
    }
    expect(compiled.engine.compiledRegionCount).toBeGreaterThan(6);
  });

  it("have all flags where an instruction faults", () => {
    // add rax, rbx; add rsi, 0x40; mov ecx, [rsi]; cmp eax, ecx; dec r15; jnz: until RSI leaves what is mapped.
    const body = [0x48, 0x01, 0xd8, 0x48, 0x83, 0xc6, 0x40, 0x8b, 0x0e, 0x39, 0xc8, 0x49, 0xff, 0xcf];
    const ends = [plain, compiled].map((guest) => {
      guest.place(CODE, [...body, 0x75, 256 - body.length - 2, 0xf4]);
      for (const [name, value] of [
        ["rax", 0x7fff_ffff_ffff_0000n],
        ["rbx", 0x1f3n],
        ["r15", 1_000_000],
        ["rsi", 0x3_0000 - 0x8000],
        ["rsp", STACK],
        ["rip", CODE],
        ["rflags", Flag.fixed],
      ] as const)
        guest.set(name, value);
      return `${run(guest, () => 100_000, false)} ${frameOf(guest, true)["rflags"]}`;
    });
    expect(ends[1]).toBe(ends[0]);
  });

  it("are left when their code is written", () => {
    // A loop that makes its own ADD a SUB half way: cmp r15d, 100; jne; mov byte [rip + ...], 0x29.
    const code = [
      ...[0x41, 0xbf, 0xc8, 0, 0, 0], // mov r15d, 200
      ...[0x48, 0x01, 0xd8], // add rax, rbx
      ...[0x41, 0x83, 0xff, 0x64], // cmp r15d, 100
      ...[0x75, 0x07], // jne
      ...[0xc6, 0x05, 0xf1, 0xff, 0xff, 0xff, 0x29], // mov byte ptr [rip-15], 0x29: the opcode of ADD
      ...[0x49, 0xff, 0xcf], // dec r15
      ...[0x75, 0xeb], // jnz
      0xf4,
    ];
    for (const guest of [plain, compiled]) {
      guest.place(CODE, code);
      for (const [name, value] of [
        ["rax", 0],
        ["rbx", 1],
        ["rip", CODE],
        ["rflags", Flag.fixed],
      ] as const)
        guest.set(name, value);
      run(guest, () => 100_000, false);
      // 101 turns add, the 99 behind them subtract.
      expect(guest.get("rax")).toBe(2n);
    }
  });
});
