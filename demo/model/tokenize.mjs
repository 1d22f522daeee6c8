// node demo/model/tokenize.mjs TEXT OUT.bin [DOCS.tsv SPLIT CATEGORY]: ids of a text for train.c, uint16 little-endian.
//
// Documents are separated by <|endoftext|>; each begins with id 0. With a table of documents (columns split and category,
// one row a document, in the text's order) only those of one category are taken.
import { readFileSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { Tokenizer } from '@huggingface/tokenizers';

const [text, out, table, split, category] = process.argv.slice(2);
if (!out || (table && !category)) {
  console.error('usage: node demo/model/tokenize.mjs TEXT OUT.bin [DOCS.tsv SPLIT CATEGORY]');
  process.exit(2);
}
const read = (/** @type {string} */ path) => readFileSync(path, 'utf8');
const here = (/** @type {string} */ name) => JSON.parse(read(fileURLToPath(new URL(name, import.meta.url))));
const tokenizer = new Tokenizer(here('tokenizer.json'), here('tokenizer_config.json'));

let documents = read(text).split('<|endoftext|>').map((document) => document.trim()).filter(Boolean);
if (table) {
  const rows = read(table).trim().split('\n').slice(1).map((row) => row.split('\t')).filter((row) => row[0] === split);
  if (rows.length !== documents.length) throw new Error(`${table} lists ${rows.length} documents, ${text} has ${documents.length}`);
  documents = documents.filter((_, i) => rows[i][1] === category);
}

const DOCUMENT_START = 0;
/** @type {number[]} */
const ids = [];
documents.forEach((document, i) => {
  ids.push(DOCUMENT_START);
  for (const id of tokenizer.encode(document, { add_special_tokens: false }).ids) ids.push(id);
  if (i % 50 === 0) process.stderr.write(`\r${i} of ${documents.length} documents, ${ids.length} tokens`);
});
writeFileSync(out, Uint16Array.from(ids));
process.stderr.write(`\r\x1b[K${documents.length} documents, ${ids.length} tokens\n`);
