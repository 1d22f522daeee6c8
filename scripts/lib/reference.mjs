// The reference pages of docs/, made from the sources: docs/api.md from the types, docs/errors.md from the tables of js/errors.js.
import { join } from 'node:path';
import ts from 'typescript';
import { HOST, STATUS, describe } from '../../js/errors.js';
import { root } from './tools.mjs';

const NOTE = (/** @type {string} */ from) => `<!-- Made by \`npm run docs\` from ${from}. Changes belong there. -->\n`;

/** Sections of the API page: what is told of the entry for Node, in this order. Everything exported must be in one. */
const SECTIONS = /** @type {[title: string, intro: string, names: string[]][]} */ ([
  ['Loading', '', ['load', 'canRun', 'memoryCurve', 'LoadOptions', 'SourceInput', 'Source', 'Progress', 'RetryOptions', 'Fit', 'CurvePoint']],
  ['The model', '', ['Model', 'ModelConfig', 'ModelStats', 'MemoryByKind', 'TensorInfo', 'Goal']],
  ['Generating', '', ['Generation', 'GenerateOptions', 'GeneratedLogprob', 'ResponseFormat', 'ChatMessage']],
  [
    "In the shape of OpenAI's API",
    '`model.chat.completions.create(body, options)` and `model.completions.create(body, options)` take and give what the package `openai` does. With `stream: true` the result is a `ChunkStream`: an async iterable of chunks with a `controller` to abort it. Requests to one model wait for each other.',
    ['ChatBody', 'CompletionBody', 'ChatCompletion', 'ChatCompletionChunk', 'Completion', 'Usage'],
  ],
  ['Errors', 'Every error is a `TansyError`; [errors.md](errors.md) lists the codes.', ['TansyError']],
  ['Variants', '', ['supports', 'pickVariant']],
]);

/** Exported for types inside the package only. */
const UNTOLD = new Set(['SamplerOptions', 'Engine']);

class Reference {
  constructor() {
    const { config } = ts.readConfigFile(join(root, 'tsconfig.json'), ts.sys.readFile);
    const { options } = ts.convertCompilerOptionsFromJson(config.compilerOptions, root);
    const files = ['js/index.js', 'web/index.js'].map((path) => join(root, path));
    this.program = ts.createProgram(files, options);
    this.checker = this.program.getTypeChecker();
  }

  /** What a file exports, types included. @param {string} path @returns {Map<string, ts.Symbol>} */
  exportsOf(path) {
    const source = this.program.getSourceFile(join(root, path));
    const module = source && this.checker.getSymbolAtLocation(source);
    if (!module) throw new Error(`${path} is no module`);
    return new Map(
      this.checker.getExportsOfModule(module).map((symbol) => [symbol.name, symbol.flags & ts.SymbolFlags.Alias ? this.checker.getAliasedSymbol(symbol) : symbol]),
    );
  }

  /** @param {ts.Type} type @param {ts.TypeFormatFlags} [more] */
  typeText(type, more = 0) {
    const flags = more | ts.TypeFormatFlags.NoTruncation | ts.TypeFormatFlags.UseAliasDefinedOutsideCurrentScope;
    return this.checker
      .typeToString(type, undefined, flags)
      .replace(/import\("[^"]*"\)\./g, '')
      .replace(/ \| undefined(?=[;)]|$)/g, '')
      .replaceAll('<ArrayBufferLike>', '')
      .replace(/^\((\(.*\) => .*)\)$/, '$1')
      .replaceAll('"', "'");
  }

  /** @param {ts.Symbol} symbol */
  docOf(symbol) {
    return oneLine(ts.displayPartsToString(symbol.getDocumentationComment(this.checker)));
  }

  /** @param {ts.Symbol} symbol */
  typeOf(symbol) {
    const at = symbol.valueDeclaration ?? symbol.declarations?.[0];
    return at ? this.checker.getTypeOfSymbolAtLocation(symbol, at) : this.checker.getTypeOfSymbol(symbol);
  }

  /** @param {ts.Signature} signature @param {string} name */
  signature(signature, name) {
    const parameters = signature.parameters.map((parameter) => {
      const declaration = /** @type {ts.ParameterDeclaration | undefined} */ (parameter.valueDeclaration);
      const isOptional = declaration && (declaration.initializer || this.checker.isOptionalParameter(declaration));
      // A parameter that is taken apart has no name of its own.
      return `${parameter.name.startsWith('__') ? 'options' : parameter.name}${isOptional ? '?' : ''}: ${this.typeText(this.typeOf(parameter))}`;
    });
    return `${name}(${parameters.join(', ')}): ${this.typeText(signature.getReturnType())}`;
  }

