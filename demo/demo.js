// The demo page. A model is opened, its memory planned, and text is generated; everything heavy happens in tansy's worker.
//
//   ?model=URL    another model (of this server, or of one that allows it)
//   ?budget=16MB  begin with this much memory
//   ?mode=chat    begin with a conversation

import { TansyError, cachedModels, canRun, forgetModels, load, memoryCurve } from '../dist/tansy.esm.js';
import { Curve } from './curve.js';
import { element, facts, make } from './dom.js';
import { EMBEDDED_MODEL } from './embedded.js';
import { bytes, rate, seconds } from './format.js';
import { Budget, showMemory } from './memory.js';
import { followTheme } from './theme.js';
import { showWeights } from './weights.js';
import { Chat, Story } from './writing.js';

/** @typedef {import('../web/index.js').Model} Model */
/** @typedef {string | File} Source */

const query = new URLSearchParams(location.search);
const prompt = element('prompt', HTMLTextAreaElement);
const go = element('go', HTMLButtonElement);
const more = element('more', HTMLButtonElement);
const pause = element('pause', HTMLButtonElement);
const status = element('status', HTMLOutputElement);
const progress = element('progress', HTMLProgressElement);
const errorBox = element('error', HTMLDivElement);
const ideas = element('ideas', HTMLUListElement);
const memoryElements = { heap: element('heap', HTMLElement), bar: element('bar', HTMLElement), kinds: element('kinds', HTMLElement) };
const measure = element('measure', HTMLButtonElement);
const curve = new Curve(element('curve', SVGSVGElement));
const story = new Story({ article: element('story', HTMLElement), given: element('given', HTMLSpanElement), written: element('text', HTMLSpanElement) });
const chat = new Chat(element('talk', HTMLDivElement));
const settingNames = ['temperature', 'topK', 'topP', 'minP', 'repeatPenalty', 'maxTokens', 'seed'];

/** The model that is open, and what opens it again. @type {Source} */
let source = query.get('model') ?? EMBEDDED_MODEL;
/** @type {Model | null} */
let model = null;
/** @type {import('./writing.js').Mode} */
let mode = story;
/** Stops the generation under way. @type {AbortController | null} */
let generating = null;
/** Stops the download under way. @type {AbortController | null} */
let opening = null;
/** Stops the measuring under way. @type {AbortController | null} */
let measuring = null;
/** Of which a speed is shown. */
const MEASURED_TOKENS = 32;

const budget = new Budget(element('budget', HTMLInputElement), element('budget-value', HTMLOutputElement), (nbytes) => void resize(nbytes));

/* ---- opening ---- */

/**
 * Opens a model in place of the one that is open. What an earlier attempt has downloaded is not downloaded again.
 * @param {Source} from
 * @param {string} [wanted] memory budget; what the device can spare when left out
 */
async function open(from, wanted) {
  opening?.abort();
  const mine = (opening = new AbortController());
  const { signal } = mine;
  generating?.abort();
  setReady(false);
  showError(null);
  pause.hidden = true;
  status.textContent = 'Opening the model …';
  try {
    // What is no model, or too large, leaves the one that is open alone.
    const { ok, bytesNeeded } = await canRun(from, { memoryBudget: wanted, signal });
    if (!ok) throw new TansyError('TANSY_OVER_BUDGET', `${nameOf(from)} needs at least ${bytesNeeded} bytes (${bytes(bytesNeeded)}) of memory${wanted === undefined ? '' : `; the budget is ${wanted}`}.`);
    source = from;
    model?.dispose();
    model = null;
    const opened = await load(from, { memoryBudget: wanted, signal, onProgress: showProgress });
    model = opened;
    const stats = await opened.stats();
    describe(opened, from, stats);
    // Between the least that will do and all that can be of use.
    curve.reset(stats.minBytes, stats.maxBytes);
    chat.clear();
    budget.set(stats.minBytes, stats.maxBytes, stats.heapLimitBytes);
    showStats(stats);
    status.textContent = 'Ready.';
    setReady(true);
    void showKept();
  } catch (error) {
    if (signal.aborted) return; // paused, or another one is being opened
    status.textContent = model ? 'Ready.' : 'No model is open.';
    setReady(model !== null);
    showError(error);
  } finally {
    if (opening === mine) {
      opening = null;
      progress.hidden = pause.hidden = true;
    }
  }
}

/** @param {boolean} ready */
function setReady(ready) {
  go.disabled = measure.disabled = !ready;
  more.hidden = true;
}

/** @param {import('../web/index.js').Progress} now */
function showProgress({ loaded, total, secondsLeft }) {
  progress.hidden = false;
  pause.hidden = loaded >= total || typeof source !== 'string';
  pause.textContent = 'Pause';
  progress.value = loaded / total;
  const percent = Math.floor((100 * loaded) / total);
  status.textContent = [`Loading: ${bytes(loaded)} of ${bytes(total)}`, `${percent}%`, loaded < total ? seconds(secondsLeft) : ''].filter(Boolean).join(' · ');
}

