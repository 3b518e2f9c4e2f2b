"""Each agent against numbers recorded from its canonical implementation, update by update.

The files in tests/parity hold parameters, batches and random draws of five consecutive updates, and the losses,
gradient norms and parameters that the reference code computed from them. MOORL_PARITY names a directory with more.
"""

import json
import os
import re
from dataclasses import dataclass
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from moorl_jax.agents import CQL, IQL, OPT, OPTSPOT, PEX, RLPD, SPOT, TD3BC, CalQL, DrQ, DrQBC
from moorl_jax.agents.cql import CQLState
from moorl_jax.agents.drq import DrQState
from moorl_jax.agents.iql import IQLState
from moorl_jax.agents.opt import OnlinePretraining, OPTState
from moorl_jax.agents.pex import PEXState
from moorl_jax.agents.sac import SACState
from moorl_jax.agents.spot import BehaviourVAE, SPOTState
from moorl_jax.agents.td3_bc import TD3BCState
from moorl_jax.nets import Learner, encode, random_shift
from moorl_jax.types import Transitions
from tests.agents.stepping import step

FOLDERS = [Path(__file__).parents[1] / "parity", *map(Path, filter(None, [os.environ.get("MOORL_PARITY")]))]
TWINS = ("critic0", "critic1")


class Recording:
    """One recorded file: parameters by network, batches, draws and outputs."""

    def __init__(self, path, dtype):
        self.arrays = np.load(path, allow_pickle=False)
        self.hparams = json.loads(str(self.arrays["hparams"]))
        self.dtype = dtype

    def _array(self, name):
        return jnp.asarray(self.arrays[name], self.dtype)

    def net(self, name, root="init"):
        """One network's parameters as {layer0: {kernel, bias}, ...}, layers under their recorded names."""
        prefix = f"{root}/{name}/"
        layers = {}
        for key in self.arrays.files:
            if key.startswith(prefix) and key.count("/") == prefix.count("/") + 1:
                layer, leaf = key.removeprefix(prefix).split("/")
                layers.setdefault(layer, {})[leaf] = self._array(key)
        return layers

    def twins(self, prefix="", root="init"):
        """The critics as an ensemble with a leading member axis."""
        return jax.tree.map(lambda *leaves: jnp.stack(leaves), *(self.net(prefix + name, root) for name in TWINS))

    def scalar(self, name, root="init", default=0.0):
        return self._array(f"{root}/{name}") if f"{root}/{name}" in self.arrays else jnp.asarray(default, self.dtype)

    def batch(self, k):
        names = [f"batch_{k}/{field}" for field in Transitions.__dataclass_fields__]
        return Transitions(**{n.split("/")[1]: self._array(n) for n in names if n in self.arrays})

    def draws(self, k, names):
        return {ours: self._array(f"draws_{k}/{theirs}") for ours, theirs in names.items()}

    def losses(self, k):
        prefix = f"out_{k}/losses/"
        keys = [key for key in self.arrays.files if key.startswith(prefix)]
        return {key.removeprefix(prefix): float(self.arrays[key]) for key in keys}

    def float(self, name):
        return float(self.hparams[name])


def by_member(params):
    """Name an ensemble's leaves as the recordings do: critic0/layer0/kernel, ..."""
    return {name: jax.tree.map(lambda leaf, i=i: leaf[i], params) for i, name in enumerate(TWINS)}


def flat(tree, root=""):
    """Flatten nested dicts to 'a/b/c' names."""
    if not isinstance(tree, dict):
        return {root: tree}
    return {name: leaf for key, sub in tree.items() for name, leaf in flat(sub, f"{root}/{key}".strip("/")).items()}


class Case:
    """How one agent's config, state and outputs are named in its recordings."""

    unreported = set()
    elsewhere = ()  #: networks whose parameters and gradients another test checks

    def turns(self, agent, z, k):
        """The updates of step k with their batches and draws."""
        return [(agent.cycle()[k % len(agent.cycle())], z.batch(k), z.draws(k, self.draw_names))]


