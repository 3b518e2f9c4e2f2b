import dataclasses

import pytest

from moorl_jax.agents import AGENTS, BC, IQL, SACN
from moorl_jax.config import require_bounds
from moorl_jax.data import Preparation
from moorl_jax.errors import MoorlError
from moorl_jax.settings import FAMILIES, FROM_IMAGES, Settings, changes, everywhere, settings, suits
from moorl_jax.tasks import TASKS, find
from moorl_jax.types import ReturnsToGo

HOPPER = find("hopper-medium-v2")
OF_STATES = tuple(agent for agent in AGENTS if agent not in FROM_IMAGES)
OFFLINE_ALONE = tuple(name for name, agent in AGENTS.items() if issubclass(agent, BC | SACN))
PAGES = {page.__name__: page for page in (everywhere, *FAMILIES.values())}


@pytest.mark.parametrize("page", PAGES.values(), ids=PAGES)
def test_a_page_speaks_of_agents_that_there_are(page):
    own = [name for name, value in vars(page).items() if getattr(value, "__module__", "") == page.__name__]
    assert {name for name in own if not name.startswith("_")} <= set(AGENTS)


def test_no_page_repeats_a_value():
    """Each of its values is another than the one in force before, for some dataset, and has a source."""
    news = {}
    for agent in AGENTS:
        for task in TASKS.values():
            if not suits(agent, task):
                continue
            chosen = Settings(AGENTS[agent](), Preparation())
            for page, change in changes(agent, task):
                said = (page.__name__, agent, change.name)
                news[said] = news.get(said, False) or chosen.value(change.name) != change.value
                assert change.source, said
                chosen = chosen.changed(change)
    assert [said for said, is_news in news.items() if not is_news] == []


@pytest.mark.parametrize(
    ("agent", "name"),
    [("iql", "vd4rl-cheetah_run-medium"), ("drq", "hopper"), ("recommend_iql", "vd4rl-cheetah_run-medium")],
)
def test_an_agent_that_cannot_see_is_told_so(agent, name):
    with pytest.raises(MoorlError, match=f"{agent} cannot train on {name}.*agents that can"):
        settings(agent, find(name), 1000, 1200)


def test_what_is_changed_by_hand_keeps_the_rest():
    chosen = settings("iql", HOPPER, 1000, 0)
    changed = chosen.overridden(["expectile=0.9", "preparation.normalize_returns=False", "preparation.reward_scale=2"])
    assert changed.agent == chosen.agent.replace(expectile=0.9)
    assert chosen.preparation.normalize_returns
    assert changed.preparation == dataclasses.replace(chosen.preparation, normalize_returns=False, reward_scale=2.0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("preparation.normalise=True", "unknown field of Preparation 'normalise': did you mean normalize"),
        ("preparation.reward_scale=-1.0", "Preparation.reward_scale must be a finite number above 0.0"),
        ("preparation.normalize_returns=1", "Preparation.normalize_returns must be True or False"),
        ("preparation.reward_scale.more=1", "which has no fields"),
    ],
)
def test_a_wrong_change_of_the_preparation_is_named(change, message):
    with pytest.raises(MoorlError, match=message):
        settings("iql", HOPPER, 1000, 0).overridden([change])


def test_an_agent_that_is_made_keeps_its_classs_preparation():
    """Else `train(IQL())` would train on other rewards than `train("iql")`."""
    made = IQL(expectile=0.9)
    assert settings(made, HOPPER, 1000, 0) == Settings(made, settings("iql", HOPPER, 1000, 0).preparation)

    class Own(IQL):
        pass

    assert settings(Own(), HOPPER, 1000, 0).preparation == Preparation()


def test_drqs_noise_falls_as_in_the_paper():
    assert (AGENTS["drq"]().noise_updates, AGENTS["drq_bc"]().noise_updates) == (250_000, 125_000)
    assert settings("drq_bc", find("vd4rl-cheetah_run-medium"), 550_000, 0).agent.noise_updates == 125_000
    assert settings("drq_bc", find("vd4rl-cheetah_run-medium"), 5_500, 0).agent.noise_updates == 1_250
    assert settings("drq", find("vd4rl-cheetah_run-medium"), 0, 550_000).agent.noise_updates == 250_000
    assert settings("drq", find("vd4rl-cheetah_run-medium"), 0, 5_500).agent.noise_updates == 2_500


