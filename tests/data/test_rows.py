from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from moorl_jax.data.rows import Rows, ends, to_transitions, transition_ends
from moorl_jax.data.trajectories import best_trajectories, episode_returns, suspicions, trajectory_returns
from moorl_jax.tasks import find

CONVENTIONS = np.load(Path(__file__).parents[1] / "parity" / "d4rl_conventions.npz", allow_pickle=False)
HORIZON = 8
TASK = replace(find("hopper-medium-v2"), horizon=HORIZON)


def recorded(timeouts=True):
    raw = {key: CONVENTIONS[f"raw/dense/{key}"] for key in ("observations", "actions", "rewards", "terminals")}
    return Rows(**raw, timeouts=CONVENTIONS["raw/dense/timeouts"] if timeouts else None)


class TestSuccessors:
    """A file's own next observations decide where the rows' order does not tell the truth."""

    @pytest.fixture
    def rows(self):
        numbers = np.arange(10, dtype=np.float32)[:, None]
        flags = np.isin(np.arange(10), [9]), np.isin(np.arange(10), [4])
        return Rows(numbers, np.zeros((10, 1), np.float32), numbers[:, 0], *flags, next_observations=numbers + 1)

    def taken(self, rows, order):
        return Rows(**{name: value[order] for name, value in rows.arrays().items()})

    def test_intact_data_is_paired_as_by_d4rl(self, rows):
        ours, theirs = (to_transitions(each, HORIZON) for each in (rows, replace(rows, next_observations=None)))
        for field in ("observations", "next_observations", "rewards", "terminals"):
            np.testing.assert_array_equal(getattr(ours, field), getattr(theirs, field), err_msg=field)

    @pytest.mark.parametrize("order", [[0, 1, 3, 4, 5, 6, 8, 9], [7, 0, 9, 3, 2, 4, 8, 1, 6, 5]])
    def test_filtered_and_shuffled_data_has_its_true_successors(self, rows, order):
        data = to_transitions(self.taken(rows, order), HORIZON)
        assert len(data) == len(order) - 2  # all but the time-out's row and the last
        going_on = data.terminals == 0
        np.testing.assert_array_equal(data.next_observations[going_on], data.observations[going_on] + 1)

    def test_next_actions_are_the_following_rows(self, rows):
        rows = replace(rows, actions=rows.observations / 10)
        data = to_transitions(rows, HORIZON, next_actions=True)
        np.testing.assert_array_equal(data.next_actions, data.next_observations / 10)

    def test_where_an_episode_breaks_off_what_was_done_next_is_not_known(self, rows):
        """Rows 1 and 6 break off: their successors are there, the actions taken in those are not."""
        filtered = self.taken(replace(rows, actions=rows.observations / 10), [0, 1, 3, 4, 5, 6, 8, 9])
        data = to_transitions(filtered, HORIZON, next_actions=True)
        np.testing.assert_array_equal(data.observations[:, 0], [0, 3, 5, 8])
        np.testing.assert_array_equal(data.next_actions, data.next_observations / 10)

    def test_an_episode_that_breaks_off_ends_there(self, rows):
        returns, lengths = episode_returns(self.taken(rows, [0, 1, 3, 4, 5]), HORIZON)
        np.testing.assert_array_equal(returns, [1, 7])
        np.testing.assert_array_equal(lengths, [2, 2])

    def test_without_time_outs_the_clock_begins_anew_where_an_episode_breaks_off(self):
        """Three rows recorded of one, eight of the next, which is the horizon, and two of a third."""
        numbers = np.r_[0:3, 10:18, 20:22].astype(np.float32)[:, None]
        none = np.zeros(13, bool)
        rows = Rows(numbers, np.zeros((13, 1), np.float32), numbers[:, 0], none, None, next_observations=numbers + 1)
        assert np.flatnonzero(ends(rows, HORIZON)).tolist() == [2, 10]
        data = to_transitions(rows, HORIZON)
        assert len(data) == 11  # all but the time-out's row and the last
        np.testing.assert_array_equal(data.next_observations, data.observations + 1)


