// `tansy serve` among strangers: pages that reach this machine by another name, clients that stop reading, clients in crowds, requests
// whose parts are absurdly large or deep.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { request as httpRequest } from 'node:http';
import { connect } from 'node:net';
import { test } from 'node:test';
import { apiHandler, mayAsk } from '../../js/cli/serve_api.js';
import { listen } from '../../js/cli/static_server.js';
import { openAi } from '../../js/openai/index.js';

/** A model that says "x" until it is stopped. */
function endless() {
  const state = { stopped: 0, running: 0 };
  const model = {
    generate: (/** @type {unknown} */ _, /** @type {{signal?: AbortSignal}} */ { signal } = {}) => ({
      ids: [],
      logprobs: [],
      finishReason: 'stop',
      promptTokens: 1,
      async *[Symbol.asyncIterator]() {
        state.running++;
        try {
          while (!signal?.aborted) {
            yield 'x'.repeat(20000);
            await new Promise((resolve) => setImmediate(resolve));
          }
        } finally {
          state.running--;
          state.stopped++;
        }
      },
    }),
    applyChatTemplate: () => ({ ids: [1] }),
  };
  return { state, model: /** @type {any} */ ({ ...model, ...openAi(/** @type {any} */ (model)) }) };
}

/** @param {any} model @param {Partial<import('../../js/cli/serve_api.js').ApiOptions>} [options] */
async function serve(model, options = {}) {
  const api = apiHandler({ name: 'm', model: async () => model, ...options });
  return listen(async (request, response) => void ((await api(request, response)) || response.writeHead(404).end()), 0, '127.0.0.1');
}

/** @param {number} port @param {string} path @param {Record<string, string>} headers @param {string} [body] @returns {Promise<{status: number, text: string}>} */
function ask(port, path, headers, body) {
  return new Promise((resolve, reject) => {
    const request = httpRequest({ port, path, host: '127.0.0.1', method: body === undefined ? 'GET' : 'POST', headers }, async (response) => {
      let text = '';
      for await (const part of response.setEncoding('utf8')) text += part;
      resolve({ status: response.statusCode ?? 0, text });
    });
    request.on('error', reject);
    request.end(body);
  });
}
const JSON_TYPE = { 'Content-Type': 'application/json' };
const until = async (/** @type {() => boolean} */ is) => {
  for (let i = 0; i < 400 && !is(); i++) await new Promise((resolve) => setTimeout(resolve, 25));
};

test('by which names the server may be asked', () => {
  for (const host of ['localhost', 'localhost:8080', '127.0.0.1:8080', '127.1.2.3', '[::1]:8080', 'LOCALHOST:1', 'me.localhost:3', 'localhost.']) assert.ok(mayAsk(host, '127.0.0.1'), host);
  for (const host of ['evil.example', 'evil.example:8080', 'localhost.evil.example', '127.0.0.1.evil.example', '127.0.0.1@evil.example', '', undefined, '192.168.1.4', '[::2]', 'notlocalhost']) {
    assert.equal(mayAsk(host, '127.0.0.1'), false, host);
    assert.equal(mayAsk(host, 'localhost'), false, host);
  }
  /* open to a network on purpose: its names are not known here */
  assert.ok(mayAsk('box.lan:8080', '0.0.0.0') && mayAsk('192.168.1.4:8080', '192.168.1.4'));
});

test('a client that reads no further is left, and the model is free again', async () => {
  const { state, model } = endless();
  const server = await serve(model, { stalledMs: 300 });
  const body = JSON.stringify({ prompt: 'a', stream: true });
  const socket = connect(server.port, '127.0.0.1');
  await once(socket, 'connect');
  socket.pause();
  socket.write(`POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: ${body.length}\r\n\r\n${body}`);
  await until(() => state.running === 1);
  await until(() => state.stopped === 1);
  assert.deepEqual(state, { stopped: 1, running: 0 });
  socket.destroy();
  await server.close();
});

test('requests wait in a queue that has an end', async () => {
  const { state, model } = endless();
  const server = await serve(model, { mostWaiting: 3 });
  const controller = new AbortController();
  const post = () => fetch(`${server.url}/v1/completions`, { method: 'POST', headers: JSON_TYPE, body: JSON.stringify({ prompt: 'a' }), signal: controller.signal });
  const waiting = [post(), post(), post()].map((one) => one.catch(() => undefined));
  await until(() => state.running === 1);
  await new Promise((resolve) => setTimeout(resolve, 100));
  const refused = await post();
  assert.equal(refused.status, 429);
  assert.ok(Number(refused.headers.get('retry-after')) > 0);
  assert.equal((await refused.json()).error.code, 'rate_limit_exceeded');
  controller.abort();
  await Promise.all(waiting);
  await until(() => state.running === 0);
  const again = await fetch(`${server.url}/v1/completions`, { method: 'POST', headers: JSON_TYPE, body: JSON.stringify({ prompt: 'a', stream: true }) });
  assert.equal(again.status, 200);
  await again.body?.cancel();
  await server.close();
});

test('absurd requests are answered as the caller\'s fault, soon and in few words', async () => {
  const { model } = endless();
  const server = await serve(model);
  const deep = (/** @type {number} */ n) => '['.repeat(n) + ']'.repeat(n);
  for (const body of [
    `{"prompt":"a","${'k'.repeat(4 << 20)}":1}`,
    `{"prompt":"a","n":${deep(200000)}}`,
    `{"prompt":"a","max_tokens":${deep(200000)}}`,
    `{"prompt":${deep(200000)}}`,
    '{"prompt":"a","__proto__":{"n":1}}',
    '{"prompt":"a","constructor":{}}',
    `{"prompt":"a","model":"${'m'.repeat(1 << 20)}","max_tokens":-1}`,
    'null',
    '[]',
    '"x"',
    '{"prompt":"a"',
  ]) {
    const started = performance.now();
    const { status, text } = await ask(server.port, '/v1/completions', { ...JSON_TYPE, Host: 'localhost' }, body);
    assert.equal(status, 400, `${body.slice(0, 40)}: ${text.slice(0, 200)}`);
    assert.ok(text.length < 2000, body.slice(0, 40));
    assert.ok(performance.now() - started < 5000, body.slice(0, 40));
  }
  await server.close();
});