class TD3BCCase(Case):
    draw_names = {"policy_noise": "policy_noise"}
    loss_names = {
        "critic_loss": "critic_loss",
        "actor_loss": "actor_loss",
        "bc_loss": "bc_loss",
        "q_mean": "q",
        "lambda": "lambda",
    }
    unreported = {"critic1_mse", "critic2_mse"}  # their sum is the critic loss

    def agent(self, z):
        return TD3BC(
            policy_freq=int(z.hparams["policy_freq"]),
            actor_learning_rate=z.float("actor_lr"),
            critic_learning_rate=z.float("critic_lr"),
            discount=z.float("discount"),
            tau=z.float("tau"),
            policy_noise=z.float("policy_noise"),
            noise_clip=z.float("noise_clip"),
            alpha=z.float("alpha"),
            max_action=z.float("max_action"),
        )

    def state(self, z):
        return TD3BCState(
            actor=Learner.create(z.net("actor")),
            critic=Learner.create(z.twins()),
            target_actor=z.net("target_actor"),
            target_critic=z.twins("target_"),
        )

    def params(self, state):
        targets = {f"target_{name}": net for name, net in by_member(state.target_critic).items()}
        return {
            "actor": state.actor.params,
            "target_actor": state.target_actor,
            **by_member(state.critic.params),
            **targets,
        }

    def moments(self, state):
        return {"actor": state.actor.moments.mu, **by_member(state.critic.moments.mu)}


class IQLCase(Case):
    draw_names = {}
    loss_names = {
        "critic_loss": "critic_loss",
        "value_loss": "value_loss",
        "actor_loss": "actor_loss",
        "v": "v",
        "adv_mean": "advantage",
    }
    unreported = {"q1", "q2"}  # ours reports their mean, checked apart

    def agent(self, z):
        cosine = z.hparams["opt_decay_schedule"] == "cosine"
        return IQL(
            actor_learning_rate=z.float("actor_lr"),
            value_learning_rate=z.float("value_lr"),
            critic_learning_rate=z.float("critic_lr"),
            actor_decay_updates=z.float("max_steps") if cosine else None,
            discount=z.float("discount"),
            tau=z.float("tau"),
            expectile=z.float("expectile"),
            temperature=z.float("temperature"),
            weight_clip=z.float("exp_advantage_clip"),
        )

    def state(self, z):
        return IQLState(
            actor=Learner.create({"mean": z.net("actor"), "log_std": z.scalar("actor/log_std")}),
            value=Learner.create(z.net("value")),
            critic=Learner.create(z.twins()),
            target_critic=z.twins("target_"),
        )

    def params(self, state):
        actor = state.actor.params
        return {
            "actor": {**actor["mean"], "log_std": actor["log_std"]},
            "value": state.value.params,
            **by_member(state.critic.params),
            **{f"target_{name}": net for name, net in by_member(state.target_critic).items()},
        }

    def moments(self, state):
        actor = state.actor.moments.mu
        return {
            "actor": {**actor["mean"], "log_std": actor["log_std"]},
            "value": state.value.moments.mu,
            **by_member(state.critic.moments.mu),
        }


class CQLCase(Case):
    draw_names = {
        "policy": "eps_new_actions",
        "target": "eps_target_next",
        "random_actions": "cql_random_actions",
        "current": "eps_cql_current",
        "next": "eps_cql_next",
    }
    loss_names = {
        "log_pi": "log_pi",
        "policy_loss": "policy_loss",
        "qf1_loss": "critic1_loss",
        "qf2_loss": "critic2_loss",
        "alpha_loss": "alpha_loss",
        "alpha": "alpha",
        "q1_pred": "q1",
        "q2_pred": "q2",
        "target_q_values": "target_q",
        "cql_std_q1": "q1_spread",
        "cql_std_q2": "q2_spread",
        "cql_q1_rand": "q1_random",
        "cql_qf1_diff": "gap1",
        "cql_qf2_diff": "gap2",
        "cql_min_qf1_loss": "penalty1",
        "cql_min_qf2_loss": "penalty2",
        "cql_q1_current_actions": "q1_current",
        "cql_q2_next_actions": "q2_next",
        "alpha_prime": "alpha_prime",
        "alpha_prime_loss": "alpha_prime_loss",
    }

    def agent(self, z):
        h = z.hparams
        return CQL(
            actions_per_state=int(h["n_actions"]),
            importance_sampling=h["importance_sample"],
            lagrange=h["lagrange"],
            max_target_backup=h["max_target_backup"],
            backup_entropy=h["backup_entropy"],
            cloning_updates=int(h["bc_steps"]),
            actor_learning_rate=z.float("policy_lr"),
            critic_learning_rate=z.float("qf_lr"),
            discount=z.float("discount"),
            tau=z.float("tau"),
            penalty_weight=z.float("min_q_weight"),
            penalty_temperature=z.float("temp"),
            gap_min=h["clip_diff_min"],
            gap_max=h["clip_diff_max"],
            target_gap=z.float("target_action_gap"),
            alpha_multiplier=z.float("alpha_multiplier"),
            target_entropy=z.float("target_entropy"),
        )

    def state(self, z):
        scalars = ("log_std_multiplier", "log_std_offset")
        return CQLState(
            actor=Learner.create({"net": z.net("actor"), **{name: z.scalar(f"actor/{name}") for name in scalars}}),
            critic=Learner.create(z.twins()),
            log_alpha=Learner.create(z.scalar("log_alpha")),
            log_alpha_prime=Learner.create(z.scalar("log_alpha_prime")),
            target_critic=z.twins("target_"),
        )

    @staticmethod
    def _named(actor, critic, log_alpha, log_alpha_prime):
        return {
            "actor": {**actor["net"], **{name: leaf for name, leaf in actor.items() if name != "net"}},
            **by_member(critic),
            "log_alpha": log_alpha,
            "log_alpha_prime": log_alpha_prime,
        }

    def params(self, state):
        learners = (state.actor, state.critic, state.log_alpha, state.log_alpha_prime)
        targets = {f"target_{name}": net for name, net in by_member(state.target_critic).items()}
        return {**self._named(*(learner.params for learner in learners)), **targets}

    def moments(self, state):
        learners = (state.actor, state.critic, state.log_alpha, state.log_alpha_prime)
        return self._named(*(learner.moments.mu for learner in learners))


