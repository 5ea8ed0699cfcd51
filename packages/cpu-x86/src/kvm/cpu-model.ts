/** The CPU model, by the name that a machine gives it. */
export const CPU_MODEL = "hvj-v1";

/** Family 6, model 0x36: an in-order core, which has none of the flaws of speculation, as is true of this one. */
export const SIGNATURE = 0x0003_0661;
