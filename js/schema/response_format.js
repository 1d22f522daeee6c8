/** response_format.js: OpenAI's `response_format` → the matcher of the texts it admits. */
import { TansyError } from '../errors.js';
import { shown } from '../units.js';
import { anyObject, compileSchema } from './compile.js';

/**
 * @typedef {{type: 'text'} | {type: 'json_object'} | {type: 'json_schema', json_schema: {name?: string, description?: string,
 *   schema?: Record<string, unknown> | boolean, strict?: boolean | null}}} ResponseFormat
 */

/** The last format: a program mostly asks for the same one again and again. @type {{key: string, matcher: import('./automaton.js').Matcher} | undefined} */
let last;

/**
 * @param {unknown} format
 * @returns {import('./automaton.js').Matcher | undefined} undefined: any text
 */
export function compileFormat(format) {
  if (format === undefined || format === null) return undefined;
  const { type, json_schema: named } = /** @type {Record<string, any>} */ (typeof format === 'object' ? format : {});
  if (type === 'text') return undefined;
  if (type !== 'json_object' && type !== 'json_schema')
    throw new TansyError(
      'TANSY_OPTION',
      `response_format must be { type: 'json_schema', json_schema: { name, schema } }, { type: 'json_object' } or { type: 'text' }; got ${shown(format)}.`,
    );
  if (type === 'json_schema' && (named === null || typeof named !== 'object' || named.schema === undefined))
    throw new TansyError('TANSY_SCHEMA', 'response_format.json_schema.schema is missing. Give the JSON schema of the answer there.');
  let key;
  try {
    key = type === 'json_object' ? '' : JSON.stringify(named.schema);
  } catch (error) {
    const why = error instanceof RangeError ? 'The schema is too deep. Nest it less' : 'The schema refers to itself as a JavaScript object, or holds what JSON cannot. Write it as JSON';
    throw new TansyError('TANSY_SCHEMA', `${why}; use $ref for recursion.`, {}, error);
  }
  if (last?.key !== key) last = { key, matcher: type === 'json_object' ? anyObject() : compileSchema(JSON.parse(key)) };
  return last.matcher;
}
