"""The style sheet of reports: light, dark and print, for narrow and wide windows."""

STYLE = """
:root{color-scheme:light dark;
--paper:#fcfcfb;--card:#fff;--ink:#1c2024;--muted:#5a636c;--rule:#dcdfe2;--faint:#eef0f2;--accent:#0b5c8e;
--c0:#0b5c8e;--c1:#c2410c;--c2:#047857;--c3:#8b3fa8;--c4:#6b5b00}
@media (prefers-color-scheme:dark){:root{
--paper:#14171a;--card:#1b1f23;--ink:#e6e9ec;--muted:#a0a9b2;--rule:#343a41;--faint:#23282d;--accent:#7cc4f0;
--c0:#6cb8ea;--c1:#f59a62;--c2:#4fc3a1;--c3:#cf9be6;--c4:#d6c35a}}
*{box-sizing:border-box}
html{-webkit-text-size-adjust:100%}
body{margin:0;background:var(--paper);color:var(--ink);
font:16px/1.55 system-ui,-apple-system,"Segoe UI",Roboto,"Helvetica Neue",Arial,sans-serif}
main,header,footer{max-width:1180px;margin:0 auto;padding:0 20px}
header{padding-top:36px}
h1{font-size:clamp(1.55rem,1.2rem + 1.6vw,2.3rem);line-height:1.2;margin:0 0 6px;letter-spacing:-.015em;text-wrap:balance}
h2{font-size:1.25rem;line-height:1.3;margin:0 0 12px;padding-top:18px;border-top:2px solid var(--ink)}
section{margin:40px 0}
p{max-width:78ch;margin:.5em 0}
.subtitle{color:var(--muted);margin:0 0 14px}
.research{display:inline-block;margin:0;padding:3px 10px;border:1px solid var(--c1);border-radius:4px;color:var(--c1);
font-size:.86rem;font-weight:600}
.muted{color:var(--muted)}
p.muted{font-size:.88rem}
small{display:block;font-size:.8rem;color:var(--muted);font-weight:400;white-space:nowrap}
figure{margin:0}
figcaption{display:flex;flex-wrap:wrap;gap:0 12px;align-items:baseline;margin-bottom:8px}
.tiles{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(200px,40vw),1fr));gap:12px}
.tile{background:var(--card);border:1px solid var(--rule);border-radius:6px;padding:14px 16px}
.tile span{display:block;font-size:.88rem;color:var(--muted)}
.tile strong{display:block;font-size:1.75rem;line-height:1.25;font-weight:650;font-variant-numeric:tabular-nums;letter-spacing:-.01em}
.tile small{white-space:normal}
table{border-collapse:collapse;width:100%;font-variant-numeric:tabular-nums}
th,td{padding:9px 12px;text-align:left;vertical-align:top;border-bottom:1px solid var(--rule);font-weight:400}
thead th,thead td{font-size:.84rem;color:var(--muted);border-bottom:1.5px solid var(--ink);vertical-align:bottom}
tbody th{font-weight:600}
.number{text-align:right;white-space:nowrap}
.scores{margin-bottom:10px}
.scores th,.scores td{padding:9px 0 9px 14px}.scores :is(th,td):first-child{padding-left:0}
.scores tbody tr:last-child>*{border-bottom:1.5px solid var(--ink)}
.summary .number,.summary small{white-space:normal}.summary span.muted{white-space:nowrap}
.settings{width:100%}
.settings caption{text-align:left;font-weight:600;padding:6px 0}
.settings th{width:34%;font-weight:400;color:var(--muted);font-size:.92rem}
.settings td{overflow-wrap:anywhere;font-size:.92rem}
.settings th,.settings td{padding:5px 12px 5px 0}
.columns{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,430px),1fr));gap:28px 36px}
.columns>*{min-width:0}
.chart svg{display:block;width:100%;height:auto;overflow:visible}
.chart text{font-size:12.5px;fill:var(--muted);font-variant-numeric:tabular-nums}
.chart .label{fill:var(--ink)}
.chart .grid{stroke:var(--rule);stroke-width:1}
.chart .axis{stroke:var(--ink);stroke-width:1}
.chart .line{fill:none;stroke-width:2;stroke-linejoin:round}
.legend{display:flex;flex-wrap:wrap;gap:4px 20px;list-style:none;margin:8px 0 0;padding:0;font-size:.9rem}
.legend li{display:flex;align-items:center;gap:8px}
.legend svg{width:auto;flex:none}
.c0{stroke:var(--c0)}.c1{stroke:var(--c1)}.c2{stroke:var(--c2)}.c3{stroke:var(--c3)}.c4{stroke:var(--c4)}
.dot{fill:var(--paper);stroke-width:1.6}
.spot{fill:none;stroke-width:1.8}
.strip{fill:currentColor;stroke:none;fill-opacity:.72}
.strip.c0{color:var(--c0)}.strip.c1{color:var(--c1)}.strip.c2{color:var(--c2)}.strip.c3{color:var(--c3)}.strip.c4{color:var(--c4)}
.box line,.box rect,.box path{stroke:inherit;stroke-width:1.2;fill:none}
.box rect{fill:var(--faint);fill-opacity:.75}
.box .median{stroke-width:2.6}
.box .diamond{fill:var(--paper);stroke:var(--ink);stroke-width:1.3}
.chart .level{font-size:11px;paint-order:stroke;stroke:var(--paper);stroke-width:3px;stroke-linejoin:round}
.bias{stroke-width:1.8}.limit{stroke-width:1.5;stroke-dasharray:6 4}
.ideal{stroke:var(--muted)}
.forest .plot{width:46%;min-width:190px;padding-left:0;padding-right:0}
.forest .plot svg{display:block;width:100%;height:34px;overflow:visible}
.forest td,.forest th{padding-top:3px;padding-bottom:3px;vertical-align:middle}
.forest tbody td,.forest tbody th,.forest tfoot td{border:0}
.forest tbody th{white-space:nowrap}
.forest .group th{padding-top:14px;color:var(--muted);font-weight:600}
.forest .axis{stroke:var(--rule);stroke-width:1.2}
.forest .interval{stroke:var(--c0);stroke-width:2}
.forest .estimate{fill:var(--paper);stroke:var(--c0);stroke-width:2}.forest .clear{fill:var(--c0)}
.forest text{font-size:12px;fill:var(--muted)}
.sides{display:flex;justify-content:space-between;gap:20px}
.wide{overflow-x:auto;scrollbar-width:thin}
.tall{max-height:85vh;overflow:auto}.tall thead th{position:sticky;top:0;background:var(--paper);z-index:2}
.tall thead th:first-child{z-index:3}
.wide:focus-visible,th button:focus-visible,.picker label:focus-within,nav a:focus-visible{
outline:2px solid var(--accent);outline-offset:2px}
.sortable{font-size:.9rem}
.sortable th,.sortable td{padding:6px 10px;white-space:nowrap;vertical-align:middle}
.sortable caption{position:absolute;width:1px;height:1px;overflow:hidden;clip-path:inset(50%)}
.sortable thead th{padding:6px 10px;line-height:1.25}
.sortable thead small{font-weight:600}
.sortable tbody th,.sortable thead th:first-child{position:sticky;left:0;background:var(--paper);z-index:1}
.sortable tbody tr:hover>*{background:var(--faint)}
.sortable th button{all:unset;cursor:pointer;display:block;box-sizing:border-box;width:100%;padding-right:15px;position:relative}
.sortable th button:hover{color:var(--accent)}
.sortable th button::after{content:"";position:absolute;right:0;bottom:.3em;border:4px solid transparent;opacity:.35;
border-top-color:currentColor;border-bottom:0}
.sortable th[aria-sort] button{color:var(--ink)}
.sortable th[aria-sort] button::after{opacity:1}
.sortable th[aria-sort=ascending] button::after{border-top:0;border-bottom:4px solid currentColor}
.pinned>*{color:var(--c1);background:var(--faint)}
.sortable .pinned span{position:sticky;left:9em;display:inline-block;max-width:min(52vw,80ch);white-space:normal;overflow-wrap:anywhere}
.share{display:inline-block;width:3.4em;padding-bottom:2px;background:linear-gradient(var(--c0) 0 0) 0 100%/calc(var(--share)*100%) 2px
no-repeat,linear-gradient(var(--rule) 0 0) 0 100%/100% 2px no-repeat}
.picker{display:flex;flex-wrap:wrap;gap:0;margin:0 0 12px;font-size:.9rem}
.picker label{position:relative;cursor:pointer;padding:5px 15px;border:1px solid var(--rule);margin-left:-1px}
.picker label:first-child{border-radius:5px 0 0 5px;margin-left:0}.picker label:last-child{border-radius:0 5px 5px 0}
.picker input{position:absolute;opacity:0;margin:0}
.picker label:has(:checked){background:var(--ink);color:var(--paper);border-color:var(--ink)}
.views:has(.view0:checked) .part:not(.v0),.views:has(.view1:checked) .part:not(.v1),
.views:has(.view2:checked) .part:not(.v2),.views:has(.view3:checked) .part:not(.v3),
.views:has(.view4:checked) .part:not(.v4),.views:has(.view5:checked) .part:not(.v5),
.views:has(.view6:checked) .part:not(.v6),.views:has(.view7:checked) .part:not(.v7){display:none}
nav{display:flex;flex-wrap:wrap;gap:2px 20px;margin-top:18px;font-size:.92rem}
nav a,td a,th a{color:var(--accent);text-underline-offset:3px}
nav a{padding:3px 0}
.study{margin:0 0 44px}
.planes{max-width:calc(var(--columns)*300px);border-radius:6px;overflow:hidden}
.keys{display:flex;flex-wrap:wrap;gap:6px 36px;justify-content:space-between;margin-bottom:10px;font-size:.9rem}
.switches,.regions{display:flex;flex-wrap:wrap;gap:4px 18px;list-style:none;margin:0;padding:0}
.switches label,.regions li{display:flex;align-items:center;gap:7px;cursor:pointer}
.regions li{cursor:auto;gap:6px}
.switches input{accent-color:var(--accent);width:16px;height:16px;margin:0}
.sample{stroke:var(--ink);stroke-width:2;stroke-dasharray:5 3}
.sample.truth{stroke-dasharray:none}
.swatch{width:13px;height:13px;border-radius:3px;border:1px solid #0006}
.swatch.WT{background:#56b4e9}.swatch.TC{background:#f0e442}.swatch.ET{background:#e8601c}
.plane{position:relative;display:grid;grid-template-columns:repeat(var(--columns),1fr);gap:3px;background:#000;padding:28px 3px 3px}
.where{position:absolute;left:10px;top:3px;color:#b9c0c7;font-size:.82rem}
.where b{color:#fff;font-weight:600}
.cell{position:relative;min-width:0}
.cell svg{display:block;width:100%;height:auto}
.cell .name{position:absolute;left:6px;top:2px;color:#dfe4e8;font-size:.78rem;letter-spacing:.02em}
.side{position:absolute;top:50%;color:#98a1a9;font:600 .72rem system-ui,sans-serif}
.side.left{left:3px}.side.right{right:3px}
.layer path{fill:none;stroke-width:1.4;vector-effect:non-scaling-stroke;stroke-dasharray:4 2.5;stroke-linejoin:round}
.layer.truth path{stroke-dasharray:none;stroke-width:1.6}
path.WT{stroke:#56b4e9}.layer path.TC{stroke:#f0e442;stroke-width:3}.layer path.ET{stroke:#e8601c;stroke-width:1.5}
.study:has(.on0:not(:checked)) .l0,.study:has(.on1:not(:checked)) .l1,.study:has(.on2:not(:checked)) .l2,
.study:has(.on3:not(:checked)) .l3,.study:has(.on4:not(:checked)) .l4,.study:has(.on5:not(:checked)) .l5{display:none}
.measures{width:auto;margin-top:10px;font-size:.92rem}
.measures th,.measures td{padding:5px 26px 5px 0}
.measures small{display:inline;margin-left:8px}
footer{margin-top:56px;padding:16px 20px 40px;color:var(--muted);font-size:.88rem;border-top:1px solid var(--rule)}
@media screen and (max-width:760px){
.forest .plot{width:30%;min-width:100px}.forest td,.forest th{padding-left:5px;padding-right:5px}.forest tbody th{white-space:normal}
.stack thead{position:absolute;width:1px;height:1px;overflow:hidden;clip-path:inset(50%)}
.stack,.stack tbody,.stack tr{display:block}
.stack tr{border-bottom:1.5px solid var(--ink);padding:10px 0}
.stack tbody tr:first-child{border-top:1.5px solid var(--ink)}
.stack th,.stack td{display:block;border:0!important;padding:3px 0}
.stack th{font-size:1.05rem;padding-bottom:6px}
.stack td{display:grid;grid-template-columns:8.5em 1fr;text-align:left}
.stack td::before{content:attr(data-label);grid-row:1/3;color:var(--muted);font-size:.9rem}
.stack td>*{grid-column:2}
.measures{width:100%}.measures th,.measures td{padding-right:8px}.measures small{display:block;margin:0}
}
@media screen and (max-width:560px){
main,header{padding:0 14px}header{padding-top:22px}footer{padding-left:14px;padding-right:14px}
.tile{padding:10px 12px}.tile strong{font-size:1.5rem}
.plane{grid-template-columns:repeat(min(var(--columns),2),1fr)}
section{margin:30px 0}
}
@media print{
:root{color-scheme:light;--paper:#fff;--card:#fff;--ink:#000;--muted:#444;--rule:#bbb;--faint:#eee;--accent:#0b5c8e;
--c0:#0b5c8e;--c1:#c2410c;--c2:#047857;--c3:#8b3fa8;--c4:#6b5b00}
@page{margin:14mm}
body{font-size:9.5pt;line-height:1.45}
main,header,footer{max-width:none;padding:0}
section{margin:18px 0}h1{font-size:18pt}h2{font-size:12.5pt;padding-top:10px;margin-bottom:8px}
.tiles{grid-template-columns:repeat(4,1fr);gap:6px}.tile{padding:6px 9px}.tile strong{font-size:15pt}
.columns{grid-template-columns:1fr 1fr;gap:14px 22px}
th,td,.scores th,.scores td{padding-top:3px;padding-bottom:3px}.number,small{white-space:normal}
.study{margin-bottom:8px}.switches input{display:none}.measures{font-size:8pt}.measures th,.measures td{padding:1px 14px 1px 0}
.keys{gap:2px 20px;font-size:8pt}.cell .name,.where,.side{font-size:6.5pt}
.tall{max-height:none}.tall thead th{position:static}
.plane,.swatch{print-color-adjust:exact;-webkit-print-color-adjust:exact}
.tile,tr,.chart,.plane,.scores{break-inside:avoid}
h2,h3,figcaption,.keys{break-after:avoid}
nav,.picker,.sortable th button::after{display:none}
.wide{overflow:visible}.sortable{font-size:7.5pt}.sortable th,.sortable td{padding:2px 5px}.sortable th button{padding:0}
.study{break-inside:avoid}
}
"""
