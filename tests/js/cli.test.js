// The command line: every subcommand, its JSON keys, and what it says to wrong arguments.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { EMBEDDED_MODEL } from '../../demo/embedded.js';
import { built, cliPath, root, tansy, tansyJson } from './lib/builds.js';
import { safetensors, writeCheckpoint } from './lib/checkpoint.js';
import { serveFile } from './lib/file_server.js';

const folder = mkdtempSync(join(tmpdir(), 'tansy test-'));
const source = join(folder, 'checkpoint');
const model = join(folder, 'tiny.tansy');
const demo = join(root, 'demo', EMBEDDED_MODEL);
const other = join(folder, 'other');
before(async () => {
  writeCheckpoint(source);
  writeCheckpoint(other, { config: { vocab_size: 259 }, tokenizer: false });
  await tansyJson(['compress', source, '-o', model, '--bits', '8', '--no-prune']);
});
after(() => rmSync(folder, { recursive: true, force: true }));

/** @param {Record<string, unknown>} object @param {string[]} keys */
function hasKeys(object, keys) {
  for (const key of keys) assert.ok(key in object, `${key} is missing among ${Object.keys(object).join(', ')}`);
}

test('help and version', async () => {
  const overview = await tansy(['--help']);
  assert.equal((await tansy(['help', 'run'])).stdout, (await tansy(['run', '--help'])).stdout);
  assert.equal(overview.status, 0);
  for (const command of ['compress', 'run', 'inspect', 'eval', 'bench', 'serve']) {
    assert.match(overview.stdout, new RegExp(`tansy ${command} `));
    const { status, stdout, stderr } = await tansy([command, '--help']);
    assert.equal(status, 0);
    assert.equal(stderr, '');
    assert.match(stdout, new RegExp(`^tansy ${command} `));
    assert.match(stdout, /--json/);
    assert.ok(stdout.split('\n').every((line) => line.length <= 150));
  }
  const { version } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'));
  assert.equal((await tansy(['--version'])).stdout.trim(), version);
  assert.equal((await tansy([])).status, 2);
});

/** A folder with a config.json, but not what a checkpoint needs. @param {string} name @param {Record<string, string>} files */
function half(name, files) {
  const path = join(folder, name);
  mkdirSync(path);
  for (const [file, text] of Object.entries({ 'config.json': '{"model_type":"llama"}', ...files })) writeFileSync(join(path, file), text);
  return path;
}