class CalQLCase(CQLCase):
    loss_names = CQLCase.loss_names | {
        "cql_q2_rand": "q2_random",
        "qf1_bellman_loss": "bellman1_loss",
        "qf2_bellman_loss": "bellman2_loss",
        "bound_rate_cql_q1_current_actions": "bound_rate1_current",
        "bound_rate_cql_q2_current_actions": "bound_rate2_current",
        "bound_rate_cql_q1_next_actions": "bound_rate1_next",
        "bound_rate_ql_q2_next_actions": "bound_rate2_next",
    }
    # Global gradient norms, which the norms per tensor check more closely, and a diagnostic of the data.
    unreported = {"policy_loss_gradient", "qf1_loss_gradient", "qf2_loss_gradient", "log_pi_data"}

    def agent(self, z):
        return CalQL(**vars(super().agent(z)))


def joined_heads(net, prefix=""):
    """Two recorded heads, mean and log_std, as the one last layer ours has."""
    names = [name for name in net if name.startswith(prefix) and name not in ("mean", "log_std")]
    layers = {f"layer{i}": net[name] for i, name in enumerate(sorted(names))}
    heads = jax.tree.map(lambda *leaves: jnp.concatenate(leaves, axis=-1), net["mean"], net["log_std"])
    return {**layers, f"layer{len(layers)}": heads}


def split_heads(net, prefix="layer"):
    """The inverse of `joined_heads`."""
    layers = {f"{prefix}{i}": net[f"layer{i}"] for i in range(len(net) - 1)}
    mean, log_std = (
        jax.tree.map(lambda leaf, h=h: jnp.split(leaf, 2, -1)[h], net[f"layer{len(layers)}"]) for h in (0, 1)
    )
    return {**layers, "mean": mean, "log_std": log_std}


def vae_of(net):
    """A recorded VAE as ours: an encoder and a decoder."""
    decoder = {f"layer{i}": net[f"dec{i}"] for i in range(3)}
    return {"encoder": joined_heads(net, "enc"), "decoder": decoder}


class SPOTCase(TD3BCCase):
    draw_names = TD3BCCase.draw_names | {"vae_noise": "vae_eps"}
    loss_names = {
        "critic_loss": "critic_loss",
        "lambd": "support_weight",
        "Q": "q",
        "actor_loss": "actor_loss",
        "neg_log_beta": "negative_log_density",
        "neg_log_beta_max": "negative_log_density_max",
    }

    # With the critic alone the reference reports lambda too, which then plays no part.
    def agent(self, z):
        h = z.hparams
        return SPOT(
            policy_freq=int(h["policy_freq"]),
            samples=int(h["num_samples"]),
            importance_weighted=h["iwae"],
            normalize_q=not h["without_Q_norm"],
            actor_learning_rate=z.float("effective_actor_lr"),
            critic_learning_rate=z.float("lr"),
            discount=z.float("discount"),
            tau=z.float("tau"),
            policy_noise=z.float("policy_noise"),
            noise_clip=z.float("noise_clip"),
            max_action=z.float("max_action"),
            beta=z.float("beta"),
            support_weight=z.float("lambd"),
            cooling_updates=1e6 if h["lambd_cool"] else None,
            support_end=z.float("lambd_end"),
        )

    def state(self, z):
        updates = jnp.asarray(z.hparams["total_it_start"], jnp.int32)
        return SPOTState(**vars(super().state(z)), vae=vae_of(z.net("vae")), updates=updates)

    def turns(self, agent, z, k):
        turn = (z.hparams["total_it_start"] + k) % agent.policy_freq
        draws = z.draws(
            k, {ours: theirs for ours, theirs in self.draw_names.items() if f"draws_{k}/{theirs}" in z.arrays}
        )
        return [(agent.cycle()[turn], z.batch(k), draws)]


