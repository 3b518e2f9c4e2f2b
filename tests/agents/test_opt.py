"""OPT's schedules, its limits, and its switches; parity of its updates is in test_parity.py."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree

from moorl_jax.agents import BC, CQL, IQL, OPT, OPTIQL, OPTSPOT, SAC, SPOT, TD3BC
from moorl_jax.agents.backbone import Backbone
from moorl_jax.agents.opt import NEW, OLD
from moorl_jax.errors import MoorlError
from moorl_jax.phases import Collect, Offline, Online, Pretrain, Switch
from moorl_jax.replay import Mixed
from moorl_jax.settings import settings
from moorl_jax.tasks import find
from moorl_jax.types import Transitions
from tests.agents.stepping import step
from tests.recordings import Recording, recordings

KEY = jax.random.key(0)
BATCH, SMALL = 16, {"hidden": (8, 8)}
BACKBONES = {
    "td3_bc": OPT(backbone=TD3BC(**SMALL, cloning=False)),
    "spot": OPTSPOT(backbone=SPOT(**SMALL, vae_hidden=(8,), q_epsilon=1e-10, cooling_updates=50.0)),
    "iql": OPTIQL(backbone=IQL(**SMALL, temperature=1.0)),
}
#: The others compile for longer, and show the same.
QUICKEST = [pytest.param(name, marks=() if name == "td3_bc" else pytest.mark.slow) for name in BACKBONES]


@pytest.fixture(autouse=True)
def _float64():
    with jax.enable_x64(True):
        yield


def batch_of(rng, density_ratio=None):
    return Transitions(
        observations=rng.standard_normal((BATCH, 5)),
        actions=rng.uniform(-0.9, 0.9, (BATCH, 2)),
        rewards=rng.standard_normal(BATCH),
        next_observations=rng.standard_normal((BATCH, 5)),
        terminals=(rng.random(BATCH) < 0.2) * 1.0,
        density_ratio=density_ratio,
    )


def started(opt, rng):
    """OPT's state at the switch, in float64: a backbone's, and new critics."""
    example = jax.tree.map(lambda leaf: leaf[:1], batch_of(rng))
    state = opt.expand(opt.backbone.init(KEY, example), jax.random.key(1), example)
    return jax.tree.map(lambda leaf: leaf.astype(float) if leaf.dtype == np.float32 else leaf, state)


def generation(opt, state, which):
    """The backbone's own state with one generation of critics."""
    names = {name: getattr(state.backbone, name) for name in opt.BOTH}
    return state.backbone.replace(**jax.tree.map(lambda pair: pair[which], names))


def draws_of(opt, number, batch):
    return opt.draw(jax.random.fold_in(KEY, number), batch)


def for_one(draws, which):
    """What the backbone alone would have drawn, for one generation."""
    return draws and {**draws, "policy_noise": draws["policy_noise"][which]}


def trained(opt, state, rng, updates=6):
    for number in range(updates):
        batch = batch_of(rng)
        state, metrics = step(opt.cycle()[number % len(opt.cycle())], state, batch, draws_of(opt, number, batch))
    return state, metrics


def assert_close(left, right):
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-12), left, right)


#: Of a recorded schedule's configuration, what is not of a schedule.
SETTINGS = dict.fromkeys(
    (
        "algo_type",
        "config_source",
        "actor_learning_rate",
        "critic_learning_rate",
        "actor_layer_norm",
        "critic_layer_norm",
        "actor_init_w",
        "critic_init_w",
        "normalize_rewards",
        "discount",
        "online_discount",
        "utd_ratio",
        "online_pretrain_steps",
        "online_pretrain_inner_lr",
    ),
    "a setting, which our pages of settings have with its source",
)


