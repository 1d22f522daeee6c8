// The weights, layer by layer: what form each matrix has in memory, and how many bits a weight it takes in the file.

/** Columns, in the order of the forward pass. */
const COLUMNS = ['q', 'k', 'v', 'o', 'gate', 'up', 'down'];
const FORMS = new Map([
  ['ans', 'compressed'],
  ['packed', 'packed'],
  ['int8', 'plain'],
]);

/** @typedef {import('../web/index.js').Model['tensors'][number]} Tensor */

/** @param {Tensor} tensor in the file, its row scales and tables included */
const bitsOf = (tensor) => (8 * tensor.nbytes) / (tensor.nRows * tensor.nCols);

/**
 * @param {HTMLTableElement} table
 * @param {readonly Tensor[]} tensors
 */
export function showWeights(table, tensors) {
  // A table that would be the same is left alone: somebody may be pointing at it.
  const forms = tensors.map(({ form, nbytes }) => `${form}${nbytes}`).join();
  if (table.dataset.forms === forms) return;
  table.dataset.forms = forms;
  const coded = tensors.filter((tensor) => tensor.coded);
  const all = coded.map(bitsOf);
  const [least, most] = [Math.min(...all), Math.max(...all)];
  /** @param {Tensor} tensor @param {string} where */
  const cell = (tensor, where) => {
    const bits = bitsOf(tensor);
    const td = document.createElement('td');
    td.dataset.kind = tensor.form;
    const depth = Math.round(30 + (70 * (bits - least)) / Math.max(most - least, 0.01));
    td.style.setProperty('--depth', `${depth}%`);
    td.toggleAttribute('data-deep', depth > 60);
    td.textContent = bits.toFixed(1);
    td.title = `${where}: ${tensor.nRows} × ${tensor.nCols}, ${bits.toFixed(2)} bits a weight in the file, ${FORMS.get(tensor.form) ?? tensor.form} in memory`;
    return td;
  };
  /** @param {string} label @param {HTMLTableCellElement[]} cells */
  const row = (label, cells) => {
    const tr = document.createElement('tr');
    const th = document.createElement('th');
    th.scope = 'row';
    th.textContent = label;
    tr.append(th, ...cells);
    return tr;
  };

  const rows = [];
  const wide = (/** @type {string} */ role, /** @type {string} */ label) => {
    const tensor = coded.find((tensor) => tensor.name === role);
    if (!tensor) return;
    const td = cell(tensor, label);
    td.colSpan = COLUMNS.length;
    rows.push(row(label, [td]));
  };
  wide('embed', 'words');
  const byName = new Map(coded.map((tensor) => [tensor.name, tensor]));
  for (let layer = 0; COLUMNS.some((column) => byName.has(`layer.${layer}.${column}`)); layer++)
    rows.push(
      row(
        String(layer + 1),
        COLUMNS.map((column) => {
          const tensor = byName.get(`layer.${layer}.${column}`);
          return tensor ? cell(tensor, `layer ${layer + 1}, ${column}`) : document.createElement('td');
        }),
      ),
    );
  wide('head', 'output');

  const head = document.createElement('tr');
  head.append(
    document.createElement('td'),
    ...COLUMNS.map((column) => {
      const th = document.createElement('th');
      th.scope = 'col';
      th.textContent = column;
      return th;
    }),
  );
  table.tHead?.replaceChildren(head);
  table.tBodies[0].replaceChildren(...rows);
}
