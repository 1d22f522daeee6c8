// The package as people get it: packed, installed in a folder of its own, and used from Node, TypeScript, Vite and a script tag.
import assert from 'node:assert/strict';
import { execFile, spawn } from 'node:child_process';
import { cpSync, existsSync, mkdirSync, mkdtempSync, readFileSync, readdirSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { promisify } from 'node:util';
import { publint } from 'publint';
import { EMBEDDED_MODEL } from '../../demo/embedded.js';
import { currentNode } from '../js/lib/builds.js';
import { listen, staticHandler } from '../../js/cli/static_server.js';
import { launchChromium, skip, timeout } from '../browser/lib/chromium.mjs';
import { root } from '../browser/lib/server.mjs';

const exec = promisify(execFile);
const scratch = mkdtempSync(join(tmpdir(), 'tansy-package-'));
const app = join(scratch, 'app');
const installed = join(app, 'node_modules/tansy');
const model = join(root, 'demo', EMBEDDED_MODEL);
const npm = process.env.npm_execpath?.endsWith('.js') ? [process.execPath, process.env.npm_execpath] : ['npm'];
const STRICT_CSP = "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; worker-src 'self'; connect-src 'self'";
const OPTIONS = { temperature: 0, maxTokens: 12 };

/** Runs a program; what it printed is in the error when it fails. @param {string[]} command @param {string} [cwd] */
async function run([program, ...args], cwd = app) {
  try {
    return (await exec(program, args, { cwd, maxBuffer: 1 << 26 })).stdout;
  } catch (error) {
    const { stdout, stderr } = /** @type {any} */ (error);
    throw new Error(`${program} ${args.join(' ')}\n${stdout}\n${stderr}`);
  }
}

const tool = (/** @type {string} */ path) => [process.execPath, join(root, 'node_modules', path)];
const write = (/** @type {Record<string, string>} */ files) => {
  for (const [name, text] of Object.entries(files)) {
    mkdirSync(join(app, name, '..'), { recursive: true });
    writeFileSync(join(app, name), text);
  }
};

let packed = /** @type {string[]} */ ([]);
before(async () => {
  await run([...tool('typescript/bin/tsc'), '-p', join(root, 'tsconfig.types.json')], root);
  const [{ filename, files }] = JSON.parse(await run([...npm, 'pack', '--json', '--ignore-scripts', '--loglevel=error', '--pack-destination', scratch], root));
  packed = files.map((/** @type {{path: string}} */ { path }) => path);
  write({ 'package.json': JSON.stringify({ name: 'app', private: true, type: 'module' }) });
  await run([...npm, 'install', '--prefer-offline', '--no-audit', '--no-fund', '--loglevel=error', join(scratch, filename)]);
});
after(() => rmSync(scratch, { recursive: true, force: true }));

test('the tarball has what is used, and nothing else', () => {
  for (const path of ['js/index.js', 'js/cli/main.js', 'demo/index.html', 'dist/tansy.js', 'dist/tansy.esm.js', 'dist/tansy-worker.js', 'dist/tansy-simd128.wasm', 'dist/types/js/index.d.ts', 'dist/types/web/index.d.ts', 'LICENSE', 'README.md'])
    assert.ok(packed.includes(path), `${path} is missing`);
  for (const path of packed.filter((path) => /^dist\/[^/]*\.js$/.test(path))) {
    const map = /sourceMappingURL=(\S+)/.exec(readFileSync(join(installed, path), 'utf8'))?.[1];
    assert.ok(map && packed.includes(`dist/${map}`), `${path}: its source map is missing`);
  }
  assert.deepEqual(packed.filter((path) => /^(tests|src|scripts|build)\/|\.(c|h|tgz)$/.test(path)), []);
  const { dependencies } = JSON.parse(readFileSync(join(installed, 'package.json'), 'utf8'));
  assert.deepEqual(readdirSync(join(app, 'node_modules')).filter((name) => !name.startsWith('.')).sort(), [...new Set(['tansy', ...Object.keys(dependencies).map((name) => name.split('/')[0])])].sort());
});

test('publint has nothing to say', async () => {
  const { messages } = await publint({ pkgDir: installed, pack: false, level: 'suggestion' });
  assert.deepEqual(messages, []);
});

for (const [name, node] of /** @type {[string, () => string][]} */ ([['this Node', () => process.execPath], ['a current Node', currentNode]]))
  test(`plain Node, ${name}: import, generate, chat, the command, the wasm file`, async () => {
    write({
      'node.mjs': `import { load, canRun, TansyError } from 'tansy';
const model = await load(process.argv[2]);
const text = await model.generate('Once upon a time', ${JSON.stringify(OPTIONS)}).text();
const { choices } = await model.completions.create({ prompt: 'Once upon a time', temperature: 0, max_tokens: 12 });
let code;
try { await model.chat.completions.create({ messages: [{ role: 'user', content: 'x' }] }); } catch (error) { code = error instanceof TansyError && error.code; }
const fit = await canRun(process.argv[2]);
model.dispose();
console.log(JSON.stringify({ text, again: choices[0].text, code, ok: fit.ok, wasm: import.meta.resolve('tansy/tansy-simd128.wasm') }));`,
    });
    const { text, again, code, ok, wasm } = JSON.parse(await run([node(), 'node.mjs', model]));
    assert.ok(text.length > 10);
    assert.equal(again, text);
    assert.deepEqual([code, ok], ['TANSY_CHAT_TEMPLATE', true]);
    assert.ok(existsSync(new URL(wasm)));
    const { version } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'));
    assert.equal((await run([node(), join(installed, 'js/cli/main.js'), '--version'])).trim(), version);
    assert.ok(existsSync(join(app, 'node_modules/.bin/tansy')));
  });

/** @param {string} file @param {string} text @param {object} options */
async function compile(file, text, options) {
  const compilerOptions = { strict: true, noEmit: true, target: 'es2022', module: 'esnext', moduleResolution: 'bundler', lib: ['es2023', 'dom', 'dom.iterable', 'dom.asynciterable'], types: [], ...options };
  write({ [file]: text, 'tsconfig.json': JSON.stringify({ compilerOptions, files: [file] }) });
  await run([...tool('typescript/bin/tsc'), '-p', '.']);
}

/** @param {string} bytes how heapBytes is asked for: in a page the model is in a worker */
const consumer = (bytes) => `import { load, supports, TansyError, type ChatBody, type ChatCompletion, type GenerateOptions, type GeneratedLogprob, type MemoryByKind, type Model, type RetryOptions, type Usage } from 'tansy';
export async function main(): Promise<string> {
  const model: Model = await load('model.tansy', { memoryBudget: '64MB', onProgress: ({ loaded, total }) => console.log(loaded, total) });
  const options: GenerateOptions = { maxTokens: 10, stop: ['x'], responseFormat: { type: 'json_object' } };
  for await (const text of model.generate('a', options)) console.log(text.length);
  const stream = await model.chat.completions.create({ messages: [{ role: 'user', content: 'hi' }], stream: true });
  for await (const chunk of stream) console.log(chunk.choices[0]?.delta.content?.length);
  const body: ChatBody = { messages: [{ role: 'user', content: 'hi' }] };
  const whole: ChatCompletion = await model.chat.completions.create(body);
  const told: [Usage, GeneratedLogprob[], MemoryByKind | RetryOptions | undefined, boolean] = [whole.usage, model.generate('a').logprobs, undefined, supports('relaxed')];
  console.log(told);
  const reason: 'stop' | 'length' = whole.choices[0].finish_reason;
  const bytes: number = ${bytes};
  try { model.dispose(); } catch (error) { if (error instanceof TansyError) console.log(error.code === 'TANSY_DISPOSED'); }
  // @ts-expect-error an option that does not exist
  model.generate('a', { maxTokenz: 1 });
  // @ts-expect-error a source that is none
  await load(5);
  return reason + bytes;
}
`;
const [IN_NODE, IN_PAGE] = ['model.stats().heapBytes', '(await model.stats()).heapBytes'];
for (const [name, text, options] of /** @type {[string, string, object][]} */ ([
  ['nodenext: Node', consumer(IN_NODE), { module: 'nodenext', moduleResolution: 'nodenext' }],
  ['bundler: a page', consumer(IN_PAGE), { moduleResolution: 'bundler' }],
  ['condition browser: a page', consumer(IN_PAGE), { moduleResolution: 'bundler', customConditions: ['browser'] }],
]))
  test(`TypeScript --strict, ${name}: types of the package alone`, () => compile('consumer.ts', text, options));

test('TypeScript: a page that forgets that its model is in a worker does not compile', async () => {
  await assert.rejects(compile('consumer.ts', consumer(IN_NODE), {}), /Property 'heapBytes' does not exist on type 'Promise/);
});

test("TypeScript: results fit the types of the package openai", async () => {
  mkdirSync(join(app, 'node_modules'), { recursive: true });
  if (!existsSync(join(app, 'node_modules/openai'))) symlinkSync(join(root, 'node_modules/openai'), join(app, 'node_modules/openai'));
  await compile(
    'openai.ts',
    `import { load } from 'tansy';
import type OpenAI from 'openai';
const model = await load('x');
const body: OpenAI.Chat.Completions.ChatCompletionCreateParamsNonStreaming['stop'] = ['a'];
const whole: OpenAI.Chat.Completions.ChatCompletion = await model.chat.completions.create({ messages: [{ role: 'user', content: 'a' }], stop: body });
for await (const chunk of await model.chat.completions.create({ messages: [{ role: 'user', content: 'a' }], stream: true })) { const one: OpenAI.Chat.Completions.ChatCompletionChunk = chunk; void one; }
const text: OpenAI.Completions.Completion = await model.completions.create({ prompt: 'a' });
void whole; void text;
export {};
`,
    { skipLibCheck: true },
  );
});

const PAGE_SCRIPT = (/** @type {string} */ importing) => `${importing}
(async () => {
  const model = await tansy.load('model.tansy');
  const text = await model.generate('Once upon a time', ${JSON.stringify(OPTIONS)}).text();
  const stream = await model.completions.create({ prompt: 'Once upon a time', temperature: 0, max_tokens: 12, logprobs: 1, stream: true, stream_options: { include_usage: true } });
  let streamed = '', usage;
  for await (const chunk of stream) { streamed += chunk.choices[0]?.text ?? ''; usage ??= chunk.usage; }
  const chat = await model.chat.completions.create({ messages: [{ role: 'user', content: 'hi' }], chat_template: '{{ messages[0].content }}', max_tokens: 40, seed: 1,
    response_format: { type: 'json_schema', json_schema: { name: 'a', schema: { type: 'object', properties: { ok: { type: 'boolean' } }, required: ['ok'], additionalProperties: false } } } });
  const refused = await model.chat.completions.create({ messages: [{ role: 'user', content: 'hi' }] }).catch((error) => error.code);
  model.dispose();
  window.result = { text, streamed, usage, json: JSON.parse(chat.choices[0].message.content), refused };
})().catch((error) => { window.result = { error: String(error) }; });
`;

describe('in Chromium, under a strict Content-Security-Policy', { skip, timeout }, () => {
  /** @type {import('playwright-core').Browser} */
  let browser;
  before(async () => {
    browser = await launchChromium();
  });
  after(() => browser?.close());

  /** Opens a folder's page, and checks what its script has left. @param {string} folder @param {string} [csp] */
  async function check(folder, csp = STRICT_CSP) {
    cpSync(model, join(folder, 'model.tansy'));
    const files = staticHandler({ mounts: { '/': `${folder}/` } });
    const server = await listen(async (request, response) => {
      response.setHeader('Content-Security-Policy', csp);
      await files(request, response);
    }, 0, '127.0.0.1');
    try {
      await visit(`${server.url}/index.html`);
    } finally {
      await server.close();
    }
  }

  /** @param {string} url */
  async function visit(url) {
    const page = await browser.newPage();
    const wrong = /** @type {string[]} */ ([]);
    page.on('console', (message) => message.type() === 'error' && !/favicon/.test(message.location().url) && wrong.push(message.text()));
    page.on('pageerror', (error) => wrong.push(String(error)));
    try {
      await page.goto(url);
      await page.waitForFunction(() => 'result' in window, undefined, { timeout: 30000 });
      const result = await page.evaluate(() => /** @type {any} */ (window).result);
      assert.deepEqual(wrong, []);
      assert.equal(result.error, undefined);
      assert.ok(result.text.length > 10);
      assert.equal(result.streamed, result.text);
      assert.equal(result.usage.completion_tokens, 12);
      assert.ok(result.usage.prompt_tokens > 0);
      assert.equal(typeof result.json.ok, 'boolean');
      assert.equal(result.refused, 'TANSY_CHAT_TEMPLATE');
    } finally {
      await page.close();
    }
  }

  test('a page with one script tag', async () => {
    const folder = join(scratch, 'page');
    mkdirSync(folder);
    cpSync(join(installed, 'dist'), join(folder, 'tansy'), { recursive: true });
    writeFileSync(join(folder, 'index.html'), '<!doctype html><title>t</title><script src="tansy/tansy.js"></script><script src="page.js"></script>');
    writeFileSync(join(folder, 'page.js'), PAGE_SCRIPT(''));
    await check(folder);
  });

  test("a script tag at a CDN's bare address, with the policy that docs/hosting.md names", async () => {
    const cdn = await listen(staticHandler({ mounts: { '/npm/tansy@0.1.0': join(installed, 'dist/tansy.js'), '/npm/tansy@0.1.0/dist/': join(installed, 'dist') }, cors: true }), 0, '127.0.0.1');
    const folder = join(scratch, 'cdn-page');
    mkdirSync(folder);
    writeFileSync(join(folder, 'index.html'), `<!doctype html><title>t</title><script src="${cdn.url}/npm/tansy@0.1.0"></script><script src="page.js"></script>`);
    writeFileSync(join(folder, 'page.js'), PAGE_SCRIPT(''));
    try {
      await check(folder, `default-src 'none'; script-src 'self' 'wasm-unsafe-eval' ${cdn.url}; worker-src 'self' blob: ${cdn.url}; connect-src 'self' ${cdn.url}`);
    } finally {
      await cdn.close();
    }
  });

  test('an app built by esbuild, which knows no workers: the files of dist/ lie beside it', async () => {
    const folder = join(scratch, 'esbuild-page');
    write({ 'esbuild_main.js': PAGE_SCRIPT("import * as tansy from 'tansy';") });
    await run([join(root, 'node_modules/.bin/esbuild'), 'esbuild_main.js', '--bundle', '--format=esm', `--outfile=${join(folder, 'main.js')}`, '--log-level=warning']);
    cpSync(join(installed, 'dist'), folder, { recursive: true });
    writeFileSync(join(folder, 'index.html'), '<!doctype html><title>t</title><script type="module" src="main.js"></script>');
    await check(folder);
  });

  test('an app built by webpack', async () => {
    const folder = join(app, 'webpacked');
    write({ 'webpack_main.js': PAGE_SCRIPT("import * as tansy from 'tansy';") });
    await run([...npm, 'install', '--no-save', '--prefer-offline', '--no-audit', '--no-fund', '--loglevel=error', 'webpack@5.112.2', 'webpack-cli@7.3.1']);
    const said = await run([process.execPath, join(app, 'node_modules/webpack/bin/webpack.js'), '--mode', 'production', '--entry', './webpack_main.js', '-o', folder]);
    assert.doesNotMatch(String(said), /WARNING|ERROR/);
    writeFileSync(join(folder, 'index.html'), '<!doctype html><title>t</title><script src="main.js"></script>');
    await check(folder);
  });

  test('a Vite app, built and in development', async () => {
    write({
      'index.html': '<!doctype html><title>t</title><script type="module" src="/main.js"></script>',
      'main.js': PAGE_SCRIPT("import * as tansy from 'tansy';"),
    });
    // not among our own dependencies: npm leaves some of its optional packages out of lock files, which `npm ci` then refuses
    await run([...npm, 'install', '--no-save', '--prefer-offline', '--no-audit', '--no-fund', '--loglevel=error', 'vite@7.3.8']);
    await run([process.execPath, join(app, 'node_modules/vite/bin/vite.js'), 'build', '--outDir', 'built', '--logLevel', 'warn']);
    await check(join(app, 'built'));

    mkdirSync(join(app, 'public'));
    cpSync(model, join(app, 'public/model.tansy'));
    const child = spawn(process.execPath, [join(app, 'node_modules/vite/bin/vite.js'), '--port', '0', '--host', '127.0.0.1'], { cwd: app, env: { ...process.env, NO_COLOR: '1' } });
    try {
      let said = '';
      const url = await new Promise((resolve, reject) => {
        child.stdout.on('data', (piece) => {
          const found = /Local:\s+(http:\S+)/.exec((said += piece));
          if (found) resolve(found[1]);
        });
        child.once('close', () => reject(new Error(said)));
      });
      await visit(url);
    } finally {
      child.kill();
    }
  });
});