def test_returns_are_those_of_the_flagged_episodes():
    rows = Rows(
        observations=np.zeros((6, 1), np.float32),
        actions=np.zeros((6, 1), np.float32),
        rewards=np.array([1, 2, 4, 8, 16, 32], np.float32),
        terminals=np.array([0, 1, 0, 0, 0, 0], bool),
        timeouts=np.array([0, 0, 0, 1, 0, 0], bool),
    )
    returns, lengths = episode_returns(rows, horizon=10)
    np.testing.assert_array_equal(returns, [3, 12])  # the unfinished tail is no episode
    np.testing.assert_array_equal(lengths, [2, 2])


def sparse(rewards, terminals, timeouts):
    size = len(rewards)
    flags = (np.array(each, bool) for each in (terminals, timeouts))
    return Rows(np.zeros((size, 1)), np.zeros((size, 1)), np.array(rewards, np.float32), *flags)


class TestTrajectoryReturns:
    def test_antmaze_pays_once_for_a_goal_that_data_passes_often(self):
        rewards = [0, 1, 1, 0, 1, 0, 0, 0, 0]
        rows = sparse(rewards, rewards, [0, 0, 0, 0, 0, 1, 0, 0, 1])
        returns, lengths = trajectory_returns(rows, find("antmaze-umaze-v2"))
        assert returns.tolist() == [1.0, 0.0]
        assert lengths.tolist() == [6, 3]

    def test_kitchen_pays_once_for_each_subtask_that_data_pays_for_at_every_step(self):
        rows = sparse([0, 1, 1, 2, 3, 0, 0, 4], [0, 0, 0, 0, 1, 0, 0, 1], [0] * 8)
        returns, _ = trajectory_returns(rows, find("kitchen-mixed-v0"))
        assert returns.tolist() == [3.0, 4.0]

    def test_elsewhere_rewards_add_up(self, hopper_rows, hopper):
        expected = episode_returns(hopper_rows, hopper.horizon)
        for ours, theirs in zip(trajectory_returns(hopper_rows, hopper), expected, strict=True):
            np.testing.assert_array_equal(ours, theirs)


class TestSuspicions:
    def test_nothing_odd_about_a_recipes_rows(self, hopper_rows):
        assert suspicions(hopper_rows, find("hopper-medium-v2")) == []

    @pytest.mark.parametrize(("rows", "odd"), [(1001, []), (1002, ["1 episodes are longer than the 1001 rows"])])
    def test_only_episodes_longer_than_the_datas_own_are_noticed(self, rows, odd):
        """Those of umaze-diverse's data are longer than the task's horizon."""
        numbers = np.arange(rows, dtype=np.float32)[:, None]
        flags = np.zeros(rows, bool), numbers[:, 0] == rows - 1
        found = suspicions(Rows(numbers, numbers, numbers[:, 0], *flags), find("antmaze-umaze-diverse-v2"))
        assert [sentence.partition(" of a whole one")[0] for sentence in found] == odd

    def test_unflagged_edges_and_both_flags_are_noticed(self):
        rows = recorded()
        following = np.vstack([rows.observations[1:], rows.observations[:1]])
        edge = 7 + 8 + 6 + 5 - 1  # the fourth recorded episode ends without a flag
        following[edge] += 1.0
        found = " ".join(suspicions(replace(rows, next_observations=following), TASK))
        assert "1 episodes break off without a flag" in found
        assert "1 rows are both terminal and time-out" in found
        assert "the last 2 rows are an unfinished episode" in found

    def test_missing_time_outs_are_noticed(self):
        assert any("no 'timeouts' key" in sentence for sentence in suspicions(recorded(timeouts=False), TASK))