@pytest.mark.parametrize("agent", FROM_IMAGES)
def test_every_agent_of_images_is_set(agent):
    env_steps = 0 if agent in OFFLINE_ALONE else 1200
    assert settings(agent, find("vd4rl-walker_walk-expert-64px"), 1000, env_steps).agent.phases(1000, env_steps)


@pytest.mark.parametrize("agent", OF_STATES)
@pytest.mark.parametrize(
    "name", ["antmaze-large-diverse-v2", "pen-cloned-v1", "kitchen-mixed-v0", "sawyer-push", "ant", "walker-walk"]
)
def test_every_agent_is_set_for_every_family(agent, name):
    chosen = settings(agent, find(name), 1000, 1200)
    assert type(chosen.agent) is AGENTS[agent]
    assert chosen.agent.phases(1000, 0 if agent in OFFLINE_ALONE else 1200)


@pytest.mark.parametrize(
    ("agent", "scale", "shift"),
    [
        ("iql", 1.0, -1.0),
        ("spot", 1.0, -1.0),
        ("awac", 1.0, -1.0),
        ("rlpd", 1.0, -1.0),
        ("fql", 1.0, -1.0),
        ("ifql", 1.0, -1.0),
        ("qc", 1.0, -1.0),
        ("qc_fql", 1.0, -1.0),
        ("cql", 10.0, -5.0),
        ("cal_ql", 10.0, -5.0),
        ("rebrac", 100.0, 0.0),
        ("sac_n", 1.0, 0.0),
        ("edac", 1.0, 0.0),
    ],
)
def test_antmazes_rewards_are_its_authors(agent, scale, shift):
    preparation = settings(agent, find("antmaze-umaze-v2"), 1000, 0).preparation
    assert (preparation.reward_scale, preparation.reward_shift) == (scale, shift)
    if agent == "cal_ql":
        assert settings(agent, find("antmaze-umaze-v2"), 1000, 0).agent.failure_reward == shift


def test_cal_qls_returns_on_kitchen_are_its_authors():
    """nakamotoo/Cal-QL's `run_kitchen.sh`; where a sub-task is paid for once, its last reward is no standing one."""
    chosen = settings("cal_ql", find("kitchen-mixed-v0"), 10, 10)
    agent = chosen.agent
    assert agent.returns_to_go() == ReturnsToGo(0.99, endless=True)
    assert (agent.hidden, agent.critic_hidden, agent.importance_sampling) == ((512,) * 3, None, False)
    assert (agent.penalty_weight, agent.offline_share, agent.max_target_backup) == (5.0, 0.25, True)
    assert chosen.preparation == Preparation(action_limit=0.99999)
    for task in ("franka-kitchen", "franka-kitchen-sparse", "pen-human-v1", "antmaze-umaze-v2", "hopper-medium-v2"):
        assert not settings("cal_ql", find(task), 10, 10).agent.returns_to_go().endless


def test_opts_weights_on_antmaze_are_not_all_spots():
    """Its appendix has 0.05 for both medium mazes, and a longer way to kappa's end on large-diverse."""
    task = find("antmaze-medium-diverse-v2")
    assert settings("spot", task, 1000, 300_000).agent.support_weight == 0.025
    assert settings("opt_spot", task, 1000, 300_000).agent.backbone.support_weight == 0.05
    names = ("antmaze-large-play-v2", "antmaze-large-diverse-v2")
    ends = [settings("opt_spot", find(name), 1000, 300_000).agent.kappa_steps for name in names]
    assert ends == [100_000, 200_000]


