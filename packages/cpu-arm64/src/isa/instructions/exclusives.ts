/**
 * Exclusive and acquire/release loads and stores. References as in `data-processing-immediate.ts`.
 *
 * The vCPUs of a VM take turns, so every access is seen in order by all: acquire and release need no code.
 * The local monitor (`exclusiveAddress`, `exclusiveBytes`) holds the virtual address and size that a load-exclusive
 * marked. A store-exclusive of equal address and size succeeds; any store-exclusive opens the monitor.
 *
 * Choices that the manual leaves to an implementation (B2.9, C6.2 STXR, K1.1):
 *  - a store-exclusive that the monitor refuses checks its alignment but does not translate its address, so it has
 *    no other memory fault;
 *  - a plain store to the marked address by this vCPU leaves the monitor closed;
 *  - LDXP into one register twice, and a store-exclusive whose status register is also base or data, are UNDEFINED;
 *  - fields that should be ones (Rs, Rt2 where unused) are ignored.
 */
import { AccessKind, defineInstruction, type Instruction, type Stage, type Value } from "@hvjournal/engine";
import { assembly, registerName, registerNameOrSp } from "../assembly-text.js";
import { alignmentFault } from "../exceptions.js";
import { loadedRegister, storeRegister } from "../integer-transfer.js";
import { destinationX, sourceX, xOrSp } from "../operands.js";
import { exclusiveAddress, exclusiveBytes } from "../state.js";

const EXCLUSIVE_CLASS = "C4.1 Load/store exclusive register";
const EXCLUSIVE_PAIR_CLASS = "C4.1 Load/store exclusive pair";
const ORDERED_CLASS = "C4.1 Load/store ordered";

interface Element {
  readonly size: "00" | "01" | "10" | "11";
  readonly bytes: 1 | 2 | 4 | 8;
  /** Behind the mnemonic: LDXRB. */
  readonly suffix: "" | "B" | "H";
  readonly sf: 0 | 1;
  readonly isSigned: false;
}

const ELEMENTS: readonly Element[] = [
  { size: "00", bytes: 1, suffix: "B", sf: 0, isSigned: false },
  { size: "01", bytes: 2, suffix: "H", sf: 0, isSigned: false },
  { size: "10", bytes: 4, suffix: "", sf: 0, isSigned: false },
  { size: "11", bytes: 8, suffix: "", sf: 1, isSigned: false },
];

const PAIR_ELEMENTS = ELEMENTS.filter(({ bytes }) => bytes >= 4);

type Ordered = "0" | "1";
const ORDERINGS: readonly Ordered[] = ["0", "1"];

function uniqueName(mnemonic: string, { suffix, sf }: Element): string {
  return suffix === "" ? `${mnemonic} (${sf === 1 ? "X" : "W"})` : `${mnemonic}${suffix}`;
}

function baseText(Rn: number): string {
  return `[${registerNameOrSp(1, Rn)}]`;
}

function closeMonitor(stage: Stage, address: Value<64>, bytes: number): void {
  stage.write(exclusiveAddress, address);
  stage.write(exclusiveBytes, stage.constant32(bytes));
}

function openMonitor(stage: Stage): void {
  stage.write(exclusiveBytes, stage.constant32(0));
}

/** Runs `store` where the monitor lets it, and writes what became of it: 0 stored, 1 not. */
function storeIfExclusive(stage: Stage, address: Value<64>, bytes: number, status: Value<32>, store: () => void): void {
  if (bytes > 1) {
    const misaligned = stage.and(stage.truncate32(address), stage.constant32(bytes - 1));
    stage.if(misaligned, () => stage.raise(alignmentFault, address, stage.constant32(AccessKind.write)));
  }
  const sameAddress = stage.compare("eq", stage.read(exclusiveAddress), address);
  const sameSize = stage.compare("eq", stage.read(exclusiveBytes), stage.constant32(bytes));
  stage.if(
    stage.and(sameAddress, sameSize),
    () => {
      store();
      stage.writeAt(status, stage.constant64(0));
    },
    () => stage.writeAt(status, stage.constant64(1)),
  );
  openMonitor(stage);
}

function loadExclusive(element: Element, o0: Ordered): Instruction {
  const { size, bytes, sf, suffix } = element;
  const mnemonic = o0 === "1" ? "LDAXR" : "LDXR";
  return defineInstruction({
    mnemonic: uniqueName(mnemonic, element),
    reference: EXCLUSIVE_CLASS,
    pattern: `${size} 001000 010 xxxxx ${o0} xxxxx Rn:5 Rt:5`,
    formFields: [],
    operands: { rn: xOrSp("Rn"), rt: destinationX("Rt") },
    text: ({ Rn, Rt }) => assembly(`${mnemonic}${suffix}`.toLowerCase(), registerName(sf, Rt), baseText(Rn)),
    execute(_form, { rn, rt }, stage) {
      const address = stage.readAt(64, rn);
      const handle = stage.access(address, bytes, "read", { alignment: bytes });
      closeMonitor(stage, address, bytes);
      stage.writeAt(rt, loadedRegister(stage, element, handle));
    },
  });
}

