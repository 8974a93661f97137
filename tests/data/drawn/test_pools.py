"""Seeds and pools: equal everywhere, disjoint between splits."""

import pytest

from marey.data import synthetic
from marey.data.drawn import pools
from marey.data.drawn.film import Options
from marey.data.drawn.tasks import film_of


def test_streams_are_frozen() -> None:
    """These numbers may only change together with WORLD_VERSION."""
    assert pools.stream("fine", "train", 0).randint(0, 1000, 4).tolist() == [975, 587, 475, 309]
    assert pools.stream("a").uniform() != pools.stream("b").uniform()


def test_pools_are_disjoint_and_cover_the_world() -> None:
    sets = [set(pools.members(split)) for split in pools.SPLITS]
    assert sum(len(s) for s in sets) == len(set.union(*sets)) == pools.POOL
    looks = [{pools.figure_look(k) for k in s} for s in sets]
    skins = [{(v.first, v.second) for v in map(pools.prop_skin, s)} for s in sets]
    for kind in (looks, skins):
        assert not kind[0] & kind[1]
        assert not kind[0] & kind[2]
        assert not kind[1] & kind[2]
        assert len(kind[0]) == 30


@pytest.mark.parametrize("split", pools.SPLITS)
def test_scenes_draw_from_their_own_pool(split: str) -> None:
    allowed = set(pools.members(split))
    for task in ("fine", "direction", "order", "scenes"):
        for index in range(6):
            stage = film_of(task, split, index, Options(difficulty=3)).stage
            assert stage.texture in allowed
            assert {actor.look.number for actor in stage.actors} <= allowed


def test_unknown_split_is_refused() -> None:
    with pytest.raises(ValueError, match="choose one of train, val, test"):
        synthetic.draw("fine", "dev", 0)
