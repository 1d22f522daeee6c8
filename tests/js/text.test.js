// Text in and out: stop strings, streamed decoding, option checks, units.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { renderChat, templateOf } from '../../js/chat.js';
import { checkGenerateOptions, checkLoadOptions } from '../../js/options.js';
import { StopMatcher } from '../../js/stop.js';
import { TextStream, Tokenizer } from '../../js/tokenizer.js';
import { formatBytes, nearest, parseBytes } from '../../js/units.js';
import { byteLevelTokenizer, byteFallbackTokenizer } from './lib/tokenizers.js';

/** @param {string[]} stops @param {string[]} pieces */
function run(stops, pieces) {
  const matcher = new StopMatcher(stops);
  const shown = [];
  for (const piece of pieces) {
    shown.push(matcher.push(piece));
    if (matcher.matched !== undefined) break;
  }
  if (matcher.matched === undefined) shown.push(matcher.flush());
  return { text: shown.join(''), shown, matched: matcher.matched };
}

test('stop strings: none, inside a piece, across pieces, at the very start', () => {
  assert.deepEqual(run([], ['a', 'b']).shown, ['a', 'b', '']);
  assert.deepEqual(run(['END'], ['xxENDyy']), { text: 'xx', shown: ['xx'], matched: 'END' });
  assert.deepEqual(run(['END'], ['x', 'E', 'N', 'D', 'y']), { text: 'x', shown: ['x', '', '', ''], matched: 'END' });
  assert.equal(run(['\n\n'], ['one\n', 'two\n', '\nthree']).text, 'one\ntwo');
  assert.equal(run(['ab'], ['ab']).text, '');
});

test('stop strings: what only looked like one is shown in the end', () => {
  assert.deepEqual(run(['END'], ['E', 'N', 'O']).shown, ['', '', 'ENO', '']);
  assert.equal(run(['END'], ['xE', 'EN', 'EEN']).text, 'xEENEEN');
  assert.equal(run(['aab'], ['a', 'a', 'a', 'b', 'c']).text, 'a');
});

test('stop strings: the earliest of several wins, whichever way the text is cut', () => {
  const text = 'the quick brown fox jumps';
  for (let cut = 1; cut < text.length; cut++) {
    const pieces = text.match(new RegExp(`.{1,${cut}}`, 'gs')) ?? [];
    const { text: shown, matched } = run(['fox', 'brown f', 'k b'], pieces);
    assert.equal(shown, 'the quic', `cut ${cut}`);
    assert.equal(matched, 'k b');
  }
});

for (const [name, make] of /** @type {const} */ ([
  ['byte-level', byteLevelTokenizer],
  ['byte-fallback', byteFallbackTokenizer],
])) {
  const { json, config, vocab } = make();
  const tokenizer = new Tokenizer(json, config, vocab);

  test(`${name}: streamed text is the text, never half a character`, () => {
    for (const text of ['plain words, and more.', 'héllo wörld', '日本語 text', 'a 😀👩‍👩‍👧 z', ' leading', 'two  spaces\n\nlines ', '🙂', 'é']) {
      const ids = tokenizer.encode(text, false);
      for (const nPrompt of [0, 1, 3]) {
        if (nPrompt >= ids.length) continue;
        const stream = new TextStream(tokenizer, ids.slice(0, nPrompt));
        const pieces = ids.slice(nPrompt).map((id) => stream.push(id));
        pieces.push(stream.flush());
        const prompt = tokenizer.decode(ids.slice(0, nPrompt), true);
        if (!prompt.includes('\ufffd')) {
          assert.equal(prompt + pieces.join(''), tokenizer.decode(ids, true), JSON.stringify(text));
          for (const piece of pieces) assert.ok(!piece.includes('\ufffd') && piece.isWellFormed?.() !== false, JSON.stringify(pieces));
        }
      }
      assert.equal(tokenizer.decode(ids, true), text);
    }
  });

  test(`${name}: bytes that never become a character do not block the stream`, () => {
    const stream = new TextStream(tokenizer, []);
    const start = tokenizer.encode('😀', false).at(-4);
    const text = Array.from({ length: 40 }, () => stream.push(/** @type {number} */ (start))).join('') + stream.flush();
    assert.match(text, /^\ufffd+$/);
    const after = stream.push(tokenizer.encode('x', false).at(-1) ?? 0) + stream.flush();
    assert.ok(after.endsWith('x'), JSON.stringify(after));
  });
}

test('a broken tokenizer, or one of another model, is a clear error', () => {
  assert.throws(() => new Tokenizer('{"model":{"type":"nonsense"}}', undefined, 10), { code: 'TANSY_TOKENIZER' });
  assert.throws(() => new Tokenizer('not json', undefined, 10), { code: 'TANSY_TOKENIZER' });
  const { json, config } = byteLevelTokenizer();
  assert.throws(() => new Tokenizer(json, config, 20).encode('z', false), { code: 'TANSY_TOKENIZER', message: /only 20 tokens/ });
});

