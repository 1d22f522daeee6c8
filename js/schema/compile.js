/**
 * compile.js: a JSON schema → the grammar of texts that parse as JSON and validate against it.
 *
 * What cannot be said as such a grammar is refused with a sentence, never ignored: a schema that compiles is kept. The texts are
 * a subset of what validates: properties come in the schema's order, properties that the schema does not list are left out
 * (unless it lists none), numbers have at most 15 digits, and there is at most a space, or a line break with an indentation,
 * between tokens.
 */
import { TansyError } from '../errors.js';
import { nearest } from '../units.js';
import { Grammar, Matcher, NEVER } from './automaton.js';

/** Say nothing about validity. */
const ANNOTATIONS = new Set(['title', 'description', 'default', 'examples', 'deprecated', 'readOnly', 'writeOnly', '$schema', '$id', '$comment', '$defs', 'definitions']);
const TYPES = Object.freeze(['object', 'array', 'string', 'number', 'integer', 'boolean', 'null']);
/** Keywords that mean something for one type only. */
const KEYWORDS = Object.freeze(
  /** @type {Record<string, readonly string[]>} */ ({
    object: ['properties', 'required', 'additionalProperties'],
    array: ['items', 'minItems', 'maxItems'],
    string: ['minLength', 'maxLength'],
  }),
);
const KNOWN = new Set(['type', 'enum', 'const', 'anyOf', 'allOf', '$ref', ...Object.values(KEYWORDS).flat()]);

/** Larger schemas are refused: every state takes a few hundred bytes. */
const MAX_STATES = 200000;
const MAX_DIGITS = 15;
const MAX_INDENT = 16;

const DIGIT = /** @type {const} */ ([0x30, 0x39]);
const HEX = /** @type {const} */ ([DIGIT, [0x61, 0x66], [0x41, 0x46]]);

/**
 * @param {unknown} schema
 * @returns {Matcher}
 */
export function compileSchema(schema) {
  try {
    return new Compiler(schema).matcher();
  } catch (error) {
    if (!(error instanceof RangeError)) throw error;
    throw new TansyError('TANSY_SCHEMA', 'The schema is too deep. Nest it less; use $ref for recursion.', {}, error);
  }
}

/** The grammar of any JSON object: `response_format: { type: 'json_object' }`. */
export function anyObject() {
  return compileSchema({ type: 'object' });
}

/** @param {string} where @param {string} words @returns {TansyError} */
function wrong(where, words) {
  return new TansyError('TANSY_SCHEMA', `The schema at ${where}: ${words}`, { path: where });
}

/** @param {unknown} value @returns {value is Record<string, any>} */
const isObject = (value) => value !== null && typeof value === 'object' && !Array.isArray(value);

class Compiler {
  #g = new Grammar();
  #root;
  /** rules of the schemas that `$ref` has named
   * @type {Map<string, number>} */
  #refs = new Map();
  /** rules that every schema shares
   * @type {Map<string, number>} */
  #shared = new Map();

  /** @param {unknown} root */
  constructor(root) {
    this.#root = root;
  }

