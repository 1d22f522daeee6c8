/**
 * automaton.js: a byte-level matcher that is fed one byte at a time and knows, at every point, what may follow.
 *
 * A Grammar is a recursive transition network: states with byte edges, empty edges and calls of other rules. A Matcher runs it as
 * a lazily built deterministic automaton: one of its states is the set of (network state, stack) pairs that are reachable; stacks
 * are shared lists with one object for each content, so that a set has a short key and each set is made once.
 *
 * Every state also knows the fewest bytes with which the value can be finished. That number is what lets a generator with
 * a limited number of tokens close its brackets in time.
 */
import { TansyError } from '../errors.js';

/** A branch that can never be finished. */
export const NEVER = Infinity;

/** @typedef {{lo: number, hi: number, to: number}} ByteEdge */
/** @typedef {{rule: number, to: number}} CallEdge go through a rule, then go on at `to` */
/** @typedef {{bytes: ByteEdge[], empty: number[], calls: CallEdge[]}} NetState */

export class Grammar {
  /** @type {NetState[]} */
  states = [];
  /** @type {{start: number, end: number}[]} */
  rules = [];
  /** fewest bytes from a state to the end of its rule
   * @type {number[]} */
  cost = [];
  /** the first step of the cheapest way; undefined at the end of a rule
   * @type {(ByteEdge | CallEdge | {to: number} | undefined)[]} */
  step = [];

  /** @returns {number} */
  state() {
    this.states.push({ bytes: [], empty: [], calls: [] });
    return this.states.length - 1;
  }

  /** @returns {number} a rule without content: connect rules[n].start with rules[n].end */
  rule() {
    this.rules.push({ start: this.state(), end: this.state() });
    return this.rules.length - 1;
  }

  /**
   * @param {number} from
   * @param {number} to
   */
  empty(from, to) {
    this.states[from].empty.push(to);
  }

  /**
   * @param {number} from
   * @param {number} rule
   * @param {number} to
   */
  call(from, rule, to) {
    this.states[from].calls.push({ rule, to });
  }

  /**
   * @param {number} from
   * @param {readonly (number | readonly [number, number])[]} set bytes and ranges of them
   * @param {number} to
   */
  bytes(from, set, to) {
    for (const item of set) {
      const [lo, hi] = typeof item === 'number' ? [item, item] : item;
      this.states[from].bytes.push({ lo, hi, to });
    }
  }

  /**
   * A fixed text.
   * @param {number} from
   * @param {string} text
   * @param {number} to
   */
  text(from, text, to) {
    const bytes = new TextEncoder().encode(text);
    if (bytes.length === 0) return this.empty(from, to);
    let at = from;
    for (const [i, byte] of bytes.entries()) {
      const next = i + 1 === bytes.length ? to : this.state();
      this.bytes(at, [byte], next);
      at = next;
    }
  }

  /** Whether a rule can call itself before it has taken a byte: the set of reachable pairs would have no end. */
  isLeftRecursive() {
    /* depth first, 1 on the way, 2 done; on a stack of our own, because chains are long */
    const mark = new Uint8Array(this.states.length);
    const next = new Uint32Array(this.states.length);
    for (let root = 0; root < mark.length; root++) {
      if (mark[root] !== 0) continue;
      const way = [root];
      mark[root] = 1;
      while (way.length > 0) {
        const at = way[way.length - 1];
        const { empty, calls } = this.states[at];
        const i = next[at]++;
        const call = calls[(i - empty.length) >> 1];
        /* a call leads to its rule, and past it if the rule may take nothing */
        const to = i < empty.length ? empty[i] : (i - empty.length) % 2 === 0 ? call && this.rules[call.rule].start : this.cost[this.rules[call.rule].start] === 0 ? call.to : -1;
        if (to === undefined) {
          mark[at] = 2;
          way.pop();
        } else if (to >= 0 && mark[to] === 1) return true;
        else if (to >= 0 && mark[to] === 0) {
          mark[to] = 1;
          way.push(to);
        }
      }
    }
    return false;
  }

