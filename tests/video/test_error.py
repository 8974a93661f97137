"""The error names file, position and cause in one line, also across processes."""

import pickle

from marey.video import VideoError


def test_one_line_with_everything() -> None:
    error = VideoError("a.mp4", "frame 3", "bad\n  data")
    assert str(error) == "a.mp4: bad data (at frame 3)"
    assert (error.source, error.position, error.cause) == ("a.mp4", "frame 3", "bad data")
    assert isinstance(error, ValueError)
    back = pickle.loads(pickle.dumps(error))
    assert (str(back), back.position) == (str(error), "frame 3")
