/** The policies that a VM was recorded with, where they are not upstream's. */
import { type ControlPatch, isPlainMap, type PlainValue } from "@hvjournal/core";
import { arm64Policies } from "@hvjournal/cpu-arm64";
import { amd64Policies } from "@hvjournal/cpu-x86";
import { JournalDamagedError, type RecordingReader } from "@hvjournal/journal";

const POLICIES = [...arm64Policies.policies, ...amd64Policies.policies];

/** "hv.ext.route=kernel" each: as they stood at the recording's first snapshot, before its guest ran. */
export function recordedPolicies(reader: RecordingReader): readonly string[] {
  const [first] = reader.snapshots();
  if (first === undefined) return [];
  try {
    return policySettings(reader.loadSnapshot(first.number).control["architecture"]);
  } catch (error) {
    // What is damaged is for fsck to tell.
    if (error instanceof JournalDamagedError) return [];
    throw error;
  }
}

/** Of an architecture's part of the control plane's state, as plain data. */
export function policySettings(control: PlainValue | undefined): readonly string[] {
  const settings = isPlainMap(control) ? control["policies"] : undefined;
  return (Array.isArray(settings) ? settings : []).flatMap((setting: PlainValue) => {
    if (!isPlainMap(setting)) return [];
    const [name, value] = [String(setting["name"]), String(setting["value"])];
    return value === upstreamValue(name) ? [] : [`${name}=${value}`];
  });
}

/** "policy hv.ext.route  forward-all (not set) -> off"; undefined: the difference is in something else. */
export function policyPatchText({ path: [, part, name, field], before, after }: ControlPatch): string | undefined {
  if (part !== "policies" || typeof name !== "string") return undefined;
  const text = (value: PlainValue | undefined): string => {
    const set = field === undefined && isPlainMap(value) ? value["value"] : value;
    return set === undefined ? `${upstreamValue(name) ?? ""} (not set)` : String(set);
  };
  return `policy ${name}  ${text(before)} -> ${text(after)}`;
}

function upstreamValue(name: string): string | undefined {
  return POLICIES.find((policy) => policy.name === name)?.values[0];
}
