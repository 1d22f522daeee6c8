/**
 * args.js: command-line flags from a table, and the help text from the same table.
 */
import { TansyError } from '../errors.js';
import { nearest, parseBudget, parseBytes } from '../units.js';

/**
 * @typedef {object} Flag
 * @property {string[]} names such as ['-n', '--n-predict']
 * @property {'flag' | 'string' | 'integer' | 'number' | 'bytes' | 'budget' | 'choice' | 'list' | 'ids'} type list: may be repeated
 * @property {string} help
 * @property {string} [value] word for the value in the help
 * @property {string[]} [choices]
 * @property {number} [min]
 * @property {number} [max]
 * @property {string} [group] heading in the help
 */

/**
 * @typedef {object} Command
 * @property {string} name
 * @property {string} summary one line
 * @property {string} usage arguments, without the program's name
 * @property {[min: number, max: number]} positionals
 * @property {Readonly<Record<string, Flag>>} flags
 * @property {string[]} [notes] paragraphs below the flags
 * @property {(args: Args, signal: AbortSignal) => Promise<void>} run
 */

/** @typedef {{positionals: string[], values: Record<string, any>}} Args */

/** @type {Readonly<Record<string, Flag>>} */
const COMMON = Object.freeze({
  json: { names: ['--json'], type: 'flag', help: 'one JSON object on stdout, nothing else there' },
  help: { names: ['-h', '--help'], type: 'flag', help: 'this text' },
});

/** @param {string} message */
export function usageError(message) {
  return new TansyError('TANSY_USAGE', message);
}

/**
 * @param {Command} command
 * @param {string[]} argv
 * @returns {Args}
 */
export function parseArgs(command, argv) {
  const flags = { ...command.flags, ...COMMON };
  /** @type {Map<string, [string, Flag]>} */
  const byName = new Map();
  for (const [key, flag] of Object.entries(flags)) for (const name of flag.names) byName.set(name, [key, flag]);
  /** @type {Record<string, any>} */
  const values = {};
  /** @type {string[]} */
  const positionals = [];
  for (let i = 0; i < argv.length; i++) {
    const arg = argv[i];
    if (arg === '--') {
      positionals.push(...argv.slice(i + 1));
      break;
    }
    if (arg === '-' || !arg.startsWith('-')) {
      positionals.push(arg);
      continue;
    }
    const equals = arg.startsWith('--') ? arg.indexOf('=') : -1;
    const name = equals < 0 ? arg : arg.slice(0, equals);
    const found = byName.get(name);
    if (found === undefined) {
      const guess = nearest(name, byName.keys());
      throw usageError(`unknown flag "${name}"${guess === undefined ? '' : `; did you mean "${guess}"?`} \`tansy ${command.name} --help\` lists them all.`);
    }
    const [key, flag] = found;
    if (flag.type === 'flag') {
      if (equals >= 0) throw usageError(`${name} takes no value.`);
      values[key] = true;
      continue;
    }
    let text;
    if (equals >= 0) text = arg.slice(equals + 1);
    else {
      text = argv[++i];
      if (text === undefined || byName.has(text)) throw usageError(`${name} needs a value (${flag.value ?? flag.type}).`);
    }
    const value = parseValue(name, flag, text);
    if (flag.type === 'list') (values[key] ??= []).push(value);
    else values[key] = value;
  }
  const [min, max] = command.positionals;
  if (values.help !== true && (positionals.length < min || positionals.length > max)) {
    const wrong = positionals.length < min ? 'something is missing' : `unexpected argument "${positionals[max]}"`;
    throw usageError(`${wrong}; usage: tansy ${command.name} ${command.usage}`);
  }
  return { positionals, values };
}

/**
 * @param {string} name
 * @param {Flag} flag
 * @param {string} text
 * @returns {unknown}
 */
function parseValue(name, flag, text) {
  switch (flag.type) {
    case 'integer':
    case 'number': {
      const value = text.trim() === '' ? NaN : Number(text);
      const { min = -Infinity, max = Infinity } = flag;
      if (!Number.isFinite(value) || value < min || value > max || (flag.type === 'integer' && !Number.isInteger(value))) {
        const range = flag.min === undefined ? '' : flag.max === undefined ? ` of at least ${min}` : ` from ${min} to ${max}`;
        throw usageError(`${name} must be ${flag.type === 'integer' ? 'a whole number' : 'a number'}${range}; got "${text}".`);
      }
      return value;
    }
    case 'bytes':
    case 'budget':
      try {
        return flag.type === 'bytes' ? parseBytes(text, name) : parseBudget(text, name);
      } catch (error) {
        throw usageError(/** @type {Error} */ (error).message);
      }
    case 'choice':
      if (!flag.choices?.includes(text)) throw usageError(`${name} must be one of ${flag.choices?.join(', ')}; got "${text}".`);
      return text;
    case 'ids': {
      const ids = text.split(/[\s,]+/).filter(Boolean).map(Number);
      if (ids.length === 0 || ids.some((id) => !Number.isInteger(id) || id < 0)) throw usageError(`${name} must be token ids such as 1,2,3; got "${text}".`);
      return ids;
    }
    default:
      return text;
  }
}

/** Columns of a help text. */
const WIDTH = 110;

/**
 * @param {string} text
 * @param {number} [indent] of the lines after the first
 * @returns {string}
 */
function wrap(text, indent = 0) {
  const lines = [''];
  for (const word of text.split(' ')) {
    const line = lines[lines.length - 1];
    if (line !== '' && indent + line.length + 1 + word.length > WIDTH) lines.push(word);
    else lines[lines.length - 1] = line === '' ? word : `${line} ${word}`;
  }
  return lines.join(`\n${' '.repeat(indent)}`);
}

/**
 * @param {Command} command
 * @returns {string}
 */
export function helpText(command) {
  const lines = [`tansy ${command.name} ${command.usage}`, '', wrap(command.summary), ''];
  const rows = Object.values({ ...command.flags, ...COMMON }).map((flag) => {
    const value = flag.type === 'flag' ? '' : ` ${flag.value ?? (flag.choices ? flag.choices.join('|') : flag.type === 'integer' || flag.type === 'number' ? 'N' : 'TEXT')}`;
    return { left: `  ${flag.names.join(', ')}${value}`, help: flag.help, group: flag.group };
  });
  const width = Math.min(38, Math.max(...rows.map(({ left }) => left.length)));
  let group;
  for (const row of rows) {
    if (row.group !== group) {
      group = row.group;
      if (group !== undefined) lines.push('', `${group}:`);
      else lines.push('');
    }
    const help = wrap(row.help, width + 2);
    lines.push(row.left.length > width ? `${row.left}\n${' '.repeat(width + 2)}${help}` : `${row.left.padEnd(width + 2)}${help}`);
  }
  for (const note of command.notes ?? []) lines.push('', wrap(note));
  return `${lines.join('\n')}\n`;
}
