// options.mjs: options of a benchmark. Its usage is the comment that its file begins with.
import { readFileSync } from 'node:fs';
import { parseArgs } from 'node:util';

/** The first comment of a file, without its marks. @param {string} url */
export function usageOf(url) {
  const lines = readFileSync(new URL(url), 'utf8').split('\n');
  const end = lines.findIndex((line) => !line.startsWith('//'));
  return lines.slice(0, end).map((line) => line.replace(/^\/\/ ?/, '')).join('\n');
}

/** Prints the usage and ends the process where --help is asked for. @param {string} url */
export function tellUsage(url) {
  if (!process.argv.includes('--help')) return;
  console.log(usageOf(url));
  process.exit(0);
}

/**
 * parseArgs for a program of its own: --help prints the usage; what is no option is told in one line, with the usage.
 * @template {NonNullable<import('node:util').ParseArgsConfig['options']>} T
 * @param {string} url import.meta.url of the program
 * @param {T} options
 */
export function parseOptions(url, options) {
  tellUsage(url);
  try {
    return parseArgs({ options }).values;
  } catch (error) {
    console.error(`${/** @type {Error} */ (error).message}\n\n${usageOf(url)}`);
    process.exit(2);
  }
}
