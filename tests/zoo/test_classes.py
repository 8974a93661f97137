import pytest

from marey.zoo import class_names


def test_lists_have_the_known_lengths_and_order() -> None:
    lengths = {"kinetics400": 400, "kinetics600": 600, "kinetics700": 700, "ucf101": 101}
    assert {name: len(class_names(name)) for name in lengths} == lengths
    assert class_names("k400") == class_names("kinetics400")
    assert class_names("kinetics400")[399] == "zumba"
    assert len(class_names("ssv2")) == 174


def test_ava_has_a_name_for_each_of_its_outputs() -> None:
    names = class_names("ava")
    assert len(names) == 80
    assert names[0].startswith("bend/bow")
    assert names[1] == "action 2", "the second is not evaluated, and has no name here"


def test_thumos_names_come_without_their_numbers() -> None:
    assert class_names("thumos14")[0] == "BaseballPitch"


def test_an_unknown_list_names_the_nearest() -> None:
    with pytest.raises(ValueError, match="'kinetics40'; did you mean 'kinetics400'"):
        class_names("kinetics40")
