"""Dataclasses to plain data and back; what is refused, and that files are written whole."""

import dataclasses
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import pytest

from marey import choices, types
from marey.choices import Claim, OptimChoice
from marey.config import (
    from_plain,
    nearest,
    override,
    read_mapping,
    to_plain,
    write_json,
    write_whole,
)


@dataclass(frozen=True, kw_only=True)
class Inner:
    size: int = 3
    pair: tuple[int, int] = (1, 2)


@dataclass(frozen=True, kw_only=True)
class Outer:
    name: str = ""
    rate: float = 1.0
    flag: bool = False
    kind: Literal["a", "b"] = "a"
    inner: Inner = Inner()
    many: tuple[Inner, ...] = ()
    words: list[str] = field(default_factory=list)
    table: dict[str, Any] = field(default_factory=dict)
    chosen: dict[str, str] | None = None
    views: tuple[int, int] | None = None


FULL = Outer(
    name="x",
    rate=2.5,
    flag=True,
    kind="b",
    inner=Inner(size=7, pair=(4, 5)),
    many=(Inner(size=1), Inner(pair=(8, 9))),
    words=["p", "q"],
    table={"k": [1, {"n": None}]},
    chosen={"task": "wave"},
    views=(10, 3),
)


def through_json(value: Any) -> Any:
    return from_plain(type(value), json.loads(json.dumps(to_plain(value))))


@pytest.mark.parametrize("value", [FULL, Outer(), types.ClipSpec(), types.ClipSpec(jitter=(1, 2))])
def test_round_trip_through_json(value: Any) -> None:
    assert through_json(value) == value


def test_plain_data_is_only_what_json_knows() -> None:
    assert to_plain(FULL)["inner"] == {"size": 7, "pair": [4, 5]}
    assert to_plain({"a": (Inner(),)}) == {"a": [{"size": 3, "pair": [1, 2]}]}
    assert to_plain(3.5) == 3.5


def test_missing_fields_keep_their_defaults() -> None:
    assert from_plain(Outer, {"name": "y"}) == Outer(name="y")


@pytest.mark.parametrize(
    ("kind", "typo", "meant"),
    [
        (types.ClipSpec, "strid", "stride"),
        (choices.OptimChoice, "momentun", "momentum"),
        (choices.RunChoice, "precison", "precision"),
        (Outer, "vews", "views"),
    ],
)
def test_an_unknown_field_is_refused_with_the_nearest(kind: type, typo: str, meant: str) -> None:
    with pytest.raises(ValueError, match=f"{typo} is not a field.*did you mean '{meant}'") as error:
        from_plain(kind, {typo: 1})
    assert "\n" not in str(error.value)


def test_an_unknown_nested_field_names_its_place() -> None:
    with pytest.raises(ValueError, match=r"inner\.sise is not a field of Inner.*'size'"):
        from_plain(Outer, {"inner": {"sise": 1}})


@pytest.mark.parametrize(
    ("values", "complaint"),
    [
        ({"name": 3}, "name is 3, not str"),
        ({"rate": "fast"}, "rate is 'fast', not float"),
        ({"rate": True}, "rate is True, not float"),
        ({"flag": 1}, "flag is 1, not bool"),
        ({"kind": "c"}, "kind is 'c'; choose one of 'a', 'b'"),
        ({"inner": {"size": True}}, "inner.size is True, not int"),
        ({"inner": {"size": 1.5}}, "inner.size is 1.5, not int"),
        ({"inner": {"pair": [1]}}, "inner.pair has 1 values, needs 2"),
        ({"inner": {"pair": [1, "x"]}}, "inner.pair"),
        ({"inner": 5}, "inner is 5, not a table"),
        ({"many": [{"size": "x"}]}, "size"),
        ({"words": "pq"}, "words is 'pq', not a list"),
        ({"words": [1]}, "words.0. is 1, not str"),
        ({"table": []}, "table is .., not a table"),
        ({"views": 3}, "views is 3, not a list"),
        ({"name": None}, "name is None"),
    ],
)
def test_a_value_of_another_type_is_refused(values: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint) as error:
        from_plain(Outer, values)
    assert "\n" not in str(error.value)