  /**
   * Finds the cheapest ways; to be called when the grammar is complete. Dijkstra's algorithm, backwards, as Knuth extended it to grammars:
   * the state that is cheapest of those not settled is settled, and makes offers to the states before it.
   */
  finish() {
    const { states, rules } = this;
    this.cost = new Array(states.length).fill(NEVER);
    this.step = new Array(states.length).fill(undefined);
    /** edges by the state they lead to; calls also by their rule's start, as they wait for both
     * @type {{from: number, edge: ByteEdge | CallEdge | {to: number}}[][]} */
    const into = states.map(() => []);
    for (const [from, { bytes, empty, calls }] of states.entries()) {
      for (const to of empty) into[to].push({ from, edge: { to } });
      for (const edge of bytes) into[edge.to].push({ from, edge });
      for (const edge of calls) {
        into[edge.to].push({ from, edge });
        into[rules[edge.rule].start].push({ from, edge });
      }
    }
    const queue = new CostQueue();
    const settled = new Uint8Array(states.length);
    for (const { end } of rules) queue.push((this.cost[end] = 0), end);
    for (let at; (at = queue.pop()) !== undefined; ) {
      if (settled[at]) continue;
      settled[at] = 1;
      for (const { from, edge } of into[at]) {
        const first = 'rule' in edge ? rules[edge.rule].start : edge.to;
        if (!settled[first] || !settled[edge.to]) continue;
        const cost = this.cost[edge.to] + ('rule' in edge ? this.cost[first] : 'lo' in edge ? 1 : 0);
        if (cost >= this.cost[from]) continue;
        this.cost[from] = cost;
        this.step[from] = edge;
        queue.push(cost, from);
      }
    }
  }
}

/** A heap of states, cheapest first. */
class CostQueue {
  /** @type {{cost: number, state: number}[]} */
  #heap = [];

  /** @param {number} cost @param {number} state */
  push(cost, state) {
    const heap = this.#heap;
    let at = heap.length;
    for (let up = (at - 1) >> 1; at > 0 && heap[up].cost > cost; up = (at - 1) >> 1) {
      heap[at] = heap[up];
      at = up;
    }
    heap[at] = { cost, state };
  }

  /** @returns {number | undefined} */
  pop() {
    const heap = this.#heap;
    const first = heap[0];
    const last = heap.pop();
    if (first === undefined || last === undefined || heap.length === 0) return first?.state;
    let at = 0;
    for (let down = 1; down < heap.length; down = 2 * at + 1) {
      if (down + 1 < heap.length && heap[down + 1].cost < heap[down].cost) down++;
      if (heap[down].cost >= last.cost) break;
      heap[at] = heap[down];
      at = down;
    }
    heap[at] = last;
    return first.state;
  }
}

/** @typedef {{ids: Int32Array, nClosing: number}} Mask tokens that may come next; nClosing: the most tokens that any of them leaves to close */
/** @typedef {{id: number, to: number, up: Stack | undefined, cost: number, below: Map<number, Stack>}} Stack where to go on after the rule that runs */
/** @typedef {{state: number, stack: Stack | undefined}} Config */

/**
 * A state of the deterministic automaton.
 * @typedef {object} MatchState
 * @property {Config[]} configs those with byte edges
 * @property {boolean} complete the bytes so far are a whole value
 * @property {number} cost fewest bytes that finish it
 * @property {Config | undefined} cheapest
 * @property {boolean} open more bytes may follow
 * @property {(MatchState | null | undefined)[]} next by byte; null: not allowed, undefined: not known yet
 * @property {number} nClosing tokens of the shortest end, set by the token trie; -1: not known
 */

/** So many states are kept at most, a few hundred bytes each; then they are made anew. */
const MAX_STATES = 20000;
/** Ways to read the same text at once; a schema whose alternatives begin alike, in a recursion, doubles them with each level. */
const MAX_CONFIGS = 10000;

export class Matcher {
  /** @type {Map<string, MatchState>} */
  #states = new Map();
  /** @type {Map<number, Stack>} */
  #bottom = new Map();
  #nStacks = 0;
  /** @type {Set<number>} ends of rules */
  #ends;

  /**
   * @param {Grammar} grammar finished
   * @param {number} rule the root
   */
  constructor(grammar, rule) {
    this.grammar = grammar;
    this.#ends = new Set(grammar.rules.map(({ end }) => end));
    this.start = this.#close([{ state: grammar.rules[rule].start, stack: undefined }], grammar.rules[rule].end);
    this.rootEnd = grammar.rules[rule].end;
  }