@pytest.mark.parametrize(
    ("agent", "preparation"),
    [
        ("bc", Preparation(normalize_observations=True)),
        ("bc_10", Preparation(normalize_observations=True)),
        ("awac", Preparation(normalize_observations=True)),
        ("rebrac", Preparation()),
        ("sac_n", Preparation()),
        ("edac", Preparation()),
        ("td3_bc", Preparation(normalize_observations=True)),
        ("iql", Preparation(normalize_returns=True, action_limit=1 - 1e-5)),
        ("fql", Preparation(action_limit=1 - 1e-5)),
        ("ifql", Preparation(action_limit=1 - 1e-5)),
        ("qc", Preparation(action_limit=1 - 1e-5)),
        ("qc_fql", Preparation(action_limit=1 - 1e-5)),
        ("cql", Preparation(action_limit=0.999)),
        ("cal_ql", Preparation(action_limit=0.99999)),
        ("spot", Preparation(normalize_observations=True)),
        ("pex", Preparation(normalize_returns=True)),
        ("opt", Preparation()),
        ("moorl", Preparation(action_limit=1 - 1e-5)),
        ("rlpd", Preparation(action_limit=1 - 1e-5)),
    ],
)
def test_locomotions_data_is_prepared_as_each_author_did(agent, preparation):
    chosen = settings(agent, HOPPER, 1000, 0)
    assert type(chosen.agent) is AGENTS[agent]
    assert chosen.preparation == preparation


@pytest.mark.parametrize("task", ["hopper-medium-v2", "antmaze-umaze-v2", "pen-human-v1"])
def test_iqls_actor_rate_falls_over_an_offline_run_and_stays_where_fine_tuning_follows(task):
    assert settings("iql", find(task), 1234, 0).agent.actor_decay_updates == 1234
    assert settings("iql", find(task), 1234, 10).agent.actor_decay_updates is None


def test_spots_support_weight_is_the_datasets():
    """thuml/SPOT's configs."""
    for task, weight in (
        ("halfcheetah-medium-v2", 0.05),
        ("halfcheetah-medium-expert-v2", 1.0),
        ("hopper-medium-replay-v2", 0.1),
        ("walker2d-medium-v2", 0.2),
        ("walker2d-medium-expert-v2", 0.5),
    ):
        assert settings("spot", find(task), 1000, 0).agent.support_weight == weight


@pytest.mark.parametrize(
    ("task", "actor", "critic", "others"),
    [
        ("hopper-medium-replay-v2", 0.05, 0.5, (1024, 1e-3, 1e-3, 0.99)),
        ("walker2d-random-v2", 0.01, 0.0, (1024, 1e-3, 1e-3, 0.99)),
        ("antmaze-medium-play-v2", 0.001, 0.0005, (256, 3e-4, 5e-5, 0.999)),
        ("antmaze-umaze-v2", 0.003, 0.002, (256, 3e-4, 5e-5, 0.999)),
        ("hammer-human-v1", 0.01, 0.5, (256, 3e-4, 3e-4, 0.99)),
    ],
)
def test_rebracs_weights_are_the_datasets(task, actor, critic, others):
    """DT6A/ReBRAC's configs."""
    agent = settings("rebrac", find(task), 1000, 0).agent
    assert (agent.actor_penalty, agent.critic_penalty) == (actor, critic)
    assert (agent.batch_size, agent.actor_learning_rate, agent.critic_learning_rate, agent.discount) == others


@pytest.mark.parametrize(
    ("task", "alpha", "target_value", "samples"),
    [
        ("antmaze-medium-diverse-v2", 10, "mean", 32),
        ("antmaze-large-play-v2", 3, "mean", 32),
        ("pen-expert-v1", 3_000, "min", 32),
        ("door-cloned-v1", 30_000, "min", 128),
        ("hammer-cloned-v1", 10_000, "min", 32),
        ("relocate-human-v1", 10_000, "min", 128),
    ],
)
def test_fqls_weights_and_ifqls_samples_are_the_datasets(task, alpha, target_value, samples):
    """seohongpark/fql's README, and its paper's of the baseline."""
    agent = settings("fql", find(task), 1000, 0).agent
    assert (agent.alpha, agent.target_value, agent.discount) == (alpha, target_value, 0.99)
    assert settings("ifql", find(task), 1000, 0).agent.samples == samples


