// npm run test:soak: the tests of a model's life in their long versions: 200 loads, in Node and in Chromium, a thousand aborts, 20,000 tokens
// of one text.
import { ensureDist } from './lib/dist.mjs';
import { ensureNodeModules } from './lib/node_modules.mjs';
import { run, runMain } from './lib/tools.mjs';

const FILES = ['tests/js/lifecycle.test.js', 'tests/js/abort.test.js', 'tests/browser/lifecycle.test.mjs'];

await runMain(async () => {
  ensureNodeModules();
  await ensureDist();
  return run(process.execPath, ['--test', '--test-reporter=spec', '--test-concurrency=1', ...FILES], { env: { ...process.env, TANSY_SOAK: '1' }, stdout: 'inherit' });
});