@pytest.mark.parametrize("path", recordings("opt_schedules"))
def test_kappa_and_lambda_follow_every_recorded_schedule(path):
    z = Recording(path, jnp.float64)
    steps, h = z.arrays["steps"], z.hparams
    tasks = [name.removeprefix("kappa/") for name in z.arrays.files if name.startswith("kappa/")]
    assert tasks
    for task in tasks:
        config = f"configs.{task}."
        opt = OPT(
            collect_steps=h[config + "n_tau"],
            kappa_start=h[config + "kappa"],
            kappa_end=h[config + "kappa_end"],
            kappa_steps=z.float(config + "kappa_cool_steps"),
        )
        np.testing.assert_allclose(opt.scheduled_kappa(steps), z.arrays[f"kappa/{task}"], rtol=1e-12, err_msg=task)
        if f"support_lambda/{task}" in z.arrays:
            spot = SPOT(
                support_weight=h[config + "support_lambda"],
                support_end=h[config + "support_lambda_end"],
                cooling_updates=z.float("online_steps_for_lambda") if h[config + "support_lambda_cool"] else None,
            )
            lambdas = jnp.broadcast_to(spot._support_weight(jnp.asarray(steps)), steps.shape)
            np.testing.assert_allclose(lambdas, z.arrays[f"support_lambda/{task}"], rtol=1e-12, err_msg=task)
    without_lambda = dict.fromkeys(("support_lambda", "support_lambda_end", "support_lambda_cool"), "not of TD3+BC")
    assert h.overlooked(SETTINGS | without_lambda | {"online_steps_for_lambda": "likewise"}) == []


def test_backbones_are_td3s_family_and_whatever_else_has_what_opt_asks_for():
    assert all(isinstance(agent, Backbone) for agent in (TD3BC(), SPOT()))
    assert not any(isinstance(agent, Backbone) for agent in (BC(), CQL(), IQL(), SAC()))


def test_kappa_without_room_for_a_ramp():
    opt = OPT(collect_steps=100, kappa_start=0.2, kappa_end=0.7)
    steps = jnp.array([1, 100, 101, 10_000])
    assert opt.replace(kappa_steps=0.0).scheduled_kappa(steps).tolist() == [0.2] * 4
    assert opt.replace(kappa_steps=100.0).scheduled_kappa(steps).tolist() == [0.7] * 4


def test_an_update_takes_the_kappa_of_its_env_step(rng):
    """The updates of one env step share their kappa: with utd 5, updates 1 to 5 are of the step after collecting."""
    opt = OPT(utd=5, collect_steps=10, kappa_start=0.0, kappa_end=1.0, kappa_steps=20.0)
    kappas = [float(opt.kappa(jnp.int32(update), batch_of(rng))) for update in (1, 5, 6, 50, 51)]
    np.testing.assert_allclose(kappas, [0.1, 0.1, 0.2, 1.0, 1.0])


def test_the_settings_schedules_are_the_papers():
    for task, schedule in {
        "walker2d-random-v2": (1.0, 1.0, 150_000.0),
        "hopper-medium-v2": (0.3, 0.9, 150_000.0),
        "halfcheetah-medium-replay-v2": (0.1, 0.9, 150_000.0),
    }.items():
        opt = settings("opt", find(task), 1_000_000, 300_000).agent
        assert (opt.kappa_start, opt.kappa_end, opt.kappa_steps) == schedule
        assert (opt.collect_steps, opt.pretrain_updates, opt.utd) == (25_000, 50_000, 5)


@pytest.mark.slow
@pytest.mark.parametrize("task", ["antmaze-umaze-v2", "pen-cloned-v1"])
def test_last_layers_begin_in_the_authors_ranges(task, rng):
    """Kernels and biases of the actor, the old critics and the new, as `_initialize_head` of its source draws them."""
    opt = settings("opt_spot", find(task), 1_000, 300_000).agent
    backbone = started(opt, rng).backbone
    for learner, bound in ((backbone.actor, 1e-3), (backbone.critic, 3e-3)):
        for leaf in learner.params["layer2"].values():
            assert 0 < np.abs(leaf).min() < np.abs(leaf).max() <= bound


