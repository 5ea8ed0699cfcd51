/** Random cases made from definitions: every part of an encoding is drawn, within what mostly keeps a case inside its own code and data. */
import { type DecodedFields, type Encoding, parseEncoding, undefinedFlagsOf, x86Cpu } from "@hvjournal/cpu-x86";
import type { Instruction, VariableLengthDecoder } from "@hvjournal/engine";
import { RandomSource } from "../arm64/random-source.js";
import { type Bits, BlockOffset, CODE_ADDRESS, CODE_BYTES_MAX, type UserCase, WINDOW_ADDRESS } from "./case-block.js";
import { flagsRead, flagsWritten } from "./flag-use.js";
import { INDICES, POINTERS, randomState, randomWindowAddress } from "./random-state.js";

/** Tries before a definition is taken to have no encoding that decodes to it. */
const TRIES = 40;
/** Longer ones raise #GP, whatever they are. */
const INSTRUCTION_BYTES_MAX = 15;
const EDGE_IMMEDIATES = [
  0, 1, -1, 2, 7, 8, 15, 16, 31, 32, 63, 64, 0x7f, -0x80, 0x7fff, -0x8000, 0x7fff_ffff, -0x8000_0000,
];
const BRANCH = /^(J|CALL|LOOP)/;
const STRING_OPCODES: ReadonlySet<number> = new Set([0xa4, 0xa5, 0xa6, 0xa7, 0xaa, 0xab, 0xac, 0xad, 0xae, 0xaf]);

/** Of a loop: where its counter stands in the window, behind what pointers reach, and how often it turns. */
const COUNTER = 0x3f0;
const TURNS = 60;
const JNZ = 0x75;
const NOP = 0x90;

/** DEC of the counter. */
function decrement(bits: Bits): number[] {
  return [0xff, ...(bits === 64 ? [0x0c, 0x25] : [0x0d]), ...little(BigInt(WINDOW_ADDRESS + COUNTER), 4)];
}

interface Encoded {
  readonly bytes: readonly number[];
  readonly fields: DecodedFields;
}

/** Instructions in a row, of which none reads what another has left undefined. */
class Sequence {
  readonly code: number[] = [];
  readonly #mnemonics: string[] = [];
  readonly #undefinedFlags: [number, number][] = [];
  #flags = 0;

