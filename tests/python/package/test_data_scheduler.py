"""The step protocol of schedulers, and the ready-made schedules."""

import copy
import gc
import pickle
import warnings
import weakref

import pytest
import torch
from torch import nn

from sparsifiers import FirstRow, Halving, counting
from torchwinnow.data_scheduler import (
    BaseDataScheduler,
    CubicDataScheduler,
    FormulaDataScheduler,
    LambdaDataScheduler,
    LinearDataScheduler,
    StepDataScheduler,
)
from torchwinnow.data_sparsifier import DataNormSparsifier

LEVEL = "sparsity_level"
pytestmark = pytest.mark.filterwarnings("ignore:another scheduler has driven")


def make_sparsifier():
    data = [("t", torch.randn(5, 5)), ("p", nn.Parameter(torch.randn(10, 10))), ("e", nn.Embedding(50, 5))]
    sparsifier = DataNormSparsifier(data, 0.7, (1, 4), 2)
    sparsifier.add_data("u", torch.randn(4, 4), sparsity_level=0.3)
    return sparsifier


def levels(sparsifier):
    return [group[LEVEL] for group in sparsifier.data_groups.values()]


def test_construction_makes_the_first_step():
    sparsifier = make_sparsifier()
    scheduler = Halving(sparsifier, LEVEL)
    assert scheduler.data_sparsifier is sparsifier
    assert (scheduler._step_count, scheduler.last_epoch) == (1, 0)
    assert scheduler.base_param == {"t": 0.7, "p": 0.7, "e": 0.7, "u": 0.3}
    assert levels(sparsifier) == [0.7, 0.7, 0.7, 0.3]


def test_steps_in_the_wrong_order_are_warned_of():
    sparsifier = make_sparsifier()
    scheduler = Halving(sparsifier, LEVEL)
    with pytest.warns(UserWarning, match="before `data_sparsifier.step"):
        scheduler.step()
    right = Halving(sparsifier, LEVEL)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        sparsifier.step()
        right.step()
        right.step()


def test_each_step_sets_the_next_value():
    sparsifier = make_sparsifier()
    scheduler = Halving(sparsifier, LEVEL)
    for _ in range(6):
        sparsifier.step()
        scheduler.step()
    assert scheduler._step_count == 7
    assert levels(sparsifier) == [base * 0.5**6 for base in (0.7, 0.7, 0.7, 0.3)]
    assert list(scheduler.get_last_param().values()) == levels(sparsifier)


def test_a_state_moves_to_another_scheduler():
    sparsifier = make_sparsifier()
    first = Halving(sparsifier, LEVEL)
    sparsifier.step()
    first.step()
    second = Halving(sparsifier, LEVEL)
    assert second.base_param == first._last_param != first.base_param
    state = first.state_dict()
    assert set(state) == {"schedule_param", "base_param", "last_epoch", "_step_count", "verbose",
                          "_get_sp_called_within_step", "_last_param"}
    second.load_state_dict({**state, "data_sparsifier": None})
    assert second.base_param == first.base_param and second._last_param == first._last_param
    assert second.data_sparsifier is sparsifier
    first.step()
    assert state["last_epoch"] == 1 and state["base_param"]["t"] == 0.7


def test_the_sparsifier_counts_disabled_and_failing_steps():
    sparsifier = make_sparsifier()
    Halving(sparsifier, LEVEL)
    sparsifier.enable_mask_update = False
    sparsifier.step()
    sparsifier.enable_mask_update = True
    sparsifier.data_groups["t"][LEVEL] = float("nan")
    with pytest.raises(ValueError):
        sparsifier.step()
    assert sparsifier._step_count == 2


