from pathlib import Path

import pytest

from marey.data.sources import open_data


@pytest.fixture
def ucf(tmp_path: Path, make_video) -> Path:
    lists = tmp_path / "ucfTrainTestlist"
    lists.mkdir()
    (lists / "classInd.txt").write_text("1 ApplyEyeMakeup\r\n2 Archery\r\n")
    names = ("ApplyEyeMakeup/v_ApplyEyeMakeup_g08_c01.avi", "Archery/v_Archery_g01_c01.avi")
    (lists / "trainlist01.txt").write_text(f"{names[0]} 1\r\n{names[1]} 2\r\n")
    (lists / "testlist01.txt").write_text(f"{names[1]}\n")
    (lists / "trainlist02.txt").write_text(f"{names[1]} 2\n")
    (lists / "testlist02.txt").write_text(f"{names[0]}\n")
    for name in names:
        make_video(tmp_path / "UCF-101" / name, frames=2)
    return tmp_path


def test_ucf101_has_folds_of_train_and_test(ucf: Path) -> None:
    data = open_data(ucf)
    assert (data.format, data.classes) == ("ucf101", ("ApplyEyeMakeup", "Archery"))
    assert data.split("train").targets.tolist() == [0, 1]
    assert data.split("val").targets.tolist() == [1]  # the test list
    second = open_data(ucf, where={"fold": "2"})
    assert second.split("test")[0].video.endswith(
        "UCF-101/ApplyEyeMakeup/v_ApplyEyeMakeup_g08_c01.avi"
    )
    with pytest.raises(ValueError, match="fold '4'"):
        open_data(ucf, where={"fold": "4"})
    with pytest.raises(ValueError, match="where='split' .* it knows 'fold'"):
        open_data(ucf, where={"split": "1"})


def test_ucf101_refuses_a_class_without_a_number(ucf: Path) -> None:
    (ucf / "ucfTrainTestlist/classInd.txt").write_text("1 ApplyEyeMakeup\n2 Archer\n")
    with pytest.raises(ValueError, match="'Archery' .* did you mean 'Archer'"):
        open_data(ucf)
    (ucf / "ucfTrainTestlist/classInd.txt").write_text("ApplyEyeMakeup\n")
    with pytest.raises(ValueError, match="not 'NUMBER CLASS'"):
        open_data(ucf)


@pytest.fixture
def hmdb(tmp_path: Path, make_video) -> Path:
    lists = tmp_path / "testTrainMulti_7030_splits"
    lists.mkdir()
    (lists / "wave_test_split1.txt").write_text("w 1 np2.avi 1 \nw_2.avi 2 \nw_3.avi 0 \n")
    (lists / "brush_hair_test_split1.txt").write_text("b_1.avi 1 \nb_2.avi 2 \n")
    (lists / "brush_hair_test_split2.txt").write_text("b_2.avi 1 \nb_1.avi 2 \n")
    for name in ("wave/w 1 np2.avi", "wave/w_2.avi", "brush_hair/b_1.avi", "brush_hair/b_2.avi"):
        make_video(tmp_path / "hmdb51_org" / name, frames=2)
    return tmp_path


def test_hmdb51_reads_roles_and_leaves_unused_clips(hmdb: Path) -> None:
    data = open_data(hmdb)
    assert (data.format, data.classes) == ("hmdb51", ("brush_hair", "wave"))
    assert [i.key for i in data.split("train")] == ["brush_hair/b_1.avi", "wave/w 1 np2.avi"]
    assert [i.target for i in data.split("test")] == [(0,), (1,)]
    with pytest.raises(ValueError, match="fold '3'"):
        open_data(hmdb, where={"fold": "3"})
    (hmdb / "testTrainMulti_7030_splits/wave_test_split1.txt").write_text("w_2.avi 7\n")
    with pytest.raises(ValueError, match=r"'w_2\.avi 7' is not 'CLIP 0\|1\|2'"):
        open_data(hmdb)
