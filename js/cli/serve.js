/** serve.js: `tansy serve`: the demo page with a model of your own, and OpenAI's API over it, on a local port. */
import { existsSync, readFileSync, statSync } from 'node:fs';
import { basename, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';

import { TansyError } from '../errors.js';
import { canRun, load } from '../index.js';
import { formatBytes } from '../units.js';
import { MODEL_FLAGS, loadOptions } from './model_flags.js';
import { printJson } from './output.js';
import { apiHandler, mayAsk } from './serve_api.js';
import { listen, staticHandler } from './static_server.js';

const { model: _, ...API_MODEL_FLAGS } = MODEL_FLAGS;

/** @type {import('./args.js').Command} */
export const command = {
  name: 'serve',
  summary: "Serves the demo page, a model with Range requests, and OpenAI's API at /v1, until interrupted.",
  usage: 'FILE [flags]',
  positionals: [1, 1],
  flags: {
    port: { names: ['--port'], type: 'integer', min: 0, max: 65535, value: 'N', help: '8080; 0: any free one' },
    host: { names: ['--host'], type: 'string', value: 'ADDRESS', help: '127.0.0.1' },
    isolate: { names: ['--isolate'], type: 'flag', help: 'send COOP and COEP, which threads in a page need' },
    cors: { names: ['--cors'], type: 'flag', help: 'let pages of other sites load the model and use the API' },
    chatTemplate: { names: ['--chat-template'], type: 'string', value: 'FILE', help: "Jinja chat template in place of the model's own", group: 'API' },
    ...Object.fromEntries(Object.entries(API_MODEL_FLAGS).map(([name, flag]) => [name, { ...flag, group: 'API' }])),
  },
  notes: ['The API: POST /v1/chat/completions, POST /v1/completions, GET /v1/models. The model is loaded for it at the first request.'],
  run,
};

const folder = (/** @type {string} */ name) => fileURLToPath(new URL(`../../${name}/`, import.meta.url));

/**
 * @param {import('./args.js').Args} args
 * @param {AbortSignal} signal
 */
async function run({ positionals, values }, signal) {
  const file = resolve(positionals[0]);
  if (!existsSync(file)) throw new TansyError('TANSY_NOT_FOUND', `There is no file ${positionals[0]}; check the path.`);
  if (!statSync(file).isFile()) throw new TansyError('TANSY_NOT_FOUND', `${positionals[0]} is not a file; give the .tansy file itself.`);
  // Reads the header: a file that is no model, or needs more memory than it may take, is refused now, not when somebody asks for it.
  const fit = await canRun(file, { ...loadOptions(values), signal });
  if (!fit.ok) throw new TansyError('TANSY_OVER_BUDGET', `${positionals[0]} needs at least ${fit.bytesNeeded} bytes (${formatBytes(fit.bytesNeeded)}) of memory. Raise --memory or lower --ctx-size.`, { bytesNeeded: fit.bytesNeeded, bytesMissing: fit.bytesMissing });
  const address = `/model/${basename(file)}`;
  let chatTemplate;
  if (values.chatTemplate !== undefined) {
    if (!existsSync(values.chatTemplate)) throw new TansyError('TANSY_NOT_FOUND', `There is no file ${values.chatTemplate}; check the path.`);
    chatTemplate = readFileSync(values.chatTemplate, 'utf8');
  }
  /** @type {ReturnType<typeof load> | undefined} */
  let loading;
  const api = apiHandler({
    name: basename(file).replace(/\.tansy$/, ''),
    /* one that failed is tried again: memory may be free by then */
    model: () => (loading ??= load(file, { ...loadOptions(values), signal }).catch((error) => ((loading = undefined), Promise.reject(error)))),
    chatTemplate,
    cors: values.cors,
  });
  const files = staticHandler({
    mounts: { [address]: file, '/demo/': folder('demo'), '/dist/': folder('dist') },
    redirects: { '/': `/demo/?model=${encodeURIComponent(`/model/${encodeURIComponent(basename(file))}`)}` },
    isolate: values.isolate,
    cors: values.cors,
  });
  const host = values.host ?? '127.0.0.1';
  const handler = async (/** @type {import('./serve_api.js').Request} */ request, /** @type {import('./serve_api.js').Response} */ response) => {
    /* with --cors any site may ask anyway */
    if (!values.cors && !mayAsk(request.headers.host, host))
      return void response.writeHead(403, { 'Content-Type': 'text/plain; charset=utf-8', Connection: 'close' }).end('This server answers to localhost only; see --host and --cors.\n');
    if (!(await api(request, response))) await files(request, response);
  };
  let server;
  try {
    server = await listen(handler, values.port ?? 8080, host);
  } catch (error) {
    const { code, message } = /** @type {NodeJS.ErrnoException} */ (error);
    throw new TansyError(
      'TANSY_IO',
      code === 'EADDRINUSE' ? `Port ${values.port ?? 8080} is in use; choose another with --port, or 0 for any.` : `The server could not start: ${message}`,
      {},
      error,
    );
  }
  const model = `${server.url}/model/${encodeURIComponent(basename(file))}`;
  if (values.json) printJson({ url: `${server.url}/`, model, api: `${server.url}/v1`, port: server.port });
  else process.stdout.write(`demo   ${server.url}/\nmodel  ${model}\napi    ${server.url}/v1\n`);
  await new Promise((done) => signal.addEventListener('abort', done, { once: true }));
  await server.close();
  (await loading?.catch(() => undefined))?.dispose();
}
