/**
 * joined.js: what both generations, Node's and a page's, do for text().
 * @param {AsyncIterable<string>} pieces
 */
export async function joined(pieces) {
  let text = '';
  for await (const piece of pieces) text += piece;
  return text;
}
