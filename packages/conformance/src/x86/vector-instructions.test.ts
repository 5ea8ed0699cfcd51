/**
 * Definitions of the x87, MMX and SSE against the host's own CPU and QEMU: alone with random operands, and in sequences,
 * interpreted and compiled. `HVJOURNAL_SEED=n` repeats a run.
 */
import { compareWithOracles } from "./oracle-tests.js";

compareWithOracles("floats and vectors", { casesEach: 3, sequences: 100, sequenceLength: 4 });
