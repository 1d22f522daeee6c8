// What reaches users is what the sources say: locked packages, no scripts at installing, the same module wherever it is built, its
// integrity printed, and no way for a model's text to become code.
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { cpSync, mkdtempSync, readFileSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { built, root, runProgram } from './lib/builds.js';

const read = (/** @type {string} */ path) => readFileSync(join(root, path), 'utf8');

test('nothing of ours runs when the package is installed, nor anything of what it depends on', () => {
  const { scripts } = JSON.parse(read('package.json'));
  for (const name of ['preinstall', 'install', 'postinstall', 'preprepare', 'prepare', 'postprepare']) assert.equal(scripts[name], undefined, name);
  const { packages } = JSON.parse(read('package-lock.json'));
  const withScripts = Object.entries(packages).filter(([, entry]) => entry.hasInstallScript && !entry.dev && !entry.optional);
  assert.deepEqual(withScripts, []);
});

test('a user installs two packages beside ours, which need none themselves', () => {
  const { packages } = JSON.parse(read('package-lock.json'));
  const installed = Object.entries(packages).filter(([path, { dev, devOptional, optional, peer }]) => path !== '' && !(dev || devOptional || optional || peer));
  assert.deepEqual(installed.map(([path]) => path).sort(), ['node_modules/@huggingface/jinja', 'node_modules/@huggingface/tokenizers']);
  for (const [path, { dependencies, hasInstallScript }] of installed) assert.deepEqual([dependencies, hasInstallScript], [undefined, undefined], path);
});

test('npm audit knows of no weakness in any package', async (t) => {
  const { stdout } = await runProgram('npm', ['audit', '--json', '--fetch-retries=0', '--fetch-timeout=20000']);
  let answer;
  try {
    answer = JSON.parse(stdout);
  } catch {
    answer = { message: 'npm gave no answer' };
  }
  /* a registry that does not answer has not said that all is well */
  if (answer.metadata === undefined) return t.skip(`NOT AUDITED: the registry does not answer npm audit here (${answer.message ?? answer.error?.summary}); run it where it does`);
  assert.equal(answer.metadata.vulnerabilities.total, 0, stdout);
});

test('every package is locked to its bytes, from the registry', () => {
  for (const lock of ['package-lock.json', 'tests/current-node/package-lock.json']) {
    const packages = Object.entries(JSON.parse(read(lock)).packages).filter(([path]) => path !== '');
    assert.ok(packages.length > 0);
    for (const [path, { resolved, integrity, link }] of packages) {
      if (link) continue;
      assert.match(integrity, /^sha512-/, `${lock}: ${path}`);
      /* left out where it is the registry's own address (.npmrc) */
      assert.ok(resolved === undefined || resolved.startsWith('https://registry.npmjs.org/'), `${lock}: ${path}`);
    }
  }
});

test('text never becomes markup or code, in the library and in the demo', () => {
  const files = ['js', 'web', 'demo'].flatMap((folder) =>
    readdirSync(join(root, folder), { recursive: true })
      .map(String)
      .filter((name) => /\.(m?js|html)$/.test(name) && !name.includes('node_modules'))
      .map((name) => join(folder, name)),
  );
  assert.ok(files.length > 50);
  const unsafe = /\.(inner|outer)HTML\b|insertAdjacentHTML|document\.write|createContextualFragment|srcdoc|setHTMLUnsafe|\beval\(|new Function\(|javascript:|set(Timeout|Interval)\(\s*['"`]/;
  for (const file of files) assert.doesNotMatch(read(file), unsafe, file);
  assert.match(read('demo/index.html'), /http-equiv="Content-Security-Policy" content="default-src 'none'; script-src 'self' 'wasm-unsafe-eval';/);
  for (const bundle of ['dist/tansy.js', 'dist/tansy.esm.js', 'dist/tansy-worker.js']) assert.doesNotMatch(readFileSync(built(join(root, bundle)), 'utf8'), /\beval\(|new Function\(/, bundle);
});

test('npm run sri prints the hash of every file of dist/', async () => {
  const { status, stdout } = await runProgram(process.execPath, [join(root, 'scripts/sri.mjs')]);
  assert.equal(status, 0);
  const printed = Object.fromEntries(stdout.trim().split('\n').map((line) => line.split('  ').reverse()));
  const files = readdirSync(join(root, 'dist')).filter((name) => /\.(js|wasm)$/.test(name));
  assert.deepEqual(Object.keys(printed).sort(), files.sort());
  for (const name of files) assert.equal(printed[name], `sha384-${createHash('sha384').update(readFileSync(join(root, 'dist', name))).digest('base64')}`);
});

test('a module built in another folder has the same bytes', () => {
  const folder = mkdtempSync(join(tmpdir(), 'tansy-elsewhere-'));
  try {
    for (const path of ['src', 'wasm', 'scripts', 'tests', 'CMakeLists.txt', 'CMakePresets.json'])
      cpSync(join(root, path), join(folder, path), { recursive: true, filter: (from) => !from.includes('node_modules') });
    const run = (/** @type {string[]} */ args) => execFileSync('cmake', args, { cwd: folder, stdio: 'pipe' });
    run(['--preset', 'wasm']);
    run(['--build', '--preset', 'wasm', '--target', 'tansy_module']);
    const elsewhere = readFileSync(join(folder, 'build/wasm/tansy-simd128.wasm'));
    assert.equal(Buffer.compare(elsewhere, readFileSync(built(join(root, 'dist/tansy-simd128.wasm')))), 0);
    assert.ok(!elsewhere.includes(Buffer.from(root)) && !elsewhere.includes(Buffer.from(folder)), 'no path of a machine is in it');
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
});
