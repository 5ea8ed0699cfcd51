/** What a bench has found: figures with the bound that they are held to, as a table for people or JSON lines. */

const UNITS = {
  times: { digits: 3, suffix: "x" },
  seconds: { digits: 2, suffix: " s" },
  nanoseconds: { digits: 0, suffix: " ns" },
  milliseconds: { digits: 0, suffix: " ms" },
  MiB: { digits: 2, suffix: " MiB" },
  count: { digits: 0, suffix: "" },
};

/**
 * @typedef {object} Finding
 * @property {string} name
 * @property {number} value
 * @property {keyof typeof UNITS} unit
 * @property {number | undefined} low 95 % interval
 * @property {number | undefined} high
 * @property {number | undefined} bound the most that it may be; none: for information
 * @property {boolean | undefined} isMet `high`, or else `value`, is within the bound
 */

/** @returns {Finding} */
export function finding(name, value, unit, { low, high, bound } = {}) {
  const isMet = bound === undefined ? undefined : (high ?? value) <= bound;
  return { name, value, unit, low, high, bound, isMet };
}

function format(value, unit) {
  const { digits, suffix } = UNITS[unit];
  return value.toFixed(digits) + suffix;
}

export function findingLine({ name, value, unit, low, high, bound, isMet }) {
  const interval = low === undefined ? "" : `[${format(low, unit)}, ${format(high, unit)}]`;
  const verdict = bound === undefined ? "" : `at most ${format(bound, unit)}: ${isMet ? "met" : "NOT MET"}`;
  return `  ${name.padEnd(52)} ${format(value, unit).padStart(11)}  ${interval.padEnd(18)} ${verdict}`.trimEnd();
}
