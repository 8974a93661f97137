"""Words on the command line: what they mean, and the one line for words that mean nothing."""

import pytest

from marey.cli.data import DataCheck
from marey.cli.parse import UsageError, find_word, pairs, parse, take_prefixed, views
from marey.cli.predict import Predict
from marey.cli.train import Train


def test_views_are_time_by_space() -> None:
    assert views("10x3") == (10, 3)
    assert views("") is None


@pytest.mark.parametrize("text", ["10", "0x3", "10x2", "ten", "3x-1"])
def test_views_refuse_what_is_not_time_by_space(text: str) -> None:
    with pytest.raises(UsageError, match="--views"):
        views(text)


def test_pairs_split_at_the_first_equals_sign() -> None:
    assert pairs(["task=a=b", "set=x"], "--where") == {"task": "a=b", "set": "x"}
    with pytest.raises(UsageError, match="NAME=VALUE"):
        pairs(["task"], "--where")


def test_prefixed_fields_are_taken_out_and_read_as_data() -> None:
    words = ["x", "--net.width", "8", "--net.depths", "1", "2", "--json", "--net.pool=global"]
    rest, fields = take_prefixed(words, "net")
    assert rest == ["x", "--json"]
    assert fields == {"width": 8, "depths": [1, 2], "pool": "global"}
    assert take_prefixed(["--net.depths", "1,2", "--net.pool=[3]"], "net")[1] == {
        "depths": [1, 2],
        "pool": [3],
    }
    with pytest.raises(UsageError, match="needs a value"):
        take_prefixed(["--net.width"], "net")


def test_find_word_reads_both_spellings() -> None:
    assert find_word(["--model", "a", "--out=b"], "--model") == "a"
    assert find_word(["--model", "a", "--out=b"], "--out") == "b"
    assert find_word(["x"], "--model") == ""


def test_train_starts_from_the_recipe_the_words_name() -> None:
    words = ["data.csv", "--recipe", "small", "--schedule.epochs", "3", "--where", "task=a b"]
    told = parse(Train, [*words, "--net.width", "8", "--clip.frames", "4"], "train")
    assert told is not None
    changes = told.changes()
    assert changes["schedule"]["epochs"] == 3.0
    assert changes["optim"]["kind"] == "adamw"  # the recipe's own
    assert changes["data"]["where"] == {"task": "a b"}
    assert changes["net"]["width"] == 8
    assert changes["net"]["pool"] == "global"  # kept from the recipe
    assert changes["clip"]["frames"] == 4


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["x", "--schedule.epoch", "3"], "did you mean '--schedule.epochs'"),
        (["x", "--schedule.epochs", "many"], "many"),
        (["x", "--schedule.kind", "zigzag"], "zigzag"),
        ([], "DATA"),
        (["x", "y"], "y"),
    ],
)
def test_a_wrong_word_is_one_line(words: list[str], told: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse(Train, words, "train")
    line = str(caught.value)
    assert told in line
    assert "\n" not in line
    assert "marey train --help" in line


def test_flags_and_repeated_options() -> None:
    told = parse(DataCheck, ["d", "--where", "a=1", "--where", "b=2", "--json"], "data check")
    assert told is not None
    assert (told.data, told.where, told.json) == ("d", ("a=1", "b=2"), True)
    several = parse(Predict, ["a.mp4", "b.mp4", "--top", "2"], "predict")
    assert several is not None
    assert several.sources == ("a.mp4", "b.mp4")
    assert several.top == 2