const nothing = join(folder, 'nothing.tansy');
const text = join(folder, 'text.txt');
writeFileSync(text, 'some text to look at. '.repeat(40));
for (const [args, words, status = 2] of /** @type {[string[], RegExp, number?][]} */ ([
  [['rnu'], /unknown command "rnu"; did you mean "run"\?/],
  [['xyzzy'], /unknown command "xyzzy"; there are compress, run/],
  [['run', '--tmep', '0'], /unknown flag "--tmep"; did you mean "--temp"\?/],
  [['run', '--zzzzzzzzz'], /unknown flag "--zzzzzzzzz" `tansy run --help` lists/],
  [['run', '-p', 'x'], /-m FILE_OR_URL is required/],
  [['run', '-m', model], /a prompt is required/],
  [['run', '-m', model, '-p', 'a', '--ids', '1'], /one prompt only/],
  [['run', '-m', model, '-p', 'a', '-n', 'ten'], /-n must be a whole number of at least -1; got "ten"/],
  [['run', '-m', model, '-p', 'a', '-n', '1.5'], /whole number/],
  [['run', '-m', model, '-p', 'a', '--temp', '-1'], /--temp must be a number from 0 to 100/],
  [['run', '-m', model, '-p', 'a', '--temp'], /--temp needs a value/],
  [['run', '-m', model, '-p', '--temp', '0'], /-p needs a value/],
  [['run', '-m', model, '-p', 'a', '--memory', 'lots'], /--memory must be a number of bytes or a string such as "64MB"/],
  [['run', '-m', model, '--ids', '1,b'], /--ids must be token ids such as 1,2,3/],
  [['run', '-m', model, '-p', 'a', '--kv', 'f64'], /--kv must be one of int8, f16, f32/],
  [['run', '-m', model, '-p', 'a', '--json=1'], /--json takes no value/],
  [['run', '-m', model, '-p', 'a', 'extra'], /two models: .* and extra; a prompt goes after -p/],
  [['run', '-m', nothing, '-p', 'a'], /There is no file .*nothing\.tansy.*\[TANSY_NOT_FOUND\]/, 1],
  [['run', '-m', folder, '-p', 'a'], /is not a file/, 1],
  [['run', '-m', text, '-p', 'a'], /text\.txt.*not a \.tansy file.*\[TANSY_NOT_TANSY\]/, 1],
  [['run', '-m', model, '--ids', '9999', '-n', '1'], /token 0 is 9999; ids are integers from 0 to 259/],
  [['run', '-m', model, '-p', 'a', '--memory', '100KB'], /needs at least \d+ bytes .*budget of 102400 bytes is \d+ short.*\[TANSY_OVER_BUDGET\]/, 1],
  [['run', '-m', model, '-p', 'a', '--chat'], /no chat template.*\[TANSY_CHAT_TEMPLATE\]/, 1],
  [['run', '-m', model, '-f', nothing], /prompt file .*nothing/, 1],
  [['run', '-m', model, '-p', 'a'.repeat(400), '-c', '130'], /400 tokens; the context holds 130.*\[TANSY_CONTEXT\]/, 1],
  [['run', '-m', model, '-p', 'a', '--logits', join(folder, 'no/such/folder.f32')], /cannot be written.*\[TANSY_IO\]/, 1],
  [['compress'], /something is missing; usage: tansy compress IN_DIR/],
  [['compress', source], /-o FILE is required/],
  [['compress', nothing, '-o', 'x'], /There is no folder .*\[TANSY_NOT_FOUND\]/, 1],
  [['compress', folder, '-o', 'x'], /is no checkpoint: it has no config\.json.*\[TANSY_NOT_CHECKPOINT\]/, 1],
  [['compress', source, '-o', join(folder, 'x.tansy'), '--bits', '99'], /--bits must be a number from 0\.5 to 8/],
  [['compress', source, '-o', join(folder, 'x.tansy'), '--recipe', 'magic'], /--recipe must be one of best, paper, plain; got "magic"/],
  [['compress', source, '-o', join(folder, 'x.tansy'), '--alpha', '0.5'], /--alpha belongs to the paper recipe, and this is the best one/],
  [['compress', source, '-o', join(folder, 'x.tansy'), '--no-prune', '--prune', '0.1'], /--prune belongs to the paper recipe, and this is the plain one/],
  [['compress', source, '-o', join(folder, 'x.tansy'), '--recipe', 'best', '--no-prune'], /--no-prune does not belong to the best recipe/],
  [['compress', source, '-o', folder], /-o .* is a folder; name a file in it/],
  [['compress', source, '-o', join(folder, 'no/such/x.tansy')], /there is no folder .*no\/such; make it first\. \[TANSY_IO\]/, 1],
  [['compress', join(source, 'model.safetensors'), '-o', 'x'], /holds weights alone: give the folder/, 1],
  [['compress', text, '-o', text], /is the input; name another file/],
  [['compress', half('pointer', { 'model.safetensors': 'version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 5\n' }), '-o', 'x'], /model\.safetensors is Git's pointer .*git lfs pull.*\[TANSY_NOT_CHECKPOINT\]/, 1],
  [['compress', half('pickled', { 'pytorch_model.bin': 'x' }), '-o', 'x'], /pytorch_model\.bin is of another format: .*save_pretrained/, 1],
  [['compress', half('adapter', { 'adapter_model.safetensors': 'x' }), '-o', 'x'], /adapter_model\.safetensors belongs to an adapter: merge it/, 1],
  [['compress', half('parts', { 'model-00001-of-00002.safetensors': 'x' }), '-o', 'x'], /model\.safetensors\.index\.json.* is missing/, 1],
  [['eval', '-m', half('python', { 'model.pth': 'x' }), '--tokens', text], /model\.pth is of another format/, 1],
  [['compress', source, '-o', join(folder, 'no/such/x.tansy'), '--bits', '8', '--no-prune'], /\[TANSY_IO\]/, 1],
  [['inspect'], /usage: tansy inspect FILE/],
  [['inspect', nothing], /\[TANSY_NOT_FOUND\]/, 1],
  [['inspect', text], /\[TANSY_NOT_TANSY\]/, 1],
  [['eval', '-m', model], /either --text FILE or --tokens FILE/],
  [['eval', '-m', model, '--text', nothing], /\[TANSY_NOT_FOUND\]/, 1],
  [['eval', '-m', nothing, '--text', text], /\[TANSY_NOT_FOUND\]/, 1],
  [['eval', '-m', model, '--text', text, '--reference', other], /the reference has a vocabulary of 259 tokens and the model one of 260.*another checkpoint.*\[TANSY_ARGUMENT\]/i, 2],
  [['inspect', source], /is a folder; give the \.tansy or \.safetensors file/, 1],
  [['serve', source], /is not a file; give the \.tansy file itself/, 1],
  [['serve', model, '--memory', '100KB'], /needs at least \d+ bytes .*Raise --memory.*\[TANSY_OVER_BUDGET\]/, 1],
  [['bench'], /-m FILE_OR_URL is required/],
  [['bench', '-m', model, '-r', '0'], /-r must be a whole number from 1 to 1000/],
  [['serve', nothing], /\[TANSY_NOT_FOUND\]/, 1],
  [['serve', text, '--port', '0'], /text\.txt.*not a \.tansy file.*\[TANSY_NOT_TANSY\]/, 1],
  [['run', '-m', 'ftp://host/x.tansy', '-p', 'a'], /use http:, https: or file: addresses.*\[TANSY_SOURCE\]/, 1],
  [['run', '-m', model, '-p', 'a', '--memory', '100KB', '-c', '8'], /Raise --memory or lower --ctx-size/, 1],
  [['run', '-m', model, '-p', 'a', '--wasm', nothing], /say where it is with --wasm\..*\[TANSY_WASM\]/, 1],
  [['synth', '--preset', 'gpt-9', '-o', 'x'], /--preset must be one of smollm2-135m/],
  [['serve', text, '--port', '99999'], /--port must be a whole number from 0 to 65535/],
]))
  test(`refused: tansy ${args.map((arg) => arg.replace(folder, '…').slice(0, 40)).join(' ')}`, async () => {
    const human = await tansy(args);
    assert.equal(human.status, status, human.stderr);
    assert.match(human.stderr, words);
    assert.equal(human.stdout, '');
    assert.doesNotMatch(human.stderr, /\n\s+at /, 'no stack trace');
    if (args.some((arg) => arg.startsWith('--json'))) return;
    const machine = await tansy([...args, '--json']);
    if (machine.stdout === '') return; /* the flag swallowed --json */
    const { error } = JSON.parse(machine.stdout);
    assert.match(error.code, /^TANSY_/);
    assert.match(error.message, /[.?!"]$|lists them all|there are|usage: tansy/);
  });

test('a checkpoint that is none, of an unknown family, with a wrong shape, damaged: each is named', async () => {
  const cases = /** @type {[string, (folder: string) => void, RegExp][]} */ ([
    ['family', (f) => void writeCheckpoint(f, { config: { model_type: 'mamba', architectures: ['MambaForCausalLM'] } }), /[mM]amba.*\[TANSY_UNSUPPORTED\]/],
    ['shape', (f) => void writeCheckpoint(f, { tensors: (t) => void t.set('model.layers.1.self_attn.k_proj.weight', { shape: [35, 72], values: new Float32Array(35 * 72) }) }), /k_proj.*\[TANSY_SHAPE\]/],
    ['missing', (f) => void writeCheckpoint(f, { tensors: (t) => void t.delete('model.layers.1.mlp.up_proj.weight') }), /up_proj.*\[TANSY_(SHAPE|NOT_CHECKPOINT)\]/],
    ['nan', (f) => void writeCheckpoint(f, { tensors: (t) => void t.get('model.layers.0.mlp.up_proj.weight')?.values.fill(NaN, 5, 6) }), /up_proj.*\[TANSY_NONFINITE\]/],
    ['json', (f) => (writeCheckpoint(f), writeFileSync(join(f, 'config.json'), '{"model_type": "llama",')), /config\.json.*\[TANSY_NOT_CHECKPOINT\]/],
    ['weights', (f) => (writeCheckpoint(f), rmSync(join(f, 'model.safetensors'))), /safetensors.*\[TANSY_(NOT_CHECKPOINT|NOT_FOUND)\]/],
    ['cut', (f) => (writeCheckpoint(f), writeFileSync(join(f, 'model.safetensors'), readFileSync(join(f, 'model.safetensors')).subarray(0, 9000))), /safetensors.*\[TANSY_(TRUNCATED|CORRUPT|NOT_CHECKPOINT)\]/],
    ['tokenizer', (f) => (writeCheckpoint(f), writeFileSync(join(f, 'tokenizer.json'), '{')), /tokenizer\.json.*\[TANSY_NOT_CHECKPOINT\]/],
  ]);
  for (const [name, make, words] of cases) {
    const bad = join(folder, `bad-${name}`);
    mkdirSync(bad);
    make(bad);
    const out = join(folder, `bad-${name}.tansy`);
    for (const recipe of ['plain', 'best']) {
      const { status, stderr } = await tansy(['compress', bad, '-o', out, '--bits', '8', '--recipe', recipe]);
      assert.equal(status, 1, `${name}: ${stderr}`);
      assert.match(stderr, words, name);
    }
    assert.throws(() => statSync(out), { code: 'ENOENT' }, 'nothing is left behind');
  }
});

test('a tokenizer that cannot be used is said when the file is made: refused where text is needed, else a warning', async () => {
  const bad = join(folder, 'foreign-tokenizer');
  writeCheckpoint(bad);
  writeFileSync(join(bad, 'tokenizer.json'), '{"model": {"type": "Foreign"}}');
  const out = join(folder, 'foreign-tokenizer.tansy');
  const refused = await tansy(['compress', bad, '-o', out, '--recipe', 'paper']);
  assert.deepEqual([refused.status, /\[TANSY_TOKENIZER\]/.test(refused.stderr)], [1, true], refused.stderr);
  assert.throws(() => statSync(out), { code: 'ENOENT' });
  const plain = await tansy(['compress', bad, '-o', out, '--recipe', 'plain']);
  assert.deepEqual([plain.status, /warning: .*tokenizer\.json cannot be used/.test(plain.stderr)], [0, true], plain.stderr);
});

test('run prints the text and then the figures', async () => {
  const { status, stdout, stderr } = await tansy(['run', '-m', demo, '-p', 'Once upon a time', '-n', '8', '--temp', '0']);
  assert.equal(status, 0, stderr);
  assert.match(stdout, /^Once upon a time[^]+\n\n[\d.]+ bits per weight .* heap [\d.]+ MiB .* tok\/s/);
  const quiet = await tansy(['run', '-m', demo, '-p', 'Once upon a time', '-n', '8', '--temp', '0', '-q']);
  assert.ok(stdout.startsWith(`Once upon a time${quiet.stdout.trimEnd()}`));
});

test('run --json', async () => {
  const result = await tansyJson(['run', '-m', demo, '-p', 'Once upon a time', '-n', '8', '--temp', '0', '--memory', '16MB', '--ctx-size', '200']);
  hasKeys(result, ['text', 'tokens', 'prefill_tok_s', 'decode_tok_s', 'heap_bytes', 'memory', 'ids', 'finish_reason', 'bits_per_weight']);
  assert.equal(result.tokens, 8);
  assert.equal(result.context_size, 200);
  assert.ok(result.heap_bytes <= 16 * 2 ** 20);
  for (const kind of ['ans', 'kv', 'scratch', 'staging', 'vectors', 'tables']) assert.equal(typeof result.memory[kind], 'number', kind);
  const seeded = () => tansyJson(['run', '-m', demo, '-p', 'Once', '-n', '8', '-s', '3']);
  assert.equal((await seeded()).text, (await seeded()).text);
});

test('run from a file, from stdin, with a stop text, from a URL', async () => {
  writeFileSync(join(folder, 'prompt.txt'), 'Once upon a time');
  const direct = await tansyJson(['run', '-m', demo, '-p', 'Once upon a time', '-n', '20', '--temp', '0']);
  const fromFile = await tansyJson(['run', '-m', demo, '-f', join(folder, 'prompt.txt'), '-n', '20', '--temp', '0']);
  assert.equal(fromFile.text, direct.text);
  const child = spawn(process.execPath, [cliPath, 'run', '-m', demo, '-f', '-', '-n', '20', '--temp', '0', '-q']);
  child.stdin.end('Once upon a time');
  let piped = '';
  child.stdout.on('data', (data) => (piped += data));
  await once(child, 'close');
  assert.equal(piped.trimEnd(), direct.text.trimEnd());
  const stop = direct.text.slice(5, 9);
  const stopped = await tansyJson(['run', '-m', demo, '-p', 'Once upon a time', '-n', '20', '--temp', '0', '--stop', stop]);
  assert.equal(stopped.text, direct.text.slice(0, direct.text.indexOf(stop)));
  assert.equal(stopped.finish_reason, 'stop');
  for (const noRange of [false, true]) {
    const server = await serveFile(readFileSync(demo), { noRange });
    const remote = await tansyJson(['run', '-m', server.url, '-p', 'Once upon a time', '-n', '20', '--temp', '0']);
    assert.equal(remote.text, direct.text);
    await server.close();
  }
  const server = await serveFile(readFileSync(demo), { status: () => 404 });
  const missing = await tansy(['run', '-m', server.url, '-p', 'x']);
  assert.equal(missing.status, 1);
  assert.match(missing.stderr, /HTTP 404, there is no such file; check the address.*\[TANSY_HTTP\]/);
  await server.close();
});

test('run --ids --logits writes every position', async () => {
  const out = join(folder, 'out.f32');
  const result = await tansyJson(['run', '-m', model, '--ids', '1,2,3,4,5', '--logits', out]);
  const bytes = readFileSync(out);
  assert.equal(bytes.length, 5 * 260 * 4);
  assert.deepEqual(result.ids, [1, 2, 3, 4, 5]);
  const last = Array.from({ length: 260 }, (_, i) => bytes.readFloatLE((4 * 260 + i) * 4));
  const { ids } = await tansyJson(['run', '-m', model, '--ids', '1,2,3,4,5', '-n', '1', '--temp', '0', '--ignore-eos']);
  assert.equal(ids[0], last.indexOf(Math.max(...last)));
});

test('a reader that goes away early is no failure', async () => {
  const child = spawn(process.execPath, [cliPath, 'run', '-m', demo, '-p', 'Once', '-n', '100000', '--ignore-eos']);
  let stderr = '';
  child.stderr.on('data', (data) => (stderr += data));
  await once(child.stdout, 'data');
  child.stdout.destroy();
  const [status] = await once(child, 'close');
  assert.deepEqual([status, stderr], [0, '']);
});

test('an interrupt ends a run with status 130', async () => {
  const child = spawn(process.execPath, [cliPath, 'run', '-m', demo, '-p', 'Once', '-n', '100000', '--ignore-eos', '--ctx-size', '256']);
  await once(child.stdout, 'data');
  child.kill('SIGINT');
  const [status] = await once(child, 'close');
  assert.ok(status === 130 || status === 0, `${status}`); /* 0: it had filled its context already */
});

test('compress --json, --dry-run, and the same bytes again', async () => {
  const report = await tansyJson(['compress', source, '-o', join(folder, 'again.tansy'), '--bits', '8', '--no-prune']);
  hasKeys(report, ['file_bytes', 'bits_per_weight', 'tensors', 'seconds']);
  assert.equal(report.file_bytes, statSync(model).size);
  assert.equal(Buffer.compare(readFileSync(join(folder, 'again.tansy')), readFileSync(model)), 0);
  hasKeys(report.tensors[0], ['name', 'shape', 'entropy', 'bits_per_weight', 'escapes']);
  const dry = await tansyJson(['compress', source, '--dry-run', '--bits', '8', '--no-prune']);
  assert.equal(dry.file_bytes, report.file_bytes);
});

test('the WASI module compresses to the same bytes as the native program', async () => {
  built(join(root, 'dist/tansy-pack.wasm'));
  built(join(root, 'build/native/tansy-pack'));
  for (const args of [['--bits', '5', '--no-prune'], ['--recipe', 'paper', '--bits', '5', '--calibration-tokens', '2304'], ['--bits', '3']]) {
    const [a, b] = ['native', 'wasi'].map((kind) => join(folder, `${kind}.tansy`));
    await tansyJson(['compress', source, '-o', a, ...args], { env: { TANSY_PACK: 'native' } });
    await tansyJson(['compress', source, '-o', b, ...args], { env: { TANSY_PACK: 'wasi' } });
    assert.equal(Buffer.compare(readFileSync(a), readFileSync(b)), 0, args.join(' '));
  }
  const { stderr, status } = await tansy(['compress', source, '-o', model], { env: { TANSY_PACK: 'gpu' } });
  assert.equal(status, 2);
  assert.match(stderr, /TANSY_PACK must be native, wasi or the path/);
});

test('inspect', async () => {
  const report = await tansyJson(['inspect', demo]);
  const matrices = report.tensors.filter((/** @type {any} */ t) => t.kind === 'CODED');
  assert.ok(matrices.length > 40);
  for (const matrix of matrices) {
    hasKeys(matrix, ['name', 'shape', 'entropy', 'bits_per_weight', 'escapes']);
    assert.ok(matrix.bits_per_weight > 0 && matrix.entropy > 0);
  }
  const nParameters = report.tensors.reduce((/** @type {number} */ sum, /** @type {any} */ t) => sum + t.shape.reduce((/** @type {number} */ a, /** @type {number} */ b) => a * b, 1), 0);
  assert.ok(Math.abs(report.bits_per_weight - (statSync(demo).size * 8) / nParameters) < 0.05);
  const { stdout } = await tansy(['inspect', demo]);
  assert.match(stdout, /tensor +shape +entropy +bits +loss %/);
  assert.match(stdout, /bits per weight, every byte counted/);
  const plain = await tansyJson(['inspect', join(source, 'model.safetensors')]);
  assert.equal(plain.tensors.length, 16);
});

test('inspect accounts for every byte of a file', async () => {
  const report = await tansyJson(['inspect', demo]);
  const sum = (/** @type {Record<string, number>} */ parts) => Object.values(parts).reduce((a, b) => a + b, 0);
  assert.equal(sum(report.parts), statSync(demo).size);
  for (const t of report.tensors) if (t.kind === 'CODED') assert.equal(sum(t.parts), t.bytes);
  assert.match((await tansy(['inspect', demo])).stdout, /part +bytes +%\n[^]*\nescapes +\d+ +\d/);
});

test('inspect takes rows and columns of a bare matrix in the order of their spread where that pays, and counts the order', async () => {
  const n = 256;
  /* next to each other narrow and wide lines; their places are a mix that no run of them is alike in */
  const spread = (/** @type {number} */ i) => ((i * 2654435761) >>> 24) % 3 === 0 ? 12 : 1;
  let seed = 1;
  const random = () => (seed = (Math.imul(seed, 1664525) + 1013904223) >>> 0) / 2 ** 32;
  const normal = () => Math.sqrt(-2 * Math.log(1 - random())) * Math.cos(2 * Math.PI * random());
  const matrix = (/** @type {(i: number, j: number) => number} */ of) => ({ shape: [n, n], values: Float32Array.from({ length: n * n }, (_, i) => normal() * of(Math.floor(i / n), i % n)) });
  const file = join(folder, 'lines.safetensors');
  writeFileSync(file, safetensors(new Map([['rows', matrix((i) => spread(i))], ['columns', matrix((_, j) => spread(j))], ['even', matrix(() => 1)]])));
  const { tensors } = await tansyJson(['inspect', file, '--bits', '3']);
  const of = (/** @type {string} */ name) => tensors.find((/** @type {any} */ t) => t.name === name);
  for (const name of ['rows', 'columns']) {
    assert.equal(of(name).order_bytes, n, 'a byte a line');
    assert.ok(of(name).loss < -0.05, `${name}: ${of(name).loss}`);
  }
  assert.equal(of('even').order_bytes, 0);
  for (const weight of [NaN, Infinity]) {
    writeFileSync(file, safetensors(new Map([['wild', { shape: [2, 2], values: Float32Array.of(1, 2, weight, 3) }]])));
    assert.match((await tansy(['inspect', file])).stderr, /wild.*\[TANSY_NONFINITE\]/);
  }
  assert.ok(of('even').loss < 0.03);
});

test('eval of texts of every make', async () => {
  const path = join(folder, 'odd.txt');
  const perplexity = async (/** @type {Uint8Array | string} */ bytes) => {
    writeFileSync(path, bytes);
    return tansyJson(['eval', '-m', model, '--text', path]);
  };
  const line = 'low exit, and more of it';
  const plain = await perplexity(line);
  assert.deepEqual([plain.windows, plain.window, plain.predictions > 4], [1, plain.predictions + 1, true], 'a short text is one window');
  assert.equal((await perplexity(`\ufeff${line}`)).perplexity, plain.perplexity, 'a byte order mark is no part of the text');
  for (const text of [`${line}\r\n${line}\r\n`, line.repeat(400), `${line}\n`.repeat(30), 'ab'])
    assert.ok(Number.isFinite((await perplexity(text)).perplexity), text.slice(0, 60));
  for (const [bytes, words] of /** @type {[Uint8Array | string, RegExp][]} */ ([
    ['', /is empty/],
    ['\n', /is empty/],
    [Buffer.from([0x61, 0xff, 0xfe]), /not UTF-8/],
    [Buffer.from('text', 'utf16le'), /control characters/],
  ])) {
    writeFileSync(path, bytes);
    const { status, stderr } = await tansy(['eval', '-m', model, '--text', path]);
    assert.equal(status, 2);
    assert.match(stderr, words);
    assert.match(stderr, /\[TANSY_ARGUMENT\]/);
  }
  const bare = join(folder, 'bare');
  writeCheckpoint(bare, { tokenizer: false });
  assert.match((await tansy(['eval', '-m', bare, '--text', path])).stderr, /bare has no tokenizer\.json.*\[TANSY_NO_TOKENIZER\]/);
});

test('eval of text and of token ids, with and without the reference', async () => {
  const words = join(folder, 'words.txt');
  writeFileSync(words, 'the quick brown fox jumps over the lazy dog. '.repeat(60));
  const report = await tansyJson(['eval', '-m', model, '--text', words, '--reference', source]);
  hasKeys(report, ['file_bytes', 'bits_per_weight', 'perplexity', 'top1', 'reference_perplexity', 'reference_top1', 'kl']);
  assert.equal(report.file_bytes, statSync(model).size);
  const { n_params: n } = await tansyJson(['compress', source, '--dry-run', '--bits', '8', '--no-prune']);
  assert.ok(Math.abs(report.bits_per_weight - (report.file_bytes * 8) / n) < 1e-6, 'every byte counts');
  assert.ok(report.kl > 0 && report.kl < 0.1, `${report.kl}`);
  assert.ok(Math.abs(report.perplexity / report.reference_perplexity - 1) < 0.1);
  const guesses = join(folder, 'guesses.jsonl');
  writeFileSync(guesses, ['the quick brown fox', 'jumps over the lazy dog'].map((line) => `${JSON.stringify({ text: line })}\n`).join(''));
  const floats = await tansyJson(['eval', '-m', source, '--text', words, '--lambada', guesses, '--reference', source]);
  assert.deepEqual([floats.kl, floats.same_top1, floats.file_bytes], [0, 1, undefined], 'a checkpoint runs in floats');
  assert.equal(floats.perplexity, report.reference_perplexity);
  assert.equal(floats.lambada.texts, 2);
  assert.ok(floats.lambada.word_perplexity > 1 && floats.lambada.word_perplexity === floats.lambada.reference_word_perplexity);
  writeFileSync(guesses, '{"text": "one"}\n');
  assert.match((await tansy(['eval', '-m', model, '--lambada', guesses])).stderr, /Line 1 of .* is no \{"text"/);
  const ids = Buffer.alloc(400);
  for (let i = 0; i < 200; i++) ids.writeUInt16LE((i * 31) % 260, i * 2);
  writeFileSync(join(folder, 'ids.u16'), ids);
  const tokens = await tansyJson(['eval', '-m', model, '--tokens', join(folder, 'ids.u16')]);
  assert.ok(tokens.perplexity > 1);
  assert.equal(tokens.reference_perplexity, undefined);
  for (const [max, window, predictions] of [[200, 192, 191], [64, 64, 63], [2, 2, 1]]) {
    const some = await tansyJson(['eval', '-m', model, '--tokens', join(folder, 'ids.u16'), '--max-tokens', String(max)]);
    assert.deepEqual([some.window, some.predictions], [window, predictions], `at most ${max} tokens`);
  }
  const cut = await tansyJson(['eval', '-m', model, '--tokens', join(folder, 'ids.u16'), '--max-tokens', '100', '-c', '32']);
  assert.deepEqual([cut.windows, cut.predictions], [3, 93]);
  assert.match((await tansy(['eval', '-m', model, '--tokens', join(folder, 'ids.u16'), '--max-tokens', '31', '-c', '32'])).stderr, /--max-tokens 31 is less than a window of 32/);
  ids.writeUInt16LE(260, 20);
  writeFileSync(join(folder, 'bad.u16'), ids);
  assert.match((await tansy(['eval', '-m', model, '--tokens', join(folder, 'bad.u16')])).stderr, /token 10 is 260; the vocabulary has 260/);
});

test('bench', async () => {
  const report = await tansyJson(['bench', '-m', model, '-p', '16', '-n', '8', '-r', '2']);
  hasKeys(report, ['tokens', 'prefill_tok_s', 'decode_tok_s', 'heap_bytes', 'memory']);
  assert.ok(report.prefill_tok_s > 0 && report.decode_tok_s > 0);
  assert.equal('text' in report, false);
  assert.match((await tansy(['bench', '-m', model, '-p', '16', '-n', '8', '-r', '1'])).stdout, /generation +[\d.]+ tok\/s/);
  assert.match((await tansy(['bench', '-m', model, '-p', '16', '-n', '50', '-c', '64'])).stderr, /16 tokens of the prompt and 50 after them exceed the context of 64.*\[TANSY_CONTEXT\]/);
  assert.match((await tansy(['bench', '-m', model, '--memory-curve', '-c', '9'])).stderr, /10 tokens or more; the context holds 9\. Raise --ctx-size/);
  assert.equal((await tansyJson(['bench', '-m', model, '-p', '16', '-n', '49', '-c', '64', '-r', '1'])).tokens, 49);
});

test('serve: page, model, ranges, HEAD, ETag, isolation, no way out of its folders', async () => {
  const child = spawn(process.execPath, [cliPath, 'serve', model, '--port', '0', '--isolate', '--json']);
  try {
    const [line] = await once(child.stdout, 'data');
    const { url, model: address } = JSON.parse(line);
    const file = readFileSync(model);
    const page = await fetch(url);
    assert.equal(page.status, 200);
    assert.match(page.url, /\/demo\/\?model=/);
    assert.match(await page.text(), /<!doctype html>/i);
    assert.equal(page.headers.get('cross-origin-opener-policy'), 'same-origin');
    assert.equal(page.headers.get('cross-origin-embedder-policy'), 'require-corp');
    const whole = await fetch(address);
    const etag = whole.headers.get('etag') ?? '';
    assert.deepEqual([whole.status, whole.headers.get('accept-ranges')], [200, 'bytes']);
    assert.equal(Buffer.compare(Buffer.from(await whole.arrayBuffer()), file), 0);
    for (const [range, begin, end] of /** @type {[string, number, number][]} */ ([
      ['bytes=0-9', 0, 10],
      ['bytes=100-', 100, file.length],
      ['bytes=-20', file.length - 20, file.length],
      [`bytes=10-${file.length + 100}`, 10, file.length],
    ])) {
      const part = await fetch(address, { headers: { Range: range, 'If-Range': etag } });
      assert.equal(part.status, 206);
      assert.equal(part.headers.get('content-range'), `bytes ${begin}-${end - 1}/${file.length}`);
      assert.equal(Buffer.compare(Buffer.from(await part.arrayBuffer()), file.subarray(begin, end)), 0);
    }
    const status = async (/** @type {string} */ to, /** @type {RequestInit} */ init = {}) => (await fetch(new URL(to, url), init)).status;
    assert.equal(await status(address, { headers: { Range: `bytes=${file.length}-` } }), 416);
    assert.equal(await status(address, { headers: { Range: 'bytes=0-9', 'If-Range': '"old"' } }), 200);
    assert.equal(await status(address, { headers: { 'If-None-Match': etag } }), 304);
    assert.equal(await status(address, { method: 'POST' }), 405);
    assert.equal(await status('/dist/tansy-simd128.wasm'), 200);
    assert.equal(await status('/nothing'), 404);
    assert.equal(await status('/demo/..%2f..%2fpackage.json'), 404);
    assert.equal(await status('/dist/%2e%2e/package.json'), 404);
    const head = await fetch(address, { method: 'HEAD' });
    assert.equal(Number(head.headers.get('content-length')), file.length);
    const result = await tansyJson(['run', '-m', address, '-p', 'a', '-n', '2', '--temp', '0']);
    assert.equal(result.tokens, 2);
    const taken = await tansy(['serve', model, '--port', new URL(url).port]);
    assert.match(taken.stderr, /in use; choose another with --port/);
  } finally {
    child.kill('SIGINT');
    const [status] = await once(child, 'close');
    assert.equal(status, 0);
  }
});

test('a text begins as the model says, when it is evaluated as when it is continued: with no token that the tokenizer does not put there', async () => {
  const { ids } = await tansyJson(['run', '-m', model, '-p', 'abc', '--logits', join(folder, 'bos.f32')]);
  assert.equal(ids.length, 3); // config.json names a BOS, but nothing puts it before texts
  assert.equal((await tansyJson(['run', '-m', model, '-p', 'abc', '-n', '1'])).prompt_tokens, 3);
  writeFileSync(join(folder, 'forty.txt'), 'z'.repeat(40));
  for (const m of [model, source]) assert.equal((await tansyJson(['eval', '-m', m, '--text', join(folder, 'forty.txt'), '-c', '8'])).predictions, 35, m); // the first of each of 5 windows is not scored
});