class VAECase(Case):
    loss_names = {"recon_loss": "reconstruction_loss", "KL_loss": "divergence", "vae_loss": "vae_loss"}

    def agent(self, z):
        return BehaviourVAE(learning_rate=z.float("lr"), beta=z.float("beta"), max_action=z.float("max_action"))

    def state(self, z):
        return Learner.create(vae_of(z.net("vae")))

    def turns(self, agent, z, k):
        batch = Transitions(z._array(f"batch_{k}/observations"), z._array(f"batch_{k}/actions"), None, None, None)
        return [(agent.update, batch, z.draws(k, {"vae_noise": "vae_eps"}))]

    def params(self, state):
        return self._named(state.params)

    def moments(self, state):
        return self._named(state.moments.mu)

    @staticmethod
    def _named(vae):
        decoder = {f"dec{i}": vae["decoder"][f"layer{i}"] for i in range(3)}
        return {"vae": {**split_heads(vae["encoder"], "enc"), **decoder}}


class RLPDCase(Case):
    loss_names = {
        "actor_loss": "actor_loss",
        "entropy": "entropy",
        "critic_loss": "critic_loss",
        "q": "q",
        "temperature": "temperature",
        "temperature_loss": "temperature_loss",
    }

    # The losses of the minibatches before the last, which their effect on the parameters checks.
    unreported = {f"{name}_{i}" for name in ("critic_loss", "q") for i in range(4)}

    def agent(self, z):
        return RLPD(
            members=int(z.hparams["num_qs"]),
            target_members=int(z.hparams["num_min_qs"]),
            layer_norm=z.hparams["critic_layer_norm"],
            backup_entropy=z.hparams["backup_entropy"],
            utd=int(z.hparams["utd_ratio"]),
            actor_learning_rate=z.float("actor_lr"),
            critic_learning_rate=z.float("critic_lr"),
            temperature_learning_rate=z.float("temp_lr"),
            discount=z.float("discount"),
            tau=z.float("tau"),
            target_entropy_per_dimension=z.float("target_entropy") / z.hparams["act"],
        )

    def state(self, z):
        return SACState(
            actor=Learner.create(joined_heads(z.net("actor"), "layer")),
            critic=Learner.create(z.net("critic")),
            log_temperature=Learner.create(z.scalar("log_temp")),
            target_critic=z.net("target_critic"),
        )

    def turns(self, agent, z, k):
        whole = z.batch(k)
        size = len(whole) // agent.utd
        for i, update in enumerate(agent.cycle()):
            batch = jax.tree.map(lambda leaf, i=i: leaf[i * size : (i + 1) * size], whole)
            draws = z.draws(k, {"next": f"eps_next_{i}", "policy": "eps_actor"})
            yield update, batch, draws | {"subset": jnp.asarray(z.arrays[f"draws_{k}/subset_{i}"], jnp.int32)}

    def params(self, state):
        return {
            "actor": split_heads(state.actor.params),
            "critic": state.critic.params,
            "log_temp": state.log_temperature.params,
            "target_critic": state.target_critic,
        }

    def moments(self, state):
        return {
            "actor": split_heads(state.actor.moments.mu),
            "critic": state.critic.moments.mu,
            "log_temp": state.log_temperature.moments.mu,
        }


