"""The report of ``mvlm-prep stats`` as one page: plots as SVG, examples as embedded pictures, no scripts, no links."""

import base64
import io
import json
from collections.abc import Iterable, Mapping
from html import escape
from pathlib import Path
from typing import Any

import numpy as np

from mvlm_plugin.data.tokenizers import CaptionTokenizer, load_tokenizer

from ..records import PrepError
from .looking import SplitImages, printable

_EXAMPLES = 12
_THUMBNAIL = 160
_MAX_TEXT = 300
_STYLE = (
    "body{font:15px/1.4 sans-serif;max-width:70em;margin:2em auto;padding:0 1em;color:#222}"
    "table{border-collapse:collapse;margin:1em 0}td,th{padding:.15em .8em;text-align:right;"
    "border-bottom:1px solid #ddd}"
    "td:first-child,th:first-child{text-align:left}figure{display:inline-block;width:11em;vertical-align:top;margin:.4em}"
    "figure img{max-width:100%}figcaption{font-size:13px;overflow-wrap:anywhere}svg{width:21em;height:auto}"
)
# The browser itself refuses whatever is not on the page, should text ever get through unescaped.
_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"


def check_plots() -> None:
    """Whether pages can be made.

    Raises:
        PrepError: matplotlib is not installed.
    """
    try:
        import matplotlib.figure  # noqa: F401
    except ImportError as error:
        raise PrepError("--html draws plots with matplotlib: pip install 'mvlm-plugin[plots]'") from error


def write_page(path: Path, report: Mapping[str, Any], folder: Path, distributions: Mapping[str, str]) -> None:
    """Write the page.

    Args:
        path: file to write.
        report: see stats.py.
        folder: the data-bin, for examples.
        distributions: titles of the report's distributions by key.
    """
    parts = [f"<p>{_text(json.dumps(report['tokenizer']))}, images {_text(report['image_store'])}</p>"]
    for split, entry in report["splits"].items():
        parts += [f"<h2>{_text(split)}</h2>", _counts_table(entry)]
        for key, title in distributions.items():
            if entry[key] is not None:
                parts.append(_histogram(entry[key], title, f"{split}.{key}"))
        parts += _split_tables(entry)
        parts.append(_examples(folder, split))
    rejected = report["rejected"] or {"by_reason": {}}
    parts.append("<h2>Left out</h2>")
    parts.append(_table(["rejected", "records"], rejected["by_reason"].items()))
    for name, ways in (report["excluded"] or {}).items():
        parts.append(_table([f"excluded by {name}", "images"], ways.items()))
    title = _text(report["folder"])
    page = (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}"><style>{_STYLE}</style></head>\n'
        f"<body><h1>{title}</h1>\n" + "\n".join(parts) + "\n</body></html>\n"
    )
    path.write_text(page, encoding="utf-8")


def _text(value: object) -> str:
    """Anything as text of a page: escaped, one line, not too long."""
    text = printable(str(value))
    return escape(text if len(text) <= _MAX_TEXT else f"{text[:_MAX_TEXT]}...")


def _number(value: object) -> str:
    return f"{value:,}" if isinstance(value, int) else _text(value)


def _table(head: list[str], rows: Iterable[Iterable[object]]) -> str:
    """A table, or nothing where it has no rows."""
    body = "".join(f"<tr>{''.join(f'<td>{_number(cell)}</td>' for cell in row)}</tr>" for row in rows)
    return f"<table><tr>{''.join(f'<th>{_text(cell)}</th>' for cell in head)}</tr>{body}</table>" if body else ""


def _counts_table(entry: Mapping[str, Any]) -> str:
    words, near = entry["vocabulary"], entry["duplicates"]["near"]
    return _table(
        ["", "count"],
        [
            ("images", entry["images"]),
            ("bytes of images", entry["bytes"]),
            ("captions", entry["captions"]),
            ("tokens", words["tokens"]),
            ("unknown tokens", words["unknown_tokens"]),
            ("dictionary entries", words["dictionary"]),
            ("dictionary entries used", words["used"]),
            ("images that repeat the bytes of another", entry["duplicates"]["same_bytes"]),
            (f"images with a near-duplicate, of {near['sample']} looked at", near["with_near_duplicate"]),
        ],
    )


def _split_tables(entry: Mapping[str, Any]) -> list[str]:
    tables = [
        _table([f"format (of {entry['formats']['sample']} images)", "images"], entry["formats"]["counts"].items()),
        _table(["colour mode", "images"], entry["modes"].items()),
        _table(["token", "count"], ((top["token"], top["count"]) for top in entry["vocabulary"]["most_frequent"])),
    ]
    for name, field in entry["fields"].items():
        rows = [("(missing)", field["missing"])] if field["missing"] else []
        rows += [(json.dumps(top["value"]), top["count"]) for top in field["most_frequent"]]
        tables.append(_table([f"label field {name} ({field['type']})", "count"], rows))
    return tables


def _histogram(figures: Mapping[str, Any], title: str, salt: str) -> str:
    """A bar plot as an SVG element; salt makes its internal names differ from those of other plots."""
    import matplotlib
    from matplotlib.figure import Figure

    bins = figures["histogram"]
    with matplotlib.rc_context({"svg.hashsalt": salt, "svg.fonttype": "none"}):
        figure = Figure(figsize=(4.2, 2.4), layout="constrained")
        axes = figure.add_subplot()
        widths = [entry["to"] - entry["from"] for entry in bins]
        axes.bar([entry["from"] for entry in bins], [entry["count"] for entry in bins], widths, align="edge")
        axes.set_title(title, fontsize=10)
        buffer = io.StringIO()
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    svg = buffer.getvalue()
    return svg[svg.index("<svg") :]


def _examples(folder: Path, split: str) -> str:
    """Pictures with a caption each, evenly spaced over the split."""
    images = SplitImages(folder, split)
    figures = []
    for store in images.stores[:1]:
        tokenizer = load_tokenizer(store.folder)
        chosen = np.unique(np.linspace(0, len(store) - 1, min(len(store), _EXAMPLES)).astype(np.int64))
        for caption in chosen.tolist():
            image = store.images_of(caption)[0]
            figures.append(f"<figure>{_picture(images, image)}<figcaption>{_caption(store, caption, tokenizer)}")
            figures.append(f"<br><small>{_text(store.names[image])}</small></figcaption></figure>")
    return f"<div>{''.join(figures)}</div>"


def _caption(store: Any, index: int, tokenizer: CaptionTokenizer) -> str:
    return _text(tokenizer.decode(store.captions.tokens(index).tolist()))


def _picture(images: SplitImages, index: int) -> str:
    picture = images.thumbnail(index, _THUMBNAIL)
    if picture is None:
        return "<p>(cannot be read)</p>"
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=80)
    return f'<img alt="" src="data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode("ascii")}">'