def test_a_second_scheduler_does_not_disturb_the_first():
    sparsifier = make_sparsifier()
    first = Halving(sparsifier, LEVEL)
    sparsifier.step()
    StepDataScheduler(sparsifier, "zeros_per_block", gamma=1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        first.step()


def test_a_step_that_is_overridden_later_is_warned_of():
    sparsifier = make_sparsifier()
    scheduler = Halving(sparsifier, LEVEL)
    sparsifier.step = lambda: None
    with pytest.warns(UserWarning, match="overridden after"):
        scheduler.step()


def test_step_turns_mask_updates_on_again():
    sparsifier = make_sparsifier()
    scheduler = Halving(sparsifier, LEVEL)
    sparsifier.step()
    sparsifier.enable_mask_update = False
    scheduler.step()
    assert sparsifier.enable_mask_update


class Fixed(BaseDataScheduler):
    def __init__(self, sparsifier, values):
        self.values = {}
        super().__init__(sparsifier, LEVEL)
        self.values = values

    def get_schedule_param(self):
        assert self._get_sp_called_within_step
        return self.values


@pytest.mark.parametrize("values, message", [({"t": 0.1, "ghost": 0.1}, "ghost"),
                                             ({"t": 0.1, "u": float("nan")}, "sparsity_level")])
def test_values_that_cannot_be_set_set_nothing(values, message):
    sparsifier = make_sparsifier()
    scheduler = Fixed(sparsifier, values)
    sparsifier.step()
    with pytest.raises(ValueError, match=message):
        scheduler.step()
    assert levels(sparsifier) == [0.7, 0.7, 0.7, 0.3] and "ghost" not in sparsifier.data_groups
    assert scheduler.last_epoch == 1 and not scheduler._get_sp_called_within_step
    sparsifier.step()


def test_other_sparsifiers_are_refused_and_torch_aos_accepted():
    with pytest.raises(TypeError, match="Linear is not an instance of .*BaseDataSparsifier"):
        Halving(nn.Linear(1, 1), LEVEL)
    upstream = pytest.importorskip("torch.ao.pruning._experimental.data_sparsifier")
    theirs = upstream.DataNormSparsifier([("x", torch.randn(4, 4))])
    scheduler = Halving(theirs, LEVEL)
    theirs.step()
    scheduler.step()
    assert theirs.data_groups["x"][LEVEL] == 0.25
    schedulers = pytest.importorskip("torch.ao.pruning._experimental.data_scheduler")
    their_halving = type("TheirHalving", (schedulers.BaseDataScheduler,),
                         {"get_schedule_param": Halving.get_schedule_param})
    ours = make_sparsifier()
    scheduler = their_halving(ours, LEVEL)
    ours.step()
    scheduler.step()
    assert levels(ours) == [0.35, 0.35, 0.35, 0.15]


def test_the_base_has_no_values():
    with pytest.raises(NotImplementedError):
        BaseDataScheduler(make_sparsifier(), LEVEL)


def test_verbose_tells_every_value(capsys):
    sparsifier = FirstRow([("x", counting(2, 2))], test=2)
    Halving(sparsifier, "test", verbose=True)
    assert capsys.readouterr().out == "Adjusting test for group x to 2\n"
    lines = []
    Halving(sparsifier, "test", verbose=lines.append)
    assert lines == ["Adjusting test for group x to 2"] and capsys.readouterr().out == ""


def test_the_text_is_upstreams():
    sparsifier = FirstRow([("x", counting(2, 2))], test=2)
    assert repr(Halving(sparsifier, "test")) == (
        f"Halving (\nData Sparsifier {sparsifier!r}\n    test: {{'x': 2}}\n)")


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda s: pickle.loads(pickle.dumps(s))])
def test_a_copy_goes_on_with_a_sparsifier_of_its_own(copied):
    scheduler = Halving(make_sparsifier(), LEVEL)
    other = copied(scheduler)
    other.data_sparsifier.step()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        other.step()
    assert levels(other.data_sparsifier) == [0.35, 0.35, 0.35, 0.15]
    assert levels(scheduler.data_sparsifier) == [0.7, 0.7, 0.7, 0.3]
    assert scheduler.data_sparsifier._step_count == 0


def test_counting_keeps_no_sparsifier_alive():
    sparsifier = make_sparsifier()
    scheduler = Halving(sparsifier, LEVEL)
    alive = weakref.ref(sparsifier)
    del sparsifier, scheduler
    gc.collect()
    assert alive() is None


# ---- ready-made schedules


def trace(make, steps, **base):
    """The values of one data over some epochs, from a base of 0.8 (or another)."""
    sparsifier = FirstRow([("x", counting(2, 2))], **(base or {LEVEL: 0.8}))
    scheduler = make(sparsifier)
    values = [sparsifier.data_groups["x"][scheduler.schedule_param]]
    for _ in range(steps):
        sparsifier.step()
        scheduler.step()
        values.append(sparsifier.data_groups["x"][scheduler.schedule_param])
    return values


