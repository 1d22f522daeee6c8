// The demo page. A model is opened, its memory planned, and text is generated; everything heavy happens in tansy's worker.
//
//   ?model=URL    another model (same origin, or a server that allows it)
//   ?budget=16MB  begin with this much memory

import { TansyError, canRun, load } from '../dist/tansy.esm.js';
import { Curve } from './curve.js';
import { bytes, rate, seconds } from './format.js';
import { Budget, showMemory } from './memory.js';
import { showWeights } from './weights.js';

/**
 * @template {Element} T
 * @param {string} id
 * @param {new () => T} type
 * @returns {T}
 */
function element(id, type) {
  const found = document.getElementById(id);
  if (!(found instanceof type)) throw new Error(`#${id} is missing`);
  return found;
}

const query = new URLSearchParams(location.search);
const prompt = element('prompt', HTMLTextAreaElement);
const go = element('go', HTMLButtonElement);
const status = element('status', HTMLOutputElement);
const progress = element('progress', HTMLProgressElement);
const errorBox = element('error', HTMLDivElement);
const story = element('story', HTMLElement);
const given = element('given', HTMLSpanElement);
const written = element('text', HTMLSpanElement);
const speed = element('speed', HTMLElement);
const memoryElements = {
  heap: element('heap', HTMLElement),
  note: element('heap-note', HTMLElement),
  bar: element('bar', HTMLElement),
  kinds: element('kinds', HTMLElement),
};
const measure = element('measure', HTMLButtonElement);
const curve = new Curve(element('curve', SVGSVGElement));
const settingNames = ['temperature', 'topK', 'topP', 'minP', 'repeatPenalty', 'maxTokens', 'seed'];

/** The model that is open, and what opens it again with another budget. */
let source = /** @type {string | File} */ (query.get('model') ?? 'models/books-3m.tansy');
/** @type {import('../web/index.js').Model | null} */
let model = null;
/** Stops what is under way: a generation or a download. @type {AbortController | null} */
let generating = null;
/** @type {AbortController | null} */
let opening = null;
/** Of which a speed is shown. */
const MEASURED_TOKENS = 32;

const budget = new Budget(element('budget', HTMLInputElement), element('budget-value', HTMLOutputElement), (nbytes) => open(source, nbytes));

/* ---- opening ---- */

/**
 * Opens a model in place of the one that is open.
 * @param {string | File} from
 * @param {number | string} [wanted] memory budget; the smallest possible when left out
 * @returns {Promise<boolean>} it is open
 */
async function open(from, wanted) {
  opening?.abort();
  const mine = (opening = new AbortController());
  const { signal } = mine;
  generating?.abort();
  go.disabled = measure.disabled = true;
  showError(null);
  status.textContent = 'Opening the model …';
  try {
    const fresh = from !== source || model === null;
    source = from;
    model?.dispose();
    model = null;

    // The two ends of the slider, from the file's first bytes alone: the least that will do, and all that can be of use.
    const { contextSize } = await canRun(from, { signal });
    const [{ bytesNeeded }, { bytesPlanned }] = await Promise.all([
      canRun(from, { contextSize, signal }),
      canRun(from, { contextSize, memoryBudget: '4GB', signal }),
    ]);
    // With all the room in the world some goes to buffers; with just that much, to weights alone.
    const most = await canRun(from, { contextSize, memoryBudget: bytesPlanned, signal });
    const ends = [bytesNeeded, Math.max(bytesNeeded, most.bytesPlanned)];
    // A budget below the slider's is served with a shorter context.
    const options = typeof wanted === 'string' ? { memoryBudget: wanted } : { memoryBudget: wanted ?? ends[0], contextSize };
    model = await load(from, { ...options, signal, onProgress: showProgress });
    const stats = await model.stats();
    if (fresh) {
      describe(from, stats);
      curve.reset(ends[0], ends[1]);
    }
    showWeights(element('weights', HTMLTableElement), model.tensors);
    budget.set(ends[0], ends[1], stats.heapBytes);
    showStats(stats);
    status.textContent = 'Ready.';
    go.disabled = measure.disabled = false;
    return true;
  } catch (error) {
    if (signal.aborted) return false; // another one is being opened
    status.textContent = 'No model is open.';
    showError(error);
    return false;
  } finally {
    if (opening === mine) {
      opening = null;
      progress.hidden = true;
    }
  }
}

/** @param {import('../web/index.js').Progress} now */
function showProgress({ loaded, total, secondsLeft }) {
  progress.hidden = false;
  progress.value = loaded / total;
  const percent = Math.floor((100 * loaded) / total);
  status.textContent = [`Loading: ${bytes(loaded)} of ${bytes(total)}`, `${percent}%`, loaded < total ? seconds(secondsLeft) : '']
    .filter(Boolean)
    .join(' · ');
}

/**
 * @param {string | File} from
 * @param {import('../web/index.js').ModelStats} stats
 */
function describe(from, stats) {
  const { config, nParameters } = /** @type {NonNullable<typeof model>} */ (model);
  const name = from instanceof File ? from.name : (new URL(from, location.href).pathname.split('/').pop() ?? from);
  element('model-name', HTMLElement).textContent = name.replace(/\.tansy$/, '');
  facts('model-facts', [
    ['weights', `${(nParameters / 1e6).toFixed(nParameters < 1e7 ? 1 : 0)} million`],
    ['file', bytes(stats.fileBytes)],
    ['bits a weight', stats.bitsPerWeight.toFixed(2)],
    ['layers', String(config.layers)],
    ['vocabulary', config.vocab.toLocaleString('en')],
    ['context', `${stats.contextSize.toLocaleString('en')} tokens`],
  ]);
}

