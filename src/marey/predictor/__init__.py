"""A video in, annotations out: files, folders of them, and endless streams."""

from marey.predictor.features import extract_features
from marey.predictor.predictor import Predictor, predict
from marey.predictor.sources import expand, is_endless
from marey.predictor.stream import Stream
from marey.predictor.when import When
from marey.report.annotated import save_annotated, unique_names
from marey.report.timeline import save_timeline

__all__ = [
    "Predictor",
    "Stream",
    "When",
    "expand",
    "extract_features",
    "is_endless",
    "predict",
    "save_annotated",
    "save_timeline",
    "unique_names",
]
