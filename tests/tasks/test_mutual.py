"""The mutual step: who learns from what, what is drawn, and what stops it."""

import pytest
import torch
from torch import Tensor, nn

from marey.choices import RunChoice, ScheduleChoice, TaskChoice
from marey.layers.switch import Setting
from marey.models.mutualnet import SlowConfig
from marey.tasks.classification import Classification
from marey.tasks.mutual import Mutual, check_run
from marey.types import Batch

CONFIG = SlowConfig(width_range=(0.5, 1.0), sizes=(64, 48), frame_counts=(8, 4))


class Scaled(nn.Module):
    """Logits that are the clip's first row of pixels times a weight of each width."""

    def __init__(self) -> None:
        super().__init__()
        self.full, self.narrow = nn.Parameter(torch.ones(())), nn.Parameter(torch.ones(()))
        self.seen: list[tuple[float, int, int]] = []

    def forward(self, clip: Tensor, width: float) -> Tensor:
        setting = width if isinstance(width, Setting) else Setting(width)
        self.seen.append(setting.key)
        return clip.flatten(1)[:, :3] * (self.full if width == 1.0 else self.narrow)


def batch() -> Batch:
    return Batch(
        rgb=torch.tensor([[2.0, 0.0, -1.0], [0.5, 0.0, 1.0]]).view(2, 1, 1, 1, 1, 3),
        flow=None,
        target=torch.eye(3)[:2],
        keys=("a", "b"),
        times=torch.zeros(2, 1, 1),
        index=torch.arange(2),
    )


def test_narrow_networks_learn_from_the_full_one_alone() -> None:
    task, model = Mutual(TaskChoice(kind="mutual"), 3, CONFIG), Scaled()
    model.narrow.data.fill_(0.5)
    found = task.loss(model, batch())
    found["loss"].backward()
    logits = batch().rgb.flatten(1)
    labels = nn.functional.cross_entropy(logits, torch.tensor([0, 1]))
    soft, small = logits.softmax(1), (logits / 2).log_softmax(1)
    distance = (soft * (soft.log() - small)).sum(1).mean()
    torch.testing.assert_close(found["loss"].detach(), labels + 3 * distance)
    assert (found["correct"], found["count"]) == (1, 2)
    plain = Scaled()
    only = nn.functional.cross_entropy(logits * plain.full, torch.tensor([0, 1]))
    (expected,) = torch.autograd.grad(only, plain.full)
    torch.testing.assert_close(model.full.grad, expected)  # no gradient through the soft answers
    assert model.narrow.grad.item() < 0  # moves towards them


def test_several_labels_are_imitated_answer_by_answer() -> None:
    task = Mutual(TaskChoice(kind="mutual", labels="multi"), 3, CONFIG)
    soft, logits = torch.tensor([[0.9, 0.1, 0.5]]), torch.tensor([[1.0, 0.0, -1.0]])
    p = logits.sigmoid()
    expected = -(soft * p.log() + (1 - soft) * (1 - p).log()).mean()
    torch.testing.assert_close(task.imitation(logits, soft), expected)


def test_the_sandwich() -> None:
    task, model = Mutual(TaskChoice(kind="mutual"), 3, CONFIG, seed=5), Scaled()
    task.loss(model, batch())
    (full, *rest, narrowest) = model.seen
    assert full == (1.0, 0, 0)
    assert narrowest[0] == 0.5
    assert len(rest) == 2
    assert 1.0 > rest[0][0] > rest[1][0] > 0.5
    drawn = [s.key[1:] for _ in range(40) for s in task.draw()]
    counts = {pair: drawn.count(pair) for pair in set(drawn)}
    assert set(counts) == {(8, 64), (8, 48), (4, 64), (4, 48)}
    assert min(counts.values()) > 15


def test_draws_go_on_where_a_checkpoint_stopped() -> None:
    task, again = (Mutual(TaskChoice(kind="mutual"), 3, CONFIG, seed=seed) for seed in (1, 2))
    task.draw()
    saved = task.state_dict()
    expected = [s.key for s in task.draw()]
    again.load_state_dict(saved)
    assert [s.key for s in again.draw()] == expected


def test_evaluation_is_that_of_classification() -> None:
    assert Mutual.scores is Classification.scores


@pytest.mark.parametrize(
    ("run", "schedule", "message"),
    [
        (RunChoice(norm="sync"), ScheduleChoice(), "run.norm is 'sync'; .* needs 'batch'"),
        (RunChoice(checkpointing=True), ScheduleChoice(), "run.checkpointing is True"),
        (RunChoice(), ScheduleChoice(multigrid="both"), "schedule.multigrid is 'both'"),
    ],
)
def test_what_cannot_run_at_several_widths(
    run: RunChoice, schedule: ScheduleChoice, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        check_run(run, schedule)


def test_a_network_of_one_width_is_refused() -> None:
    with pytest.raises(ValueError, match="TaskChoice is of a network of one width"):
        Mutual(TaskChoice(kind="mutual"), 3, TaskChoice())