class TestFingerprint:
    def test_depends_on_every_array(self, hopper_rows):
        same = replace(hopper_rows, rewards=hopper_rows.rewards.copy())
        assert same.fingerprint() == hopper_rows.fingerprint()
        for key, value in hopper_rows.arrays().items():
            changed = value.copy()
            changed[3] = ~changed[3] if changed.dtype == bool else changed[3] + 1
            assert replace(hopper_rows, **{key: changed}).fingerprint() != hopper_rows.fingerprint(), key


class TestBestTrajectories:
    """Four episodes of three rows, which return 3, 9, 6 and 9, and an unfinished one."""

    @pytest.fixture
    def rows(self):
        numbers = np.arange(14, dtype=np.float32)[:, None]
        rewards = np.repeat(np.float32([1, 3, 2, 3, 9]), 3)[:14]
        terminals, timeouts = np.isin(np.arange(14), [2, 8]), np.isin(np.arange(14), [5, 11])
        return Rows(numbers, np.zeros((14, 1), np.float32), rewards, terminals, timeouts)

    @pytest.mark.parametrize(
        ("share", "kept"), [(0.1, [1]), (0.25, [1]), (0.5, [1, 3]), (0.75, [1, 2, 3]), (1.0, [0, 1, 2, 3])]
    )
    def test_whole_episodes_are_kept_in_their_order(self, rows, share, kept):
        best = best_trajectories(rows, TASK, share)
        np.testing.assert_array_equal(
            best.observations[:, 0], np.concatenate([np.arange(3 * k, 3 * k + 3) for k in kept])
        )
        np.testing.assert_array_equal(episode_returns(best, HORIZON)[0], np.array([3, 9, 6, 9])[kept])

    def test_d4rls_clock_is_read_before_others_are_left_out(self):
        """After a terminal it starts at 1, so that the next episode times out a row sooner: at its seventh."""
        lengths, returns = (3, 7, 8), (0, 1, 1)
        count = sum(lengths) + 1
        numbers = np.arange(count, dtype=np.float32)[:, None]
        rewards = np.append(np.repeat(np.float32(returns) / np.float32(lengths), lengths), 0.0).astype(np.float32)
        rows = Rows(numbers, np.zeros((count, 1), np.float32), rewards, np.arange(count) == 2, None)
        assert np.flatnonzero(ends(rows, HORIZON)).tolist() == [2, 9, 17]
        best = best_trajectories(rows, TASK, 2 / 3)
        assert np.flatnonzero(ends(best, HORIZON)).tolist() == [6, 14]

    def test_antmazes_are_all_up_to_a_time_out(self):
        """Its goal ends nothing there: a row at the goal alone would be the best episode of all."""
        maze = find("antmaze-umaze-v2")
        rewards = np.float32([0, 0, 0, 0, 1, 1])
        timeouts = np.array([False, False, True, False, False, True])
        rows = Rows(np.zeros((6, 29), np.float32), np.zeros((6, 8), np.float32), rewards, rewards > 0, timeouts)
        np.testing.assert_array_equal(best_trajectories(rows, maze, 0.1).rewards, [0, 1, 1])


@pytest.mark.parametrize(
    ("family", "terminals", "timeouts", "kept", "last"),
    [
        ("locomotion", [3], [7], [0, 1, 2, 3, 4, 5, 6, 8], [3, 6, 8]),
        ("antmaze", [3], [7], [0, 1, 2, 3, 4, 5, 6, 8], [6, 8]),  # it goes on after the goal
        ("ogbench", [3, 4], [6], [0, 1, 2, 3, 4, 5, 7, 8], [5, 8]),
    ],
)
def test_an_episodes_last_transition_is_marked(family, terminals, timeouts, kept, last):
    numbers = np.arange(10)
    column = numbers[:, None].astype(np.float32)
    flags = np.isin(numbers, terminals), np.isin(numbers, timeouts)
    rows = Rows(column, column, column[:, 0], *flags)
    np.testing.assert_array_equal(to_transitions(rows, HORIZON).rewards, kept)
    task = replace(TASK, family=family)
    np.testing.assert_array_equal(np.array(kept)[transition_ends(rows, task) == 1.0], last)