@pytest.mark.parametrize(
    ("task", "of_sac_n", "of_edac", "diversity"),
    [
        ("halfcheetah-medium-expert-v2", 10, 10, 5.0),
        ("hopper-medium-v2", 500, 50, 1.0),
        ("hopper-medium-expert-v2", 200, 50, 1.0),
        ("walker2d-medium-replay-v2", 20, 10, 1.0),
        ("antmaze-large-play-v2", 25, 10, 1.0),
        ("pen-human-v1", 100, 20, 1000.0),
        ("pen-expert-v1", 100, 20, 10.0),
        ("door-cloned-v1", 100, 50, 200.0),
    ],
)
def test_the_ensembles_are_corls(task, of_sac_n, of_edac, diversity):
    edac = settings("edac", find(task), 1000, 0).agent
    assert settings("sac_n", find(task), 1000, 0).agent.members == of_sac_n
    assert (edac.members, edac.diversity_weight) == (of_edac, diversity)


@pytest.mark.parametrize("name", ["ant", "ant-random-v2", "hopper-expert-v2", "kitchen-mixed-v0", "sawyer-push"])
@pytest.mark.parametrize("agent", ["sac_n", "edac"])
def test_what_no_author_ran_is_said_to_be_ours(agent, name):
    said = {change.source for _, change in changes(agent, find(name)) if not change.name.startswith("preparation.")}
    assert all(source.startswith("ours") for source in said)


def test_rebracs_penalty_cools_over_the_online_updates():
    assert settings("rebrac", HOPPER, 1000, 20_000).agent.online_cooling_updates == 20_000
    assert settings("rebrac", HOPPER, 1000, 0).agent.online_cooling_updates == 1e6


def test_what_comes_before_learning_fits_the_budget():
    assert settings("rlpd", HOPPER, 0, 250_000).agent.random_steps == 5_000
    assert settings("rlpd", HOPPER, 0, 2_000).agent.random_steps == 200
    assert settings("pex", HOPPER, 0, 10_000).agent.collect_steps == 1_000
    assert settings("spot", HOPPER, 1_000_000, 0).agent.vae_updates == 100_000
    opt = settings("opt", HOPPER, 0, 1_200).agent
    assert (opt.collect_steps, opt.pretrain_updates, opt.kappa_steps) == (100, 200, 600.0)


@pytest.mark.parametrize("agent", OF_STATES)
def test_offline_schedules_end_with_the_offline_phase(agent):
    """A cosine carried on online would lead the rate up again."""
    if agent in OFFLINE_ALONE:
        return
    online = [
        phase.agent
        for phase in settings(agent, HOPPER, 1000, 20_000).agent.phases(1000, 20_000)
        if hasattr(phase, "env_steps")
    ]
    assert all(getattr(each, "actor_decay_updates", None) is None for each in online)


def test_a_users_agent_gets_its_defaults_and_the_data_as_it_is(tmp_path):
    file = tmp_path / "mine.py"
    file.write_text(
        "from moorl_jax.agents import BC\n\n\nclass Mine(BC):\n    learning_rate: float = 0.5\n", encoding="utf-8"
    )
    chosen = settings(f"{file}:Mine", HOPPER, 10, 0)
    assert chosen.agent.learning_rate == 0.5
    assert chosen.preparation == Preparation()


@pytest.mark.parametrize("task", ["hopper-medium-v2", "antmaze-umaze-v2", "pen-human-v1", "vd4rl-cheetah_run-medium"])
def test_all_that_is_set_lies_within_the_fields_bounds(task):
    for agent in AGENTS:
        for updates, env_steps in ((0, 12_000), (20, 12_000), (1_000_000, 0), (20, 300)):
            if suits(agent, find(task)):
                require_bounds(settings(agent, find(task), updates, env_steps).agent)


@pytest.mark.parametrize("name", ["\udcc3\udca4.py:Mine", "two\nlines.py:Mine"])
def test_a_users_agent_whose_name_no_table_could_hold_is_refused(name):
    """The first is what Python makes of ä.py under an ASCII locale."""
    with pytest.raises(MoorlError, match="its name cannot be printed"):
        settings(name, find("hopper-medium-v2"), 10, 0)
