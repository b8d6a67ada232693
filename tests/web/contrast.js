// Returns the lowest contrast of a text to what is behind it, and which text.
const rgba = text => { const n = text.match(/[0-9.]+/g).map(Number);
  return [n[0], n[1], n[2], n.length > 3 ? n[3] : 1]; };
const over = (top, base) => [0, 1, 2].map(i => top[i] * top[3] + base[i] * (1 - top[3]))
  .concat(1);
const ground = e => { const own = rgba(getComputedStyle(e).backgroundColor);
  if (own[3] === 1) return own;
  return over(own, e.parentElement ? ground(e.parentElement) : [255, 255, 255, 1]); };
const light = c => { const [r, g, b] = c.slice(0, 3).map(v => v / 255).map(
  v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
  return 0.2126 * r + 0.7152 * g + 0.0722 * b; };
let least = [99, ''];
for (const e of document.body.querySelectorAll('*')) {
  const own = [...e.childNodes].some(n => n.nodeType === 3 && n.data.trim());
  if (!own || !e.getClientRects().length) continue;
  const style = getComputedStyle(e), back = ground(e);
  const front = over(rgba(e.closest('svg') ? style.fill : style.color), back);
  const [a, b] = [light(front), light(back)].sort((x, y) => y - x);
  const ratio = (a + 0.05) / (b + 0.05);
  if (ratio < least[0]) least = [ratio, `${e.tagName}.${e.className} ${e.innerText}`];
}
return least;