  /** False: it doesn't fit. */
  push(instruction: Instruction, { bytes, fields }: Encoded): boolean {
    if (this.code.length + bytes.length > CODE_BYTES_MAX) return false;
    if ((flagsRead(instruction, fields) & this.#flags) !== 0) return false;
    this.#undefinedFlags.push([this.code.length, this.#flags]);
    this.#flags = (this.#flags & ~flagsWritten(instruction, fields)) | undefinedFlagsOf(instruction, fields);
    this.code.push(...bytes);
    this.#mnemonics.push(instruction.mnemonic);
    return true;
  }

  caseFrom(bits: Bits, stateSeed: number): UserCase {
    const undefinedFlags = [...this.#undefinedFlags, [this.code.length, this.#flags] as const];
    return caseFrom(bits, stateSeed, Uint8Array.from(this.code), undefinedFlags, this.#mnemonics);
  }
}

/** Cases of one instruction less, with NOPs in its place or with nothing there. */
export function shorterCases({ bits, code, stateSeed }: UserCase): UserCase[] {
  const decoder = decoderFor(bits);
  const parts: { readonly instruction: Instruction; readonly encoded: Encoded }[] = [];
  for (let offset = 0; offset < code.length;) {
    const decoded = decoder.decode(Uint8Array.from([...code.slice(offset), ...new Array<number>(15).fill(0)]));
    if (decoded?.instruction === undefined) return [];
    const bytes = [...code.slice(offset, offset + decoded.length)];
    parts.push({ instruction: decoded.instruction, encoded: { bytes, fields: decoded.fields as DecodedFields } });
    offset += decoded.length;
  }
  const without = (skipped: number, instead: "nothing" | "NOPs"): UserCase[] => {
    const made = new Sequence();
    const fits = parts.every(({ instruction, encoded }, index) => {
      if (index !== skipped) return made.push(instruction, encoded);
      return instead === "nothing" || encoded.bytes.every(() => made.push(...noOperation(bits)));
    });
    return fits && made.code.length > 0 ? [made.caseFrom(bits, stateSeed)] : [];
  };
  return parts.flatMap(({ encoded }, index) => [
    ...without(index, "nothing"),
    ...(encoded.bytes.every((byte) => byte === NOP) ? [] : without(index, "NOPs")),
  ]);
}

function noOperation(bits: Bits): [Instruction, Encoded] {
  const decoded = decoderFor(bits).decode(Uint8Array.from([NOP, ...new Array<number>(14).fill(0)]));
  if (decoded?.instruction === undefined) throw new Error("NOP is no instruction");
  return [decoded.instruction, { bytes: [NOP], fields: decoded.fields as DecodedFields }];
}

export class RandomCases {
  readonly #random: RandomSource;
  readonly #bits: Bits;
  readonly #decoder: VariableLengthDecoder;

  constructor(seed: number, bits: Bits) {
    this.#random = new RandomSource(seed);
    this.#bits = bits;
    this.#decoder = decoderFor(bits);
  }

  /** One instruction from a random state; undefined for a definition that no encoding reaches. */
  single(instruction: Instruction): UserCase | undefined {
    const encoded = this.#encode(instruction, CODE_ADDRESS);
    if (encoded === undefined) return undefined;
    const end = [encoded.bytes.length, undefinedFlagsOf(instruction, encoded.fields)] as const;
    return this.#case(encoded.bytes, [[0, 0], end], [instruction.mnemonic]);
  }

  /** Instructions in a row; none reads what another has left undefined. */
  sequence(instructions: readonly Instruction[], count: number): UserCase {
    const made = new Sequence();
    for (let number = 0; number < count; number++) {
      const instruction = this.#random.pick(instructions);
      const encoded = this.#encode(instruction, CODE_ADDRESS + made.code.length);
      if (encoded !== undefined) made.push(instruction, encoded);
    }
    return made.caseFrom(this.#bits, this.#random.word());
  }

  /** A sequence without branches that repeats until a number in memory, or something that it does, ends it. */
  loop(instructions: readonly Instruction[], count: number): UserCase {
    const straight = instructions.filter(({ mnemonic }) => !BRANCH.test(mnemonic) && !mnemonic.startsWith("RET"));
    for (;;) {
      const { code: body, stateSeed, mnemonics } = this.sequence(straight, count);
      const code = [...body, ...decrement(this.#bits)];
      code.push(JNZ, 0x100 - code.length - 2);
      if (body.length === 0 || code.length > CODE_BYTES_MAX) continue;
      const made = caseFrom(this.#bits, stateSeed, Uint8Array.from(code), [], mnemonics);
      new DataView(made.block.buffer).setUint32(BlockOffset.window + COUNTER, TURNS, true);
      return made;
    }
  }

  #case(code: readonly number[], undefinedFlags: UserCase["undefinedFlags"], mnemonics: readonly string[]): UserCase {
    return caseFrom(this.#bits, this.#random.word(), Uint8Array.from(code), undefinedFlags, mnemonics);
  }

  #encode(instruction: Instruction, address: number): Encoded | undefined {
    for (let attempt = 0; attempt < TRIES; attempt++) {
      const bytes = this.#draw(instruction, parseEncoding(instruction.pattern), address);
      if (bytes.length > INSTRUCTION_BYTES_MAX) continue;
      const decoded = this.#decoder.decode(
        Uint8Array.from([...bytes, ...new Array<number>(INSTRUCTION_BYTES_MAX - bytes.length).fill(0)]),
      );
      if (decoded?.instruction === instruction && decoded.length === bytes.length)
        return { bytes, fields: decoded.fields as DecodedFields };
    }
    return undefined;
  }

  #draw(instruction: Instruction, encoding: Encoding, address: number): number[] {
    const random = this.#random;
    const { hasModrm, digit, registerInOpcode, opcode } = encoding;
    const rex = this.#bits === 64 ? this.#drawRex(encoding) : 0;
    const inMemory = encoding.operand === "memory" || (encoding.operand === "any" && random.oneIn(2));
    const prefixes = this.#drawPrefixes(encoding, hasModrm && inMemory);
    const bytes = [...prefixes, ...(rex === 0 ? [] : [rex]), ...opcodeBytes(opcode)];
    if (registerInOpcode) bytes.push((bytes.pop() ?? 0) + random.below(8));
    const wide = prefixes.includes(0x66) && (rex & 8) === 0;
    const immediates = this.#drawImmediates(encoding, {
      size: encoding.operandSize === "byte" ? 1 : wide ? 2 : (rex & 8) !== 0 ? 8 : 4,
      addressBytes: addressBytes(this.#bits, prefixes.includes(0x67)),
      isBranch: BRANCH.test(instruction.mnemonic),
    });
    if (!hasModrm) return [...bytes, ...immediates];
    const reg = digit ?? random.below(8);
    if (!inMemory) return [...bytes, 0xc0 | (reg << 3) | random.below(8), ...immediates];
    const end = address + bytes.length + immediates.length;
    return [...bytes, ...this.#drawAddress(reg, rex, end, prefixes.includes(0x67)), ...immediates];
  }

  #drawRex({ rexW }: Encoding): number {
    const random = this.#random;
    if (rexW !== 1 && random.oneIn(3)) return 0;
    const bits = random.below(16);
    return 0x40 | (rexW === undefined ? bits : rexW === 1 ? bits | 8 : bits & 7);
  }

  #drawPrefixes({ prefix, lockable, operandSize, opcode }: Encoding, inMemory: boolean): number[] {
    const random = this.#random;
    const prefixes: number[] = [];
    const sizeFits = operandSize !== "byte" && (operandSize !== "forced64" || this.#bits === 32);
    if (prefix === "66" || (prefix !== "none" && sizeFits && random.oneIn(4))) prefixes.push(0x66);
    if (random.oneIn(this.#bits === 64 ? 10 : 60)) prefixes.push(0x67);
    if (random.oneIn(12)) prefixes.push(random.pick([0x26, 0x2e, 0x36, 0x3e]));
    if (lockable && inMemory && random.oneIn(5)) prefixes.push(0xf0);
    if (prefix === "F2" || prefix === "F3") prefixes.push(prefix === "F2" ? 0xf2 : 0xf3);
    if (STRING_OPCODES.has(opcode) && random.oneIn(2)) prefixes.push(random.pick([0xf2, 0xf3]));
    return prefixes;
  }

  #drawImmediates(
    { immediates }: Encoding,
    { size, addressBytes, isBranch }: { size: number; addressBytes: number; isBranch: boolean },
  ): number[] {
    const random = this.#random;
    return immediates.flatMap((kind) => {
      if (kind === "offset") return little(BigInt(randomWindowAddress(random, 16)), addressBytes);
      const count = kind === "byte" ? 1 : kind === "word" ? 2 : kind === "whole" ? size : Math.min(size, 4);
      if (isBranch) return little(BigInt(this.#drawDistance(count)), count);
      if (kind === "word") return little(BigInt(random.below(0x100)), 2);
      const value = random.oneIn(2) ? BigInt(random.pick(EDGE_IMMEDIATES)) : BigInt.asIntN(64, random.doubleword());
      return little(value, count);
    });
  }

  /** Never into the case. */
  #drawDistance(bytes: number): number {
    const random = this.#random;
    if (random.oneIn(2)) return random.between(CODE_BYTES_MAX, bytes === 1 ? 0x7f : 0x600);
    return -random.between(CODE_BYTES_MAX + 8, bytes === 1 ? 0x80 : 0x700);
  }

  /** ModRM, SIB and displacement of memory; `end`: the next instruction's address without them. */
  #drawAddress(reg: number, rex: number, end: number, override: boolean): number[] {
    const random = this.#random;
    const short = this.#bits === 32 && override;
    if (short || random.oneIn(16)) return this.#drawAnyAddress(reg, short);
    if (random.oneIn(10)) {
      const target = randomWindowAddress(random, 16);
      const distance = this.#bits === 64 ? target - (end + 5) : target;
      return [0x05 | (reg << 3), ...little(BigInt(distance), 4)];
    }
    const mod = random.below(3);
    const base =
      random.pick(
        POINTERS.filter(
          (number) => (this.#bits === 64 && number >> 3 === (rex & 1)) || (number < 8 && (rex & 1) === 0),
        ),
      ) & 7;
    const indices = INDICES.filter((number) => number >> 3 === ((rex >> 1) & 1));
    const withIndex = random.oneIn(3);
    const useMod = mod === 0 && base === 5 ? 1 : mod;
    const displacement = this.#drawDisplacement(useMod);
    if (!withIndex && base !== 4) return [(useMod << 6) | (reg << 3) | base, ...displacement];
    const index = withIndex && indices.length > 0 ? random.pick(indices) & 7 : 4;
    const noIndex = index === 4 && (rex & 2) !== 0 ? 0 : index;
    return [(useMod << 6) | (reg << 3) | 4, (random.below(3) << 6) | (noIndex << 3) | base, ...displacement];
  }

  #drawDisplacement(mod: number): number[] {
    if (mod === 0) return [];
    return little(BigInt(this.#random.between(-0x60, 0x60)), mod === 1 ? 1 : 4);
  }

  #drawAnyAddress(reg: number, short: boolean): number[] {
    const random = this.#random;
    const [mod, rm] = [random.below(3), random.below(8)];
    const bytes = [(mod << 6) | (reg << 3) | rm];
    if (short) return [...bytes, ...little(BigInt(random.word()), mod === 1 ? 1 : mod === 2 || rm === 6 ? 2 : 0)];
    const sib = random.below(256);
    if (rm === 4) bytes.push(sib);
    const withoutBase = rm === 5 || (rm === 4 && (sib & 7) === 5);
    const count = mod === 1 ? 1 : mod === 2 || withoutBase ? 4 : 0;
    return [...bytes, ...little(BigInt(random.word()), count)];
  }
}

/** A case whose state comes from a seed alone. */
export function caseFrom(
  bits: Bits,
  stateSeed: number,
  code: Uint8Array,
  undefinedFlags: UserCase["undefinedFlags"],
  mnemonics: readonly string[],
): UserCase {
  return { bits, stateSeed, code, block: randomState(new RandomSource(stateSeed), bits), undefinedFlags, mnemonics };
}

/** Of `variableLength`, for user code in a mode. */
export function decoderFor(bits: Bits): VariableLengthDecoder {
  const context = bits === 64 ? 0 : 1;
  const { variableLength } = x86Cpu;
  if (variableLength === undefined) throw new Error("x86 has instructions of a variable length");
  return variableLength.decoderFor(x86Cpu.instructionsFor(context), context);
}

export function definitionsFor(bits: Bits): readonly Instruction[] {
  return x86Cpu.instructionsFor(bits === 64 ? 0 : 1);
}

function addressBytes(bits: Bits, override: boolean): number {
  if (bits === 64) return override ? 4 : 8;
  return override ? 2 : 4;
}

function opcodeBytes(opcode: number): number[] {
  const map = [[], [0x0f], [0x0f, 0x38], [0x0f, 0x3a]][opcode >> 8] ?? [];
  return [...map, opcode & 0xff];
}

function little(value: bigint, count: number): number[] {
  return Array.from({ length: count }, (_, index) => Number((value >> BigInt(8 * index)) & 0xffn));
}
