// The API in OpenAI's shape: on a model, and over HTTP with OpenAI's own client, unchanged.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import OpenAI from 'openai';
import { load } from '../../js/index.js';
import { cliPath, tansyJson } from './lib/builds.js';
import { writeCheckpoint } from './lib/checkpoint.js';

const TEMPLATE = "{% for m in messages %}<{{ m.role }}>{{ m.content }}\n{% endfor %}{% if add_generation_prompt %}<assistant>{% endif %}";
const folder = mkdtempSync(join(tmpdir(), 'tansy-api-'));
/** @type {import('../../js/index.js').Model} */
let model;
/** @type {import('../../js/index.js').Model} */
let bare;
/** @type {import('node:child_process').ChildProcess} */
let child;
/** @type {OpenAI} */
let client;
let url = '';

before(async () => {
  for (const [name, template] of /** @type {const} */ ([['chat', TEMPLATE], ['bare', undefined]])) {
    writeCheckpoint(join(folder, name), { config: { max_position_embeddings: 4096, num_hidden_layers: 1 } });
    writeFileSync(join(folder, name, 'tokenizer_config.json'), JSON.stringify({ eos_token: '<|end|>', chat_template: template }));
    await tansyJson(['compress', join(folder, name), '-o', join(folder, `${name}.tansy`), '--bits', '8', '--no-prune']);
  }
  model = await load(join(folder, 'chat.tansy'));
  bare = await load(join(folder, 'bare.tansy'));
  child = spawn(process.execPath, [cliPath, 'serve', join(folder, 'chat.tansy'), '--port', '0', '--json'], { stdio: ['ignore', 'pipe', 'inherit'] });
  const [line] = await /** @type {import('node:stream').Readable} */ (child.stdout).take(1).toArray();
  url = JSON.parse(line).api;
  client = new OpenAI({ baseURL: url, apiKey: 'none', maxRetries: 0 });
});
after(() => {
  child?.kill('SIGTERM');
  model?.dispose();
  bare?.dispose();
  rmSync(folder, { recursive: true, force: true });
});

const messages = /** @type {import('openai/resources').ChatCompletionMessageParam[]} */ ([
  { role: 'developer', content: 'Be brief.' },
  { role: 'user', content: [{ type: 'text', text: 'He' }, { type: 'text', text: 'llo' }] },
]);
const greedy = { model: 'x', temperature: 0, max_tokens: 12 };

/** What the same request gives through generate(). */
async function expected() {
  const { ids } = model.applyChatTemplate([{ role: 'system', content: 'Be brief.' }, { role: 'user', content: 'Hello' }]);
  const generation = model.generate(ids, { temperature: 0, maxTokens: 12 });
  return { text: await generation.text(), finish: generation.finishReason, prompt: ids.length, completion: generation.ids.length };
}

