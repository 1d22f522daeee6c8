// What JavaScript and C must agree on: statuses, struct layouts, roles, config keys.
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import * as abi from '../../js/abi.js';
import { HOST, STATUS, TansyError, describe, statusError } from '../../js/errors.js';
import { ROLES } from '../../js/roles.js';

const source = (/** @type {string} */ path) => readFileSync(new URL(`../../src/${path}`, import.meta.url), 'utf8');

test('every status of src/base/status.h has its code, and no other', () => {
  const body = /enum tansy_status \{([^}]*)\}/.exec(source('base/status.h'))?.[1] ?? '';
  const inC = Object.fromEntries([...body.matchAll(/TANSY_(?:ERR_)?(\w+) = (\d+)/g)].map(([, name, n]) => [n, `TANSY_${name}`]));
  assert.ok(Object.keys(inC).length >= 18);
  assert.deepEqual({ ...STATUS }, inC);
});

test('every code has a sentence that ends like one and is long enough to help', () => {
  for (const code of [...Object.values(STATUS), ...Object.keys(HOST)]) {
    const text = describe(/** @type {any} */ (code));
    assert.match(text, /^[A-Z].{5,}\.$/, code);
  }
  assert.equal(statusError(9).code, 'TANSY_OVER_BUDGET');
  assert.equal(statusError(999).code, 'TANSY_CORRUPT');
});

test('codes used anywhere in js/ and web/ exist', async () => {
  const { globSync } = await import('./lib/glob.js');
  const known = new Set([...Object.values(STATUS), ...Object.keys(HOST)]);
  let uses = 0;
  for (const path of [...globSync('js'), ...globSync('web')])
    for (const [, code] of readFileSync(path, 'utf8').matchAll(/new TansyError\(\s*'(\w+)'/g)) {
      uses++;
      assert.ok(known.has(code), `${path}: ${code}`);
    }
  assert.ok(uses > 50);
});

test('TansyError carries code, details and cause', () => {
  const cause = new Error('x');
  const error = new TansyError('TANSY_HTTP', 'Words.', { status: 404 }, cause);
  assert.ok(error instanceof Error);
  assert.deepEqual([error.name, error.code, error.message, error.details.status, error.cause], ['TansyError', 'TANSY_HTTP', 'Words.', 404, cause]);
  assert.equal(new TansyError('TANSY_ABORTED').name, 'AbortError');
});

for (const [name, struct] of /** @type {[string, abi.Struct<string>][]} */ ([
  ['detail', abi.DETAIL],
  ['options', abi.OPTIONS],
  ['plan', abi.PLAN],
  ['stats', abi.STATS],
  ['sampler', abi.SAMPLER],
  ['attachment', abi.ATTACHMENT],
]))
  test(`struct tansy_${name} lies as src/tansy.h says`, () => {
    const match = new RegExp(`/\\*[^/]*?(\\d+) bytes\\.?[^/]*\\*/\\s*struct tansy_${name} \\{\\n([\\s\\S]*?)\\n\\};`).exec(source('tansy.h'));
    assert.ok(match);
    assert.equal(struct.nbytes, Number(match[1]));
    const types = /** @type {Record<string, string>} */ ({ uint32_t: 'u32', float: 'f32', double: 'f64' });
    /** @type {Record<string, [string, number]>} */
    const inC = {};
    /* offsets are counted here from the types, and must be those in the comments as well */
    let at = 0;
    for (const line of match[2].split('\n')) {
      const field = /^\s*(uint32_t|float|double|struct tansy_detail) (\w+)(?:\[(\d+)\])?;(?:\s*\/\*\s*(\d+))?/.exec(line);
      if (field === null) continue;
      const [, type, cName, count, written] = field;
      assert.equal(Number(written), at, `${cName} in the header`);
      at += (type === 'double' ? 8 : type === 'struct tansy_detail' ? 48 : 4) * Number(count ?? 1);
      if (cName !== 'reserved' && types[type]) inC[cName.replace(/_([a-z])/g, (_, c) => c.toUpperCase())] = [types[type], Number(written)];
      if (type === 'struct tansy_detail') assert.equal(Number(written), abi.PLAN_DETAIL_AT);
    }
    assert.equal(at, struct.nbytes);
    assert.deepEqual(struct.fields, inC);
  });

test('enums and constants of src/tansy.h', () => {
  const text = source('tansy.h');
  const value = (/** @type {string} */ name) => Number(new RegExp(`${name} = (\\w+)`).exec(text)?.[1].replace(/u$/, ''));
  assert.equal(abi.ABI_VERSION, value('TANSY_ABI_VERSION'));
  assert.equal(abi.PAGE_NBYTES, value('TANSY_PAGE_NBYTES'));
  assert.equal(abi.NO_TENSOR, value('TANSY_NO_TENSOR'));
  for (const [name, n] of Object.entries(abi.KV_FORMS)) assert.equal(n, value(`TANSY_KV_${name.toUpperCase()}`));
  for (const [name, n] of Object.entries(abi.RESIDENCIES)) assert.equal(n, value(`TANSY_RESIDENCY_${name.toUpperCase()}`));
});

test('an interface that changed has another version: a page may get a module of another release from a cache', () => {
  const declarations = [...source('tansy.h').matchAll(/^\w[^;{}#/]*\btansy_\w+\([^;]*\);/gm)].map(([text]) => text.replace(/\s+/g, ' '));
  const exported = [...readFileSync(new URL('../../wasm/bridge.c', import.meta.url), 'utf8').matchAll(/^EXPORT [^;{]*/gm)].map(([text]) => text.trim().replace(/\s+/g, ' '));
  assert.ok(declarations.length > 20 && exported.length > 20);
  const structs = [abi.DETAIL, abi.OPTIONS, abi.PLAN, abi.STATS, abi.SAMPLER, abi.ATTACHMENT];
  const digest = createHash('sha256').update(JSON.stringify([declarations, [...new Set(exported)], structs])).digest('hex').slice(0, 12);
  assert.deepEqual([abi.ABI_VERSION, digest], [1, '94cc69d9df5d'], 'raise the version in src/tansy.h and js/abi.js, and write the new digest here');
});

test('roles and config keys are those of src/format', () => {
  const roles = Object.fromEntries([...source('format/roles.h').matchAll(/TANSY_ROLE_(\w+) = (\d+)/g)].map(([, name, n]) => [n, name.toLowerCase()]));
  assert.deepEqual({ ...ROLES }, roles);
  const keys = Object.fromEntries([...source('format/config_keys.h').matchAll(/TANSY_KEY_(\w+) = (\d+)/g)].map(([, name, n]) => [name, Number(n)]));
  for (const [name, n] of Object.entries(abi.CONFIG_KEYS)) assert.equal(n, keys[name.replace(/([A-Z0-9])/g, '_$1').toUpperCase()], name);
});