class PEXCase(IQLCase):
    draw_names = {"noise": "eps_new_action", "choice": "u_choice"}
    loss_names = {"v_loss": "value_loss", "q_loss": "critic_loss", "policy_loss": "actor_loss"}

    def agent(self, z):
        return PEX(
            actor_learning_rate=z.float("lr"),
            value_learning_rate=z.float("lr"),
            critic_learning_rate=z.float("lr"),
            discount=z.float("discount"),
            tau=z.float("target_update_rate"),
            expectile=z.float("tau"),
            temperature=z.float("beta"),
            weight_clip=z.float("exp_advantage_clip"),
            choice_temperature=z.float("inv_temperature"),
        )

    def state(self, z):
        offline = {name: layer for name, layer in z.net("actor_offline").items() if name.startswith("layer")}
        return PEXState(**vars(super().state(z)), actor_offline=offline)


AGES = ("off", "on")


class OPTCase(Case):
    """What the recordings of both of OPT's phases share: two generations of twin critics."""

    @staticmethod
    def _generations(z, prefix):
        nets = [[z.net(f"{prefix}critic_{age}{i}") for i in range(2)] for age in AGES]
        twins = [jax.tree.map(lambda *leaves: jnp.stack(leaves), *each) for each in nets]
        return jax.tree.map(lambda *leaves: jnp.stack(leaves), *twins)

    @staticmethod
    def _named(params, prefix=""):
        return {
            f"{prefix}critic_{age}{i}": jax.tree.map(lambda leaf, g=g, i=i: leaf[g, i], params)
            for g, age in enumerate(AGES)
            for i in range(2)
        }

    def agent(self, z):
        h = z.hparams
        scale = z.float("max_action")
        fields = {
            "policy_freq": int(h["policy_frequency"]),
            "actor_learning_rate": z.float("actor_lr"),
            "critic_learning_rate": z.float("critic_lr"),
            "discount": z.float("discount_in_effect"),
            "tau": z.float("tau"),
            "policy_noise": z.float("policy_noise") * scale,
            "noise_clip": z.float("noise_clip") * scale,
            "max_action": scale,
        }
        if h["algo"] == "TD3":
            return OPT(backbone=TD3BC(**fields, cloning=False), inner_learning_rate=z.float("inner_lr"))
        spot = SPOT(
            **fields,
            samples=int(h["support_num_samples"]),
            beta=z.float("vae_beta"),
            support_weight=z.float("support_lambda"),
            support_end=z.float("support_lambda_end"),
            cooling_updates=z.float("online_steps"),
            q_epsilon=1e-10,
        )
        return OPTSPOT(backbone=spot, inner_learning_rate=z.float("inner_lr"))


class OPTFinetuneCase(OPTCase):
    loss_names = {
        "offline_critic_loss": "old_critic_loss",
        "new_critic_loss": "new_critic_loss",
        "actor_loss": "actor_loss",
        "blended_q": "q",
        "support_lambda": "support_weight",
        "negative_log_density": "negative_log_density",
    }
    # Balanced replay's are checked in tests/replay; of the two values ours reports the mixture, of kappa only where the
    # actor moves.
    unreported = {"density_loss", "offline_density", "online_density", "priority_mean", "old_q", "new_q", "kappa"}
    elsewhere = ("density",)

    def state(self, z):
        nets = {
            "actor": Learner.create(z.net("actor")),
            "critic": jax.vmap(Learner.create)(self._generations(z, "")),
            "target_actor": z.net("target_actor"),
            "target_critic": self._generations(z, "target_"),
        }
        if z.hparams["algo"] == "TD3":
            return OPTState(TD3BCState(**nets), jnp.int32(0))
        cooled = jnp.int32(z.hparams["online_updates_start"])
        return OPTState(SPOTState(**nets, vae=vae_of(z.net("vae")), updates=cooled), jnp.int32(0))

    def turns(self, agent, z, k):
        # The recording passes each update a kappa of its own.
        agent = agent.replace(kappa_start=z.hparams["kappas"][k], kappa_steps=0.0)
        pair = [z._array(f"draws_{k}/policy_noise_{age}_pair") for age in ("offline", "online")]
        draws = {"policy_noise": jnp.stack(pair)}
        if f"draws_{k}/vae_eps" in z.arrays:
            draws["vae_noise"] = z._array(f"draws_{k}/vae_eps")
        turn = (z.hparams["total_updates_start"] + k) % len(agent.cycle())
        return [(agent.cycle()[turn], z.batch(k), draws)]

    def params(self, state):
        return {
            "actor": state.backbone.actor.params,
            "target_actor": state.backbone.target_actor,
            **self._named(state.backbone.critic.params),
            **self._named(state.backbone.target_critic, "target_"),
        }

    def moments(self, state):
        return {"actor": state.backbone.actor.moments.mu, **self._named(state.backbone.critic.moments.mu)}