/** The download stops, and goes on later from where it was, also after the page was closed. */
function pauseOrResume() {
  if (!opening) return void open(source, query.get('budget') ?? undefined);
  opening.abort();
  opening = null;
  status.textContent = status.textContent?.replace(/^Loading: (.*?) ·.*$/, 'Paused at $1.') ?? '';
  pause.textContent = 'Resume';
}

/** @param {Source} from */
function nameOf(from) {
  const name = from instanceof File ? from.name : decodeURIComponent(new URL(from, location.href).pathname.split('/').pop() ?? from);
  return name.replace(/\.tansy$/, '');
}

/**
 * @param {Model} opened
 * @param {Source} from
 * @param {import('../web/index.js').ModelStats} stats
 */
function describe({ config, nParameters, chatTemplate }, from, stats) {
  element('model-name', HTMLElement).textContent = nameOf(from);
  element('tiny', HTMLElement).hidden = nameOf(from) !== nameOf(EMBEDDED_MODEL);
  element('bits', HTMLElement).textContent = stats.bitsPerWeight.toFixed(2);
  element('download', HTMLElement).textContent = bytes(stats.fileBytes);
  facts('model-facts', [
    ['weights', `${(nParameters / 1e6).toFixed(nParameters < 1e7 ? 1 : 0)} million`],
    ['layers', String(config.layers)],
    ['vocabulary', config.vocab.toLocaleString('en')],
    ['context', `${stats.contextSize.toLocaleString('en')} tokens`],
    ['made for', chatTemplate === undefined ? 'going on with texts' : 'conversations'],
  ]);
}

/** Models in this browser's cache, each with a button that removes it. */
async function showKept() {
  const kept = await cachedModels().catch(() => []);
  const rows = kept.map(({ url, size, complete }) => {
    const open_ = make('button', { type: 'button', className: 'link', title: url }, nameOf(url));
    open_.addEventListener('click', () => void open(url));
    const forget = make('button', { type: 'button', className: 'round', title: `Remove ${nameOf(url)}` }, '×');
    forget.setAttribute('aria-label', forget.title);
    forget.addEventListener('click', () => void forgetModels(url).then(showKept));
    return make('li', {}, open_, make('span', {}, complete ? bytes(size) : 'in part'), forget);
  });
  element('kept', HTMLUListElement).replaceChildren(...(rows.length > 0 ? rows : [make('li', {}, 'none')]));
}

/* ---- the budget ---- */

/**
 * Moves the open model to another amount of memory, between two words; what it is writing stays the same.
 * @param {number} nbytes
 */
async function resize(nbytes) {
  if (!model) return false;
  const mine = model;
  budget.moving(1);
  try {
    const stats = await mine.setMemoryBudget(nbytes);
    if (model !== mine) return false;
    budget.now(stats.heapLimitBytes);
    showStats(stats);
    return true;
  } catch (error) {
    if (model === mine) showError(error);
    return false;
  } finally {
    budget.moving(-1);
  }
}

/** Speed at several budgets, from the smallest to the largest; then the model is back in its own. */
async function measureCurve() {
  const mine = /** @type {Model} */ (model);
  const { signal } = (measuring = new AbortController());
  setReady(false);
  budget.moving(1);
  status.textContent = 'Measuring … (Esc ends it)';
  try {
    for await (const { heapBytes, tokensPerSecond } of memoryCurve(mine, { signal })) {
      curve.add(heapBytes, tokensPerSecond);
      showStats(await mine.stats());
    }
  } catch (error) {
    if (model === mine && !signal.aborted) showError(error); // else the visitor opened something else meanwhile
  } finally {
    measuring = null;
    budget.moving(-1);
    if (model === mine) {
      status.textContent = 'Ready.';
      setReady(true);
      await mine.stats().then(showStats, () => {});
    }
  }
}

/* ---- writing ---- */

/**
 * @param {(model: Model) => Promise<import('./writing.js').Task>} begin
 */
async function generate(begin) {
  if (!model) return;
  const [opened, writer] = [model, mode];
  const mine = (generating = new AbortController());
  go.textContent = 'Stop';
  go.toggleAttribute('data-running', true);
  more.hidden = measure.disabled = true;
  showError(null);
  status.textContent = 'Reading …';
  const started = performance.now();
  /** @type {number | undefined} */
  let firstAt;
  let timer;
  let ended = false;
  try {
    const { prompt, options } = await begin(opened);
    const generation = opened.generate(prompt, { ...settings(), ...options, signal: mine.signal });
    timer = setInterval(() => opened.stats().then(showStats, () => {}), 500);
    for await (const piece of generation) {
      firstAt ??= performance.now();
      writer.add(piece);
      const n = generation.ids.length;
      status.textContent = `${n} ${n === 1 ? 'token' : 'tokens'}`;
    }
    ended = generation.finishReason === 'stop';
    const first = firstAt === undefined ? '' : `, the first after ${Math.round(firstAt - started)} ms`;
    status.textContent = `${generation.ids.length} tokens${first}.${ended && writer === story ? ' The story ended.' : ''}`;
  } catch (error) {
    if (mine.signal.aborted) status.textContent = 'Stopped.';
    else {
      status.textContent = '';
      showError(error);
    }
  } finally {
    clearInterval(timer);
    writer.end(ended);
    if (generating === mine) {
      generating = null;
      go.textContent = mode.action;
      go.toggleAttribute('data-running', false);
      measure.disabled = go.disabled;
      more.hidden = ended || mode !== story || story.text === '' || model !== opened;
    }
    opened.stats().then((stats) => {
      if (model !== opened) return;
      showStats(stats);
      // Fewer tell little of the speed.
      if (stats.decodeTokens >= MEASURED_TOKENS) curve.add(stats.heapLimitBytes, stats.decodeTokS);
    }, () => {});
  }
}

