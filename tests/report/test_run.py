"""Reading a run folder, whole or damaged."""

import pytest
import torch
from safetensors.torch import save_file

from marey.report.run import is_number, read_run


def test_a_run_is_read(make_run) -> None:
    run = read_run(make_run())
    assert (run.model, run.dataset) == ("tiny_8x8", "drawn:direction")
    assert len(run.rows["train"]) == 20  # the line cut short is left out
    x, y = run.column("val", "top1")
    assert x == [1.0, 2.0, 3.0, 4.0]
    assert y == pytest.approx([0.2, 0.4, 0.6, 0.8])
    assert run.class_name(0) == "run & jump"
    assert run.class_name(9) == "class 9"
    assert run.parameters is None


def test_parameters_are_counted_from_the_head_of_the_weights(make_run) -> None:
    path = make_run()
    tensors = {
        "conv.weight": torch.zeros(2, 3, 5),
        "bn.weight": torch.zeros(2),
        "bn.running_mean": torch.zeros(2),
        "bn.num_batches_tracked": torch.tensor(0),
    }
    save_file(tensors, path / "weights.safetensors", {"marey": '{"variant": "v"}'})
    run = read_run(path)
    assert run.parameters == 32
    assert run.header == {"variant": "v"}


def test_damage_is_named_not_fatal(make_run) -> None:
    path = make_run()
    (path / "predictions.json").write_text("[{")
    (path / "recipe.json").write_text("[]")
    (path / "weights.safetensors").write_bytes(b"\x00" * 7)
    run = read_run(path)
    assert run.unreadable == ("recipe.json", "predictions.json")
    assert run.clips == []


def test_what_is_not_a_run_is_refused(tmp_path) -> None:
    with pytest.raises(ValueError, match="does not exist"):
        read_run(tmp_path / "none")
    with pytest.raises(ValueError, match="not a run folder"):
        read_run(tmp_path)


def test_numbers() -> None:
    assert is_number(1)
    assert is_number(0.5)
    assert not is_number(True)
    assert not is_number(float("nan"))
    assert not is_number("1")
