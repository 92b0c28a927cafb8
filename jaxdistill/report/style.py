"""The look of a report: one style sheet for light and dark screens, phones and paper."""

# Series colours: the palette of curves.py, and the same hues lighter for dark backgrounds.
_DARK = """
    --paper: #16181c; --ink: #e6e7ea; --soft: #9ea3ac; --rule: #30343b; --tint: #1f2228; --accent: #7fb8e6;
    --series-1: #56b4e9; --series-2: #f28e4b; --series-3: #3cc79b; --series-4: #e398c8; --series-5: #e3b341;
    --series-6: #9fc5ff; --series-7: #b0b0b0;
"""

CSS = (
  """
:root {
  color-scheme: light dark;
  --paper: #ffffff; --ink: #1d2025; --soft: #626974; --rule: #e1e4e8; --tint: #f5f6f8; --accent: #0b5f97;
}
@media screen and (prefers-color-scheme: dark) {
  :root {"""
  + _DARK
  + """  }
}
* { box-sizing: border-box; }
html { -webkit-text-size-adjust: 100%; text-size-adjust: 100%; }
body {
  margin: 0; background: var(--paper); color: var(--ink);
  font: 16px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, "Liberation Sans", sans-serif;
}
main { max-width: 976px; margin: 0 auto; padding: 56px 28px 72px; }
h1 {
  margin: 0; font-size: 1.9rem; line-height: 1.2; font-weight: 650; letter-spacing: -.015em;
  overflow-wrap: anywhere;
}
h2 { margin: 0 0 16px; font-size: 1.15rem; line-height: 1.3; font-weight: 650; }
p { margin: 0 0 12px; max-width: 44em; overflow-wrap: anywhere; }
p:last-child { margin-bottom: 0; }
.subtitle { margin: 8px 0 0; color: var(--soft); font-size: 1.05rem; }
section { margin-top: 48px; }
.note { margin-top: 10px; color: var(--soft); font-size: .875rem; }

.headline {
  display: flex; flex-wrap: wrap; gap: 24px 56px; margin: 36px 0 0; padding: 24px 0;
  border: solid var(--rule); border-width: 1px 0;
}
.headline dt { color: var(--soft); font-size: .875rem; }
.headline dd { margin: 0; }
.headline .value {
  font-size: 2.1rem; line-height: 1.25; font-weight: 600; letter-spacing: -.02em;
  font-variant-numeric: tabular-nums;
}
.headline .note { margin: 2px 0 0; max-width: 20em; }

.scroll { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; line-height: 1.4; }
th, td {
  padding: 9px 12px; text-align: left; vertical-align: baseline; border-bottom: 1px solid var(--rule);
  font-weight: 400;
}
th:first-child, td:first-child { padding-left: 0; min-width: 9.5em; }
th:last-child, td:last-child { padding-right: 0; }
thead th { color: var(--soft); font-size: .875rem; vertical-align: bottom; border-bottom-color: var(--soft); }
.number { text-align: right; white-space: nowrap; }
thead .number { white-space: normal; }
td strong { font-weight: 700; }
.spread { color: var(--soft); }
.runs { color: var(--soft); font-size: .8125rem; margin-left: .25em; }
tr.reference > * { color: var(--soft); font-style: italic; }

.charts {
  display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 380px), 1fr));
  gap: 36px 40px;
}
.charts figure { max-width: 500px; }
figure { margin: 0; min-width: 0; }
svg { display: block; }
svg text { font-variant-numeric: tabular-nums; }

.pictures { display: flex; flex-wrap: wrap; gap: 28px 32px; }
.pictures figure { max-width: 100%; }
figcaption { margin-bottom: 8px; color: var(--soft); font-size: .875rem; overflow-wrap: anywhere; }
img { display: block; max-width: 100%; height: auto; image-rendering: pixelated; }
img.plot { width: 100%; }
.labelled { display: flex; gap: 12px; }
.labelled ol {
  display: flex; flex-direction: column; flex: none; max-width: 40%; list-style: none; margin: 0;
  padding: 0; font-size: .8125rem; line-height: 1;
}
.labelled li {
  flex: 1 1 0; min-height: 0; display: flex; align-items: center; justify-content: flex-end;
  white-space: nowrap;
}
.labelled div { min-width: 0; }

.facts {
  display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 270px), 1fr)); gap: 0 40px;
  margin: 0;
}
.facts div {
  display: flex; justify-content: space-between; gap: 20px; padding: 7px 0;
  border-bottom: 1px solid var(--rule);
}
.facts dt { color: var(--soft); }
.facts dd {
  margin: 0; text-align: right; overflow-wrap: anywhere; min-width: 0;
  font-variant-numeric: tabular-nums;
}

summary { cursor: pointer; font-size: 1.15rem; font-weight: 650; }
summary:hover { color: var(--accent); }
:focus-visible { outline: 2px solid var(--accent); outline-offset: 3px; }
pre {
  margin: 16px 0 0; padding: 16px 18px; background: var(--tint); border-radius: 6px; overflow-x: auto;
  font: .8125rem/1.55 ui-monospace, SFMono-Regular, Menlo, Consolas, "Liberation Mono", monospace;
}

@media (max-width: 600px) {
  main { padding: 32px 18px 48px; }
  h1 { font-size: 1.5rem; }
  section { margin-top: 38px; }
  .headline { gap: 20px 36px; margin-top: 26px; padding: 20px 0; }
  .headline .value { font-size: 1.65rem; }
  th, td { padding: 8px; font-size: .9375rem; }
  th:first-child, td:first-child { min-width: 0; }
}
@media print {
  @page { margin: 16mm; }
  :root { color-scheme: light; }
  body { font-size: 10.5pt; }
  main { max-width: none; padding: 0; }
  section { margin-top: 26pt; }
  h2, summary { break-after: avoid; }
  figure, tr, .headline, .facts div { break-inside: avoid; }
  .charts { grid-template-columns: 1fr 1fr; }
  .scroll { overflow: visible; }
  pre { white-space: pre-wrap; overflow-wrap: anywhere; border: 1px solid var(--rule); }
  details::details-content { content-visibility: visible; block-size: auto; }
  img, svg * { -webkit-print-color-adjust: exact; print-color-adjust: exact; }
}
"""
)
