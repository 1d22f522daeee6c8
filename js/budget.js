/**
 * budget.js: what a memory budget comes to. Whoever names none gets `auto`: a limit of this device, which buys speed up to all weights in packed
 * form, but refuses no model and shortens no context. `min` is the least that the context takes.
 */
import { memoryLimit } from '#platform';

/** @import { Detail, Plan, Planner } from './engine.js' */
/** @import { CheckedLoadOptions } from './options.js' */

/** A 32-bit memory in whole pages. */
const MOST_NBYTES = 65535 * 65536;
const MAX_ROUNDS = 4;
/** Chunks under way: one for each connection, and one more; with fewer, bytes that have come wait in connections, and are lost when they break. */
const N_STAGING = 4;

/** @typedef {CheckedLoadOptions & {memoryBudget: number, nStaging?: number}} DecidedOptions what an engine is made with */

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
  const { memoryBudget, residency, costs } = options;
  const first = typeof memoryBudget === 'number' ? plan({ memoryBudget }) : plan({ targetNsPerToken: 0 });
  if (first.status !== 0) return first;

  const contextSize = first.plan.context;
  const whole = { contextSize, targetNsPerToken: 0 };
  const least = plan(whole).plan.neededNbytes;
  const most = allOf((limit) => plan({ ...whole, memoryBudget: limit, nStaging: N_STAGING, residency: residency === 'auto' ? 'packed' : residency }));

  /* int8 takes far more memory and is hardly ever faster in whole models: it is for who asks for it, or where it was measured */
  const isPackedBest = residency === 'auto' && costs === undefined;
  const spare = Math.max(least, Math.min(memoryLimit(), isPackedBest ? most : MOST_NBYTES));
  const given = { contextSize, memoryBudget: typeof memoryBudget === 'number' ? memoryBudget : memoryBudget === 'min' ? least : spare };
  let made = plan(given);
  if (isPackedBest) {
    const fits = plan({ ...given, residency: 'packed', nStaging: given.memoryBudget >= most ? N_STAGING : 0 });
    if (fits.status === 0) made = fits;
  }
  const told = { budgetNbytes: made.options.memoryBudget, minNbytes: least, maxNbytes: most, neededNbytes: first.plan.neededNbytes };
  return { ...made, plan: { ...made.plan, ...told } };
}

/**
 * The smallest budget that holds every weight in a form: with all the room in the world some goes to buffers that packed weights gain nothing from.
 * @param {(limit: number) => {status: number, plan: Plan}} plan
 */
function allOf(plan) {
  for (let most = MOST_NBYTES, round = 0; ; round++) {
    const { status, plan: made } = plan(most);
    if (status !== 0 || round === MAX_ROUNDS || made.totalNbytes === most) return most;
    most = made.totalNbytes;
  }
}

/**
 * What a budget is short of.
 * @param {number} needed
 * @param {DecidedOptions} options
 */
export function missingNbytes(needed, { memoryBudget }) {
  return needed - (memoryBudget || MOST_NBYTES);
}