test('sampler and generate options: defaults, aliases, ranges', () => {
  const defaults = checkGenerateOptions({});
  assert.deepEqual(
    [defaults.temperature, defaults.topK, defaults.topP, defaults.minP, defaults.repeatPenalty, defaults.repeatLastN, defaults.stop],
    [0.8, 40, 0.95, 0.05, 1, 64, []],
  );
  const given = /** @type {any} */ ({ temp: 0, top_k: 5, max_new_tokens: 7, repetition_penalty: 1.1, stop: 'x', seed: null });
  const checked = checkGenerateOptions(given);
  assert.deepEqual([checked.temperature, checked.topK, checked.maxTokens, checked.repeatPenalty, checked.stop, checked.seed], [0, 5, 7, 1.1, ['x'], undefined]);
  for (const [bad, words] of /** @type {[any, RegExp][]} */ ([
    [{ temperature: -1 }, /temperature must be a number from 0 to 100; got -1/],
    [{ temperature: NaN }, /temperature/],
    [{ temperature: '0.5' }, /got "0.5"/],
    [{ topK: 1.5 }, /topK must be an integer/],
    [{ top_p: 1.01 }, /top_p must be a number from 0 to 1/],
    [{ seed: -1 }, /seed/],
    [{ seed: 2 ** 60 }, /seed/],
    [{ stop: [''] }, /stop must be a non-empty string/],
    [{ stop: 5 }, /stop/],
    [{ ignoreEos: 1 }, /ignoreEos must be true or false/],
    [{ signal: {} }, /signal must be an AbortSignal/],
    [{ onToken: 1 }, /onToken must be a function/],
    [{ temprature: 1 }, /no option "temprature"; did you mean "temperature"\?/],
    [{ zzzzzzzzzz: 1 }, /it knows temperature, topK/],
    [7, /must be an object/],
    [null, /must be an object/],
  ]))
    assert.throws(() => checkGenerateOptions(bad), { code: 'TANSY_OPTION', message: words });
});

test('load options', () => {
  assert.equal(checkLoadOptions('load', { memoryBudget: '64MB' }).memoryBudget, 64 * 2 ** 20);
  for (const [bad, words] of /** @type {[any, RegExp][]} */ ([
    [{ memoryBudget: 'lots' }, /memoryBudget must be a number of bytes or a string such as "64MB"/],
    [{ contextSize: -5 }, /contextSize/],
    [{ kv: 'f8' }, /kv must be one of int8, f16, f32; got "f8"/],
    [{ onProgress: 1 }, /onProgress/],
    [{ memorybudget: 1 }, /did you mean "memoryBudget"/],
  ]))
    assert.throws(() => checkLoadOptions('load', bad), { code: 'TANSY_OPTION', message: words });
});

test('byte counts', () => {
  for (const [text, n] of /** @type {const} */ ([
    [0, 0],
    ['0', 0],
    ['1024', 1024],
    ['1kb', 1024],
    ['64MB', 67108864],
    ['64 MiB', 67108864],
    ['1.5g', 1610612736],
    ['12b', 12],
  ]))
    assert.equal(parseBytes(text, 'x'), n);
  for (const bad of ['', 'MB', '-1', '1TB', '1e9', '1 2', NaN, -1, Infinity, {}, null]) assert.throws(() => parseBytes(/** @type {any} */ (bad), 'x'), { code: 'TANSY_OPTION' });
  assert.deepEqual([0, 1023, 1024, 1.5 * 2 ** 20, 123 * 2 ** 30].map(formatBytes), ['0 B', '1023 B', '1.00 KiB', '1.50 MiB', '123 GiB']);
});

test('nearest word', () => {
  assert.equal(nearest('--tmep', ['--temp', '--top-k']), '--temp');
  assert.equal(nearest('inspekt', ['inspect', 'run']), 'inspect');
  assert.equal(nearest('xyzzy', ['inspect', 'run']), undefined);
});

test('chat templates', () => {
  const template = "{% for m in messages %}<|{{ m.role }}|>{{ m.content }}{{ eos_token }}{% endfor %}{% if add_generation_prompt %}<|assistant|>{% endif %}";
  const messages = [{ role: 'user', content: 'hi' }];
  assert.equal(renderChat(template, messages, { eos_token: '</s>' }), '<|user|>hi</s><|assistant|>');
  assert.equal(renderChat(template, messages, { add_generation_prompt: false }), '<|user|>hi');
  assert.throws(() => renderChat('{% for %}', messages, {}), { code: 'TANSY_CHAT_TEMPLATE' });
  assert.throws(() => renderChat("{{ raise_exception('no system role') }}", messages, {}), { code: 'TANSY_CHAT_TEMPLATE', message: /no system role/ });
  for (const bad of [[], [null], [{ content: 'x' }], 'hi']) assert.throws(() => renderChat(template, /** @type {any} */ (bad), {}), { code: 'TANSY_OPTION' });
  assert.equal(templateOf([{ name: 'tool', template: 'b' }, { name: 'default', template: 'a' }]), 'a');
  assert.equal(templateOf(undefined), undefined);
});