  /** @param {ts.Signature} signature @returns {string[]} a line for each parameter that is explained */
  parameters(signature) {
    return signature.parameters.flatMap((parameter) => {
      const words = this.docOf(parameter);
      return words === '' ? [] : [`- \`${parameter.name.startsWith('__') ? 'options' : parameter.name}\`: ${words}`];
    });
  }

  /** @param {ts.Signature} signature */
  returns(signature) {
    const tag = signature.getJsDocTags().find(({ name }) => name === 'returns');
    const words = oneLine(ts.displayPartsToString(tag?.text)).replace(/^\{[^}]*\}\s*/, '');
    return words === '' ? [] : [`- returns ${words}`];
  }

  /** @param {string} name @param {ts.Symbol} symbol @returns {string[]} */
  callable(name, symbol) {
    const signatures = this.typeOf(symbol).getCallSignatures();
    return [
      '```ts',
      ...signatures.map((one) => this.signature(one, name)),
      '```',
      '',
      this.docOf(symbol),
      ...signatures.slice(0, 1).flatMap((one) => list([...this.parameters(one), ...this.returns(one)])),
    ];
  }

  /** Properties of a type as a table. @param {ts.Type} type @returns {string[]} */
  properties(type) {
    const rows = this.checker.getPropertiesOfType(type).map((property) => {
      const isOptional = Boolean(property.flags & ts.SymbolFlags.Optional);
      return `| \`${property.name}${isOptional ? '?' : ''}\` | ${code(this.typeText(this.typeOf(property)))} | ${cell(this.docOf(property))} |`;
    });
    return ['| | type | |', '| --- | --- | --- |', ...rows];
  }

  /** @param {ts.Symbol} symbol of a class @returns {{ properties: ts.Symbol[], methods: ts.Symbol[] }} public ones */
  members(symbol) {
    const all = this.checker.getPropertiesOfType(this.checker.getDeclaredTypeOfSymbol(symbol)).filter((member) => {
      const declaration = member.valueDeclaration ?? member.declarations?.[0];
      const isOwn = declaration?.getSourceFile().fileName.startsWith(root) && !declaration.getSourceFile().fileName.includes('node_modules');
      return isOwn && !member.getJsDocTags().some(({ name }) => name === 'internal') && !member.name.startsWith('#') && !member.name.startsWith('__');
    });
    const isMethod = (/** @type {ts.Symbol} */ member) => Boolean(member.flags & ts.SymbolFlags.Method);
    return { properties: all.filter((one) => !isMethod(one)), methods: all.filter(isMethod) };
  }

  /** @param {string} name @param {ts.Symbol} symbol @returns {string[]} */
  entry(name, symbol) {
    if (symbol.flags & ts.SymbolFlags.Class) {
      const { properties, methods } = this.members(symbol);
      const rows = properties.map((one) => `| \`${one.name}\` | ${code(this.typeText(this.typeOf(one)))} | ${cell(this.docOf(one))} |`);
      return [
        `### ${name}`,
        '',
        this.docOf(symbol),
        '',
        ...(rows.length > 0 ? ['| | type | |', '| --- | --- | --- |', ...rows, ''] : []),
        ...methods.flatMap((one) => [`#### ${one.name}`, '', ...this.callable(one.name, one), '']),
      ];
    }
    if (symbol.flags & ts.SymbolFlags.Function) return [`### ${name}`, '', ...this.callable(name, symbol), ''];
    const type = this.checker.getDeclaredTypeOfSymbol(symbol);
    const words = this.docOf(symbol) || (type.aliasSymbol ? this.docOf(type.aliasSymbol) : ''); // explained where it is defined
    const intro = [`### ${name}`, '', ...(words === '' ? [] : [words, ''])];
    // A union is shown as it is written, an object by its properties.
    if (type.isUnion() || !(type.flags & (ts.TypeFlags.Object | ts.TypeFlags.Intersection)))
      return [...intro, '```ts', `type ${name} = ${this.typeText(type, ts.TypeFormatFlags.InTypeAlias)}`, '```', ''];
    return [...intro, ...this.properties(type), ''];
  }
}

/** @param {string} text */
const oneLine = (text) => text.replace(/\s+/g, ' ').trim();
/** @param {string} text */
const cell = (text) => text.replaceAll('|', '\\|').replaceAll('<', '&lt;');
/** @param {string} text */
const code = (text) => `\`${text.replaceAll('|', '\\|')}\``;
/** @param {string[]} lines */
const list = (lines) => (lines.length > 0 ? ['', ...lines] : []);

