/** INT n, INT3, INTO, INT1. References: sections of Intel SDM volume 2; delivery: `delivery.ts`. */
import type { Instruction } from "@hvjournal/engine";
import { assembly } from "../assembly-text.js";
import { defineEncoded } from "../encoding.js";
import { raiseSoftware, Vector } from "../exceptions.js";
import { readRflags } from "../flags.js";
import { immediate } from "../operands.js";
import { Flag } from "../registers.js";
import { EventKind } from "../state.js";
import { requireVirtualPrivilege } from "../virtual-mode.js";

const REFERENCE = "3.3 INT n/INTO/INT3/INT1";

const int = defineEncoded({
  mnemonic: "INT",
  reference: REFERENCE,
  pattern: "CD ib",
  formFields: [],
  operands: { immediate },
  text: (fields, pc) => assembly(fields, pc, "int", `0x${(fields.immediate & 0xff).toString(16)}`),
  execute(_form, operands, stage) {
    requireVirtualPrivilege(stage);
    raiseSoftware(stage, EventKind.software, stage.and(operands.immediate, stage.constant32(0xff)));
  },
});

const int3 = defineEncoded({
  mnemonic: "INT3",
  reference: REFERENCE,
  pattern: "CC",
  formFields: [],
  operands: {},
  text: (fields, pc) => assembly(fields, pc, "int3"),
  execute: (_form, _operands, stage) => raiseSoftware(stage, EventKind.software, stage.constant32(Vector.breakpoint)),
});

const into = defineEncoded({
  mnemonic: "INTO",
  reference: REFERENCE,
  pattern: "compat CE",
  formFields: [],
  operands: {},
  text: (fields, pc) => assembly(fields, pc, "into"),
  execute(_form, _operands, stage) {
    stage.if(stage.and(readRflags(stage), stage.constant32(Flag.OF)), () =>
      raiseSoftware(stage, EventKind.software, stage.constant32(Vector.overflow)),
    );
  },
});

/** The gate's DPL does not matter, and DR6 is left as it is. */
const int1 = defineEncoded({
  mnemonic: "INT1",
  reference: REFERENCE,
  pattern: "F1",
  formFields: [],
  operands: {},
  text: (fields, pc) => assembly(fields, pc, "int1"),
  execute: (_form, _operands, stage) => raiseSoftware(stage, EventKind.icebp, stage.constant32(Vector.debug)),
});

export const softwareInterruptInstructions: readonly Instruction[] = [int, int3, into, int1];
