// schemas.js: random JSON schemas of everything that response_format takes.

/** Uniform numbers in [0, 1). @param {number} seed */
export function randomNumbers(seed) {
  let x = seed >>> 0;
  return () => {
    x = (x + 0x6d2b79f5) >>> 0;
    let t = Math.imul(x ^ (x >>> 15), x | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** @param {number} seed @returns {Record<string, any>} with an object at the root on most seeds */
export function randomSchema(seed) {
  const next = randomNumbers(seed);
  const below = (/** @type {number} */ n) => Math.floor(next() * n);
  const maybe = (/** @type {number} */ p) => next() < p;
  const NAMES = ['name', 'id', 'größe', 'a b', 'quote"d', 'x/y', 'items', 'kind', 'value', '__proto', 'constructor_'];
  const VALUES = ['red', 'blue', '', 'tab\there', '日本', 0, -1, 1.5, 1e21, true, false, null, [], [1, 'two'], { k: null }];
  const some = (/** @type {any[]} */ list, /** @type {number} */ n) => {
    const rest = [...list];
    return Array.from({ length: Math.min(n, rest.length) }, () => rest.splice(below(rest.length), 1)[0]);
  };
  /** @param {number} depth @returns {any} */
  const schema = (depth) => {
    const leaf = [
      () => ({ type: 'integer' }),
      () => ({ type: 'number', description: 'how many' }),
      () => ({ type: 'boolean' }),
      () => ({ type: 'null' }),
      () => ({ type: 'string' }),
      () => ({ type: 'string', minLength: below(3), ...(maybe(0.7) ? { maxLength: 3 + below(5) } : {}) }),
      () => ({ enum: some(VALUES, 1 + below(4)) }),
      () => ({ const: VALUES[below(VALUES.length)] }),
      () => ({ type: some(['string', 'null', 'integer', 'boolean'], 2) }),
    ];
    if (depth <= 0) return leaf[below(leaf.length)]();
    const inner = [
      () => object(depth),
      () => object(depth),
      () => {
        const minItems = below(3);
        return { type: 'array', items: schema(depth - 1), ...(maybe(0.7) ? { minItems } : {}), ...(maybe(0.7) ? { maxItems: minItems + below(4) } : {}) };
      },
      () => ({ anyOf: Array.from({ length: 1 + below(3) }, () => schema(depth - 1)) }),
      () => ({ allOf: [schema(depth - 1)] }),
      () => ({ type: 'object', additionalProperties: schema(depth - 1) }),
      () => ({ $ref: '#/$defs/shared' }),
      () => (maybe(0.3) ? true : {}),
      ...leaf,
    ];
    return inner[below(inner.length)]();
  };
  /** @param {number} depth */
  const object = (depth) => {
    const names = some(NAMES, 1 + below(4));
    return {
      type: 'object',
      properties: Object.fromEntries(names.map((name) => [name, schema(depth - 1)])),
      ...(maybe(0.8) ? { required: names.filter(() => maybe(0.6)) } : {}),
      ...(maybe(0.7) ? { additionalProperties: false } : {}),
    };
  };
  const root = maybe(0.8) ? object(3) : schema(3);
  return typeof root === 'object' ? { ...root, $defs: { shared: { type: 'object', properties: { next: { $ref: '#/$defs/shared' }, n: { type: 'integer' } }, required: ['n'], additionalProperties: false } } } : {};
}
