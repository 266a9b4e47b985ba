"""Progress of long work where standard error is no terminal: a line now and then, and at the end."""

import math
import os
import re
import sys
import time

import pytest

from gliodistill.progress import showing, track
from gliodistill.training.loop import Progress
from gliodistill.training.progress_bars import watcher
from tiny_cohort import distilled
from tiny_cohort import recipe as make_recipe

EVERY = 0.05


def lines(capsys):
    said = capsys.readouterr()
    assert said.out == ""  # what scripts read
    return said.err.splitlines()


def test_short_work_says_nothing(capsys):
    assert list(track([1, 2, 3], "counting")) == [1, 2, 3]
    assert list(track([], "counting", every=EVERY)) == []
    assert lines(capsys) == []


def test_long_work_says_where_it_is_and_when_it_ends(capsys):
    for _ in track(range(6), "counting", every=EVERY):
        time.sleep(0.04)
    *going, last = lines(capsys)
    assert 1 <= len(going) <= 5
    assert re.fullmatch(r"counting: [1-5] of 6 in \d:\d\d, \d:\d\d left", going[-1])
    assert re.fullmatch(r"counting: 6 of 6 in \d:\d\d", last)


def test_an_item_that_takes_long_is_told_of_before_it_ends(capsys):
    for _ in track(range(1), "exporting", every=EVERY):
        time.sleep(0.18)
        assert lines(capsys)[0].startswith("exporting: 0 of 1 in ")


def test_items_that_nobody_counted(capsys):
    for _ in track((n for n in range(2)), "probing", every=EVERY):
        time.sleep(0.07)
    assert lines(capsys)[-1].startswith("probing: 2 in ")


def test_work_that_fails_ends_with_how_far_it_came_and_stays_quiet(capsys):
    with pytest.raises(ValueError, match="damaged"):
        for item in track(range(9), "preparing", every=EVERY):
            time.sleep(0.04)
            if item == 2:
                raise ValueError("damaged")
    assert lines(capsys)[-1].startswith("preparing: 2 of 9 in ")
    time.sleep(2 * EVERY)
    assert lines(capsys) == []


def test_what_is_left_counts_from_where_a_resumed_task_began(capsys):
    """Half of 1000 were there: two of them took 0.1 s, so 498 more take about 25 s, not 0.1 s."""
    with showing({"training": 1000}, EVERY) as update:
        for done in (0, 501, 502):
            update("training", done)
            time.sleep(0.05)
        time.sleep(EVERY)
        said = lines(capsys)[-1]
    minutes, seconds = re.search(r", (\d+):(\d\d) left", said).groups()
    assert 60 * int(minutes) + int(seconds) >= 10


def test_a_training_tells_run_step_loss_dice_and_time_left(capsys):
    made = make_recipe(distilled(), training={"steps": 40})
    with watcher(made, every=EVERY) as watch:
        watch("teacher", 40, Progress(step=0))
        time.sleep(1.5 * EVERY)
        first = lines(capsys)
        for step in range(1, 5):
            watch("teacher", 40, Progress(step, best=0.7131 if step > 2 else -1.0, loss=1 / step))
            time.sleep(0.04)
        going = lines(capsys)
        watch("teacher", 40, Progress(40, best=0.8, loss=0.1))
        ended = lines(capsys)
        watch("baseline", 40, Progress(0, loss=math.nan))
    assert re.fullmatch(r"training teacher: 0 of 40 in \d:\d\d", first[0])
    where = r"training teacher: [1-4] of 40 in \d:\d\d, \d:\d\d left; loss \d\.\d{3}"
    assert all(re.fullmatch(rf"{where}(, best Dice 0\.713)?", line) for line in going) and going
    (end,) = ended
    assert re.fullmatch(
        r"training teacher: 40 of 40 in \d:\d\d; loss 0\.100, best Dice 0\.800", end
    )
    assert lines(capsys) == []  # the next run has only begun


def test_bars_on_a_terminal_show_loss_and_dice(terminal, recipe, cohort, tmp_path):
    shown = terminal("train", recipe, "--data", cohort, "-o", tmp_path / "run", "--only", "teacher")
    assert "training teacher" in shown and "6/6" in shown
    assert re.search(r"loss \d\.\d{3}, best Dice \d\.\d{3}", shown)


def test_a_closed_standard_error_does_not_stop_the_work(monkeypatch):
    with open(os.devnull, "w") as closed:
        pass
    for stream in (None, closed):
        monkeypatch.setattr(sys, "stderr", stream)
        done = []
        for item in track(range(3), "counting", every=EVERY):
            time.sleep(0.03)
            done.append(item)
        assert done == [0, 1, 2]