class OPTPretrainCase(OPTCase):
    loss_names = {name: name for name in ("offline_td_loss", "online_td_loss", "gradient_weight")}

    def agent(self, z):
        return OnlinePretraining(opt=super().agent(z))

    def state(self, z):
        def pair(prefix):
            """The recorded new critics, and in the place of the old ones, which have no part in this, the same."""
            new = jax.tree.map(lambda *leaves: jnp.stack(leaves), *(z.net(f"{prefix}critic_on{i}") for i in range(2)))
            return jax.tree.map(lambda leaf: jnp.stack([leaf, leaf]), new)

        actor = z.net("target_actor")
        nets = {
            "actor": Learner.create(actor),
            "critic": jax.vmap(Learner.create)(pair("")),
            "target_actor": actor,
            "target_critic": pair("target_"),
        }
        if z.hparams["algo"] == "TD3":
            return OPTState(TD3BCState(**nets), jnp.int32(0))
        return OPTState(SPOTState(**nets, vae={}, updates=jnp.int32(0)), jnp.int32(0))

    def turns(self, agent, z, k):
        fields = [name for name in Transitions.__dataclass_fields__ if f"batch_{k}/offline_{name}" in z.arrays]
        kinds = ("offline", "online")
        pair = tuple(Transitions(**{name: z._array(f"batch_{k}/{kind}_{name}") for name in fields}) for kind in kinds)
        draws = tuple({"policy_noise": z._array(f"draws_{k}/policy_noise_{kind}")} for kind in kinds)
        return [(agent.cycle()[k % len(agent.cycle())], pair, draws)]

    def params(self, state):
        return {
            "target_actor": state.backbone.target_actor,
            **self._named(state.backbone.critic.params),
            **self._named(state.backbone.target_critic, "target_"),
        }

    def moments(self, state):
        return self._named(state.backbone.critic.moments.mu)


class DrQCase(Case):
    """Images NHWC here, NCHW there: rows of the trunks' kernels come in another order."""

    loss_names = {
        "critic_target_q": "target_q",
        "critic_q1": "q1",
        "critic_q2": "q2",
        "critic_loss": "critic_loss",
        "actor_loss": "actor_loss",
        "actor_bc_loss": "cloning_loss",
        "actor_total_loss": "actor_total_loss",
        "stddev": "std",
    }
    unreported = {"batch_reward", "actor_logprob", "actor_ent"}

    def agent(self, z):
        start, end, steps = map(float, re.fullmatch(r"linear\((.*),(.*),(.*)\)", z.hparams["stddev_schedule"]).groups())
        self.side = round((int(z.hparams["repr_dim"]) / 32) ** 0.5)
        return (DrQBC if z.hparams["use_bc"] else DrQ)(
            feature_size=int(z.hparams["feature_dim"]),
            hidden=(int(z.hparams["hidden"]),) * 2,
            pad=int(z.hparams["pad"]),
            n_step=int(z.hparams["nstep"]),
            learning_rate=z.float("lr"),
            discount=z.float("discount"),
            tau=z.float("tau"),
            noise_start=start,
            noise_end=end,
            noise_updates=steps / z.float("update_every_steps"),
            noise_clip=z.float("stddev_clip"),
            alpha=z.float("bc_weight"),
        )

    def state(self, z):
        def actor():
            layers = z.net("actor")
            return {"trunk": self._trunk(layers), "net": {n: layers[n] for n in layers if n.startswith("layer")}}

        def critic(prefix=""):
            twins = jax.tree.map(lambda *leaves: jnp.stack(leaves), *(z.net(f"{prefix}critic_q{i}") for i in range(2)))
            return {"trunk": self._trunk(z.net(f"{prefix}critic")), "twins": twins}

        learners = map(Learner.create, (z.net("encoder"), actor(), critic()))
        updates = int(z.hparams["step0"]) // int(z.hparams["update_every_steps"])
        return DrQState(*learners, target_critic=critic("target_"), steps=jnp.int32(updates))

    def turns(self, agent, z, k):
        batch = {name: z._array(f"batch_{k}/{name}") for name in ("actions", "rewards", "discounts")}
        for name in ("observations", "next_observations"):
            batch[name] = jnp.asarray(z.arrays[f"batch_{k}/{name}"].transpose(0, 2, 3, 1))
        batch["terminals"] = 1.0 - batch.pop("discounts") / agent.discount**agent.n_step
        draws = z.draws(k, {"next": "eps_next_action", "policy": "eps_action"})
        shifts = {"shift": "shift_obs", "next_shift": "shift_next_obs"}
        draws |= {ours: jnp.asarray(z.arrays[f"draws_{k}/{theirs}"]) for ours, theirs in shifts.items()}
        return [(agent.update, Transitions(**batch), draws)]

    def params(self, state):
        return self._named(state.encoder.params, state.actor.params, state.critic.params) | self._critic(
            state.target_critic, "target_"
        )

    def moments(self, state):
        return self._named(state.encoder.moments.mu, state.actor.moments.mu, state.critic.moments.mu)

    def _named(self, encoder, actor, critic):
        return {"encoder": encoder, "actor": self._recorded(actor["trunk"]) | actor["net"], **self._critic(critic)}

    def _critic(self, critic, prefix=""):
        twins = {f"{prefix}critic_q{i}": jax.tree.map(lambda leaf, i=i: leaf[i], critic["twins"]) for i in range(2)}
        return {f"{prefix}critic": self._recorded(critic["trunk"]), **twins}

    def _trunk(self, layers):
        kernel = layers["trunk"]["kernel"]
        rows = jnp.arange(len(kernel)).reshape(32, self.side, self.side).transpose(1, 2, 0).ravel()
        return {"dense": {**layers["trunk"], "kernel": kernel[rows]}, "ln": layers["trunk_ln"]}

    def _recorded(self, trunk):
        kernel = trunk["dense"]["kernel"]
        rows = np.arange(len(kernel)).reshape(self.side, self.side, 32).transpose(2, 0, 1).ravel()
        return {"trunk": {**trunk["dense"], "kernel": kernel[rows]}, "trunk_ln": trunk["ln"]}


