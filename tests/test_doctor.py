"""The doctor looks at everything and says what to do."""

import pytest

from marey import doctor
from marey.cli import main


def test_it_finds_the_packages_and_a_working_decoder() -> None:
    found = {f.what: f for f in doctor.examine()}
    assert {"python", "torch", "av", "device", "decoding", "cache"} <= set(found)
    assert found["decoding"].fine is True, found["decoding"].told


def test_a_missing_package_is_a_finding_with_its_cure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "PACKAGES", ("no-such-package",))
    missing = next(f for f in doctor.examine() if f.what == "no-such-package")
    assert missing.fine is False
    assert missing.cure == "pip install no-such-package"


def test_a_check_that_breaks_is_told_not_raised() -> None:
    def _broken_thing() -> doctor.Finding:
        raise RuntimeError("first line\nsecond line")

    finding = doctor._guarded(_broken_thing)
    assert (finding.what, finding.told, finding.fine) == ("broken thing", "first line", False)


def test_exit_code_says_whether_something_needs_fixing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fine = [doctor.Finding("one", "good"), doctor.Finding("two", "absent", fine=None, cure="add")]
    monkeypatch.setattr(doctor, "examine", lambda: fine)
    assert main(["doctor"]) == 0
    assert "(add)" in capsys.readouterr().out
    monkeypatch.setattr(doctor, "examine", lambda: [doctor.Finding("x", "bad", fine=False)])
    assert main(["doctor"]) == 1