def test_lambda_is_the_base_times_a_function_of_the_epoch():
    make = lambda s: LambdaDataScheduler(s, factor=lambda t: 10 - t, begin_step=1, end_step=3)  # noqa: E731
    assert trace(make, 4) == [0.8 * f for f in (9, 9, 8, 7, 7)]


def test_step_is_a_stair():
    make = lambda s: StepDataScheduler(s, gamma=0.5, step_size=2, begin_step=1, end_step=5)  # noqa: E731
    assert trace(make, 7) == [0.8 * f for f in (1, 1, 1, 0.5, 0.5, 0.25, 0.25, 0.25)]


def test_linear_is_a_straight_line():
    make = lambda s: LinearDataScheduler(s, initial_value=0.2, begin_step=1, end_step=4)  # noqa: E731
    assert trace(make, 5) == pytest.approx([0.2, 0.2, 0.4, 0.6, 0.8, 0.8], abs=1e-15)


def test_cubic_is_the_formula_of_zhu_and_gupta():
    make = lambda s: CubicDataScheduler(s, initial_value=0.1, final_value=0.9, end_step=4)  # noqa: E731
    expected = [0.9 + (0.1 - 0.9) * (1 - t / 4) ** 3 for t in range(5)] + [0.9]
    values = trace(make, 5)
    assert values == pytest.approx(expected, abs=1e-15) and (values[0], values[-1]) == (0.1, 0.9)
    square = lambda s: CubicDataScheduler(s, end_step=2, power=2)  # noqa: E731
    assert trace(square, 2) == pytest.approx([0, 0.6, 0.8])


def test_one_step_of_no_length_is_a_jump():
    make = lambda s: CubicDataScheduler(s, begin_step=2, end_step=2)  # noqa: E731
    assert trace(make, 3) == [0, 0, 0.8, 0.8]


def test_final_values_are_by_name():
    sparsifier = make_sparsifier()
    scheduler = CubicDataScheduler(sparsifier, final_values={"u": 0.5}, end_step=1)
    sparsifier.step()
    scheduler.step()
    assert levels(sparsifier) == [0.7, 0.7, 0.7, 0.5]


def test_integers_stay_integers():
    make = lambda s: LinearDataScheduler(s, "zeros", end_step=4)  # noqa: E731
    values = trace(make, 4, zeros=6)
    assert values == [0, 2, 3, 5, 6] and all(type(value) is int for value in values)


@pytest.mark.parametrize("cls, options, error", [
    (StepDataScheduler, {"gamma": -1}, ValueError), (StepDataScheduler, {"step_size": 0}, ValueError),
    (StepDataScheduler, {"gamma": "x"}, TypeError), (LambdaDataScheduler, {"factor": 3}, TypeError),
    (CubicDataScheduler, {"power": 0}, ValueError), (CubicDataScheduler, {"begin_step": -1}, ValueError),
    (CubicDataScheduler, {"begin_step": 5, "end_step": 4}, ValueError),
    (LinearDataScheduler, {"initial_value": float("inf")}, ValueError),
    (LinearDataScheduler, {"final_values": {"ghost": 1.0}}, ValueError),
    (LinearDataScheduler, {"final_values": {"t": float("nan")}}, ValueError),
])
def test_options_out_of_range_are_named(cls, options, error):
    with pytest.raises(error, match=next(iter(options)).replace("begin_step", "_step")):
        cls(make_sparsifier(), **options)


def test_data_without_a_number_are_named():
    with pytest.raises(TypeError, match="shape of 'x': expected a number"):
        StepDataScheduler(FirstRow([("x", counting(2, 2))], shape=(1, 4)), "shape")
    with pytest.raises(ValueError, match="value of 'x': expected a finite number, found inf"):
        LambdaDataScheduler(FirstRow([("x", counting(2, 2))], a=1.0), "a", factor=lambda t: float("inf"))


