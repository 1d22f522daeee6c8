// npm run test:soak: the tests of a model's life in their long versions: 200 loads, 300 aborts, 20,000 tokens of one text.
import { ensureDist } from './lib/dist.mjs';
import { ensureNodeModules } from './lib/node_modules.mjs';
import { run, runMain } from './lib/tools.mjs';

await runMain(async () => {
  ensureNodeModules();
  await ensureDist();
  return run(process.execPath, ['--test', '--test-reporter=spec', 'tests/js/lifecycle.test.js'], { env: { ...process.env, TANSY_SOAK: '1' }, stdout: 'inherit' });
});
