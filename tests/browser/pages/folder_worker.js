// Opens and closes a file many times while garbage is made, and says how many of these operations never ended.
import { Folder } from '/web/folder.js';

onmessage = async ({ data: { times, patienceMs } }) => {
  const folder = await Folder.open('folder-test');
  /** @type {unknown[]} */
  let garbage = [];
  const churn = setInterval(() => {
    for (let i = 0; i < 200; i++) garbage.push(new Uint8Array(50000), { i });
    garbage = [];
  }, 0);
  let lost = 0;
  for (let i = 0; i < times && lost === 0; i++) {
    const done = (async () => {
      const file = await folder.openSync('file');
      file.write(new Uint8Array(100), { at: 0 });
      file.close();
      return (await folder.read('file')).size;
    })();
    const size = await Promise.race([done, new Promise((resolve) => setTimeout(resolve, patienceMs))]);
    if (size === undefined) lost++;
    else if (size !== 100) throw new Error(`${size} bytes`);
  }
  clearInterval(churn);
  await folder.remove('file');
  postMessage({ lost, names: await folder.names() });
};
