// Small helpers of the scripts. Node built-ins only: these run before anything is installed.
import { spawnSync } from 'node:child_process';
import { accessSync, constants, existsSync, mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { delimiter, dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

export const root = fileURLToPath(new URL('../..', import.meta.url));

/** Progress goes to stderr: stdout belongs to what the user asked for. @param {string} text */
export function say(text) {
  process.stderr.write(`${text}\n`);
}

/** A message for the user instead of a stack trace. */
export class SetupError extends Error {}

/** Runs `main` and turns a SetupError into a message and exit status 1. @param {() => Promise<number | void>} main */
export async function runMain(main) {
  try {
    process.exitCode = (await main()) ?? 0;
  } catch (error) {
    if (!(error instanceof SetupError)) throw error;
    say(`\n${error.message}`);
    process.exitCode = 1;
  }
}

/** Full path of a program on PATH, or null. @param {string} program */
export function which(program) {
  for (const dir of (process.env.PATH ?? '').split(delimiter)) {
    const path = join(dir, program);
    try {
      accessSync(path, constants.X_OK);
      return path;
    } catch {}
  }
  return null;
}

/**
 * Runs a program to its end; its stdout goes to our stderr unless `stdout` says otherwise. Returns the exit status.
 * @param {string} program
 * @param {string[]} args
 * @param {{cwd?: string, env?: NodeJS.ProcessEnv, stdout?: 'inherit' | 'stderr'}} [options]
 */
export function run(program, args, { cwd = root, env = process.env, stdout = 'stderr' } = {}) {
  const result = spawnSync(program, args, { cwd, env, stdio: ['inherit', stdout === 'inherit' ? 'inherit' : 2, 'inherit'] });
  if (result.error) throw new SetupError(`cannot run ${program}: ${result.error.message}`);
  return result.status ?? 1;
}

/**
 * As run(), but quiet unless it fails: then all it printed is shown and a SetupError thrown.
 * @param {string} what @param {string} program @param {string[]} args @param {{cwd?: string, env?: NodeJS.ProcessEnv}} [options]
 */
export function runQuiet(what, program, args, { cwd = root, env = process.env } = {}) {
  const result = spawnSync(program, args, { cwd, env, encoding: 'utf8', maxBuffer: 1 << 28 });
  if (result.error) throw new SetupError(`${what}: cannot run ${program}: ${result.error.message}`);
  if (result.status !== 0) throw new SetupError(`${what} failed:\n$ ${program} ${args.join(' ')}\n${result.stdout}${result.stderr}`);
  return result.stdout;
}

/** Writes a file so that a reader sees either the old or the new one. @param {string} path @param {string | Uint8Array} content */
export function writeAtomic(path, content) {
  mkdirSync(dirname(path), { recursive: true });
  const temporary = `${path}.${process.pid}.tmp`;
  writeFileSync(temporary, content);
  renameSync(temporary, path);
}

/** @param {string} path */
export function readText(path) {
  return existsSync(path) ? readFileSync(path, 'utf8') : '';
}
