/**
 * residence.js: the engine of a live model and its moves between memories. There is one memory at a time: the old one is given up before
 * the new one is made, and meanwhile the conversation waits outside.
 */
import { TansyError, throwIfAborted } from './errors.js';
import { Lock } from './lock.js';
import { restoreState, saveState } from './session.js';

/** @import { Engine, Plan } from './engine.js' */
/** @import { CheckedLoadOptions } from './options.js' */

export class Residence {
  /** @type {Engine | undefined} */
  #engine;
  /** the conversation while the model is between two memories
   * @type {import('./session.js').SessionState | undefined} */
  #travelling = undefined;
  /** held during an evaluation and during a move */
  #lock = new Lock();
  #contextAtLoad;
  #loaded;
  /** aborts with dispose() */
  #end;

  /**
   * @param {Engine} engine
   * @param {import('./home.js').Home} home
   * @param {Promise<void>} loaded when every weight is there
   * @param {AbortController} end
   */
  constructor(engine, home, loaded, end) {
    this.#engine = engine;
    this.#loaded = loaded;
    this.#end = end;
    this.#contextAtLoad = engine.context;
    this.home = home;
    /* of the present memory or the last one */
    /** tokens */
    this.contextSize = engine.context;
    /** of each tensor */
    this.forms = engine.plan.forms;
  }

  /** @returns {Engine} */
  get engine() {
    if (this.#engine !== undefined) return this.#engine;
    if (this.#travelling !== undefined)
      throw new TansyError('TANSY_NOT_READY', 'The model is between two memories: wait for setMemoryBudget(), or call it again when it has failed.');
    throw new TansyError('TANSY_DISPOSED');
  }

  get isDisposed() {
    return this.#engine === undefined && this.#travelling === undefined;
  }

  /** In a memory or between two, but not disposed of. */
  present() {
    if (this.isDisposed) throw new TansyError('TANSY_DISPOSED');
  }

  /** Keeps the model where it is. @returns {Promise<() => void>} lets it go */
  stay() {
    return this.#lock.take();
  }

  /** Waits until no move is under way; what follows before the next await is not disturbed by one. */
  async settled() {
    (await this.#lock.take())();
  }

  dispose() {
    this.#end.abort(new TansyError('TANSY_DISPOSED'));
    void this.#engine?.dispose();
    this.#engine = undefined;
    this.#travelling = undefined;
  }

  /**
   * Moves to the memory that these options plan, unless the model is there already.
   * @param {Partial<CheckedLoadOptions>} changes
   * @param {import('./home.js').Watch} watch
   */
  async move(changes, { signal: callerSignal, onProgress }) {
    this.present();
    const signal = callerSignal ? AbortSignal.any([callerSignal, this.#end.signal]) : this.#end.signal;
    throwIfAborted(signal);
    await this.#loaded;
    const { home } = this;
    const wanted = { ...home.options, ...changes };
    /* whatever can be known to fail fails before the old memory is given up */
    const { plan: next } = await this.#planFor(wanted);
    if (this.#hasPlan(next)) {
      this.engine.plan = next; /* its prediction may be another one */
      home.options = wanted;
      return;
    }
    const source = await home.open(signal);
    let release = () => {};
    try {
      release = await this.#lock.take();
      throwIfAborted(signal);
      /* the conversation may be longer by now, or another call may have moved the model */
      const made = await this.#planFor(wanted);
      if (this.#hasPlan(made.plan)) return;
      await this.#moveOut();
      const engine = await home.makeEngine(made);
      try {
        await home.fill(engine, source, { signal, onProgress });
        throwIfAborted(signal);
        restoreState(engine, /** @type {import('./session.js').SessionState} */ (this.#travelling));
      } catch (error) {
        await engine.dispose();
        throw error;
      }
      this.#engine = engine;
      this.#travelling = undefined;
      this.contextSize = engine.context;
      this.forms = engine.plan.forms;
      home.options = wanted;
    } finally {
      release();
      await source.close();
    }
  }

  /* a function of its own, so that no variable of move() keeps the old memory alive */
  async #moveOut() {
    const engine = this.#engine;
    if (engine === undefined) return;
    this.#travelling = saveState(engine);
    this.#engine = undefined;
    await engine.dispose();
  }

  /** @param {Plan} plan */
  #hasPlan(plan) {
    const now = this.#engine?.plan;
    return now !== undefined && now.totalNbytes === plan.totalNbytes && now.context === plan.context && now.forms.every((form, i) => form === plan.forms[i]);
  }

  /**
   * The context stays what it was at loading if it fits, and never gets shorter than the conversation.
   * @param {CheckedLoadOptions} wanted
   */
  async #planFor(wanted) {
    const nTokens = this.#travelling?.nTokens ?? this.engine.position;
    const withContext = (/** @type {number} */ contextSize) => this.home.plan({ ...wanted, contextSize });
    try {
      return await withContext(this.#contextAtLoad);
    } catch (error) {
      if (wanted.contextSize > 0 || !(error instanceof TansyError) || error.code !== 'TANSY_OVER_BUDGET') throw error;
    }
    const shorter = await withContext(0);
    return shorter.plan.context > nTokens ? shorter : withContext(Math.min(nTokens + 1, this.#contextAtLoad));
  }
}
