/** Figures from samples. */

export function mean(samples) {
  return samples.reduce((sum, sample) => sum + sample, 0) / samples.length;
}

/** By linear interpolation between the two nearest ranks; `fraction` from 0 to 1. */
export function quantile(samples, fraction) {
  const sorted = [...samples].sort((a, b) => a - b);
  const rank = fraction * (sorted.length - 1);
  const below = sorted[Math.floor(rank)];
  return below + (sorted[Math.ceil(rank)] - below) * (rank % 1);
}

export function median(samples) {
  return quantile(samples, 0.5);
}

/** 97.5 % quantiles of Student's t for 1 to 30 degrees of freedom. */
const STUDENT_T = [
  12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.16, 2.145, 2.131, 2.12, 2.11,
  2.101, 2.093, 2.086, 2.08, 2.074, 2.069, 2.064, 2.06, 2.056, 2.052, 2.048, 2.045, 2.042,
];

/**
 * How many times as much the first of each pair is as the second: geometric mean with its 95 % interval. What a busy
 * machine does to both sides of a pair drops out.
 *
 * @param {readonly number[]} numerators
 * @param {readonly number[]} denominators of the same runs, in the same order
 */
export function pairedRatio(numerators, denominators) {
  const { centre, half } = meanInterval(numerators.map((value, index) => Math.log(value / denominators[index])));
  const ratio = Math.exp(centre);
  if (half === undefined) return { ratio, low: undefined, high: undefined };
  return { ratio, low: Math.exp(centre - half), high: Math.exp(centre + half) };
}

/** What the first of each pair is more than the second: mean with its 95 % interval. Pairs as for `pairedRatio`. */
export function pairedDifference(minuends, subtrahends) {
  const { centre, half } = meanInterval(minuends.map((value, index) => value - subtrahends[index]));
  if (half === undefined) return { difference: centre, low: undefined, high: undefined };
  return { difference: centre, low: centre - half, high: centre + half };
}

/** The mean, and half the length of its 95 % interval, which one sample does not have. */
function meanInterval(samples) {
  const centre = mean(samples);
  if (samples.length < 2) return { centre, half: undefined };
  const variance = samples.reduce((sum, value) => sum + (value - centre) ** 2, 0) / (samples.length - 1);
  const t = STUDENT_T[Math.min(samples.length - 1, STUDENT_T.length) - 1];
  return { centre, half: t * Math.sqrt(variance / samples.length) };
}

/** A generator of numbers from 0 to 1 that a printed seed brings back (mulberry32). */
export function randomSource(seed) {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}
