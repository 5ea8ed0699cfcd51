/** A board's saved state is what its parts save, each in sections of its own. */
import { type StateSection, StateSectionError } from "@hvjournal/core";
import type { TakeSection } from "../devices/mmio-device.js";

interface Restorable {
  restore(take: TakeSection): void;
}

/** `restoreOthers` takes what may be missing. Throws StateSectionError for a section that is missing, or that nobody takes. */
export function restoreDevices(
  devices: readonly Restorable[],
  sections: readonly StateSection[],
  restoreOthers: (takeIfThere: (name: string) => StateSection | undefined) => void = () => undefined,
): void {
  const left = new Map(sections.map((section) => [section.name, section]));
  const takeIfThere = (name: string): StateSection | undefined => {
    const section = left.get(name);
    left.delete(name);
    return section;
  };
  const take = (name: string): StateSection => {
    const section = takeIfThere(name);
    if (section === undefined) {
      throw new StateSectionError(name, "the saved machine does not have it");
    }
    return section;
  };
  restoreOthers(takeIfThere);
  for (const device of devices) {
    device.restore(take);
  }
  for (const name of left.keys()) {
    throw new StateSectionError(name, "this board has no such device");
  }
}
