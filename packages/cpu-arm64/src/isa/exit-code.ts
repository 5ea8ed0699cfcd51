/** Why the vCPU left guest mode: codes of `exitBefore` and `exitAfter`. Those below 16 are the engine's own. */

/** What stands in the exit's operands, and where pc is. */
export const ExitCode = {
  /**
   * An access to a system register, or a system instruction, that generated code does not finish: one that is trapped
   * by a trap control (`system-registers.ts`) or lives outside the vCPU state (GIC CPU interface, generic timer).
   * Operands: ISS of EC 0x18 with Rt and direction; the value to write (0 for a read). pc at the instruction.
   */
  systemRegister: 16,
  /** HVC. Operand: imm16. pc behind. */
  hypervisorCall: 17,
  /** SMC. Operand: imm16. pc at. */
  secureMonitorCall: 18,
  /** WFI with no interrupt signalled. pc behind. */
  waitForInterrupt: 19,
  /** WFE with the event register clear. pc behind. */
  waitForEvent: 20,
  /** YIELD, while `yieldExits`. pc behind. */
  yield: 21,
  /** SEV, while `yieldExits`: every other vCPU's event register is to be set. pc behind. */
  sendEvent: 22,
  /**
   * A write that would enable what is not simulated: a hardware breakpoint or watchpoint. Operands as of
   * `systemRegister`. pc at. The vCPU can't go on.
   */
  notSimulated: 23,
} as const;
