// npm run demo:model -- CHECKPOINT_DIR [compress flags]: makes the model that the demo and `npm start` embed,
// demo/models/NAME.tansy, from a Hugging Face checkpoint called NAME.
import { existsSync, mkdirSync, statSync } from 'node:fs';
import { basename, join, relative, resolve } from 'node:path';
import { ensureDist } from './lib/dist.mjs';
import { ensureNodeModules } from './lib/node_modules.mjs';
import { root, run, runMain, say, SetupError } from './lib/tools.mjs';

/** What a page may weigh that people open to have a look. */
const MAX_NBYTES = 16 * 2 ** 20;

await runMain(async () => {
  const [checkpoint, ...flags] = process.argv.slice(2);
  if (!checkpoint || checkpoint.startsWith('-')) throw new SetupError('usage: npm run demo:model -- CHECKPOINT_DIR [compress flags]');
  if (!existsSync(join(checkpoint, 'config.json'))) throw new SetupError(`${checkpoint} is no checkpoint: it has no config.json`);
  ensureNodeModules();
  await ensureDist();
  const out = join(root, 'demo', 'models', `${basename(resolve(checkpoint))}.tansy`);
  mkdirSync(join(root, 'demo', 'models'), { recursive: true });
  const status = run(process.execPath, [join(root, 'js', 'cli', 'main.js'), 'compress', checkpoint, '-o', out, ...flags], { stdout: 'inherit' });
  if (status !== 0) return status;
  const { size } = statSync(out);
  if (size > MAX_NBYTES) throw new SetupError(`${relative(root, out)} has ${size} bytes; the demo's model stays below ${MAX_NBYTES}`);
  say(`${relative(root, out)}: ${size} bytes`);
  return 0;
});
