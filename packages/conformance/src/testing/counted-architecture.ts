import type { Architecture } from "@hvjournal/core";

export interface CountedArchitecture {
  readonly architecture: Architecture;
  /** Units that its VMs have run so far, again and again included. */
  readonly unitsRun: () => number;
  /** How often they were set to run. */
  readonly runs: () => number;
}

/** An architecture that tells how much work was done, to hold searches to their promises. */
export function countedArchitecture(plain: Architecture): CountedArchitecture {
  let units = 0;
  let runs = 0;
  const architecture: Architecture = {
    ...plain,
    createKernelHalf(options) {
      const kernel = plain.createKernelHalf(options);
      const run = kernel.run.bind(kernel);
      kernel.run = (limit) => {
        const before = kernel.icount;
        const stop = run(limit);
        units += kernel.icount - before;
        runs += 1;
        return stop;
      };
      return kernel;
    },
  };
  return { architecture, unitsRun: () => units, runs: () => runs };
}