@pytest.mark.parametrize("name", QUICKEST)
def test_with_kappa_0_it_is_the_backbones_fine_tuning(name, rng):
    """On the same batches, actor, old critics and targets move as the backbone alone would move them."""
    opt = BACKBONES[name].replace(kappa_start=0.0, kappa_steps=0.0)
    state = started(opt, rng)
    alone = generation(opt, state, OLD)
    for number in range(6):
        batch = batch_of(rng)
        draws = draws_of(opt, number, batch)
        turn = number % len(opt.cycle())
        state, _ = step(opt.cycle()[turn], state, batch, draws)
        alone, _ = step(opt.backbone.cycle()[turn], alone, batch, for_one(draws, OLD))
    ours = generation(opt, state, OLD)

    def without_moments(state):  # Adam counts its steps in one place or in two
        return {name: getattr(part, "params", part) for name, part in vars(state).items()}

    assert_close(without_moments(ours), without_moments(alone))


@pytest.mark.parametrize("name", QUICKEST)
def test_with_kappa_1_the_old_critics_do_not_reach_the_actor(name, rng):
    opt = BACKBONES[name].replace(kappa_start=1.0, kappa_steps=0.0)
    state = started(opt, rng)

    def disturbed(pair):
        return pair.at[OLD].add(0.3)

    parts = {field: getattr(state.backbone, field) for field in opt.BOTH}
    parts = {
        field: part.replace(params=jax.tree.map(disturbed, part.params))
        if hasattr(part, "params")
        else jax.tree.map(disturbed, part)
        for field, part in parts.items()
    }
    other = state.replace(backbone=state.backbone.replace(**parts))
    ends = [trained(opt, each, np.random.default_rng(1))[0] for each in (state, other)]
    assert_close(*(end.backbone.actor.params for end in ends))
    apart = [
        jax.tree.leaves(trained(opt.replace(kappa_start=0.5), each, np.random.default_rng(1))[0].backbone.actor)
        for each in (state, other)
    ]
    assert any(np.abs(a - b).max() > 1e-6 for a, b in zip(*apart, strict=True)), "else this test could not fail"


@pytest.mark.parametrize("name", QUICKEST)
def test_a_sweep_over_kappa_is_the_runs_one_by_one(name, rng):
    opt = BACKBONES[name].replace(kappa_steps=0.0)
    state, batch = started(opt, rng), batch_of(rng)
    draws = draws_of(opt, 0, batch)
    kappas = jnp.array([0.0, 0.3, 1.0])
    sweep = jax.vmap(lambda kappa: opt.replace(kappa_start=kappa).update(state, batch, draws)[0])
    swept = jax.jit(sweep)(kappas)
    for number, kappa in enumerate(kappas):
        one, _ = step(opt.replace(kappa_start=kappa).update, state, batch, draws)
        assert_close(jax.tree.map(lambda leaf, n=number: leaf[n], swept), one)