  matcher() {
    const root = this.#g.rule();
    const { start, end } = this.#g.rules[root];
    const inner = this.#g.state();
    /* some tokenizers begin every text with a space */
    this.#g.empty(start, inner);
    this.#g.bytes(start, [0x20], inner);
    this.#schema(inner, this.#root, end, '#');
    this.#g.finish();
    if (this.#g.isLeftRecursive()) throw wrong('#', 'a reference leads back to itself with nothing in between. Put an object or an array between them.');
    if (this.#g.cost[start] === NEVER) throw wrong('#', 'no finite value satisfies it. Check recursive references and the types of enum values.');
    return new Matcher(this.#g, root);
  }

  /** @param {string} where */
  #checkSize(where) {
    if (this.#g.states.length > MAX_STATES) throw wrong(where, 'it is too large to compile. Lower maxItems, maxLength or the number of alternatives.');
  }

  /**
   * @param {number} from
   * @param {unknown} schema
   * @param {number} to
   * @param {string} where
   * @returns {void}
   */
  #schema(from, schema, to, where) {
    const g = this.#g;
    this.#checkSize(where);
    if (schema === true) return g.call(from, this.#any(), to);
    if (schema === false) return;
    if (!isObject(schema)) throw wrong(where, 'a schema is an object, true or false.');
    for (const key of Object.keys(schema))
      if (!KNOWN.has(key) && !ANNOTATIONS.has(key)) {
        const guess = nearest(key, KNOWN);
        throw wrong(where, `the keyword "${key}" is not supported${guess === undefined ? '' : ` (did you mean "${guess}"?)`}. Remove it, or check that rule after the text has come.`);
      }
    const keys = Object.keys(schema).filter((key) => !ANNOTATIONS.has(key));
    const alone = (/** @type {string} */ key, /** @type {string[]} */ ...others) => {
      const extra = keys.find((other) => other !== key && !others.includes(other));
      if (extra !== undefined) throw wrong(where, `"${key}" beside "${extra}" is not supported. Write one of them into the other.`);
    };
    if ('$ref' in schema) {
      alone('$ref');
      return g.call(from, this.#reference(schema.$ref, where), to);
    }
    for (const key of ['anyOf', 'allOf'])
      if (key in schema && (!Array.isArray(schema[key]) || schema[key].length === 0)) throw wrong(`${where}/${key}`, 'it must be a non-empty list of schemas.');
    if ('allOf' in schema) {
      alone('allOf');
      if (schema.allOf.length !== 1) throw wrong(`${where}/allOf`, 'only one schema is supported there. Merge them into one.');
      return this.#schema(from, schema.allOf[0], to, `${where}/allOf/0`);
    }
    if ('anyOf' in schema) {
      alone('anyOf');
      schema.anyOf.forEach((/** @type {unknown} */ one, /** @type {number} */ i) => this.#schema(from, one, to, `${where}/anyOf/${i}`));
      return;
    }
    const types = this.#types(schema, where);
    if ('enum' in schema || 'const' in schema) {
      const key = 'enum' in schema ? 'enum' : 'const';
      alone(key, 'type');
      if (key === 'enum' && (!Array.isArray(schema.enum) || schema.enum.length === 0)) throw wrong(`${where}/enum`, 'it must be a non-empty list of values.');
      const values = key === 'enum' ? schema.enum : [schema.const];
      for (const value of values) {
        if (types === undefined || types.some((type) => hasType(value, type))) g.text(from, literal(value, `${where}/${key}`), to);
        this.#checkSize(where);
      }
      return;
    }
    /* without "type", keywords say what is meant: `properties` an object */
    const meant = types ?? Object.keys(KEYWORDS).filter((type) => KEYWORDS[type].some((key) => key in schema));
    for (const type of meant.length > 0 ? meant : ['any']) this.#type(from, type, schema, to, where);
  }

  /**
   * @param {Record<string, any>} schema
   * @param {string} where
   * @returns {readonly string[] | undefined}
   */
  #types({ type }, where) {
    if (type === undefined) return undefined;
    const types = Array.isArray(type) ? type : [type];
    for (const one of types)
      if (!TYPES.includes(one)) throw wrong(`${where}/type`, `there is no type ${JSON.stringify(one)}; there are ${TYPES.join(', ')}.`);
    if (types.length === 0) throw wrong(`${where}/type`, 'the list of types is empty.');
    /* every integer is a number */
    return [...new Set(types)].filter((one) => one !== 'integer' || !types.includes('number'));
  }

  /**
   * @param {number} from
   * @param {string} type
   * @param {Record<string, any>} schema
   * @param {number} to
   * @param {string} where
   */
  #type(from, type, schema, to, where) {
    const g = this.#g;
    switch (type) {
      case 'any':
        return g.call(from, this.#any(), to);
      case 'null':
        return g.text(from, 'null', to);
      case 'boolean':
        g.text(from, 'true', to);
        return g.text(from, 'false', to);
      case 'integer':
        return g.call(from, this.#rule('integer', (a, b) => this.#integer(a, b)), to);
      case 'number':
        return g.call(from, this.#rule('number', (a, b) => this.#number(a, b)), to);
      case 'string':
        return this.#string(from, schema, to, where);
      case 'array':
        return this.#array(from, schema, to, where);
      default:
        return this.#object(from, schema, to, where);
    }
  }

  /**
   * A rule that is built once.
   * @param {string} name
   * @param {(from: number, to: number) => void} build
   */
  #rule(name, build) {
    let rule = this.#shared.get(name);
    if (rule === undefined) {
      this.#shared.set(name, (rule = this.#g.rule()));
      const { start, end } = this.#g.rules[rule];
      build(start, end);
    }
    return rule;
  }

  /** Any JSON value. */
  #any() {
    return this.#rule('any', (a, b) => {
      for (const type of TYPES) if (type !== 'integer') this.#type(a, type, {}, b, '#');
    });
  }

  /** Nothing, one space, or a line break and an indentation. */
  #space() {
    return this.#rule('space', (a, b) => {
      const g = this.#g;
      g.empty(a, b);
      g.bytes(a, [0x20], b);
      let at = g.state();
      g.bytes(a, [0x0a], at);
      for (let i = 0; i < MAX_INDENT; i++) {
        g.empty(at, b);
        const next = g.state();
        g.bytes(at, [0x20], next);
        at = next;
      }
      g.empty(at, b);
    });
  }

  /**
   * 1 to `most` digits.
   * @param {number} from
   * @param {number} most
   * @param {number} to
   */
  #digits(from, most, to) {
    let at = from;
    for (let i = 0; i < most; i++) {
      const next = this.#g.state();
      this.#g.bytes(at, [DIGIT], next);
      this.#g.empty(next, to);
      at = next;
    }
  }

  /**
   * @param {number} from
   * @param {number} to
   */
  #integer(from, to) {
    const g = this.#g;
    const unsigned = g.state();
    g.empty(from, unsigned);
    g.bytes(from, [0x2d], unsigned);
    g.bytes(unsigned, [0x30], to);
    const more = g.state();
    g.bytes(unsigned, [[0x31, 0x39]], more);
    g.empty(more, to);
    this.#digits(more, MAX_DIGITS - 1, to);
  }

  /**
   * @param {number} from
   * @param {number} to
   */
  #number(from, to) {
    const g = this.#g;
    const [whole, point, fraction, e, sign] = [g.state(), g.state(), g.state(), g.state(), g.state()];
    this.#integer(from, whole);
    g.empty(whole, to);
    g.bytes(whole, [0x2e], point);
    this.#digits(point, MAX_DIGITS, fraction);
    g.empty(fraction, to);
    g.bytes(whole, [0x65, 0x45], e);
    g.bytes(fraction, [0x65, 0x45], e);
    g.empty(e, sign);
    g.bytes(e, [0x2b, 0x2d], sign);
    this.#digits(sign, 2, to);
  }

  /** One character of a string: UTF-8 as it is, or an escape; halves of surrogate pairs are left out, which count as two or one. */
  #character() {
    return this.#rule('character', (a, b) => {
      const g = this.#g;
      g.bytes(a, [[0x20, 0x21], [0x23, 0x5b], [0x5d, 0x7f]], b);
      const [c1, c2, c3] = [g.state(), g.state(), g.state()];
      g.bytes(c1, [[0x80, 0xbf]], b);
      g.bytes(c2, [[0x80, 0xbf]], c1);
      g.bytes(c3, [[0x80, 0xbf]], c2);
      g.bytes(a, [[0xc2, 0xdf]], c1);
      g.bytes(a, [[0xe1, 0xec], [0xee, 0xef]], c2);
      g.bytes(a, [[0xf1, 0xf3]], c3);
      /* neither overlong, nor a surrogate, nor beyond U+10FFFF */
      for (const [lead, lo, hi, rest] of /** @type {const} */ ([[0xe0, 0xa0, 0xbf, 1], [0xed, 0x80, 0x9f, 1], [0xf0, 0x90, 0xbf, 2], [0xf4, 0x80, 0x8f, 2]])) {
        const second = g.state();
        g.bytes(a, [lead], second);
        g.bytes(second, [[lo, hi]], rest === 1 ? c1 : c2);
      }
      const [escape, h1, d, h2, h3, h4] = [g.state(), g.state(), g.state(), g.state(), g.state(), g.state()];
      g.bytes(a, [0x5c], escape);
      g.bytes(escape, [...'"\\/bfnrt'].map((c) => c.charCodeAt(0)), b);
      g.bytes(escape, [0x75], h1);
      g.bytes(h1, [DIGIT, [0x61, 0x63], [0x65, 0x66], [0x41, 0x43], [0x45, 0x46]], h2);
      g.bytes(h1, [0x64, 0x44], d);
      g.bytes(d, [[0x30, 0x37]], h3);
      g.bytes(h2, HEX, h3);
      g.bytes(h3, HEX, h4);
      g.bytes(h4, HEX, b);
    });
  }

  /**
   * @param {number} from
   * @param {Record<string, any>} schema
   * @param {number} to
   * @param {string} where
   */
  #string(from, schema, to, where) {
    const [min, max] = bounds(schema, 'minLength', 'maxLength', where);
    const g = this.#g;
    if (min === 0 && max === Infinity) return g.call(from, this.#anyString(), to);
    const open = g.state();
    const close = g.state();
    g.bytes(from, [0x22], open);
    g.bytes(close, [0x22], to);
    this.#repeat(open, close, min, max, (a, b) => g.call(a, this.#character(), b), where);
  }

  #anyString() {
    return this.#rule('string', (a, b) => {
      const inside = this.#g.state();
      this.#g.bytes(a, [0x22], inside);
      this.#g.call(inside, this.#character(), inside);
      this.#g.bytes(inside, [0x22], b);
    });
  }

  /**
   * `min` to `max` times what `one` builds.
   * @param {number} from
   * @param {number} to
   * @param {number} min
   * @param {number} max
   * @param {(from: number, to: number, first: boolean) => void} one
   * @param {string} where
   */
  #repeat(from, to, min, max, one, where) {
    const g = this.#g;
    const n = max === Infinity ? Math.max(min, 1) : max;
    if (n > MAX_STATES / 4) throw wrong(where, `a count of ${n} is too large to compile. Lower it.`);
    if (min === 0) g.empty(from, to);
    let at = from;
    for (let i = 1; i <= n; i++) {
      const next = g.state();
      one(at, next, i === 1);
      if (i >= min) g.empty(next, to);
      at = next;
    }
    if (max === Infinity) {
      const again = g.state();
      one(at, again, false);
      g.empty(again, at);
    }
  }

  /**
   * @param {number} from
   * @param {Record<string, any>} schema
   * @param {number} to
   * @param {string} where
   */
  #array(from, schema, to, where) {
    const [min, max] = bounds(schema, 'minItems', 'maxItems', where);
    const g = this.#g;
    if (Array.isArray(schema.items)) throw wrong(`${where}/items`, 'a list of schemas is not supported. Give one schema for all items.');
    const item = g.rule();
    this.#schema(g.rules[item].start, schema.items ?? true, g.rules[item].end, `${where}/items`);
    const open = g.state();
    const close = g.state();
    g.bytes(from, [0x5b], open);
    g.bytes(close, [0x5d], to);
    const [first, last] = [g.state(), g.state()];
    g.call(open, this.#space(), first);
    g.call(last, this.#space(), close);
    const one = (/** @type {number} */ a, /** @type {number} */ b, /** @type {boolean} */ isFirst) => g.call(isFirst ? a : this.#comma(a), item, b);
    if (min === 0) g.empty(first, close);
    if (max > 0) this.#repeat(first, last, Math.max(min, 1), max, one, where);
  }

  /** A comma and the space after it. @param {number} from @returns {number} */
  #comma(from) {
    const [spaced, after, next] = [this.#g.state(), this.#g.state(), this.#g.state()];
    this.#g.empty(from, spaced);
    this.#g.bytes(spaced, [0x2c], after);
    this.#g.call(after, this.#space(), next);
    return next;
  }

  /**
   * `: ` after a name.
   * @param {number} from
   * @returns {number}
   */
  #colon(from) {
    const [after, next] = [this.#g.state(), this.#g.state()];
    this.#g.bytes(from, [0x3a], after);
    this.#g.empty(after, next);
    this.#g.bytes(after, [0x20], next);
    return next;
  }

  /**
   * @param {number} from
   * @param {Record<string, any>} schema
   * @param {number} to
   * @param {string} where
   */
  #object(from, schema, to, where) {
    const g = this.#g;
    const { properties = {}, required = [], additionalProperties = true } = schema;
    if (!isObject(properties)) throw wrong(`${where}/properties`, 'it must be an object of schemas.');
    if (!Array.isArray(required) || required.some((name) => typeof name !== 'string')) throw wrong(`${where}/required`, 'it must be a list of names.');
    if (typeof additionalProperties !== 'boolean' && !isObject(additionalProperties))
      throw wrong(`${where}/additionalProperties`, 'it must be true, false or a schema.');
    const needed = new Set(required);
    const names = [...new Set([...Object.keys(properties), ...needed])];
    const [open, first, last, close] = [g.state(), g.state(), g.state(), g.state()];
    g.bytes(from, [0x7b], open);
    g.call(open, this.#space(), first);
    g.call(last, this.#space(), close);
    g.bytes(close, [0x7d], to);
    if (names.length === 0) {
      g.empty(first, close);
      if (additionalProperties === false) return;
      const pair = g.rule();
      const { start, end } = g.rules[pair];
      const named = g.state();
      g.call(start, this.#anyString(), named);
      this.#schema(this.#colon(named), additionalProperties, end, `${where}/additionalProperties`);
      this.#repeat(first, last, 1, Infinity, (a, b, isFirst) => g.call(isFirst ? a : this.#comma(a), pair, b), where);
      return;
    }
    /* two tracks along the properties: before the first that is written, and after it */
    let before = first;
    let after = g.state();
    for (const name of names) {
      const isRequired = needed.has(name);
      const pair = g.rule();
      const { start, end } = g.rules[pair];
      const named = g.state();
      g.text(start, JSON.stringify(name), named);
      const own = Object.hasOwn(properties, name);
      this.#schema(this.#colon(named), own ? properties[name] : additionalProperties, end, own ? `${where}/properties/${name}` : `${where}/additionalProperties`);
      const [nextBefore, nextAfter] = [g.state(), g.state()];
      g.call(before, pair, nextAfter);
      g.call(this.#comma(after), pair, nextAfter);
      if (!isRequired) {
        g.empty(before, nextBefore);
        g.empty(after, nextAfter);
      }
      [before, after] = [nextBefore, nextAfter];
    }
    g.empty(before, close);
    g.empty(after, last);
  }

  /**
   * @param {unknown} ref
   * @param {string} where
   * @returns {number} rule
   */
  #reference(ref, where) {
    if (typeof ref !== 'string' || !(ref === '#' || ref.startsWith('#/')))
      throw wrong(`${where}/$ref`, `only references into the same schema are supported, such as "#/$defs/name"; got ${JSON.stringify(ref)}.`);
    let rule = this.#refs.get(ref);
    if (rule !== undefined) return rule;
    let target = this.#root;
    for (const part of ref.split('/').slice(1)) {
      const name = decoded(part).replace(/~1/g, '/').replace(/~0/g, '~');
      if (target === null || typeof target !== 'object' || !Object.hasOwn(target, name)) throw wrong(`${where}/$ref`, `there is nothing at ${ref}.`);
      target = /** @type {Record<string, unknown>} */ (target)[name];
    }
    this.#refs.set(ref, (rule = this.#g.rule()));
    const { start, end } = this.#g.rules[rule];
    const inner = this.#g.state();
    this.#g.empty(start, inner);
    this.#schema(inner, target, end, ref);
    return rule;
  }
}

/**
 * @param {Record<string, any>} schema
 * @param {string} minName
 * @param {string} maxName
 * @param {string} where
 * @returns {[min: number, max: number]}
 */
function bounds(schema, minName, maxName, where) {
  const { [minName]: min = 0, [maxName]: max = Infinity } = schema;
  for (const [name, value] of /** @type {const} */ ([[minName, min], [maxName, max]]))
    if (typeof value !== 'number' || value < 0 || (value !== Infinity && !Number.isInteger(value)))
      throw wrong(`${where}/${name}`, `it must be an integer from 0; got ${JSON.stringify(value)}.`);
  if (min > max) throw wrong(where, `${minName} is ${min} and ${maxName} is ${max}: no value has both.`);
  return [min, max];
}

/** @param {string} part of a reference; a % that begins no escape stands for itself */
function decoded(part) {
  try {
    return decodeURIComponent(part);
  } catch {
    return part;
  }
}

/**
 * @param {unknown} value
 * @param {string} type
 */
function hasType(value, type) {
  switch (type) {
    case 'null':
      return value === null;
    case 'array':
      return Array.isArray(value);
    case 'object':
      return isObject(value);
    case 'integer':
      return Number.isInteger(value);
    default:
      return typeof value === type;
  }
}

/**
 * @param {unknown} value
 * @param {string} where
 */
function literal(value, where) {
  const text = JSON.stringify(value);
  if (text === undefined) throw wrong(where, 'a value in it is not JSON.');
  return text;
}
