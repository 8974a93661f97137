"""Numbers and measures as people write them."""

from __future__ import annotations

NAMES = {
    "top1": "top-1",
    "top5": "top-5",
    "mean_class": "mean class accuracy",
    "map": "mAP",
    "mAP_weighted": "mAP, weighted by frequency",
    "mAP_slowfast": "mAP, PySlowFast's rule",
}


def metric_name(key: str) -> str:
    """A measure as people write it."""
    return NAMES.get(key, key.replace("_", " "))


def letters(name: str) -> str:
    """A name reduced to lower-case letters and digits, to compare spellings."""
    return "".join(ch for ch in name.lower() if ch.isalnum())


def percent(value: float) -> str:
    """A fraction as a percentage with one decimal."""
    return f"{100 * float(value):.1f} %"


def big(count: float) -> str:
    """A large count with its unit: 34.48 M, 65.7 G."""
    for limit, suffix in ((1e12, " T"), (1e9, " G"), (1e6, " M"), (1e3, " k")):
        if count >= limit:
            return f"{count / limit:.4g}{suffix}"
    return f"{count:g}"


def duration(seconds: float) -> str:
    """Seconds as people say them: 4.2 s, 48 s, 3 min 20 s, 5 h 12 min."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if not minutes:
        return f"{rest} s"
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"