/** @returns {string} docs/api.md */
export function apiPage() {
  const reference = new Reference();
  const inNode = reference.exportsOf('js/index.js');
  const inPage = reference.exportsOf('web/index.js');
  const told = new Set(SECTIONS.flatMap(([, , names]) => names));
  const forgotten = [...inNode.keys()].filter((name) => !told.has(name) && !UNTOLD.has(name));
  if (forgotten.length > 0) throw new Error(`exported, but in no section of scripts/lib/reference.mjs: ${forgotten.join(', ')}`);

  const lines = [
    NOTE('the types in js/ and web/'),
    '# API',
    '',
    "What `import … from 'tansy'` gives in Node. [In a page](#in-a-page) the same names do the same in a worker, and what is computed comes back through promises.",
    'Options are camelCase; the snake_case names of OpenAI’s API (`max_tokens`, `top_p`, …) and `max_new_tokens`, `repetition_penalty`, `n_ctx` are taken too.',
    '',
  ];
  for (const [title, intro, names] of SECTIONS) {
    lines.push(`## ${title}`, '', ...(intro === '' ? [] : [intro, '']));
    for (const name of names) {
      const symbol = inNode.get(name);
      if (!symbol) throw new Error(`${name} does not exist any more: take it out of scripts/lib/reference.mjs`);
      lines.push(...reference.entry(name, symbol));
    }
  }

  lines.push('## In a page', '', 'Beyond what Node has:', '');
  for (const name of ['cachedModels', 'forgetModels']) lines.push(...reference.entry(name, /** @type {ts.Symbol} */ (inPage.get(name))));
  const more = reference.checker
    .getPropertiesOfType(reference.checker.getDeclaredTypeOfSymbol(/** @type {ts.Symbol} */ (inPage.get('LoadOptions'))))
    .filter(({ name }) => !reference.checker.getPropertyOfType(reference.checker.getDeclaredTypeOfSymbol(/** @type {ts.Symbol} */ (inNode.get('LoadOptions'))), name));
  lines.push(
    `\`load()\` and \`canRun()\` also take ${more.map((one) => `\`${one.name}\` (${reference.typeText(reference.typeOf(one))})`).join(' and ')}: ${reference.docOf(/** @type {ts.Symbol} */ (inPage.get('LoadOptions')))}`,
    '',
  );
  const methods = (/** @type {Map<string, ts.Symbol>} */ all) => new Map(reference.members(/** @type {ts.Symbol} */ (all.get('Model'))).methods.map((one) => [one.name, reference.typeText(reference.typeOf(one).getCallSignatures()[0].getReturnType())]));
  const [nodeMethods, pageMethods] = [methods(inNode), methods(inPage)];
  const awaited = [...pageMethods].filter(([name, type]) => type.startsWith('Promise<') && nodeMethods.get(name)?.startsWith('Promise<') === false).map(([name]) => `\`${name}\``);
  const missing = [...[...told].filter((name) => !inPage.has(name)), ...[...nodeMethods.keys()].filter((name) => !pageMethods.has(name))].map((name) => `\`${name}\``);
  lines.push(`These methods of a model give a promise there, and not in Node: ${awaited.join(', ')}. Awaiting them everywhere is fine.`);
  if (missing.length > 0) lines.push(`Only Node has ${missing.join(', ')}.`);
  return `${lines.join('\n').replace(/\n{3,}/g, '\n\n').trim()}\n`;
}

/** @returns {string} docs/errors.md */
export function errorsPage() {
  const row = (/** @type {string} */ code) => `| \`${code}\` | ${describe(/** @type {any} */ (code))} |`;
  return `${NOTE('the tables of js/errors.js')}
# Errors

Every error tansy throws is a \`TansyError\` (except bugs). \`code\` is stable across releases; \`message\` says what happened and what to do, more closely
than the sentences here; \`details\` holds numbers behind it, such as \`bytesNeeded\`. An abort has the name \`AbortError\`, as everywhere.

\`\`\`js
try {
  await load(url, { memoryBudget: '64MB' });
} catch (error) {
  if (error.code === 'TANSY_OVER_BUDGET') console.log(\`\${error.details.bytesNeeded} bytes would do\`);
  else throw error;
}
\`\`\`

On the command line the code stands in brackets behind the message, and in \`error.code\` with \`--json\`. Exit status: 0 done, 1 failed,
2 wrong usage, 130 interrupted. Over HTTP, \`tansy serve\` answers with OpenAI's error objects (\`error.message\`, \`type\`, \`param\`, \`code\`).

## From the engine and the compressor

| code | |
| --- | --- |
${Object.values(STATUS).filter((code) => code !== 'TANSY_OK').map(row).join('\n')}

## From the library around them

| code | |
| --- | --- |
${Object.keys(HOST).map(row).join('\n')}
`;
}
