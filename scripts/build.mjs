// npm run build [-- --toolchain=auto|system|pinned] [--native]: the wasm modules in dist/, and with --native the compressor
// in build/native/tansy-pack.
import { parseArgs } from 'node:util';
import { buildPreset, ensureDist } from './lib/dist.mjs';
import { ensureNodeModules } from './lib/node_modules.mjs';
import { runMain, say, SetupError } from './lib/tools.mjs';

await runMain(async () => {
  const { values } = parseArgs({ options: { toolchain: { type: 'string', default: 'auto' }, native: { type: 'boolean', default: false } } });
  const { toolchain } = values;
  if (toolchain !== 'auto' && toolchain !== 'system' && toolchain !== 'pinned')
    throw new SetupError(`--toolchain=${toolchain}: not one of auto, system, pinned`);
  ensureNodeModules();
  await ensureDist({ toolchain });
  if (values.native) {
    say('building the native compressor ...');
    buildPreset('native', ['tansy-pack']);
  }
});
