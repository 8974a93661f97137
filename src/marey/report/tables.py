"""Tables as HTML; every cell is escaped here."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from html import escape


def table(
    head: Sequence[str],
    rows: Sequence[Sequence[str]],
    *,
    numeric: Collection[int] = (),
    strong: Collection[int] = (),
    small: Collection[int] = (),
) -> str:
    """Rows of plain text under ``head`` (may be empty), empty without rows.

    Columns in ``numeric`` stand right, in ``strong`` stand out, in ``small`` are set smaller.
    """
    if not rows:
        return ""
    kinds = [
        " ".join(name for name, of in (("n", numeric), ("strong", strong)) if column in of)
        for column in range(max(len(row) for row in rows))
    ]
    classes = [f' class="{kind}"' if kind else "" for kind in kinds]
    titles = "".join(f"<th{c}>{escape(name)}</th>" for c, name in zip(classes, head, strict=False))
    body = ""
    for row in rows:
        body += "<tr>"
        for column, text in enumerate(row):
            cell = escape(text)
            cell = f"<small>{cell}</small>" if column in small and cell else cell
            body += f"<td{classes[column]}>{cell}</td>"
        body += "</tr>"
    top = f"<thead><tr>{titles}</tr></thead>" if head else ""
    return f'<div class="scroll"><table>{top}<tbody>{body}</tbody></table></div>'