for (const [where, api] of /** @type {[string, () => Pick<OpenAI, 'chat' | 'completions'>][]} */ ([
  ['on a model', () => /** @type {any} */ (model)],
  ["through OpenAI's client", () => client],
])) {
  test(`chat, ${where}: whole and streamed`, async () => {
    const want = await expected();
    const whole = await api().chat.completions.create({ ...greedy, messages });
    assert.equal(whole.object, 'chat.completion');
    assert.match(whole.id, /^chatcmpl-/);
    assert.equal(whole.model, 'x');
    assert.deepEqual(whole.choices, [{ index: 0, message: { role: 'assistant', content: want.text, refusal: null }, logprobs: null, finish_reason: want.finish }]);
    assert.deepEqual(whole.usage, { prompt_tokens: want.prompt, completion_tokens: want.completion, total_tokens: want.prompt + want.completion });

    const stream = await api().chat.completions.create({ ...greedy, messages, stream: true, stream_options: { include_usage: true } });
    const chunks = [];
    for await (const chunk of stream) chunks.push(chunk);
    assert.ok(chunks.every(({ object, id }) => object === 'chat.completion.chunk' && id === chunks[0].id));
    assert.deepEqual(chunks[0].choices[0].delta, { role: 'assistant', content: '' });
    assert.equal(chunks.map(({ choices }) => choices[0]?.delta.content ?? '').join(''), want.text);
    assert.deepEqual(chunks.map(({ choices }) => choices[0]?.finish_reason).filter(Boolean), [want.finish]);
    assert.deepEqual(chunks.at(-1)?.usage, whole.usage);
    assert.deepEqual(chunks.at(-1)?.choices, []);
    assert.ok(chunks.slice(0, -1).every(({ usage }) => usage === null));
  });

  test(`logprobs, stop, seed, bias and penalties, ${where}`, async () => {
    const body = { ...greedy, messages, logprobs: true, top_logprobs: 2 };
    const whole = await api().chat.completions.create(body);
    const told = whole.choices[0].logprobs?.content ?? [];
    assert.equal(told.length, whole.usage?.completion_tokens);
    assert.equal(Buffer.from(told.flatMap(({ bytes }) => bytes ?? [])).toString('utf8'), whole.choices[0].message.content);
    for (const { token, logprob, top_logprobs } of told) {
      assert.equal(top_logprobs.length, 2);
      assert.equal(top_logprobs[0].token, token); // greedy
      assert.ok(logprob <= 0 && logprob >= top_logprobs[1].logprob);
    }
    const streamed = [];
    for await (const { choices } of await api().chat.completions.create({ ...body, stream: true })) streamed.push(...(choices[0].logprobs?.content ?? []));
    assert.deepEqual(streamed, told);

    const text = whole.choices[0].message.content ?? '';
    const stop = [...text].slice(2, 4).join('');
    const stopped = await api().chat.completions.create({ ...greedy, messages, stop: [stop] });
    assert.equal(stopped.choices[0].message.content, text.slice(0, text.indexOf(stop)));
    assert.equal(stopped.choices[0].finish_reason, 'stop');

    const random = { model: 'x', messages, temperature: 1, max_completion_tokens: 10 };
    const [a, b, c] = [await api().chat.completions.create({ ...random, seed: -5 }), await api().chat.completions.create({ ...random, seed: -5 }), await api().chat.completions.create({ ...random, seed: 6 })];
    assert.equal(a.choices[0].message.content, b.choices[0].message.content);
    assert.notEqual(a.choices[0].message.content, c.choices[0].message.content);
    const forced = await api().chat.completions.create({ ...greedy, messages, logit_bias: { 70: 100 }, max_tokens: 3 });
    assert.equal(forced.choices[0].message.content, model.detokenize([70, 70, 70]));
    const penalized = await api().chat.completions.create({ ...greedy, messages, logit_bias: { 70: 20 }, frequency_penalty: 2, presence_penalty: 2, max_tokens: 24 });
    const plain = await api().chat.completions.create({ ...greedy, messages, logit_bias: { 70: 20 }, max_tokens: 24 });
    assert.notEqual(penalized.choices[0].message.content, plain.choices[0].message.content);
  });

  test(`a JSON schema, ${where}`, async () => {
    const schema = { type: 'object', properties: { ok: { type: 'boolean' }, n: { type: 'integer' } }, required: ['ok', 'n'], additionalProperties: false };
    const { choices } = await api().chat.completions.create({
      model: 'x', messages, temperature: 1, seed: 1, max_tokens: 60, response_format: { type: 'json_schema', json_schema: { name: 'answer', strict: true, schema } },
    });
    const value = JSON.parse(choices[0].message.content ?? '');
    assert.deepEqual([Object.keys(value), typeof value.ok, Number.isInteger(value.n)], [['ok', 'n'], 'boolean', true]);
    assert.equal(choices[0].finish_reason, 'stop');
  });

  test(`text completions, ${where}`, async () => {
    const generation = model.generate('Hello', { temperature: 0, maxTokens: 16, logitBias: { 0: -100 } });
    const want = await generation.text();
    assert.equal(generation.ids.length, 16);
    const how = { model: 'x', temperature: 0, logit_bias: { 0: -100 } };
    const one = await api().completions.create({ ...how, prompt: 'Hello', logprobs: 1 });
    assert.equal(one.object, 'text_completion');
    assert.equal(one.choices[0].text, want);
    assert.equal(one.choices[0].logprobs?.tokens?.length, generation.ids.length);
    assert.equal(one.usage?.completion_tokens, generation.ids.length);
    const two = await api().completions.create({ ...how, prompt: ['Hello', 'Bye'] });
    assert.deepEqual(two.choices.map(({ index }) => index), [0, 1]);
    assert.equal(two.choices[0].text, want);
    const ids = await api().completions.create({ ...how, prompt: [...generation.promptIds] });
    assert.equal(ids.choices[0].text, want);
    let text = '';
    for await (const chunk of await api().completions.create({ ...how, prompt: 'Hello', stream: true })) text += chunk.choices[0].text;
    assert.equal(text, want);
  });

  test(`requests at the same time wait for each other, ${where}`, async () => {
    const want = await expected();
    const all = await Promise.all(Array.from({ length: 4 }, () => api().chat.completions.create({ ...greedy, messages })));
    for (const { choices } of all) assert.equal(choices[0].message.content, want.text);
  });

  test(`an abort stops the work and frees the model, ${where}`, async () => {
    const stream = await api().chat.completions.create({ model: 'x', messages, max_tokens: 3000, stream: true, logit_bias: { 0: -100 } });
    let n = 0;
    for await (const _ of stream) if (++n === 3) stream.controller.abort();
    assert.ok(n < 3000);
    const waiting = new AbortController();
    const long = api().chat.completions.create({ model: 'x', messages, max_tokens: 3000, logit_bias: { 0: -100 } }, { signal: waiting.signal });
    const queued = api().chat.completions.create({ ...greedy, messages });
    setTimeout(() => waiting.abort(), 50);
    await assert.rejects(long, (/** @type {any} */ error) => error.code === 'TANSY_ABORTED' || error instanceof OpenAI.APIUserAbortError);
    assert.equal((await queued).choices[0].finish_reason, 'length');
  });
}

