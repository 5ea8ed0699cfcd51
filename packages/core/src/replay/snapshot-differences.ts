/** What a machine has otherwise than a recorded snapshot of the same moment. */
import type { Architecture } from "../ports/architecture.js";
import type { Digester } from "../ports/digester.js";
import type { JournalReader, Snapshot } from "../ports/journal-store.js";
import { PAGE_BYTES } from "../ports/guest-memory.js";
import { Machine } from "../machine/machine.js";
import { contentHash, hashAt, sameBytes } from "../memory/page-hash.js";

interface Recorded {
  readonly architecture: Architecture;
  readonly digester: Digester;
  readonly reader: JournalReader;
}

/** Registers of both machines that differ: "vcpu0 x3 0x1 -> 0x2". */
export function registerDifferences(recorded: Machine, replayed: Machine): string[] {
  const differences: string[] = [];
  for (let vcpu = 0; vcpu < recorded.description.vcpuCount; vcpu++)
    for (const { name } of recorded.kernel.registers) {
      const before = recorded.kernel.readRegister(vcpu, name);
      const after = replayed.kernel.readRegister(vcpu, name);
      if (before !== after) differences.push(`vcpu${vcpu} ${name} 0x${before.toString(16)} -> 0x${after.toString(16)}`);
    }
  return differences;
}

/** Registers, then state sections, then pages by guest-physical address. */
export function snapshotDifferences(machine: Machine, snapshot: Snapshot, recorded: Recorded): string[] {
  const { architecture, digester, reader } = recorded;
  const twin = new Machine({ architecture, digester, machine: machine.description });
  twin.restore(snapshot, (hash) => reader.loadPage(hash));
  const differences = registerDifferences(twin, machine);
  const recordedSections = new Map(snapshot.guestSections.map((section) => [section.name, section.bytes]));
  for (const { name, bytes } of machine.saveSections())
    if (!sameBytes(recordedSections.get(name) ?? new Uint8Array(0), bytes)) differences.push(`state ${name}`);
  const { memory } = machine.kernel;
  const baseHashes = machine.pages.hashes;
  const changed = new Set(machine.pages.changedPages());
  for (let index = 0; index < memory.pageCount; index++) {
    // A page that has not changed since the base has the base's hash: it need not be loaded to be compared.
    const own = changed.has(index) ? contentHash(memory.page(index), digester) : hashAt(baseHashes, index);
    if (!sameBytes(own, hashAt(snapshot.pageHashes, index)))
      differences.push(`page 0x${(memory.base + index * PAGE_BYTES).toString(16)}`);
  }
  return differences;
}
