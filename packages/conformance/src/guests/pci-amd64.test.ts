/** PCI by a guest's own instructions: configuration space by IN and OUT, a function's registers, and a message at the local APIC. */
import { expect, it } from "@jest/globals";
import { CoreKind, Verifier } from "@hvjournal/core";
import { amd64 } from "@hvjournal/cpu-x86";
import { createBoard, digester, type GuestSetup, recordGuest } from "../testing/guest-recording.js";
import { countObserved, replayerOf, rowsOf, withRecording } from "../testing/guest-replay.js";
import { recordingDirectory } from "../testing/recording-directory.js";

const pathOf = recordingDirectory();

const LOAD = 0x10_0000;
const COM1 = 0x3f8;
const [CONFIG_ADDRESS, CONFIG_DATA] = [0xcf8, 0xcfc];
const DEBUG_EXIT = 0xf4;
/** virtio-rng: device 2. Where firmware's choice put its BARs. */
const FUNCTION = 0x8000_1000;
const [MESSAGES, COMMON] = [0xe000_8000, 0xe000_c000];
const MSIX_CAPABILITY = 0x40;
const APIC = 0xfee0_0000;
const [SPURIOUS, REQUESTS] = [APIC + 0xf0, APIC + 0x220];
/** Bit 1 of the third word of IRR. */
const VECTOR = 0x41;

function word(value: number): number[] {
  return [0, 8, 16, 24].map((shift) => (value >>> shift) & 0xff);
}

// 32-bit protected mode without paging, as Multiboot enters it.
const outWord = (port: number, value: number): number[] => [0xba, ...word(port), 0xb8, ...word(value), 0xef];
const inWord = (port: number): number[] => [0xba, ...word(port), 0xed];
const loadWord = (address: number): number[] => [0xa1, ...word(address)];
const store = (address: number, value: number, bytes: 1 | 2 | 4): number[] => {
  const opcode = { 1: [0xa2], 2: [0x66, 0xa3], 4: [0xa3] }[bytes];
  return [0xb8, ...word(value), ...opcode, ...word(address)];
};
/** All four bytes of EAX to the serial port, lowest first. */
const print = [0xba, ...word(COM1), ...Array.from({ length: 4 }, () => [0xee, 0xc1, 0xe8, 8]).flat()];
const readConfiguration = (register: number): number[] => [
  ...outWord(CONFIG_ADDRESS, FUNCTION | register),
  ...inWord(CONFIG_DATA),
];

/** Breaks queue 0 of a live device, which is told by the vector of configuration changes. */
const program = [
  ...readConfiguration(0),
  ...print,
  ...readConfiguration(0x20),
  ...print,
  ...store(SPURIOUS, 0x1ff, 4),
  ...store(MESSAGES, APIC, 4),
  ...store(MESSAGES + 8, VECTOR, 4),
  ...store(MESSAGES + 12, 0, 4),
  ...outWord(CONFIG_ADDRESS, FUNCTION | MSIX_CAPABILITY),
  ...outWord(CONFIG_DATA, 0x8000_0000),
  ...store(COMMON + 16, 0, 2),
  ...store(COMMON + 20, 3, 1),
  ...store(COMMON + 8, 1, 4),
  ...store(COMMON + 12, 1, 4),
  ...store(COMMON + 20, 15, 1),
  ...loadWord(REQUESTS),
  ...print,
  ...store(COMMON + 24, 3, 2),
  ...store(COMMON + 28, 1, 2),
  ...loadWord(REQUESTS),
  ...print,
  ...outWord(DEBUG_EXIT, 0),
];

/** Multiboot, with the addresses in its header (flag 16). */
function image(): Uint8Array {
  const [magic, flags, headerBytes] = [0x1bad_b002, 1 << 16, 32];
  const end = LOAD + headerBytes + program.length;
  const header = [magic, flags, -(magic + flags), LOAD, LOAD, end, end, LOAD + headerBytes];
  return Uint8Array.from([...header.flatMap(word), ...program]);
}

function setup(virtioBus: "mmio" | "pci"): GuestSetup {
  return { architecture: amd64, kernel: { name: "pci.bin", bytes: image() }, append: "", virtioBus };
}

it("a guest finds a function, and its message arrives at the local APIC; replayed and verified", async () => {
  const { path, stop, console } = await recordGuest(setup("pci"), pathOf("pci"));
  expect(stop).toMatchObject({ what: "powered off", by: "isa-debug-exit" });
  const words = new Uint32Array(Uint8Array.from(console, (character) => character.charCodeAt(0)).buffer);
  expect([...words]).toEqual([0x1044_1af4, COMMON, 0, 1 << (VECTOR & 31)]);
  await withRecording(path, async (reader) => {
    expect(rowsOf(reader, CoreKind.msiSent.name).map(({ payload }) => payload)).toEqual([
      { address: BigInt(APIC), data: VECTOR },
    ]);
    const replayer = replayerOf(reader);
    expect(replayer.advance()).toBe("end");
    expect(replayer.compared).toEqual(countObserved(reader));
    const verifier = new Verifier({ architecture: amd64, digester, reader, vmm: createBoard(setup("pci")) });
    while ((await verifier.step(1e9)) !== "equal");
    expect(verifier.compared).toEqual(countObserved(reader));
  });
});

it("a guest of a board without PCI reads ones, and no message comes", async () => {
  const { console } = await recordGuest(setup("mmio"), pathOf("none"));
  expect(console.slice(0, 8)).toBe("\u00ff".repeat(8));
});