const text = { messages: [{ role: 'user', content: 'a' }] };
for (const [body, code, param, words] of /** @type {[any, string, string | undefined, RegExp][]} */ ([
  [null, 'TANSY_OPTION', 'body', /must be an object/],
  [{}, 'TANSY_OPTION', 'messages', /non-empty list/],
  [{ messages: [] }, 'TANSY_OPTION', 'messages', /non-empty list/],
  [{ messages: [{ content: 'a' }] }, 'TANSY_OPTION', 'messages[0]', /\{ role, content \}/],
  [{ messages: [{ role: 'user', content: 5 }] }, 'TANSY_OPTION', 'messages[0]', /a string or a list of parts; got 5/],
  [{ messages: [{ role: 'user', content: [{ type: 'image_url', image_url: {} }] }] }, 'TANSY_OPTION', 'messages[0]', /only \{ type: 'text'/],
  [{ ...text, temprature: 1 }, 'TANSY_OPTION', 'temprature', /chat\.completions\.create has no option "temprature"; did you mean "temperature"\? The names/],
  [{ ...text, temperature: 'hot' }, 'TANSY_OPTION', 'temperature', /number from 0 to 2; got "hot"/],
  [{ ...text, temperature: 3 }, 'TANSY_OPTION', 'temperature', /got 3/],
  [{ ...text, top_p: -1 }, 'TANSY_OPTION', 'top_p', /from 0 to 1/],
  [{ ...text, presence_penalty: 5 }, 'TANSY_OPTION', 'presence_penalty', /from -2 to 2/],
  [{ ...text, max_tokens: 1.5 }, 'TANSY_OPTION', 'max_tokens', /integer/],
  [{ ...text, n: 2 }, 'TANSY_OPTION', 'n', /one choice/],
  [{ ...text, stop: [''] }, 'TANSY_OPTION', 'stop', /non-empty string/],
  [{ ...text, seed: 'x' }, 'TANSY_OPTION', 'seed', /integer/],
  [{ ...text, stream: 'yes' }, 'TANSY_OPTION', 'stream', /boolean/],
  [{ ...text, stream_options: { include_usage: true } }, 'TANSY_OPTION', 'stream_options', /stream: true only/],
  [{ ...text, top_logprobs: 2 }, 'TANSY_OPTION', 'top_logprobs', /needs logprobs/],
  [{ ...text, logprobs: true, top_logprobs: 21 }, 'TANSY_OPTION', 'top_logprobs', /0 to 20/],
  [{ ...text, logit_bias: { x: 1 } }, 'TANSY_OPTION', undefined, /"x" is no token/],
  [{ ...text, tools: [{ type: 'function' }] }, 'TANSY_OPTION', 'tools', /not supported/],
  [{ ...text, reasoning_effort: 'low' }, 'TANSY_OPTION', 'reasoning_effort', /chat_template_kwargs/],
  [{ ...text, audio: { voice: 'x' } }, 'TANSY_OPTION', 'audio', /only text/],
  [{ ...text, web_search_options: {} }, 'TANSY_OPTION', 'web_search_options', /nothing is fetched/],
  [{ ...text, response_format: { type: 'xml' } }, 'TANSY_OPTION', undefined, /response_format must be/],
  [{ ...text, response_format: { type: 'json_schema', json_schema: { name: 'a', schema: { type: 'thing' } } } }, 'TANSY_SCHEMA', undefined, /no type "thing"/],
  [{ ...text, chat_template: '{% for %}' }, 'TANSY_CHAT_TEMPLATE', undefined, /chat template failed/],
  [{ messages: [{ role: 'user', content: 'a'.repeat(5000) }] }, 'TANSY_CONTEXT', undefined, /context holds 4096/],
])) {
  const shown = JSON.stringify(body)?.slice(0, 90);
  test(`refused: ${shown}`, async () => {
    const wrong = (/** @type {any} */ error) => error.code === code && error.details.param === param && words.test(error.message) && /\.$/.test(error.message);
    await assert.rejects(model.chat.completions.create(body), wrong);
  });
  if (body !== null)
    test(`refused over HTTP: ${shown}`, async () => {
      const wrong = (/** @type {any} */ error) =>
        error instanceof OpenAI.BadRequestError && error.code === (code === 'TANSY_CONTEXT' ? 'context_length_exceeded' : code) && error.type === 'invalid_request_error' && words.test(error.message);
      await assert.rejects(client.chat.completions.create({ model: 'x', ...body }), wrong);
    });
}

for (const [body, param] of /** @type {[any, string][]} */ ([
  [{}, 'prompt'],
  [{ prompt: [] }, 'prompt'],
  [{ prompt: [1.5] }, 'prompt'],
  [{ prompt: 'a', echo: true }, 'echo'],
  [{ prompt: 'a', best_of: 3 }, 'best_of'],
  [{ prompt: 'a', logprobs: true }, 'logprobs'],
  [{ prompt: 'a', messages: [] }, 'messages'],
]))
  test(`refused, text: ${JSON.stringify(body)}`, () => assert.rejects(model.completions.create(body), (/** @type {any} */ error) => error.code === 'TANSY_OPTION' && error.details.param === param));

test('a file without a chat template says so; a template of the request does instead', async () => {
  await assert.rejects(bare.chat.completions.create({ messages: [{ role: 'user', content: 'a' }] }), { code: 'TANSY_CHAT_TEMPLATE', message: /no chat template/ });
  const { choices } = await bare.chat.completions.create({ messages: [{ role: 'user', content: 'a' }], chat_template: TEMPLATE, max_tokens: 2 });
  assert.equal(choices.length, 1);
});

test('HTTP: models, unknown addresses, methods, bodies', async () => {
  const models = [];
  for await (const one of client.models.list()) models.push(one.id);
  assert.deepEqual(models, ['chat']);
  assert.equal((await client.models.retrieve('chat')).id, 'chat');
  const ask = async (/** @type {string} */ path, /** @type {RequestInit} */ init = {}) => {
    const response = await fetch(url + path, init);
    const { error } = await response.json();
    assert.deepEqual(Object.keys(error), ['message', 'type', 'param', 'code']);
    return [response.status, error.code];
  };
  const headers = { 'Content-Type': 'application/json' };
  assert.deepEqual(await ask('/nothing'), [404, 'not_found']);
  assert.deepEqual(await ask('/chat/completions'), [405, 'method_not_allowed']);
  assert.deepEqual(await ask('/chat/completions', { method: 'POST', body: '{}' }), [415, 'unsupported_media_type']);
  assert.deepEqual(await ask('/chat/completions', { method: 'POST', headers, body: '{' }), [400, 'invalid_json']);
  assert.deepEqual(await ask('/completions', { method: 'POST', headers, body: ' '.repeat(17 << 20) }).catch(() => [413, 'request_too_large']), [413, 'request_too_large']);
});
