"""A video in, annotations out: files, folders of them, and endless streams."""

from marey.predictor.features import extract_features
from marey.predictor.predictor import Predictor, predict
from marey.predictor.sources import expand, is_endless
from marey.predictor.stream import Stream
from marey.report.annotated import save_annotated, unique_names

__all__ = [
    "Predictor",
    "Stream",
    "expand",
    "extract_features",
    "is_endless",
    "predict",
    "save_annotated",
    "unique_names",
]