def test_kappa_by_density_weighs_each_row(rng):
    """Two rows, one surely online, one surely offline: the actor's value is the new critic's and the old one's."""
    ratio = jnp.where(jnp.arange(BATCH) < BATCH // 2, 1e12, 0.0)
    batch = batch_of(rng, density_ratio=ratio)
    opt = BACKBONES["td3_bc"].replace(kappa_rule="density")
    state = started(opt, rng)
    np.testing.assert_allclose(opt.kappa(state.updates, batch), jnp.where(ratio > 0, 1.0, 0.0), atol=1e-11)
    _, metrics = step(opt.update, state, batch, draws_of(opt, 0, batch))
    assert metrics["kappa"] == pytest.approx(0.5)


class TestPretraining:
    @pytest.mark.parametrize("name", QUICKEST)
    def test_only_the_new_critics_move(self, name, rng):
        opt = BACKBONES[name]
        agent = opt.online_pretraining()
        state = before = started(opt, rng)
        for number in range(4):
            pair = (batch_of(rng), batch_of(rng))
            update = agent.cycle()[number % len(agent.cycle())]
            state, _ = step(update, state, pair, agent.draw(jax.random.fold_in(KEY, number), pair))
        assert_close(generation(opt, state, OLD), generation(opt, before, OLD))
        assert_close(state.backbone.actor, before.backbone.actor)
        moved, still = (generation(opt, each, NEW) for each in (state, before))
        for field in opt.BOTH:
            ends = [jax.tree.leaves(getattr(each, field)) for each in (moved, still)]
            assert any(np.abs(a - b).max() > 1e-7 for a, b in zip(*ends, strict=True)), field

    @pytest.mark.slow
    @pytest.mark.parametrize("layer_norm", [False, True])
    def test_the_gradient_is_of_second_order(self, layer_norm, rng):
        """Equal to g + w (I - alpha H) g', H the Hessian written out, w = min(L, L') / L'; other ranges and rates."""
        backbone = TD3BC(
            hidden=(4,), layer_norm=layer_norm, max_action=0.4, policy_freq=1, discount=0.97, cloning=False
        )
        opt = OPT(backbone=backbone, inner_learning_rate=0.05)
        agent = opt.online_pretraining()
        state = started(opt, rng)
        new = generation(opt, state, NEW)
        pair = (batch_of(rng), batch_of(rng))
        draws = agent.draw(KEY, pair)
        flat, unflatten = ravel_pytree(new.critic.params)

        def loss(vector, which):
            return td_loss(backbone, unflatten(vector), new, pair[which], draws["policy_noise"][which])

        gradient, hessian = jax.grad(loss)(flat, 0), jax.jit(jax.hessian(loss), static_argnums=1)(flat, 0)
        adapted = flat - 0.05 * gradient
        weight = min(loss(flat, 0), loss(adapted, 1)) / (loss(adapted, 1) + 1e-10)
        expected = gradient + weight * (np.eye(len(flat)) - 0.05 * hessian) @ jax.grad(loss)(adapted, 1)

        ours = jax.jit(jax.grad(lambda params: agent.loss(params, new, pair, draws)[0]))(new.critic.params)
        np.testing.assert_allclose(ravel_pytree(ours)[0], expected, rtol=1e-9, atol=1e-12)
        first_order = gradient + weight * jax.grad(loss)(adapted, 1)
        assert np.abs(first_order - expected).max() > 1e-3, "else this test could not tell the orders apart"

    def test_online_alone_never_sees_the_dataset(self, rng):
        opt = BACKBONES["td3_bc"].replace(pretraining="online")
        agent, state = opt.online_pretraining(), started(BACKBONES["td3_bc"], rng)
        online, draws = batch_of(rng), agent.draw(KEY, (batch_of(rng), batch_of(rng)))
        ends = [step(agent.update, state, (batch_of(rng), online), draws)[0] for _ in range(2)]
        assert_close(*ends)


def td_loss(backbone, critic, state, batch, noise):
    """TD3's critic loss, each network evaluated by itself and written out."""

    def net(params, x, member=None):
        for layer in range(len(backbone.hidden) + 1):
            dense = params[f"layer{layer}"]
            kernel, bias = (dense[name] if member is None else dense[name][member] for name in ("kernel", "bias"))
            x = x @ kernel + bias
            if layer < len(backbone.hidden):
                x = jnp.maximum(x, 0)
                if backbone.layer_norm:
                    norm = params[f"post_ln{layer}"]
                    scale, shift = (norm[name] if member is None else norm[name][member] for name in ("scale", "bias"))
                    mean = x.mean(axis=1, keepdims=True)
                    x = (x - mean) / jnp.sqrt(((x - mean) ** 2).mean(axis=1, keepdims=True) + 1e-5) * scale + shift
        return x

    smooth = jnp.clip(noise * backbone.policy_noise, -backbone.noise_clip, backbone.noise_clip)
    next_actions = backbone.max_action * jnp.tanh(net(state.target_actor, batch.next_observations)) + smooth
    next_actions = jnp.clip(next_actions, -backbone.max_action, backbone.max_action)
    following = jnp.concatenate([batch.next_observations, next_actions], axis=1)
    q_next = jnp.minimum(*(net(state.target_critic, following, member)[:, 0] for member in (0, 1)))
    target = batch.rewards + (1 - batch.terminals) * backbone.discount * q_next
    inputs = jnp.concatenate([batch.observations, batch.actions], axis=1)
    return sum(jnp.mean((net(critic, inputs, member)[:, 0] - target) ** 2) for member in (0, 1))


class TestPhases:
    def test_are_those_of_the_paper(self):
        opt = OPT(collect_steps=25, pretrain_updates=50)
        phases = opt.phases(1000, 300)
        assert [type(phase) for phase in phases] == [Offline, Switch, Collect, Pretrain, Switch, Online]
        assert (phases[2].env_steps, phases[3].updates, phases[5].env_steps, phases[5].utd) == (25, 50, 275, 5)
        assert phases[0].agent.cloning
        assert not phases[5].agent.backbone.cloning
        assert not phases[3].evaluated

    def test_the_backbone_tunes_as_it_would_alone(self):
        online = OPTSPOT(backbone=SPOT(online_discount=0.995), collect_steps=5).phases(100, 50)[-1]
        assert online.agent.backbone.discount == 0.995
        assert (
            OPTIQL(backbone=IQL(actor_decay_updates=9.0)).phases(9, 50_000)[-1].agent.backbone.actor_decay_updates
            is None
        )

    def test_offline_alone_it_is_its_backbone(self):
        phases = OPT().phases(1000, 0)
        assert [type(phase) for phase in phases] == [Offline]
        assert type(phases[0].agent) is TD3BC

    @pytest.mark.parametrize(
        ("fault", "words"),
        [
            ({"collect_steps": 300}, "too few"),
            ({"kappa_rule": "density", "replay": Mixed(0.5)}, "needs balanced replay"),
            ({"collect_steps": 0}, "must be more than 0"),
        ],
    )
    def test_name_what_is_wrong(self, fault, words):
        with pytest.raises(MoorlError, match=words):
            OPT(**fault).phases(1000, 300)

    def test_the_replay_rule_is_a_field(self):
        assert OPT(replay=Mixed(0.25), collect_steps=5).phases(10, 20)[-1].sampling == Mixed(0.25)


def test_the_switch_keeps_all_critics_and_forgets_the_moments_of_the_old(rng):
    opt = BACKBONES["td3_bc"]
    batch = batch_of(rng)
    backbone = opt.backbone.init(KEY, batch)
    backbone, _ = step(opt.backbone.update, backbone, batch, opt.backbone.draw(KEY, batch))
    state = opt.expand(backbone, jax.random.key(3), batch)
    assert_close(generation(opt, state, OLD).critic.params, backbone.critic.params)
    new = generation(opt, state, NEW).critic.params
    assert np.abs(new["layer0"]["kernel"] - backbone.critic.params["layer0"]["kernel"]).max() > 0.1
    state, _ = step(opt.update, state, batch, opt.draw(KEY, batch))
    renewed = opt.renew(state, KEY, batch).backbone
    assert_close(renewed.critic.params, state.backbone.critic.params)
    before = state.backbone.critic.moments
    for anew in (renewed.actor.moments, jax.tree.map(lambda leaf: leaf[OLD], renewed.critic.moments)):
        assert all(not leaf.any() for leaf in jax.tree.leaves(anew))
    jax.tree.map(lambda now, then: np.testing.assert_array_equal(now[NEW], then[NEW]), renewed.critic.moments, before)