/* ---- writing ---- */

async function generate() {
  if (!model) return;
  const mine = (generating = new AbortController());
  const text = prompt.value;
  go.textContent = 'Stop';
  go.toggleAttribute('data-running', true);
  story.setAttribute('aria-busy', 'true');
  showError(null);
  given.textContent = text;
  written.textContent = '';
  status.textContent = 'Reading the prompt …';
  const started = performance.now();
  /** @type {number | undefined} */
  let firstAt;
  let timer;
  try {
    const generation = model.generate(text, { ...settings(), signal: mine.signal });
    timer = setInterval(() => model?.stats().then(showStats, () => {}), 500);
    for await (const piece of generation) {
      firstAt ??= performance.now();
      written.append(piece);
      const n = generation.ids.length;
      status.textContent = `${n} ${n === 1 ? 'token' : 'tokens'}`;
    }
    const first = firstAt === undefined ? '' : `, the first after ${Math.round(firstAt - started)} ms`;
    status.textContent = `${generation.ids.length} tokens${first}. ${generation.finishReason === 'stop' ? 'The story ended.' : ''}`;
  } catch (error) {
    if (mine.signal.aborted) status.textContent = 'Stopped.';
    else {
      status.textContent = '';
      showError(error);
    }
  } finally {
    clearInterval(timer);
    if (generating === mine) {
      generating = null;
      go.textContent = 'Generate';
      go.toggleAttribute('data-running', false);
      story.setAttribute('aria-busy', 'false');
    }
    model?.stats().then((stats) => {
      showStats(stats);
      // Fewer tell little of the speed.
      if (stats.decodeTokens >= MEASURED_TOKENS) curve.add(stats.heapBytes, stats.decodeTokS);
    }, () => {});
  }
}

/* ---- measuring ---- */

/** Generates a little at several budgets, from the smallest to the largest, and comes back to the one that was chosen. */
async function measureCurve() {
  const chosen = budget.nbytes;
  measure.disabled = true;
  for (const share of [0, 0.25, 0.5, 0.75, 1]) {
    if (!(await open(source, budget.at(share)))) return;
    const mine = /** @type {NonNullable<typeof model>} */ (model);
    go.disabled = measure.disabled = true;
    status.textContent = `Measuring with ${bytes(budget.nbytes)} …`;
    try {
      // Once to warm up: the first run is slow until the engine's code is compiled well.
      for (let i = 0; i < 2; i++) await mine.generate(prompt.value, { temperature: 0, maxTokens: MEASURED_TOKENS + 1, ignoreEos: true }).text();
      const stats = await mine.stats();
      curve.add(stats.heapBytes, stats.decodeTokS);
      showStats(stats);
    } catch (error) {
      if (model === mine) showError(error); // else the visitor opened something else meanwhile
      return;
    }
  }
  await open(source, chosen);
}

/** What the settings say; empty fields are left to the library. */
function settings() {
  /** @type {Record<string, number>} */
  const options = {};
  for (const name of settingNames) {
    const value = element(name, HTMLInputElement).valueAsNumber;
    if (!Number.isNaN(value)) options[name] = value;
  }
  return options;
}

/* ---- figures and errors ---- */

/** @param {import('../web/index.js').ModelStats} stats */
function showStats(stats) {
  showMemory(memoryElements, stats);
  speed.textContent = rate(stats.decodeTokS);
  facts('facts', [
    ['reading', stats.prefillTokens > 0 ? `${rate(stats.prefillTokS)} tokens a second` : ''],
    ['unfolded at once', stats.decodedBytes > 0 ? bytes(stats.decodedBytes) : ''],
    ['instructions', stats.variant],
  ]);
}

/**
 * @param {string} id
 * @param {[string, string][]} rows those without a value are left out
 */
function facts(id, rows) {
  const cells = rows
    .filter(([, value]) => value !== '')
    .flatMap(([name, value]) => {
      const dt = document.createElement('dt');
      dt.textContent = name;
      const dd = document.createElement('dd');
      dd.textContent = value;
      return [dt, dd];
    });
  element(id, HTMLElement).replaceChildren(...cells);
}

/** @param {unknown} error */
function showError(error) {
  errorBox.hidden = error === null;
  errorBox.replaceChildren();
  if (error === null) return;
  errorBox.append(error instanceof Error ? error.message : String(error));
  if (error instanceof TansyError) {
    const code = document.createElement('code');
    code.textContent = error.code;
    errorBox.append(code);
  } else console.error(error);
}

/* ---- events ---- */

element('compose', HTMLFormElement).addEventListener('submit', (event) => {
  event.preventDefault();
  if (generating) generating.abort();
  else void generate();
});
document.addEventListener('keydown', (event) => {
  if (event.key === 'Escape') generating?.abort();
  else if (event.key === 'Enter' && (event.ctrlKey || event.metaKey) && !generating && !go.disabled) void generate();
});
measure.addEventListener('click', () => void measureCurve());
element('ideas', HTMLUListElement).addEventListener('click', ({ target }) => {
  if (!(target instanceof HTMLButtonElement)) return;
  prompt.value = target.textContent ?? '';
  if (!go.disabled && !generating) void generate();
});
element('file', HTMLInputElement).addEventListener('change', (event) => {
  const [file] = /** @type {HTMLInputElement} */ (event.target).files ?? [];
  if (file) void open(file);
});
window.addEventListener('pagehide', () => model?.dispose());

void open(source, query.get('budget') ?? undefined);
