// A checkpoint of a billion weights is compressed within 2 GiB of memory: large.mjs says how.
import { spawnSync } from 'node:child_process';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';

test('a checkpoint of 1.2 billion weights is compressed within 2 GiB of memory, the time left shown', () => {
  const { status } = spawnSync(process.execPath, [fileURLToPath(new URL('large.mjs', import.meta.url)), '--minutes', '40'], { stdio: 'inherit' });
  if (status !== 0) throw new Error('see above');
});
