// The reference reader, written from FORMAT.md and CODEC.md alone, against the C decoder and the checkpoint itself.
import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { gunzipSync } from 'node:zlib';
import { readTansy } from '../reference/tansy_reader.js';
import { EMBEDDED_MODEL } from '../../demo/embedded.js';
import { root, sharedPath, tansyJson } from './lib/builds.js';
import { writeCheckpoint } from './lib/checkpoint.js';

const folder = mkdtempSync(join(tmpdir(), 'tansy-test-'));
after(() => rmSync(folder, { recursive: true, force: true }));

/** @param {string} model */
async function compare(model) {
  const file = readTansy(readFileSync(model));
  const dump = join(folder, 'dump.i32');
  const report = await tansyJson(['inspect', model, '--dump', dump]);
  const bytes = readFileSync(dump);
  const expected = new Int32Array(bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.length));
  let at = 0;
  for (const tensor of file.tensors.filter(({ coded }) => coded)) {
    const z = tensor.integers();
    const same = Buffer.compare(Buffer.from(z.buffer), Buffer.from(expected.buffer, at * 4, z.length * 4)) === 0;
    assert.ok(same, `role ${tensor.role}, layer ${tensor.layer}`);
    at += z.length;
  }
  assert.equal(at, expected.length);
  assert.deepEqual(
    report.tensors.map((/** @type {any} */ t) => t.shape),
    file.tensors.map(({ nRows, nCols }) => [nRows, nCols]),
  );
  return file;
}

for (const [bits, prune] of /** @type {const} */ ([
  [8, false],
  [5, false],
  [2, false],
  [3, true],
]))
  test(`${bits} bits${prune ? ' with pruning' : ''}: both decoders give the same integers`, async () => {
    const source = join(folder, `c${bits}`);
    const { tensors } = writeCheckpoint(source, { seed: bits });
    const model = join(folder, `c${bits}.tansy`);
    await tansyJson(['compress', source, '-o', model, '--bits', String(bits), ...(prune ? [] : ['--no-prune'])]);
    const file = await compare(model);
    /* what was attached comes back; the shell is a safetensors header that names every section without holes */
    const tokenizer = file.attachments.find(({ name }) => name === 'tokenizer.json');
    assert.ok(tokenizer);
    const text = tokenizer.encoding === 'gzip' ? gunzipSync(tokenizer.bytes) : Buffer.from(tokenizer.bytes);
    assert.deepEqual(JSON.parse(text.toString()), JSON.parse(readFileSync(join(source, 'tokenizer.json'), 'utf8')));
    const sections = Object.entries(file.json).filter(([name]) => name !== '__metadata__');
    assert.equal(sections[0][0], 'tansy.index');
    let end = 0;
    for (const [name, { dtype, shape, data_offsets }] of /** @type {[string, any][]} */ (sections)) {
      assert.deepEqual([dtype, data_offsets[0]], ['U8', end], name);
      assert.deepEqual(shape, [data_offsets[1] - data_offsets[0]]);
      end = data_offsets[1];
    }
    if (prune) return;
    /* plain integers: every weight within half a step of the checkpoint's */
    const down = file.tensors.find(({ role, layer }) => role === 38 && layer === 1);
    const original = tensors.get('model.layers.1.mlp.down_proj.weight');
    assert.ok(down && original);
    const values = down.values();
    const columns = original.shape[1];
    for (let row = 0; row < original.shape[0]; row++) {
      const most = Math.max(...original.values.subarray(row * columns, (row + 1) * columns).map(Math.abs));
      const step = most / (2 ** (bits - 1) - 1);
      for (let j = 0; j < columns; j++) {
        const off = Math.abs(values[row * columns + j] - original.values[row * columns + j]);
        assert.ok(off <= step * 0.5 * 1.01 + 1e-7, `row ${row}, column ${j}: off by ${off / step} steps`);
      }
    }
  });

test('the embedded model: both decoders give the same integers', async () => {
  await compare(join(root, 'demo', EMBEDDED_MODEL));
});

test('damage is found', async () => {
  const bytes = readFileSync(join(root, 'demo', EMBEDDED_MODEL));
  for (const at of [100, 2000, bytes.length >> 1, bytes.length - 1]) {
    const bad = Uint8Array.from(bytes);
    bad[at] ^= 4;
    assert.throws(() => readTansy(bad), `byte ${at}`);
  }
  assert.throws(() => readTansy(bytes.subarray(0, bytes.length - 1)));
});

test('stories260K: both decoders give the same integers', async (t) => {
  const source = sharedPath(t, 'models/stories260K');
  if (source === undefined) return;
  const model = join(folder, 'stories.tansy');
  await tansyJson(['compress', source, '-o', model, '--bits', '8', '--no-prune']);
  await compare(model);
});