def test_numbers_without_a_point_are_rates_too() -> None:
    assert from_plain(Outer, {"rate": 2}).rate == 2.0
    assert isinstance(from_plain(Outer, {"rate": 2}).rate, float)


def test_something_that_is_no_table_is_refused() -> None:
    with pytest.raises(ValueError, match="not a table of fields"):
        from_plain(Outer, ["name"])  # type: ignore[arg-type]


def test_override_merges_nested_tables_and_leaves_the_original() -> None:
    changed = override(FULL, {"inner": {"size": 9}, "rate": 4})
    assert changed == dataclasses.replace(FULL, rate=4.0, inner=Inner(size=9, pair=(4, 5)))
    assert FULL.inner.size == 7


def test_override_takes_a_ready_dataclass() -> None:
    assert override(FULL, {"inner": Inner()}).inner == Inner()


def test_override_refuses_what_it_does_not_know() -> None:
    with pytest.raises(ValueError, match="rat is not a field of Outer.*'rate'"):
        override(FULL, {"rat": 1})
    with pytest.raises(ValueError, match=r"inner\.sizes is not a field"):
        override(FULL, {"inner": {"sizes": 1}})


def test_nearest_is_silent_when_nothing_is_near() -> None:
    assert nearest("stride", ["strides"]) == "; did you mean 'strides'?"
    assert nearest("zzz", ["strides"]) == ""


def test_json_and_yaml_files_read_the_same(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text('{"name": "x", "inner": {"size": 4}}')
    (tmp_path / "a.yaml").write_text("name: x\ninner:\n  size: 4\n")
    expected = {"name": "x", "inner": {"size": 4}}
    assert read_mapping(tmp_path / "a.json") == read_mapping(tmp_path / "a.yaml") == expected


@pytest.mark.parametrize(
    ("name", "text", "complaint"),
    [
        ("a.json", "{", "not valid JSON"),
        ("a.json", "[1]", "holds list, not a table"),
        ("a.yaml", "a: [1", "not valid YAML"),
        ("a.yml", "", "holds NoneType"),
        ("a.yaml", "a: !!python/object/apply:os.system ['true']", "not valid YAML"),
    ],
)
def test_a_bad_file_is_one_line(tmp_path: Path, name: str, text: str, complaint: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(ValueError, match=complaint) as error:
        read_mapping(tmp_path / name)
    assert "\n" not in str(error.value)
    assert name in str(error.value)


def test_write_whole_replaces_in_one_step(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "file.txt"
    assert write_whole(path, "one") == path
    write_whole(path, b"two")
    assert path.read_bytes() == b"two"
    assert [p.name for p in path.parent.iterdir()] == ["file.txt"]


def test_write_whole_leaves_the_old_file_and_no_half_of_the_new(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_whole(tmp_path / "file.txt", "old")

    def fails(*_: Any) -> None:
        raise OSError("no space left")

    monkeypatch.setattr("os.replace", fails)
    with pytest.raises(OSError, match="no space"):
        write_whole(path, "new")
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["file.txt"]


def test_write_json_writes_dataclasses(tmp_path: Path) -> None:
    path = write_json(tmp_path / "r.json", FULL)
    assert from_plain(Outer, read_mapping(path)) == FULL


def test_a_missing_field_is_named_and_a_number_may_be_written_as_yaml_reads_it() -> None:
    with pytest.raises(ValueError, match="metric is missing: Claim needs it"):
        from_plain(Claim, {"dataset": "x", "value": 1.0})
    assert from_plain(OptimChoice, {"lr": "1e-4"}).lr == 1e-4
    with pytest.raises(ValueError, match="lr is 'fast', not float"):
        from_plain(OptimChoice, {"lr": "fast"})