def test_later_data_are_left_alone_and_gone_ones_skipped():
    sparsifier = make_sparsifier()
    scheduler = StepDataScheduler(sparsifier, gamma=0.5)
    sparsifier.add_data("late", counting(4, 4))
    sparsifier.remove_data("t")
    sparsifier.step()
    scheduler.step()
    assert levels(sparsifier) == [0.35, 0.35, 0.15, 0.7]
    assert "t" not in scheduler.get_last_param()
    sparsifier.add_data("t", counting(4, 4), sparsity_level=0.5)
    sparsifier.step()
    scheduler.step()
    assert levels(sparsifier) == [0.175, 0.175, 0.075, 0.7, 0.175]


def test_a_schedule_of_a_users_own_copes_with_names_that_are_gone():
    sparsifier = make_sparsifier()
    scheduler = Fixed(sparsifier, {"t": 0.1, "u": 0.2})
    sparsifier.remove_data("t")
    for _ in range(2):
        sparsifier.step()
        scheduler.step()
    assert sparsifier.data_groups["u"][LEVEL] == 0.2 and "t" not in sparsifier.data_groups
    scheduler.values = {"ghost": 0.1}
    sparsifier.step()
    with pytest.raises(ValueError, match="schedules the data 'ghost'"):
        scheduler.step()


def test_a_second_scheduler_of_one_value_is_warned_that_its_base_is_what_it_finds():
    sparsifier = make_sparsifier()
    CubicDataScheduler(sparsifier, end_step=4)  # and gone, with all levels at 0
    with pytest.warns(UserWarning, match="another scheduler has driven 'sparsity_level' .* base of "
                                         "this CubicDataScheduler is .*: 't': 0.0, 'p': 0.0, 'e': 0.0, "):
        scheduler = CubicDataScheduler(sparsifier, end_step=4)
    assert set(scheduler.base_param.values()) == {0.0}  # as upstream
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        StepDataScheduler(sparsifier, "zeros_per_block", gamma=1)
        CubicDataScheduler(make_sparsifier(), end_step=4)


@pytest.mark.parametrize("options, text", [
    ({"final_value": 90}, "write 0.9 for 90 %"), ({"initial_value": -1}, "drops nothing"),
    ({"final_values": {"t": 80.0}}, "write 0.8 for 80 %"),
])
def test_levels_of_a_schedule_that_are_no_shares_are_warned_of(options, text):
    with pytest.warns(UserWarning, match=text):
        LinearDataScheduler(make_sparsifier(), **options)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        LinearDataScheduler(make_sparsifier(), "zeros_per_block", final_value=2)


@pytest.mark.parametrize("cls", [Halving, CubicDataScheduler])
def test_an_epoch_before_none_is_refused(cls):
    with pytest.raises(ValueError, match="last_epoch: expected at least -1.*found -5"):
        cls(make_sparsifier(), LEVEL, last_epoch=-5)
    scheduler = cls(make_sparsifier(), LEVEL)
    with pytest.raises(ValueError, match="last_epoch: expected at least -1"):
        scheduler.load_state_dict({"last_epoch": -2})
    assert scheduler.last_epoch == 0


def test_a_schedule_goes_on_from_its_state():
    sparsifier = make_sparsifier()
    scheduler = CubicDataScheduler(sparsifier, end_step=4)
    for _ in range(2):
        sparsifier.step()
        scheduler.step()
    other = make_sparsifier()
    resumed = CubicDataScheduler(other, end_step=9)
    other.load_state_dict(sparsifier.state_dict())
    resumed.load_state_dict(scheduler.state_dict())
    for each in (sparsifier, scheduler, other, resumed):
        each.step()
    assert levels(other) == levels(sparsifier) and resumed.last_epoch == 3


def test_a_bad_state_changes_nothing():
    scheduler = CubicDataScheduler(make_sparsifier(), end_step=4)
    with pytest.raises(ValueError, match="power"):
        scheduler.load_state_dict({"last_epoch": 7, "power": 0})
    assert (scheduler.last_epoch, scheduler.power) == (0, 3.0)


def test_a_formula_of_a_users_own():
    class Inverse(FormulaDataScheduler):
        def value_at(self, epoch, name, base):
            return base / (epoch + 1)

    assert trace(Inverse, 2) == [0.8, 0.4, 0.8 / 3]
    with pytest.raises(TypeError):
        FormulaDataScheduler(make_sparsifier())
