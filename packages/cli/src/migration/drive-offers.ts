/** The drives of a VM that moves: what lies below them, and where. */
import { type DriveOffer, isPlainMap, type MachineDescription, PayloadFields, type PlainValue } from "@hvjournal/core";

export function driveOffers(
  { boardOptions }: MachineDescription,
  paths: ReadonlyMap<string, string>,
): readonly DriveOffer[] {
  const { drives } = boardOptions;
  return (Array.isArray(drives) ? (drives as readonly PlainValue[]) : []).map((each) => {
    const drive = new PayloadFields("drive", isPlainMap(each) ? each : {});
    const id = drive.string("id");
    return {
      id,
      bytes: drive.number("bytes"),
      readOnly: drive.boolean("readOnly"),
      fingerprint: drive.string("sha256"),
      path: paths.get(id) ?? drive.string("name"),
    };
  });
}