function storeExclusive(element: Element, o0: Ordered): Instruction {
  const { size, bytes, sf, suffix } = element;
  const mnemonic = o0 === "1" ? "STLXR" : "STXR";
  return defineInstruction({
    mnemonic: uniqueName(mnemonic, element),
    reference: EXCLUSIVE_CLASS,
    pattern: `${size} 001000 000 Rs:5 ${o0} xxxxx Rn:5 Rt:5`,
    formFields: [],
    where: ({ Rs, Rn, Rt }) => Rs !== Rt && (Rs !== Rn || Rn === 31),
    operands: { rn: xOrSp("Rn"), rt: sourceX("Rt"), rs: destinationX("Rs") },
    text: ({ Rs, Rn, Rt }) =>
      assembly(`${mnemonic}${suffix}`.toLowerCase(), registerName(0, Rs), registerName(sf, Rt), baseText(Rn)),
    execute(_form, { rn, rt, rs }, stage) {
      const address = stage.readAt(64, rn);
      storeIfExclusive(stage, address, bytes, rs, () => {
        storeRegister(stage, element, stage.access(address, bytes, "write"), rt);
      });
    },
  });
}

function loadExclusivePair(element: Element, o0: Ordered): Instruction {
  const { size, bytes, sf } = element;
  const mnemonic = o0 === "1" ? "LDAXP" : "LDXP";
  return defineInstruction({
    mnemonic: uniqueName(mnemonic, element),
    reference: EXCLUSIVE_PAIR_CLASS,
    pattern: `${size} 001000 011 xxxxx ${o0} Rt2:5 Rn:5 Rt:5`,
    formFields: [],
    where: ({ Rt, Rt2 }) => Rt !== Rt2,
    operands: { rn: xOrSp("Rn"), rt: destinationX("Rt"), rt2: destinationX("Rt2") },
    text: ({ Rn, Rt, Rt2 }) =>
      assembly(mnemonic.toLowerCase(), registerName(sf, Rt), registerName(sf, Rt2), baseText(Rn)),
    execute(_form, { rn, rt, rt2 }, stage) {
      const address = stage.readAt(64, rn);
      const handle = stage.access(address, 2 * bytes, "read", { alignment: 2 * bytes });
      closeMonitor(stage, address, 2 * bytes);
      stage.writeAt(rt, loadedRegister(stage, element, handle));
      stage.writeAt(rt2, loadedRegister(stage, element, handle, bytes));
    },
  });
}

function storeExclusivePair(element: Element, o0: Ordered): Instruction {
  const { size, bytes, sf } = element;
  const mnemonic = o0 === "1" ? "STLXP" : "STXP";
  return defineInstruction({
    mnemonic: uniqueName(mnemonic, element),
    reference: EXCLUSIVE_PAIR_CLASS,
    pattern: `${size} 001000 001 Rs:5 ${o0} Rt2:5 Rn:5 Rt:5`,
    formFields: [],
    where: ({ Rs, Rn, Rt, Rt2 }) => Rs !== Rt && Rs !== Rt2 && (Rs !== Rn || Rn === 31),
    operands: { rn: xOrSp("Rn"), rt: sourceX("Rt"), rt2: sourceX("Rt2"), rs: destinationX("Rs") },
    text: ({ Rs, Rn, Rt, Rt2 }) =>
      assembly(mnemonic.toLowerCase(), registerName(0, Rs), registerName(sf, Rt), registerName(sf, Rt2), baseText(Rn)),
    execute(_form, { rn, rt, rt2, rs }, stage) {
      const address = stage.readAt(64, rn);
      storeIfExclusive(stage, address, 2 * bytes, rs, () => {
        const handle = stage.access(address, 2 * bytes, "write");
        storeRegister(stage, element, handle, rt);
        storeRegister(stage, element, handle, rt2, bytes);
      });
    },
  });
}

function loadAcquire(element: Element): Instruction {
  const { size, bytes, sf, suffix } = element;
  return defineInstruction({
    mnemonic: uniqueName("LDAR", element),
    reference: ORDERED_CLASS,
    pattern: `${size} 001000 110 xxxxx 1 xxxxx Rn:5 Rt:5`,
    formFields: [],
    operands: { rn: xOrSp("Rn"), rt: destinationX("Rt") },
    text: ({ Rn, Rt }) => assembly(`ldar${suffix.toLowerCase()}`, registerName(sf, Rt), baseText(Rn)),
    execute(_form, { rn, rt }, stage) {
      const handle = stage.access(stage.readAt(64, rn), bytes, "read", { alignment: bytes });
      stage.writeAt(rt, loadedRegister(stage, element, handle));
    },
  });
}

function storeRelease(element: Element): Instruction {
  const { size, bytes, sf, suffix } = element;
  return defineInstruction({
    mnemonic: uniqueName("STLR", element),
    reference: ORDERED_CLASS,
    pattern: `${size} 001000 100 xxxxx 1 xxxxx Rn:5 Rt:5`,
    formFields: [],
    operands: { rn: xOrSp("Rn"), rt: sourceX("Rt") },
    text: ({ Rn, Rt }) => assembly(`stlr${suffix.toLowerCase()}`, registerName(sf, Rt), baseText(Rn)),
    execute(_form, { rn, rt }, stage) {
      const handle = stage.access(stage.readAt(64, rn), bytes, "write", { alignment: bytes });
      storeRegister(stage, element, handle, rt);
    },
  });
}

export const exclusives: readonly Instruction[] = [
  ...ORDERINGS.flatMap((o0) => [
    ...ELEMENTS.map((element) => loadExclusive(element, o0)),
    ...ELEMENTS.map((element) => storeExclusive(element, o0)),
    ...PAIR_ELEMENTS.map((element) => loadExclusivePair(element, o0)),
    ...PAIR_ELEMENTS.map((element) => storeExclusivePair(element, o0)),
  ]),
  ...ELEMENTS.map(loadAcquire),
  ...ELEMENTS.map(storeRelease),
];
