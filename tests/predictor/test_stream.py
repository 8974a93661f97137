"""Streams: results as they go on, from files, generators and a real address."""

import functools
import http.server
import itertools
import threading
from typing import Any

import numpy as np
import pytest
import torch

import marey
from marey.predictor import Predictor, Stream

DARK, LIGHT = 20, 230


def camera(levels, fps=20.0):
    for i, level in enumerate(levels):
        threading.Event().wait(0.002)
        yield i / fps, np.full((16, 16, 3), level, dtype=np.uint8)


def test_results_follow_the_stream(brightness) -> None:
    stream = Stream(brightness, camera([DARK] * 60 + [LIGHT] * 60), every_s=0.5, top=1)
    results = list(stream)
    labels = [r["predictions"][0]["label"] for r in results]
    assert labels[0] == "dark"
    assert labels[-1] == "light"
    assert labels == sorted(labels)  # one change
    ends = [r["predictions"][0]["end_s"] for r in results]
    assert all(b - a >= 0.5 - 1e-6 for a, b in itertools.pairwise(ends))
    for result in results:
        assert result["source"] == "frames"
        assert 0 <= result["latency_s"] < 5
        assert result["dropped"] == 0 or len(results) < 10
        only = result["predictions"][0]
        assert 0 < only["end_s"] - only["start_s"] <= 0.8 + 1e-6  # a clip of the network


def test_a_file_is_played_as_if_live(brightness, draw) -> None:
    path = draw("a.mp4", [LIGHT] * 24, fps=20)
    (result,) = Stream(Predictor(brightness), str(path), every_s=5.0)
    assert result["source"] == str(path)
    assert result["predictions"][0]["label"] == "light"


def test_an_address_is_read_as_a_stream(brightness, draw, tmp_path) -> None:
    draw("a.mp4", [LIGHT] * 30)
    handler = functools.partial(QuietHandler, directory=str(tmp_path))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            address = f"http://127.0.0.1:{server.server_port}/a.mp4"
            results = list(Stream(brightness, address))
        finally:
            server.shutdown()
    assert results[-1]["source"] == address
    assert results[-1]["predictions"][0]["label"] == "light"


def test_an_online_network_sees_each_newest_frame_once() -> None:
    torch.manual_seed(0)
    fields = {"width": 8, "depths": (1, 1, 1, 1), "num_classes": 4, "frames": 4, "crop": 32}
    network: Any = marey.build("tsm_online_r18_8f", **fields).eval()
    seen: list[torch.Tensor] = []
    step = network.step

    def noted(frame: torch.Tensor, state: Any) -> Any:
        logits, state = step(frame, state)
        seen.append(logits)
        return logits, state

    network.step = noted
    results = list(Stream(network, camera(range(0, 240, 4), fps=10.0), every_s=0.5, top=4))
    assert len(seen) == len(results)  # frames that came too fast are dropped, as ever
    last = torch.cat(seen[-4:]).mean(0).softmax(0)
    told = {p["label"]: p["score"] for p in results[-1]["predictions"]}
    assert told == pytest.approx({f"class {k}": last[k].item() for k in range(4)}, abs=1e-5)


class QuietHandler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


def test_limits(brightness) -> None:
    stream = Stream(brightness, camera([DARK] * 5000), every_s=0.1, max_results=3)
    assert len(list(stream)) == 3
    assert not any(t.name == "marey-feed" for t in threading.enumerate())
    with pytest.raises(ValueError, match="max_results is 0"):
        Stream(brightness, 0, max_results=0)
    with pytest.raises(ValueError, match="max_seconds is -1"):
        Stream(brightness, 0, max_seconds=-1)


def test_breaking_off_ends_the_reader(brightness) -> None:
    for _ in Stream(brightness, camera([DARK] * 5000), every_s=0.1):
        break
    assert not any(t.name == "marey-feed" for t in threading.enumerate())
