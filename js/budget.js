/**
 * budget.js: what a memory budget comes to. Whoever names none gets `auto`: a limit of this device, which buys speed up to all weights in packed
 * form, but refuses no model and shortens no context. `min` is the least that the context takes.
 */
import { memoryLimit } from '#platform';

/** @import { Detail, Plan, Planner } from './engine.js' */
/** @import { CheckedLoadOptions } from './options.js' */

/** A 32-bit memory in whole pages. */
const MOST_NBYTES = 65535 * 65536;

/** @typedef {CheckedLoadOptions & {memoryBudget: number}} DecidedOptions what an engine is made with */

/**
 * @param {Planner} planner
 * @param {Uint8Array} header
 * @param {CheckedLoadOptions} options
 * @returns {{status: number, plan: Plan, detail: Detail, options: DecidedOptions}}
 */
export function decide(planner, header, options) {
  /** @param {Partial<DecidedOptions>} changes */
  const plan = (changes) => {
    const decided = { ...options, memoryBudget: 0, ...changes };
    return { ...planner.plan(header, decided), options: decided };
  };
  const { memoryBudget, residency } = options;
  const isNamed = typeof memoryBudget === 'number';
  const first = isNamed ? plan({ memoryBudget }) : plan({ targetNsPerToken: 0 });
  if (first.status !== 0) return first;

  const contextSize = first.plan.context;
  const whole = { contextSize, targetNsPerToken: 0 };
  const least = plan(whole).plan.neededNbytes;
  const packed = residency === 'auto' ? plan({ ...whole, residency: 'packed' }) : plan(whole);
  const most = packed.status === 0 ? packed.plan.totalNbytes : MOST_NBYTES;

  let made = first;
  if (!isNamed) {
    const limit = memoryBudget === 'min' ? least : Math.max(least, Math.min(memoryLimit(), MOST_NBYTES));
    /* int8, which costs far more memory and is no faster in whole models, is for who asks for it */
    const form = residency === 'auto' && !options.targetNsPerToken && most <= limit ? 'packed' : residency;
    made = plan({ contextSize, memoryBudget: limit, residency: form });
  }
  const told = { budgetNbytes: made.options.memoryBudget, minNbytes: least, maxNbytes: most, neededNbytes: first.plan.neededNbytes };
  return { ...made, plan: { ...made.plan, ...told } };
}

/**
 * What a budget is short of.
 * @param {number} needed
 * @param {DecidedOptions} options
 */
export function missingNbytes(needed, { memoryBudget }) {
  return needed - (memoryBudget || MOST_NBYTES);
}