function write() {
  const text = prompt.value;
  if (go.disabled || generating || text.trim() === '') return;
  const writer = mode;
  if (writer === chat) prompt.value = '';
  void generate((opened) => writer.begin(opened, text));
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

/** @param {string} name */
function choose(name) {
  generating?.abort();
  mode = name === 'chat' ? chat : story;
  const isChat = mode === chat;
  document.body.dataset.mode = isChat ? 'chat' : 'story';
  element('talk', HTMLDivElement).hidden = !isChat;
  element('story', HTMLElement).hidden = ideas.hidden = isChat;
  element('prompt-label', HTMLLabelElement).textContent = mode.label;
  element('key', HTMLElement).textContent = isChat ? '↵' : 'Ctrl ↵';
  prompt.value = isChat ? '' : prompt.defaultValue;
  prompt.placeholder = isChat ? 'Good morning! Who are you?' : '';
  if (!generating) go.textContent = mode.action;
  more.hidden = isChat || story.text === '' || go.disabled;
  if (!go.disabled) status.textContent = 'Ready.';
}

/* ---- figures and errors ---- */

/** @param {import('../web/index.js').ModelStats} stats */
function showStats(stats) {
  showMemory(memoryElements, stats);
  element('speed', HTMLElement).textContent = rate(stats.decodeTokS);
  if (model) showWeights(element('weights', HTMLTableElement), model.tensors);
  facts('facts', [
    ['reading', stats.prefillTokens > 0 ? `${rate(stats.prefillTokS)} tokens a second` : ''],
    ['unfolded at once', stats.decodedBytes > 0 ? bytes(stats.decodedBytes) : ''],
    ['instructions', stats.variant === 'relaxed' ? 'relaxed SIMD' : 'SIMD'],
    ['threads', String(stats.threads)],
  ]);
}

/** @param {unknown} error */
function showError(error) {
  errorBox.hidden = error === null;
  errorBox.replaceChildren();
  if (error === null) return;
  errorBox.append(error instanceof Error ? error.message : String(error));
  if (error instanceof TansyError) errorBox.append(make('code', {}, error.code));
  else console.error(error);
}

/* ---- events ---- */

element('compose', HTMLFormElement).addEventListener('submit', (event) => {
  event.preventDefault();
  if (generating) generating.abort();
  else write();
});
document.addEventListener('keydown', (event) => {
  if (event.key === 'Escape') {
    generating?.abort();
    measuring?.abort();
  } else if (event.key === 'Enter' && !event.isComposing && (event.ctrlKey || event.metaKey || (mode === chat && event.target === prompt && !event.shiftKey))) {
    event.preventDefault();
    write();
  }
});
element('modes', HTMLFieldSetElement).addEventListener('change', ({ target }) => choose(/** @type {HTMLInputElement} */ (target).value));
more.addEventListener('click', () => void generate((opened) => story.goOn(opened)));
measure.addEventListener('click', () => void measureCurve());
pause.addEventListener('click', pauseOrResume);
ideas.addEventListener('click', ({ target }) => {
  if (!(target instanceof HTMLButtonElement)) return;
  prompt.value = target.textContent ?? '';
  write();
});
element('open', HTMLFormElement).addEventListener('submit', (event) => {
  event.preventDefault();
  void open(element('url', HTMLInputElement).value.trim());
});
element('file', HTMLInputElement).addEventListener('change', (event) => {
  const [file] = /** @type {HTMLInputElement} */ (event.target).files ?? [];
  if (file) void open(file);
});

const drop = element('drop', HTMLDivElement);
document.addEventListener('dragover', (event) => {
  if (!event.dataTransfer?.types.includes('Files')) return;
  event.preventDefault();
  drop.hidden = false;
});
document.addEventListener('dragleave', (event) => {
  if (event.relatedTarget === null) drop.hidden = true;
});
document.addEventListener('drop', (event) => {
  drop.hidden = true;
  const file = event.dataTransfer?.files[0];
  if (!file) return;
  event.preventDefault();
  void open(file);
});
window.addEventListener('pagehide', () => model?.dispose());

followTheme();
// A table of all weights is long: on a phone it waits to be asked for.
element('map', HTMLDetailsElement).open = matchMedia('(min-width: 56rem)').matches;
if (query.get('mode') === 'chat') {
  /** @type {HTMLInputElement} */ (document.querySelector('[name=mode][value=chat]')).checked = true;
  choose('chat');
} else choose('story');
void open(source, query.get('budget') ?? undefined);
