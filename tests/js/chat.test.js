// Chat templates with what those of real families use, each rendered as Jinja2 3.1 renders it for transformers.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { renderChat } from '../../js/chat.js';

const system = { role: 'system', content: ' Be brief. ' };
const user = { role: 'user', content: 'Hi <there> & "you"\n' };
const assistant = { role: 'assistant', content: '<think>\nhm\n</think>\n\nHello!' };
const call = { role: 'assistant', content: null, tool_calls: [{ type: 'function', function: { name: 'weather', arguments: { city: 'Zürich', days: 2, deep: [1.5, true, null] } } }] };
const tools = [{ type: 'function', function: { name: 'weather', parameters: { required: ['city'] } } }];

/** @type {[string, string, any[], Record<string, unknown>, string][]} */
const RENDERED = [
  ['blocks on lines of their own leave none', "{% for m in messages %}\n  {% if m.role == 'user' %}\n{{ '<u>\n' + m.content + eos_token }}\n  {% endif %}\n{% endfor %}\n", [system, user], {}, '<u>\nHi <there> & "you"\n</s>\n'],
  ['minus signs', "A \n{%- for m in messages -%}\n  [{{- ' ' -}} {{ m['role'] -}} ]\n{%- endfor -%}\n Z", [system, user], {}, 'A[ system][ user]Z'],
  [
    'the last question, looked for backwards',
    "{%- set ns = namespace(seek=true, at=messages|length - 1) %}{%- for m in messages[::-1] %}{%- if ns.seek and m.role == 'user' %}{%- set ns.seek = false %}{%- set ns.at = messages|length - 1 - loop.index0 %}{%- endif %}{%- endfor %}{{ ns.at }}",
    [system, user, assistant], {}, '1',
  ],
  [
    'thoughts left out of what came before',
    "{% for m in messages %}{% set c = m.content %}{% if '</think>' in c %}{% set c = c.split('</think>')[-1].lstrip('\\n') %}{% endif %}<{{ m.role }}>{{ c | trim }}{% endfor %}",
    [user, assistant], {}, '<user>Hi <there> & "you"<assistant>Hello!',
  ],
  [
    'a thinking mode that somebody may choose',
    "{%- if add_generation_prompt %}<a>{%- if enable_thinking is defined and enable_thinking is false %}{{- '<think></think>' }}{%- endif %}{%- endif %}",
    [user], { enable_thinking: false }, '<a><think></think>',
  ],
  ['no prompt for the answer', '{{ messages[0].role }}{% if add_generation_prompt %}<a>{% endif %}', [user], { add_generation_prompt: false }, 'user'],
  [
    'roles that alternate, without tools',
    "{%- set us = messages | selectattr('role', 'equalto', 'user') | list %}{{- bos_token }}{%- for m in messages %}{%- if (m.role == 'user') != (loop.index0 % 2 == 0) %}{{- raise_exception('alternate') }}{%- endif %}{%- if m == us[-1] and tools is not none %}{%- for t in tools %}{{ t.function.name }}{%- endfor %}{%- endif %}[{{ m.content | trim }}]{%- endfor %}",
    [user, assistant, user], {}, '<s>[Hi <there> & "you"][<think>\nhm\n</think>\n\nHello!][Hi <there> & "you"]',
  ],
  [
    'tools and calls as JSON',
    "{%- for t in tools %}{{- t | tojson }}{%- endfor %}{%- for m in messages if m.tool_calls is defined and m.tool_calls %}{%- for c in m.tool_calls %}{%- set c = c.function %}{{- '{\"name\": \"' ~ c.name ~ '\", \"arguments\": ' }}{{- c.arguments | tojson }}}{%- endfor %}{%- endfor %}",
    [user, call], { tools },
    '{"type": "function", "function": {"name": "weather", "parameters": {"required": ["city"]}}}{"name": "weather", "arguments": {"city": "Zürich", "days": 2, "deep": [1.5, true, null]}}',
  ],
  ['a schema with indentation', '{{ tools[0].function.parameters | tojson(indent=2) }}', [user], { tools }, '{\n  "required": [\n    "city"\n  ]\n}'],
  ['parts of a message', "{% for p in messages[0].content %}{% if p.type == 'text' %}{{ p.text | trim }}{% else %}<image>{% endif %}{% endfor %}", [{ role: 'user', content: [{ type: 'image' }, { type: 'text', text: ' hi ' }] }], {}, '<image>hi'],
  [
    'the system message in front of the first question',
    "{%- if messages[0]['role'] == 'system' -%}{%- set first = messages[0]['content'] + '\n\n' -%}{%- set rest = messages[1:] -%}{%- else -%}{%- set first = '' -%}{%- set rest = messages -%}{%- endif -%}{%- for m in rest -%}{{ '<' + ('model' if m.role == 'assistant' else m.role) + '>' + (first if loop.first else '') }}{{ m.content | trim }}{%- endfor -%}",
    [system, { role: 'user', content: 'Hi' }, { role: 'assistant', content: 'Ho' }], {}, '<user> Be brief. \n\nHi<model>Ho',
  ],
  ['what training marks as the answer', "{%- for m in messages -%}\n    {% generation %}\n    {%- if m.role == 'assistant' -%}\n        {{ 'A' + m.role }}\n    {%- endif -%}\n    {% endgeneration %}\n{%- endfor -%}", [user, assistant], {}, 'Aassistant'],
  ['a macro', "{%- macro both(a, b='-') -%}{{ a }}{{ b }}{%- endmacro -%}{{ both('x') }}{{ both('y', b='+') }}", [user], {}, 'x-y+'],
  ['a date of the caller', "{%- if not date_string is defined %}{%- set date_string = strftime_now('%d %b %Y') %}{%- endif %}Today: {{ date_string }}", [user], { date_string: '26 Jul 2024' }, 'Today: 26 Jul 2024'],
  ['tokens that the model lacks', '{{ bos_token }}{{ unk_token }}{% if unk_token is defined %}!{% endif %}', [user], { unk_token: undefined }, '<s>'],
];
for (const [what, template, messages, variables, expected] of RENDERED)
  test(`chat template: ${what}`, () => assert.equal(renderChat(template, messages, { bos_token: '<s>', eos_token: '</s>', ...variables }), expected));

test("today's date is English, with all that Python knows of it", () => {
  const at = (/** @type {string} */ format) => renderChat(`{{ strftime_now('${format}') }}`, [user], {});
  for (;;) {
    const before = new Date().toDateString();
    const text = at('%a %b %d %Y');
    if (new Date().toDateString() !== before) continue; // midnight
    assert.equal(text, before);
    break;
  }
  assert.match(at('%A, %-d %B %y %I:%M:%S %p, 100%% %Q'), /^[A-Z][a-z]+day, [1-9]\d? [A-Z][a-z]+ \d\d [01]\d:[0-5]\d:[0-5]\d [AP]M, 100% %Q$/);
});

test('what a template refuses is said in its words', () => {
  const template = "{% if messages[0].role == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}ok";
  assert.equal(renderChat(template, [user], {}), 'ok');
  assert.throws(() => renderChat(template, [system], {}), { code: 'TANSY_CHAT_TEMPLATE', message: /System role not supported/ });
});