CASES = {
    "td3bc": TD3BCCase(),
    "iql": IQLCase(),
    "cql": CQLCase(),
    "calql": CalQLCase(),
    "spot": SPOTCase(),
    "spot_vae": VAECase(),
    "rlpd": RLPDCase(),
    "pex": PEXCase(),
    "opt_finetune": OPTFinetuneCase(),
    "opt_pretrain": OPTPretrainCase(),
    "drq": DrQCase(),
    "drq_aug84": None,  # no updates; the last test here
}


def case_of(path):
    """The case of a recording, by the longest beginning of its name that is one."""
    words = path.stem.split("_")
    names = ["_".join(words[:count]) for count in range(len(words), 0, -1)]
    return next((CASES[name] for name in names if name in CASES), None)


FILES = [(case_of(path), path) for folder in FOLDERS for path in sorted(folder.glob("*.npz")) if case_of(path)]


@dataclass
class Replayed:
    """What our agent made of a recording."""

    metrics: list[dict[str, float]]
    params: list[dict[str, np.ndarray]]
    gradient_norms: list[dict[str, float]]


def replay(case, z):
    agent, state = case.agent(z), jax.device_get(case.state(z))
    result = Replayed([], [], [])
    for k in range(5):
        for update, batch, draws in case.turns(agent, z, k):
            before = flat(case.moments(state))
            state, metrics = jax.device_get(step(update, state, batch, draws))
        after = flat(case.moments(state))
        result.metrics.append({name: float(value) for name, value in metrics.items()})
        result.params.append(flat(case.params(state)))
        # Adam's first moment is 0.9 m + 0.1 g: the gradient it consumed can be read off it.
        gradients = {name: (after[name] - 0.9 * before[name]) / 0.1 for name in after}
        result.gradient_norms.append({name: float(np.linalg.norm(g)) for name, g in gradients.items()})
    return result


