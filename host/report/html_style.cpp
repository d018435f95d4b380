#include "host/report/html_style.hpp"

namespace mopt {
namespace {

// Hues of the time bar are told apart by lightness too, for eyes and printers without colour.
constexpr std::string_view kStyle = R"css(
:root {
  color-scheme: light dark;
  --page: #f7f8fa; --card: #ffffff; --ink: #1b1f27; --soft: #5d6675; --line: #dfe3ea;
  --bar: #3b6fd4; --bar2: #8a5cc4; --track: #e9edf4; --good: #1d7a46; --bad: #b3261e;
  --warn: #8a5a00; --hot: #fff1dc;
  --t1: #2f4b7c; --t2: #3b6fd4; --t3: #7aa6ec; --t4: #8a5cc4; --t5: #d0648c; --t6: #e39a3b;
  --t7: #6a9c58; --t8: #b9c1cc;
}
@media (prefers-color-scheme: dark) {
  :root {
    --page: #14171c; --card: #1c2027; --ink: #e6e9ef; --soft: #9aa4b4; --line: #313844;
    --bar: #6f9df2; --bar2: #b68ae8; --track: #2a303a; --good: #62c48d; --bad: #ff8a80;
    --warn: #e8b25a; --hot: #3a2d17;
    --t1: #8fa8d8; --t2: #6f9df2; --t3: #3f68ad; --t4: #b68ae8; --t5: #e58fb0; --t6: #e9b063;
    --t7: #8bbd79; --t8: #596273;
  }
}
* { box-sizing: border-box; }
body {
  margin: 0 auto; max-width: 72rem; padding: 1.5rem 1.25rem 4rem; background: var(--page);
  color: var(--ink); font: 16px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif;
}
header { margin-bottom: 1.5rem; }
h1 { margin: 0; font-size: 1.6rem; line-height: 1.25; overflow-wrap: anywhere; }
h2 { margin: 0 0 .75rem; font-size: 1.1rem; }
p { margin: .25rem 0; }
code { font: .9em ui-monospace, "SF Mono", Menlo, Consolas, monospace; overflow-wrap: anywhere; }
.soft { color: var(--soft); }
.good { color: var(--good); } .bad { color: var(--bad); } .warn { color: var(--warn); }
.verdict { font-weight: 600; }
section {
  background: var(--card); border: 1px solid var(--line); border-radius: 10px;
  padding: 1rem 1.25rem 1.25rem; margin-bottom: 1rem;
}
.tiles {
  display: grid; gap: .75rem; grid-template-columns: repeat(auto-fit, minmax(9.5rem, 1fr));
  margin-bottom: 1rem;
}
.tile {
  background: var(--card); border: 1px solid var(--line); border-radius: 10px;
  padding: .7rem .9rem;
}
.tile b { display: block; font-size: 1.35rem; line-height: 1.3; font-weight: 650; }
.tile span { color: var(--soft); font-size: .85rem; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .3rem 1.25rem; margin: 0; }
dt { color: var(--soft); } dd { margin: 0; min-width: 0; overflow-wrap: anywhere; }
table { width: 100%; border-collapse: collapse; font-size: .9rem; }
th {
  text-align: left; color: var(--soft); font-weight: 500; padding: .3rem .75rem .3rem 0;
  border-bottom: 1px solid var(--line); vertical-align: bottom;
}
td { padding: .3rem .75rem .3rem 0; border-bottom: 1px solid var(--line); vertical-align: top; }
th:last-child, td:last-child { padding-right: 0; }
tr:last-child td { border-bottom: 0; }
td.name { overflow-wrap: anywhere; }
td.num, th.num { text-align: right; white-space: nowrap; font-variant-numeric: tabular-nums; }
td.error { min-width: 8rem; white-space: nowrap; font-variant-numeric: tabular-nums; }
tr.worst td { background: var(--hot); }
tr.worst td.name { box-shadow: inset 3px 0 0 var(--warn); padding-left: .6rem; }
svg.bar { display: block; width: 100%; height: 5px; margin-top: .2rem; background: var(--track); }
svg.bar rect { fill: var(--bar); } svg.bar.output rect { fill: var(--bar2); }
svg.time { display: block; width: 100%; height: 22px; border-radius: 5px; }
.t1 { fill: var(--t1); color: var(--t1); } .t2 { fill: var(--t2); color: var(--t2); }
.t3 { fill: var(--t3); color: var(--t3); } .t4 { fill: var(--t4); color: var(--t4); }
.t5 { fill: var(--t5); color: var(--t5); } .t6 { fill: var(--t6); color: var(--t6); }
.t7 { fill: var(--t7); color: var(--t7); } .t8 { fill: var(--t8); color: var(--t8); }
.lanes {
  display: grid; grid-template-columns: max-content minmax(0, 1fr) max-content;
  gap: .3rem .75rem; align-items: center; margin: .9rem 0 .4rem; font-size: .9rem;
}
.lanes svg { display: block; width: 100%; height: 14px; background: var(--track);
  border-radius: 3px; }
.lanes .tick { fill: none; stroke: var(--card); stroke-width: 1px;
  vector-effect: non-scaling-stroke; }
.lanes .num { text-align: right; white-space: nowrap; font-variant-numeric: tabular-nums; }
.axis { position: relative; height: 1.3em; color: var(--soft); font-size: .85em; }
.axis i { position: absolute; font-style: normal; transform: translateX(-50%);
  white-space: nowrap; font-variant-numeric: tabular-nums; }
.axis i:first-child { transform: none; }
ul.legend {
  list-style: none; display: flex; flex-wrap: wrap; gap: .2rem 1.25rem; padding: 0;
  margin: .6rem 0 0; font-size: .9rem;
}
ul.legend i { display: inline-block; width: .8em; height: .8em; border-radius: 2px;
  background: currentColor; margin-right: .4em; }
ul.legend span { color: var(--ink); }
ul.plain { margin: 0; padding-left: 1.1rem; } ul.plain li { overflow-wrap: anywhere; }
details { margin-top: .4rem; } summary { cursor: pointer; }
@media (max-width: 640px) {
  body { padding: 1rem .75rem 3rem; font-size: 15px; }
  section { padding: .8rem .9rem 1rem; }
  h1 { font-size: 1.3rem; }
  .tiles { grid-template-columns: 1fr 1fr; gap: .5rem; }
  .lanes { gap: .3rem .5rem; font-size: .8rem; }
  dl { grid-template-columns: 1fr; gap: 0; } dd { margin-bottom: .5rem; }
  table.cards thead { display: none; }
  table.cards, table.cards tbody { display: block; }
  table.cards tr {
    display: grid; grid-template-columns: 1fr 1fr; gap: .15rem .9rem; padding: .6rem 0;
    border-bottom: 1px solid var(--line);
  }
  table.cards tr:last-child { border-bottom: 0; }
  table.cards td { display: block; border: 0; padding: 0; text-align: left; min-width: 0;
    white-space: normal; overflow-wrap: anywhere; }
  table.cards td.name { grid-column: 1 / -1; }
  table.cards td::before { content: attr(data-label) " "; color: var(--soft); font-size: .85em; }
  table.cards td.name::before { content: ""; }
  table.cards td.wide { grid-column: 1 / -1; } table.cards td:empty { display: none; }
  table.cards tr.worst { background: var(--hot); box-shadow: inset 3px 0 0 var(--warn);
    padding-left: .6rem; }
  table.cards tr.worst td.name { box-shadow: none; padding-left: 0; }
}
@media print {
  :root {
    --page: #fff; --card: #fff; --ink: #000; --soft: #444; --line: #bbb; --track: #eee;
    --hot: #fff; color-scheme: light;
  }
  * { -webkit-print-color-adjust: exact; print-color-adjust: exact; }
  body { max-width: none; padding: 0; font-size: 10.5pt; }
  section, .tile { break-inside: avoid; border-radius: 0; }
  section.long { break-inside: auto; }
  tr { break-inside: avoid; }
  details > summary { list-style: none; }
}
)css";

}  // namespace

std::string_view html_style() {
  return kStyle;
}

}  // namespace mopt
