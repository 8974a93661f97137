from pathlib import Path

import pytest

from marey.data.sources import open_data

COLUMNS = "id,subject,scene,quality,relevance,verified,script,objects,descriptions,actions,length\n"


@pytest.fixture
def charades(tmp_path: Path, make_video) -> Path:
    names = "".join(f"c{i:03d} Action number {i}\n" for i in range(157))
    (tmp_path / "Charades_v1_classes.txt").write_text(names)
    (tmp_path / "Charades_v1_train.csv").write_text(
        COLUMNS
        + '46GP8,HR43,Kitchen,6,7,Yes,"A person cooking, then eating.",food,one;two,'
        + "c092 11.90 21.20;c147 0.00 12.60,24.83\n"
        + "N11GT,0KZ7,Garage,5,6,Yes,No action.,,three,,18.33\n"
    )
    (tmp_path / "Charades_v1_test.csv").write_text(
        COLUMNS + "46GP8,X,Y,6,7,Yes,s,o,d,c003 0.00 3.00,24.83\n"
    )
    for name in ("46GP8", "N11GT"):
        make_video(tmp_path / f"Charades_v1_480/{name}.mp4", frames=2)
    return tmp_path


def test_actions_are_many_labels_with_their_intervals(charades: Path) -> None:
    data = open_data(charades)
    assert (data.format, data.multi_label, len(data.classes)) == ("charades", True, 157)
    assert data.classes[92] == "Action number 92"
    train = data.split("train")
    assert [i.target for i in train] == [(92, 147), ()]
    assert train[0].video == str(charades / "Charades_v1_480/46GP8.mp4")
    assert train.target_within(0, 0.0, 5.0) == (147,)
    assert train.target_within(0, 12.0, 12.5) == (92, 147)
    assert train.target_within(0, 12.6, 13.0) == (92,)
    assert data.split("val")[0].target == (3,)


def test_labels_outside_the_class_list_are_refused(charades: Path) -> None:
    path = charades / "Charades_v1_train.csv"
    path.write_text(COLUMNS + "46GP8,X,Y,6,7,Yes,s,o,d,c157 0.00 3.00,24.83\n")
    with pytest.raises(ValueError, match="'c157' .* is not one of its 157 classes"):
        open_data(charades)
    path.write_text(COLUMNS + "46GP8,X,Y,6,7,Yes,s,o,d,c003 0.00,24.83\n")
    with pytest.raises(ValueError, match="'c003 0.00' is not 'cNNN START END'"):
        open_data(charades)
    (charades / "Charades_v1_classes.txt").write_text("c001 Wrong start\n")
    with pytest.raises(ValueError, match="begins with 'c001', not c000"):
        open_data(charades)


def test_frame_lists_become_folders_with_intervals(tmp_path: Path, make_frames) -> None:
    head = "original_vido_id video_id frame_id path labels\n"
    labels = ['""', '"92"', '"92,147"', '"147"', '"92"', '""']
    lines = [f"46GP8 0 {f} 46GP8/46GP8-{f + 1:06d}.jpg {labels[f]}\n" for f in range(len(labels))]
    (tmp_path / "train.csv").write_text(head + "".join(lines))
    (tmp_path / "val.csv").write_text(head + "".join(lines[:2]))
    make_frames(tmp_path / "46GP8", frames=6, name="46GP8-{:06d}.jpg")
    data = open_data(tmp_path)
    assert (data.format, len(data.classes)) == ("frame_list", 157)
    train = data.split("train")
    assert len(train) == 1
    assert train.fps == 24.0
    assert train[0].target == (92, 147)
    spans = [train.target_within(0, f / 24, f / 24) for f in range(6)]
    assert spans == [(), (92,), (92, 147), (147,), (92,), ()]
    assert data.split("val")[0].target == (92,)
    (tmp_path / "train.csv").write_text(head + "46GP8 0 x 46GP8/1.jpg\n")
    with pytest.raises(ValueError, match="is not 'id number frame path"):
        open_data(tmp_path)
