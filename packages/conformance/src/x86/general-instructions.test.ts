/**
 * General-purpose definitions of x86 against the host's own CPU and QEMU: alone with random operands, and in sequences,
 * interpreted and compiled. `HVJOURNAL_SEED=n` repeats a run.
 */
import { compareWithOracles } from "./oracle-tests.js";

compareWithOracles("general", { casesEach: 2, sequences: 100, sequenceLength: 6 });
