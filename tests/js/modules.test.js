// The wasm modules as files: what they import and export, the memory they ask for, their sizes.
import assert from 'node:assert/strict';
import { existsSync, readFileSync } from 'node:fs';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { gzipSync } from 'node:zlib';
import { LIMITS, kilobytes, measureSizes } from '../../scripts/lib/sizes.mjs';
import { readExports } from '../../scripts/lib/source_lists.mjs';

const path = (name) => fileURLToPath(new URL(`../../${name}`, import.meta.url));
const kb = (nbytes) => `${(nbytes / 1000).toFixed(1)} KB`;

const engines = ['dist/tansy-simd128.wasm', 'dist/tansy-relaxed.wasm', 'build/emscripten/tansy-emscripten.wasm'];

/** Sections of a module as [id, bytes]. */
function* sections(bytes) {
  for (let at = 8; at < bytes.length; ) {
    const id = bytes[at++];
    let nbytes = 0;
    for (let shift = 0, more = true; more; shift += 7) {
      more = (bytes[at] & 0x80) !== 0;
      nbytes |= (bytes[at++] & 0x7f) << shift;
    }
    yield [id, bytes.subarray(at, at + nbytes)];
    at += nbytes;
  }
}

/** [module, name, kind] of every import, and minimum pages of a memory import; without compiling, so for any module. */
function imports(bytes) {
  const found = [];
  for (const [id, body] of sections(bytes)) {
    if (id !== 2) continue;
    let at = 0;
    const number = () => {
      let value = 0;
      for (let shift = 0; ; shift += 7) {
        const byte = body[at++];
        value += (byte & 0x7f) * 2 ** shift;
        if (!(byte & 0x80)) return value;
      }
    };
    const text = () => {
      const nbytes = number();
      at += nbytes;
      return new TextDecoder().decode(body.subarray(at - nbytes, at));
    };
    for (let n = number(); n > 0; n--) {
      const item = { module: text(), name: text(), kind: body[at++], minPages: 0, shared: false };
      if (item.kind === 0) number();
      else if (item.kind === 2) {
        const flags = number();
        item.shared = (flags & 2) !== 0;
        item.minPages = number();
        if (flags & 1) number();
      } else throw new Error(`import kind ${item.kind}`);
      found.push(item);
    }
  }
  return found;
}

function exportNames(bytes) {
  const names = [];
  for (const [id, body] of sections(bytes)) {
    if (id !== 7) continue;
    let at = 0;
    const number = () => {
      let value = 0;
      for (let shift = 0; ; shift += 7) {
        const byte = body[at++];
        value += (byte & 0x7f) * 2 ** shift;
        if (!(byte & 0x80)) return value;
      }
    };
    for (let n = number(); n > 0; n--) {
      const nbytes = number();
      names.push(new TextDecoder().decode(body.subarray(at, at + nbytes)));
      at += nbytes + 1;
      number();
    }
  }
  return names;
}

const threaded = ['dist/tansy-simd128-threads.wasm', 'dist/tansy-relaxed-threads.wasm'];

for (const name of [...engines, ...threaded]) {
  test(`${name} imports its memory and nothing else`, (t) => {
    assert.ok(existsSync(path(name)), `${name} is missing: npm test builds it first`);
    const bytes = readFileSync(path(name));
    const found = imports(bytes);
    assert.deepEqual(found.map((item) => `${item.module}.${item.name}`), ['env.memory']);
    assert.equal(found[0].kind, 2);
    assert.equal(found[0].shared, threaded.includes(name));
    // stack 64 KiB and static data: what every budget pays before the first weight
    assert.ok(found[0].minPages <= 4, `asks for ${found[0].minPages} pages at least`);
    assert.ok(!/\/(home|root|tmp|usr|work)\//.test(bytes.toString('latin1')), 'holds a path of the machine that built it');
    t.diagnostic(`${name}: ${kb(bytes.length)}, ${kb(gzipSync(bytes, { level: 9 }).length)} gzip`);
  });

  test(`${name} exports every name of wasm/exports.txt`, () => {
    const names = exportNames(readFileSync(path(name)));
    const wanted = readExports();
    assert.ok(wanted.length > 10);
    assert.deepEqual(wanted.filter((item) => !names.includes(item)), []);
    // each worker sets the stack pointer of its instance
    const more = threaded.includes(name) ? ['__stack_pointer'] : [];
    if (!name.includes('emscripten')) assert.deepEqual(names.filter((item) => !wanted.includes(item)), more);
  });
}

test('dist/tansy-pack.wasm is a WASI command', (t) => {
  const bytes = readFileSync(path('dist/tansy-pack.wasm'));
  assert.deepEqual([...new Set(imports(bytes).map((item) => item.module))], ['wasi_snapshot_preview1']);
  assert.deepEqual(exportNames(bytes).sort(), ['_start', 'memory']);
  t.diagnostic(`dist/tansy-pack.wasm: ${kb(bytes.length)}, ${kb(gzipSync(bytes, { level: 9 }).length)} gzip`);
});

test('lock files name no registry', () => {
  for (const name of ['package-lock.json', 'wasm/toolchain/package-lock.json'])
    if (existsSync(path(name))) assert.doesNotMatch(readFileSync(path(name), 'utf8'), /"resolved"/, `${name}: keep .npmrc's omit-lockfile-registry-resolved`);
});

test('a page downloads no more than is promised', async (t) => {
  const { core, whole } = await measureSizes();
  assert.ok(core > 50_000, 'something was measured');
  assert.ok(core <= LIMITS.core, `engine: ${kilobytes(core)} of gzip`);
  assert.ok(whole > core && whole <= LIMITS.whole, `with tokenizer and chat template: ${kilobytes(whole)} of gzip`);
  t.diagnostic(`engine ${kilobytes(core)}, with tokenizer and chat template ${kilobytes(whole)}, of gzip`);
});