@pytest.mark.parametrize(("case", "path"), FILES, ids=[f"{p.parent.name}/{p.stem}" for _, p in FILES])
class TestParity:
    def test_float64(self, case, path):
        with jax.enable_x64(True):
            z = Recording(path, jnp.float64)
            ours = replay(case, z)
        names = z.hparams["grad_norm_names"]
        compared = 0
        for k in range(5):
            for theirs, value in z.losses(k).items():
                if theirs in case.unreported:
                    continue
                assert ours.metrics[k][case.loss_names[theirs]] == pytest.approx(value, rel=1e-10, abs=1e-13), theirs
                compared += 1
            for name, norm in zip(names, z.arrays["grad_norms"][k], strict=True):
                if norm >= 0 and not name.startswith(case.elsewhere):
                    assert ours.gradient_norms[k][name] == pytest.approx(norm, rel=1e-10, abs=1e-13), name
        assert compared >= 5 * 2
        for k in (0, 4):
            prefix = f"out_{k}/params/"
            recorded = [key for key in z.arrays.files if key.startswith(prefix)]
            recorded = [key for key in recorded if not key.removeprefix(prefix).startswith(case.elsewhere)]
            assert recorded
            for key in recorded:
                error = np.abs(ours.params[k][key.removeprefix(prefix)] - z.arrays[key]).max()
                assert error < 1e-10, (key, error)

    def test_float32(self, case, path):
        z = Recording(path, jnp.float32)
        ours = replay(case, z)
        for k in range(5):
            for theirs, value in z.losses(k).items():
                if theirs not in case.unreported:
                    mine = ours.metrics[k][case.loss_names[theirs]]
                    assert mine == pytest.approx(value, rel=1e-4, abs=1e-6), theirs
        prefix = "out_4/params/"
        for key in z.arrays.files:
            if key.startswith(prefix) and not key.removeprefix(prefix).startswith(case.elsewhere):
                error = np.abs(ours.params[4][key.removeprefix(prefix)] - z.arrays[key]).max()
                assert error < 1e-5, (key, error)


def test_iql_reports_the_mean_of_its_critics():
    with jax.enable_x64(True):
        z = Recording(FOLDERS[0] / "iql.npz", jnp.float64)
        ours = replay(CASES["iql"], z)
    for k in range(5):
        losses = z.losses(k)
        assert ours.metrics[k]["q"] == pytest.approx((losses["q1"] + losses["q2"]) / 2, rel=1e-10)


PEX_FILES = [path for case, path in FILES if isinstance(case, PEXCase)]


@pytest.mark.parametrize("path", PEX_FILES, ids=lambda path: path.parent.name)
def test_pex_acts_as_the_reference(path):
    """Which of its two policies acts, in training and in evaluation, and with what probability."""
    with jax.enable_x64(True):
        z = Recording(path, jnp.float64)
        case = CASES["pex"]
        agent, params = case.agent(z), case.agent(z).policy(case.state(z))
        observations = z._array("acting/observations")
        for mode in ("train", "eval"):
            named = {
                "noise": "eps_new_action",
                "choice": "u_choice",
                "explore_action": "u_greedy_a2",
                "explore_choice": "u_greedy_w",
            }
            draws = {
                ours: z._array(f"acting/{mode}/{theirs}")
                for ours, theirs in named.items()
                if f"acting/{mode}/{theirs}" in z.arrays
            }
            draws = {name: value if name == "noise" else value[:, 0] for name, value in draws.items()}
            if mode == "train":
                actions, probabilities = agent.propose(params, observations, draws)
                np.testing.assert_allclose(probabilities, z.arrays["acting/train/probs"], rtol=1e-9)
            else:
                actions = agent.propose_judged(params, observations, draws)
            np.testing.assert_allclose(actions, z.arrays[f"acting/{mode}/action"], atol=1e-10)
        table = jax.nn.softmax(agent.choice_temperature * z._array("table/q_offline_new"), axis=-1)
        np.testing.assert_allclose(table, z.arrays["table/probs"], rtol=1e-9)


SHIFTED = [folder / "drq_aug84.npz" for folder in FOLDERS if (folder / "drq_aug84.npz").exists()]


@pytest.mark.parametrize("path", SHIFTED, ids=lambda path: path.parent.name)
def test_images_are_shifted_and_encoded_as_the_reference_does(path):
    """At the real size of 84 pixels."""
    with jax.enable_x64(True):
        z = Recording(path, jnp.float64)
        images = jnp.asarray(z.arrays["observations"].transpose(0, 2, 3, 1))
        shifted = random_shift(images, jnp.asarray(z.arrays["shift"]), int(z.hparams["pad"]))
        np.testing.assert_array_equal(shifted.transpose(0, 3, 1, 2), z.arrays["out/aug_rounded_uint8"])
        features = encode(z.net("encoder"), shifted, DrQ().strides)
    encoded = np.asarray(features).reshape(2, 35, 35, 32).transpose(0, 3, 1, 2).reshape(2, -1)
    assert encoded.shape == tuple(z.arrays["out/encoded_shape"])
    np.testing.assert_allclose(encoded[:, ::37], z.arrays["out/encoded_every_37th"], rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose((encoded**2).sum(axis=1), z.arrays["out/encoded_sumsq"], rtol=1e-9)
