import pytest

from marey.data.sources import open_data


def test_an_address_is_drawn_once_and_read_as_its_files(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("MAREY_CACHE", str(tmp_path))
    address = "drawn:appearance?train=3&val=2&test=1&frames=4"
    data = open_data(address)
    assert (data.format, data.address) == ("csv", address)
    assert {name: len(items) for name, items in data.splits.items()} == {
        "train": 3,
        "val": 2,
        "test": 1,
    }
    assert data.split("train")[0].video.startswith(str(tmp_path))
    again = open_data(address)
    assert again.split("train")[0] == data.split("train")[0]


def test_an_unknown_task_is_refused_with_the_nearest() -> None:
    with pytest.raises(ValueError, match="direction"):
        open_data("drawn:directoin?train=1")