  /**
   * @param {MatchState} from
   * @param {number} byte
   * @returns {MatchState | null}
   */
  step(from, byte) {
    const known = from.next[byte];
    if (known !== undefined) return known;
    /** @type {Config[]} */
    const reached = [];
    for (const { state, stack } of from.configs)
      for (const { lo, hi, to } of this.grammar.states[state].bytes) if (byte >= lo && byte <= hi) reached.push({ state: to, stack });
    const to = reached.length === 0 ? null : this.#close(reached, this.rootEnd);
    return (from.next[byte] = to !== null && to.cost === NEVER ? null : to);
  }

  /**
   * The cheapest bytes that finish the value.
   * @param {MatchState} from
   * @returns {number[]}
   */
  ending(from) {
    /** @type {number[]} */
    const out = [];
    const { rules, step } = this.grammar;
    if (from.complete || from.cheapest === undefined) return out;
    let { state, stack } = from.cheapest;
    /** @type {number[]} calls on the way that are not in `stack` */
    const inner = [];
    for (;;) {
      const edge = step[state];
      if (edge === undefined) {
        const back = inner.pop();
        if (back !== undefined) state = back;
        else if (stack !== undefined) [state, stack] = [stack.to, stack.up];
        else return out;
      } else if ('rule' in edge) {
        inner.push(edge.to);
        state = rules[edge.rule].start;
      } else {
        if ('lo' in edge) out.push(preferred(edge));
        state = edge.to;
      }
    }
  }

  /** Lets states go when they have become many. Those that are held stay usable. */
  trim() {
    if (this.#states.size < MAX_STATES) return;
    this.#states.clear();
    this.#bottom.clear();
    this.start.next = new Array(256);
  }

  /**
   * Follows empty edges, calls and returns.
   * @param {Config[]} from
   * @param {number} rootEnd
   * @returns {MatchState}
   */
  #close(from, rootEnd) {
    const { states, rules, cost } = this.grammar;
    /** @type {Set<string>} */
    const seen = new Set();
    /** @type {Config[]} */
    const configs = [];
    /** @type {string[]} */
    const keys = [];
    let complete = false;
    const work = [...from];
    for (let config; (config = work.pop()); ) {
      const { state, stack } = config;
      if (cost[state] === NEVER) continue;
      const key = `${state}.${stack?.id ?? ''}`;
      if (seen.has(key)) continue;
      seen.add(key);
      if (configs.length > MAX_CONFIGS)
        throw new TansyError('TANSY_SCHEMA', 'The schema is too ambiguous: the text so far can be read in too many ways. Let the alternatives of anyOf begin differently.');
      const { bytes, empty, calls } = states[state];
      if (bytes.length > 0) {
        configs.push(config);
        keys.push(key);
      }
      for (const to of empty) work.push({ state: to, stack });
      for (const { rule, to } of calls) if (cost[to] !== NEVER) work.push({ state: rules[rule].start, stack: this.#push(to, stack) });
      if (this.#ends.has(state)) {
        if (stack !== undefined) work.push({ state: stack.to, stack: stack.up });
        else if (state === rootEnd) complete = true;
      }
    }
    const key = keys.sort().join(' ') + (complete ? ' .' : '');
    const known = this.#states.get(key);
    if (known !== undefined) return known;
    let best = NEVER;
    /** @type {Config | undefined} */
    let cheapest;
    for (const config of configs) {
      const total = cost[config.state] + (config.stack?.cost ?? 0);
      if (total < best) [best, cheapest] = [total, config];
    }
    if (complete) best = 0;
    /** @type {MatchState} */
    const made = { configs, complete, cost: best, cheapest, open: configs.length > 0, next: new Array(256), nClosing: -1 };
    this.#states.set(key, made);
    return made;
  }

  /**
   * @param {number} to
   * @param {Stack | undefined} up
   * @returns {Stack}
   */
  #push(to, up) {
    const below = up?.below ?? this.#bottom;
    let stack = below.get(to);
    if (stack === undefined) below.set(to, (stack = { id: ++this.#nStacks, to, up, cost: this.grammar.cost[to] + (up?.cost ?? 0), below: new Map() }));
    return stack;
  }
}

/** A byte of a range that people would choose. @param {ByteEdge} edge */
function preferred({ lo, hi }) {
  return lo <= 0x61 && hi >= 0x61 ? 0x61 : lo;
}
