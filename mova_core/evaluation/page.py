"""The report's page: its look, and small helpers that write HTML. Nothing on it is fetched from anywhere."""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence

STYLE = """
:root { --ink:#1d2433; --muted:#5b6475; --line:#e3e7ee; --paper:#ffffff; --wash:#f5f7fa;
  --trained:#2457d6; --off:#d9730d; --chance:#7b8494; --ceiling:#13855f; }
* { box-sizing:border-box; }
html { color-scheme:light; }
body { margin:0; background:var(--wash); color:var(--ink);
  font:15px/1.55 system-ui,-apple-system,"Segoe UI",Roboto,"DejaVu Sans",sans-serif; }
main { max-width:1160px; margin:0 auto; padding:28px 22px 60px; }
header h1 { font-size:26px; margin:0 0 4px; letter-spacing:-.01em; }
header p { margin:0; color:var(--muted); max-width:78ch; }
section { background:var(--paper); border:1px solid var(--line); border-radius:12px;
  padding:20px 22px; margin-top:18px; }
h2 { font-size:18px; margin:0 0 6px; letter-spacing:-.005em; }
h3 { font-size:14px; margin:18px 0 4px; color:var(--muted); font-weight:600; }
p { margin:6px 0 12px; max-width:86ch; }
p.note, li { color:var(--muted); font-size:13.5px; }
ul { padding-left:20px; margin:8px 0; } li { margin:4px 0; max-width:96ch; }
.cards { display:grid; grid-template-columns:repeat(auto-fit,minmax(220px,1fr)); gap:14px; margin-top:14px; }
.card { border:1px solid var(--line); border-radius:10px; padding:14px 16px; background:var(--paper); }
.card .name { color:var(--muted); font-size:12.5px; }
.card .value { font-size:34px; font-weight:700; line-height:1.15; letter-spacing:-.02em; }
.card .detail { color:var(--muted); font-size:12.5px; }
.trained { color:var(--trained); } .bridge_off { color:var(--off); }
.chance { color:var(--chance); } .codec, .real { color:var(--ceiling); }
.scroll { overflow-x:auto; }
table { border-collapse:collapse; width:100%; font-size:13.5px; font-variant-numeric:tabular-nums; margin:8px 0 4px; }
th, td { padding:6px 10px; border-bottom:1px solid var(--line); text-align:right; white-space:nowrap; }
th { color:var(--muted); font-weight:600; font-size:12px; vertical-align:bottom; white-space:normal; max-width:130px; }
td:first-child, th:first-child { text-align:left; }
tbody tr:last-child td { border-bottom:none; }
small { color:var(--muted); font-size:11.5px; }
figure { margin:10px 0 4px; } figure svg { width:100%; height:auto; display:block; }
.clips { display:grid; gap:10px 12px; align-items:start; min-width:max-content; }
.clips .head { font-size:12.5px; font-weight:700; }
.clips .prompt { font-size:12.5px; color:var(--muted); max-width:190px; }
.clips .prompt b { color:var(--ink); display:block; }
.clip video { display:block; width:100%; border-radius:8px 8px 0 0; background:#000; cursor:pointer;
  image-rendering:pixelated; }
.clip svg { display:block; width:100%; background:var(--wash); border-radius:0 0 8px 8px; }
.clip.playing video { outline:3px solid var(--trained); outline-offset:-3px; }
button { font:inherit; font-size:12.5px; padding:3px 10px; border-radius:999px; border:1px solid var(--line);
  background:var(--wash); color:var(--ink); cursor:pointer; margin-top:8px; }
button:hover { border-color:var(--muted); }
pre { font-size:12px; line-height:1.45; background:var(--wash); border-radius:8px; padding:12px;
  overflow:auto; max-height:420px; }
summary { cursor:pointer; font-weight:600; }
.key { display:inline-block; width:9px; height:9px; border-radius:2px; margin:0 5px 0 12px; }
"""

SCRIPT = """
const clips = [...document.querySelectorAll('.clip video')];
const show = video => video.parentElement.classList.toggle('playing', !video.paused && !video.ended);
const only = video => clips.forEach(other => { if (other !== video) other.pause(); });
for (const video of clips) {
  for (const name of ['play', 'pause', 'ended']) video.addEventListener(name, () => show(video));
  video.addEventListener('click', () => {
    if (video.paused) { only(video); video.currentTime = 0; video.play(); } else video.pause();
  });
}
for (const button of document.querySelectorAll('button[data-row]')) button.addEventListener('click', async () => {
  for (const video of clips.filter(v => v.dataset.row === button.dataset.row)) {
    only(video); video.currentTime = 0;
    await video.play();
    const ended = await new Promise(done => {
      video.addEventListener('ended', () => done(true), { once: true });
      video.addEventListener('pause', () => { if (!video.ended) done(false); }, { once: true });
    });
    if (!ended) return;
  }
});
"""


def document(title: str, subtitle: str, sections: Iterable[str]) -> str:
    """The whole file."""
    body = "\n".join(sections)
    return (
        f'<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">\n<title>{text(title)}</title>\n'
        f'<link rel="icon" href="data:,">\n<style>{STYLE}</style>\n</head>\n<body>\n<main>\n'
        f"<header><h1>{text(title)}</h1><p>{text(subtitle)}</p></header>\n{body}\n</main>\n"
        f"<script>{SCRIPT}</script>\n</body>\n</html>\n"
    )


def section(name: str, title: str, *parts: str) -> str:
    """A titled section with the id `name`."""
    return f'<section id="{name}"><h2>{text(title)}</h2>\n' + "\n".join(parts) + "\n</section>"


def text(value: object) -> str:
    """`value` with what HTML would read as markup escaped."""
    return html.escape(str(value))


def paragraph(words: str, kind: str = "") -> str:
    """`words` is plain text."""
    return f'<p class="{kind}">{text(words)}</p>' if kind else f"<p>{text(words)}</p>"


def table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table; cells are HTML."""
    head = "".join(f"<th>{cell}</th>" for cell in heads)
    body = "\n".join("<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>" for row in rows)
    return f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def card(name: str, value: str, detail: str, kind: str) -> str:
    """A headline figure; `kind` chooses its colour."""
    return (
        f'<div class="card"><div class="name">{text(name)}</div><div class="value {kind}">{text(value)}</div>'
        f'<div class="detail">{text(detail)}</div></div>'
    )


def cards(entries: Iterable[str]) -> str:
    return '<div class="cards">' + "".join(entries) + "</div>"


def figure(svg: str) -> str:
    return f'<figure class="scroll">{svg}</figure>'


def items(sentences: Iterable[str]) -> str:
    """A list of plain sentences."""
    return "<ul>" + "".join(f"<li>{text(sentence)}</li>" for sentence in sentences) + "</ul>"


def unfolded(title: str, content: str) -> str:
    """Preformatted text behind a line that opens it."""
    return f"<details><summary>{text(title)}</summary><pre>{text(content)}</pre></details>"
