// Returns what a reader of a page would miss: names, heads, an order of headings.
const faults = [];
const levels = [...document.querySelectorAll('h1,h2,h3,h4')].map(h => +h.tagName[1]);
if (levels[0] !== 1 || levels.filter(l => l === 1).length !== 1)
  faults.push(`one h1 comes first: ${levels}`);
levels.forEach((l, i) => { if (i && l > levels[i - 1] + 1)
  faults.push(`heading h${l} after h${levels[i - 1]}`); });
const named = e => (e.getAttribute('aria-label') || e.innerText || e.title || '').trim()
  || (e.getAttribute('aria-labelledby') || '').split(' ').filter(Boolean)
    .every(id => document.getElementById(id)) && e.hasAttribute('aria-labelledby');
for (const e of document.querySelectorAll('a, button, summary, [role=region], nav'))
  if (!named(e)) faults.push(`no name: ${e.outerHTML.slice(0, 80)}`);
for (const e of document.querySelectorAll('input, select, textarea'))
  if (e.type !== 'hidden' && !(e.labels && e.labels.length))
    faults.push(`no label: ${e.outerHTML.slice(0, 80)}`);
for (const e of document.querySelectorAll('img, svg'))
  if (!e.parentElement.closest('svg') && e.getAttribute('aria-hidden') !== 'true'
      && !e.getAttribute('alt') && !named(e) && !e.querySelector(':scope > title'))
    faults.push(`no text in its place: ${e.outerHTML.slice(0, 80)}`);
for (const e of document.querySelectorAll('table'))
  if (!e.querySelector('thead th[scope=col]')) faults.push('a table without heads');
const ids = [...document.querySelectorAll('[id]')].map(e => e.id);
for (const id of ids) if (ids.filter(i => i === id).length > 1)
  faults.push(`two have the id ${id}`);
if (!document.title.trim() || !document.documentElement.lang) faults.push('no title');
return [...new Set(faults)];
