/**
 * KVM_XEN_HVM_CONFIG. Command: {name: "xen", flags, msr, blob32, blob64}, which takes the place of the old one as a whole; a blob
 * of no bytes is none.
 */
import { type ControlCommand, type EventKind, PAGE_BYTES, type PayloadFields } from "@hvjournal/core";
import { XEN_MSRS, XenFlag, type XenHvmConfig } from "../xen/xen-config.js";
import { decided, type ControlPart, NUMBER, refuse } from "./control-part.js";

const CALL = "KVM_XEN_HVM_CONFIG";
/** `blob_size_32` and `blob_size_64` are a byte each. */
const BLOB_PAGES_MAX = 255;
const BLOBS = ["blob32", "blob64"] as const;
const NONE = new Uint8Array(0);

const configured: EventKind = {
  ...{ name: "x86.XenHvmConfigured", version: 1, role: "vmm output" },
  fields: ["flags", "msr", ...BLOBS],
};

function hex(value: number): string {
  return `0x${value.toString(16)}`;
}

/** KVM's own rules, the first that is broken. */
function brokenRule(fields: PayloadFields): string | undefined {
  const [flags, msr] = [fields.number("flags"), fields.number("msr")];
  if ((flags & ~XenFlag.interceptCalls) !== 0) return `flags ${hex(flags)}: a VMM may set ${XenFlag.interceptCalls}`;
  const lengths = BLOBS.map((name) => fields.bytes(name).length);
  if ((flags & XenFlag.interceptCalls) !== 0 && lengths.some((length) => length > 0))
    return "KVM makes the page itself where it intercepts calls: there may be no blob";
  if (lengths.some((length) => length % PAGE_BYTES !== 0 || length > BLOB_PAGES_MAX * PAGE_BYTES))
    return `a blob has 1 to ${BLOB_PAGES_MAX} whole pages`;
  if (msr !== 0 && (msr < XEN_MSRS.first || msr > XEN_MSRS.last))
    return `MSR ${hex(msr)} is not one of ${hex(XEN_MSRS.first)} to ${hex(XEN_MSRS.last)}`;
  return undefined;
}

/** "0x40000200", or "off". */
function parse(text: string): ControlCommand | string {
  const [flags, msr] = text === "off" ? [0, 0] : [XenFlag.interceptCalls, Number(text)];
  if (text !== "off" && !new RegExp(`^${NUMBER}$`).test(text))
    return "expected the MSR by which the guest gets its page of calls, or off";
  return { name: "xen", flags, msr, blob32: NONE, blob64: NONE };
}

export const xenPart: ControlPart = {
  decide: {
    xen(_state, fields) {
      const broken = brokenRule(fields);
      if (broken !== undefined) return refuse("EINVAL", CALL, broken);
      const [flags, msr] = [fields.number("flags"), fields.number("msr")];
      return decided(configured, { flags, msr, blob32: fields.bytes("blob32"), blob64: fields.bytes("blob64") });
    },
  },
  events: [
    {
      kind: configured,
      evolve(state, fields) {
        const [flags, msr] = [fields.number("flags"), fields.number("msr")];
        const blobs = BLOBS.filter((name) => fields.bytes(name).length > 0).map((name) => [name, fields.bytes(name)]);
        const xenHvm: XenHvmConfig = { flags, msr, ...(Object.fromEntries(blobs) as Partial<XenHvmConfig>) };
        return { ...state, xenHvm };
      },
      describe: (fields) => xenText({ flags: fields.number("flags"), msr: fields.number("msr") }),
    },
  ],
  parse: { xen: parse },
};

/** "page by MSR 0x40000200, calls leave to the VMM" */
export function xenText({ flags, msr }: XenHvmConfig): string {
  if (msr === 0) return "off";
  return `page by MSR ${hex(msr)}, ${(flags & XenFlag.interceptCalls) === 0 ? "made by the VMM" : "calls leave to the VMM"}`;
}
