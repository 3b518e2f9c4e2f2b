"""Each agent against numbers recorded from its canonical implementation, update by update.

The recordings hold parameters, batches and random draws of five consecutive updates, and the losses, gradient norms and
parameters that the reference code computed from them. Widths, depths and switches are read from each.
"""

import json
import re
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from moorl_jax.agents import (
    AWAC,
    CQL,
    EDAC,
    FQL,
    IFQL,
    IQL,
    OPT,
    OPTSPOT,
    PEX,
    QC,
    QCFQL,
    RLPD,
    SACN,
    SPOT,
    TD3BC,
    CalQL,
    DrQ,
    DrQBC,
    ReBRAC,
)
from moorl_jax.agents.awac import AWACState
from moorl_jax.agents.cql import CQLState
from moorl_jax.agents.drq import DrQState
from moorl_jax.agents.fql import FQLState
from moorl_jax.agents.ifql import IFQLState
from moorl_jax.agents.iql import IQLState
from moorl_jax.agents.opt import OPTState
from moorl_jax.agents.pex import PEXState
from moorl_jax.agents.qc import QCFQLState, QCState
from moorl_jax.agents.rebrac import ReBRACState
from moorl_jax.agents.sac import SACState
from moorl_jax.agents.spot import BehaviourVAE, SPOTState
from moorl_jax.agents.td3_bc import TD3BCState
from moorl_jax.nets import Learner, encode, mlp, random_shift
from moorl_jax.replay import Chunks
from moorl_jax.types import Transitions
from tests.agents.stepping import step
from tests.recordings import OURS, HyperParameters, Recording, kind_of, recordings

TWINS = ("critic0", "critic1")


def by_member(params):
    """Name an ensemble's leaves as the recordings do: critic0/layer0/kernel, ..."""
    return {name: jax.tree.map(lambda leaf, i=i: leaf[i], params) for i, name in enumerate(TWINS)}


def flat(tree, root=""):
    """Flatten nested dicts to 'a/b/c' names."""
    if not isinstance(tree, dict):
        return {root: tree}
    return {name: leaf for key, sub in tree.items() for name, leaf in flat(sub, f"{root}/{key}".strip("/")).items()}


def twins(z, prefix=""):
    """The recorded critics as an ensemble."""
    return z.ensemble(*(prefix + name for name in TWINS))


class Case:
    """How one agent's config, state and outputs are named in its recordings."""

    fixed = {}  #: hyper-parameters that are always so of ours
    not_used = {}  #: hyper-parameters that make no difference to updates of ours, and why
    unreported = set()
    elsewhere = ()  #: networks whose parameters and gradients another test checks

    def turns(self, agent, z, k):
        """The updates of step k with their batches and draws."""
        turn = (self.updates_before(z) + k) % len(agent.cycle())
        return [(agent.cycle()[turn], z.batch(k), z.draws(k, self.draw_names))]

    def updates_before(self, z):
        """How many updates the reference had counted before the first."""
        return 0


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
    fixed = {"actor_output": "max_action * tanh"}
    not_used = {"policy_noise_is": "policy_noise and noise_clip are those in effect"}

    def updates_before(self, z):
        return z.hparams["total_it_start"]

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
            critic=Learner.create(twins(z)),
            target_actor=z.net("target_actor"),
            target_critic=twins(z, "target_"),
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
    fixed = {"dropout_rate": None, "policy": re.compile(r"mean = tanh.*no squashing")}  # no dropout is recorded
    not_used = {"optimizer.actor_schedule": "opt_decay_schedule and max_steps tell it"}

    def agent(self, z):
        decay, schedule = z.hparams["max_steps"], z.hparams["opt_decay_schedule"]
        return IQL(
            actor_learning_rate=z.float("actor_lr"),
            value_learning_rate=z.float("value_lr"),
            critic_learning_rate=z.float("critic_lr"),
            actor_decay_updates=float(decay) if schedule == "cosine" else None,
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
            critic=Learner.create(twins(z)),
            target_critic=twins(z, "target_"),
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
        "qf1_loss": "critic_loss1",
        "qf2_loss": "critic_loss2",
        "alpha_loss": "alpha_loss",
        "alpha": "alpha",
        "q1_pred": "q1",
        "q2_pred": "q2",
        "target_q_values": "target_q",
        "cql_std_q1": "q_spread1",
        "cql_std_q2": "q_spread2",
        "cql_q1_rand": "q_random1",
        "cql_qf1_diff": "gap1",
        "cql_qf2_diff": "gap2",
        "cql_min_qf1_loss": "penalty1",
        "cql_min_qf2_loss": "penalty2",
        "cql_q1_current_actions": "q_current1",
        "cql_q2_next_actions": "q_next2",
        "alpha_prime": "alpha_prime",
        "alpha_prime_loss": "alpha_prime_loss",
    }
    fixed = {
        "use_automatic_entropy_tuning": True,
        "use_cql": True,
        "log_std_clip": [-20, 2],
        "enable_calql": False,
        "actor_head": re.compile(r"log_std_multiplier \* raw \+ log_std_offset"),
    }
    not_used = {
        "target_entropy_rule": "target_entropy is what came of it",
        "log_std_multiplier": "an initial value, which is recorded",
        "log_std_offset": "an initial value, which is recorded",
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
            critic=Learner.create(twins(z)),
            log_alpha=Learner.create(z.scalar("log_alpha")),
            log_alpha_prime=Learner.create(z.scalar("log_alpha_prime")),
            target_critic=twins(z, "target_"),
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
        "cql_q2_rand": "q_random2",
        "qf1_bellman_loss": "bellman_loss1",
        "qf2_bellman_loss": "bellman_loss2",
        "bound_rate_cql_q1_current_actions": "bound_rate_current1",
        "bound_rate_cql_q2_current_actions": "bound_rate_current2",
        "bound_rate_cql_q1_next_actions": "bound_rate_next1",
        "bound_rate_ql_q2_next_actions": "bound_rate_next2",
    }
    # Global gradient norms, which the norms per tensor check more closely, and a diagnostic of the data.
    unreported = {"policy_loss_gradient", "qf1_loss_gradient", "qf2_loss_gradient", "log_pi_data"}
    fixed = CQLCase.fixed | {"enable_calql": True}

    def agent(self, z):
        return CalQL(**vars(super().agent(z)))


def numbered(net, prefix):
    """Layers prefix0, prefix1, ... as ours are named."""
    count = sum(name.startswith(prefix) for name in net)
    return {f"layer{i}": net[f"{prefix}{i}"] for i in range(count)}


def joined_heads(net, prefix):
    """Two recorded heads, mean and log_std, as the one last layer ours has."""
    layers = numbered(net, prefix)
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
    return {"encoder": joined_heads(net, "enc"), "decoder": numbered(net, "dec")}


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

    fixed = {"actor_dropout": 0, "vae_log_std_clip": [-4, 15]}
    not_used = {
        "vae_hidden": "a shape",
        "actor_lr": "the effective one follows from it",
        "lambda_schedule": "it is told by lambd_cool, lambd and lambd_end",
    }

    def agent(self, z):
        h = z.hparams
        cooling = 1e6 if h["lambd_cool"] else None  # which the reference's code has for a constant
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
            cooling_updates=cooling if h["online"] else None,
            support_end=z.float("lambd_end"),
        )

    def state(self, z):
        updates = jnp.asarray(z.hparams["total_it_start"], jnp.int32)
        return SPOTState(**vars(super().state(z)), vae=vae_of(z.net("vae")), updates=updates)


class VAECase(Case):
    draw_names = {"vae_noise": "vae_eps"}
    loss_names = {"recon_loss": "reconstruction_loss", "KL_loss": "divergence", "vae_loss": "vae_loss"}
    fixed = {"log_std_clip": [-4, 15]}

    def agent(self, z):
        return BehaviourVAE(learning_rate=z.float("lr"), beta=z.float("beta"), max_action=z.float("max_action"))

    def state(self, z):
        return Learner.create(vae_of(z.net("vae")))

    def params(self, state):
        return self._named(state.params)

    def moments(self, state):
        return self._named(state.moments.mu)

    @staticmethod
    def _named(vae):
        decoder = {name.replace("layer", "dec"): layer for name, layer in vae["decoder"].items()}
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
    unreported = {f"{name}_{i}" for name in ("critic_loss", "q") for i in range(100)}
    fixed = {"layer_norm_eps": 1e-6, "actor_net": re.compile(r"clip \[-20, 2\].*tanh")}
    not_used = {
        "init_temperature": "an initial value, which is recorded",
        "target_entropy_rule": "target_entropy is what came of it",
        "critic_net": "critic_layer_norm, layer_norm_eps and the layers tell it",
        "shapes": "the arrays have them",
    }

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
            target_entropy_per_dimension=z.float("target_entropy") / z.arrays["batch_0/actions"].shape[-1],
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
    fixed = {"log_std_clip": [-5, 2], "policy": re.compile(r"mean = tanh.*no squashing")}

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
        return PEXState(**vars(super().state(z)), actor_offline=numbered(z.net("actor_offline"), "layer"))


def flax_normed(net):
    """A recorded network as ours, whose normalization after the activation is named by its epsilon's origin."""
    return {f"flax_{name}" if name.startswith("ln") else name: layer for name, layer in net.items()}


def without_flax(net):
    """The inverse of `flax_normed`."""
    return {name.removeprefix("flax_"): layer for name, layer in net.items()}


class ReBRACCase(Case):
    draw_names = {"policy_noise": "policy_noise"}
    loss_names = {
        "critic_loss": "critic_loss",
        "q_min": "q_min",
        "actor_loss": "actor_loss",
        "bc_mse_policy": "bc_loss",
        "lambda": "lambda",
        "q_pi_min": "q",
    }
    unreported = {"bc_mse_random", "action_mse"}  # of random actions, and the cloning loss over the action's size
    fixed = {
        "num_critics": 2,
        "layer_norm_eps": 1e-6,
        "max_action": 1.0,
        "mc_lower_bound": False,
        "critic_net": re.compile("ReLU - LayerNorm"),
        "actor_net": re.compile("ReLU - LayerNorm.*tanh"),
    }
    not_used = {"actor_n_hiddens": "a shape", "critic_n_hiddens": "a shape", "actor_update_at": "policy_freq tells it"}

    def agent(self, z):
        h = z.hparams
        for net in ("actor", "critic"):
            assert ("ln0" in z.net(net)) == h[f"{net}_ln"]
        return ReBRAC(
            actor_layer_norm=h["actor_ln"],
            critic_layer_norm=h["critic_ln"],
            policy_freq=int(h["policy_freq"]),
            normalize_q=h["normalize_q"],
            actor_learning_rate=z.float("actor_lr"),
            critic_learning_rate=z.float("critic_lr"),
            discount=z.float("discount"),
            tau=z.float("tau"),
            policy_noise=z.float("policy_noise"),
            noise_clip=z.float("noise_clip"),
            actor_penalty=z.float("actor_bc_coef"),
            critic_penalty=z.float("critic_bc_coef"),
        )

    def state(self, z):
        return ReBRACState(
            actor=Learner.create(flax_normed(z.net("actor"))),
            critic=Learner.create(flax_normed(z.net("critic"))),
            target_actor=flax_normed(z.net("target_actor")),
            target_critic=flax_normed(z.net("target_critic")),
            updates=jnp.int32(0),
        )

    def params(self, state):
        nets = {
            "actor": state.actor.params,
            "critic": state.critic.params,
            "target_actor": state.target_actor,
            "target_critic": state.target_critic,
        }
        return {name: without_flax(net) for name, net in nets.items()}

    def moments(self, state):
        nets = {"actor": state.actor.moments.mu, "critic": state.critic.moments.mu}
        return {name: without_flax(net) for name, net in nets.items()}


class OGBenchCase(Case):
    """What all agents of the code base of FQL's authors share, OGBench's IQL and ReBRAC among them."""

    joined = {"grad.max", "grad.min", "grad.norm"}  #: of all tensors, whose own norms are compared
    fixed = {"layer_norm_eps": 1e-6, "action_dim": None, "ob_dims": None}
    not_used = {
        "actor_hidden_dims": "a shape",
        "value_hidden_dims": "a shape",
        "batch_size": "of trainings",
        "nets": "it tells what the activation and the names of the layers do",
    }
    nets = ()  #: our learners by their recorded names

    def shared(self, z, critic_norm):
        """The switches that all agents have; `critic_norm` is what ours is called for all but the actor."""
        h = z.hparams
        actor = next(name for name in self.nets if name.startswith("actor"))
        assert ("ln0" in z.net(actor)) == h["actor_layer_norm"]
        assert ("ln0" in z.net("critic")) == h["layer_norm"]
        return {
            "activation": {"gelu (tanh approximation)": "gelu", "relu": "relu"}[h["activation"]],
            "actor_layer_norm": h["actor_layer_norm"],
            critic_norm: h["layer_norm"],
            "discount": z.float("discount"),
            "tau": z.float("tau"),
        }

    def learners(self, z):
        return {ours: Learner.create(flax_normed(z.net(theirs))) for theirs, ours in self.nets.items()}

    def params(self, state):
        nets = {theirs: without_flax(getattr(state, ours).params) for theirs, ours in self.nets.items()}
        return nets | {"target_critic": without_flax(state.target_critic)}

    def moments(self, state):
        return {theirs: without_flax(getattr(state, ours).moments.mu) for theirs, ours in self.nets.items()}


class FQLCase(OGBenchCase):
    nets = {"actor_onestep_flow": "actor", "actor_bc_flow": "flow", "critic": "critic"}
    draw_names = {"next": "eps_next_action", "start": "x0", "time": "u_t", "policy": "eps_onestep"}
    loss_names = {
        "actor.bc_flow_loss": "flow_loss",
        "actor.distill_loss": "distillation_loss",
        "actor.q": "q_policy",
        "actor.q_loss": "q_loss",
        "critic.critic_loss": "critic_loss",
        "critic.q_mean": "q",
    }
    # The sum of three that are compared, the distance of sampled actions from the data's, and extremes.
    unreported = OGBenchCase.joined | {"actor.actor_loss", "actor.mse", "critic.q_max", "critic.q_min"}

    def agent(self, z):
        h = z.hparams
        return FQL(
            **self.shared(z, "critic_layer_norm"),
            flow_steps=int(h["flow_steps"]),
            target_value=h["q_agg"],
            normalize_q=h["normalize_q_loss"],
            learning_rate=z.float("lr"),
            alpha=z.float("alpha"),
        )

    def state(self, z):
        return FQLState(**self.learners(z), target_critic=flax_normed(z.net("target_critic")))


class IFQLCase(OGBenchCase):
    nets = {"actor_flow": "actor", "value": "value", "critic": "critic"}
    draw_names = {"start": "x0", "time": "u_t"}
    loss_names = {
        "actor.actor_loss": "actor_loss",
        "critic.critic_loss": "critic_loss",
        "critic.q_mean": "target_q",  # the reference calls it so
        "value.v_mean": "v",
        "value.value_loss": "value_loss",
    }
    unreported = OGBenchCase.joined | {"critic.q_max", "critic.q_min", "value.v_max", "value.v_min"}
    not_used = OGBenchCase.not_used | {"choice": "another test checks it"}

    def agent(self, z):
        h = z.hparams
        return IFQL(
            **self.shared(z, "value_layer_norm"),
            flow_steps=int(h["flow_steps"]),
            samples=int(h["num_samples"]),
            learning_rate=z.float("lr"),
            expectile=z.float("expectile"),
        )

    def state(self, z):
        return IFQLState(**self.learners(z), target_critic=flax_normed(z.net("target_critic")))


class QCCase(OGBenchCase):
    """The rows are cut into chunks by our code, and have to be the recorded ones."""

    nets = {"actor_bc_flow": "flow", "critic": "critic"}
    draw_names = {"next": "eps_next_action", "start": "x0", "time": "u_t", "policy": "eps_onestep"}
    loss_names = {"actor.bc_flow_loss": "flow_loss", "critic.critic_loss": "critic_loss", "critic.q_mean": "q"}
    # Sums of what is compared, nothing where no policy is distilled, and extremes.
    unreported = OGBenchCase.joined | {"actor.actor_loss", "actor.distill_loss", "critic.q_max", "critic.q_min"}
    fixed = OGBenchCase.fixed | {"weight_decay": 0.0, "use_fourier_features": False}
    not_used = OGBenchCase.not_used | {
        "actor_type": "the kind of recording tells it",
        "alpha": "of a policy that is distilled",
        "chunk_dim": "a shape",
        "chunk_layout": "the actions tell it",
        "fourier_feature_dim": "of features that are not used",
        "left_out": "networks that never move",
        "normalize_q_loss": "the reference never reads it",
    }

    def agent(self, z):
        return QC(**self.shared(z, "critic_layer_norm"), samples=int(z.hparams["actor_num_samples"]))

    def shared(self, z, critic_norm):
        h = z.hparams
        return super().shared(z, critic_norm) | {
            "members": int(h["num_qs"]),
            "horizon": int(h["horizon_length"]),
            "chunked": h["action_chunking"],
            "flow_steps": int(h["flow_steps"]),
            "target_value": h["q_agg"],
            "learning_rate": z.float("lr"),
        }

    def state(self, z):
        return QCState(**self.learners(z), target_critic=flax_normed(z.net("target_critic")))

    def turns(self, agent, z, k):
        names = ("observations", "actions", "rewards", "next_observations")
        rows = {name: z.array(f"raw/{name}") for name in names}
        data = Transitions(**rows, terminals=1.0 - z.array("raw/masks"), ends=z.array("raw/terminals"))
        batch = Chunks(data, agent.horizon, agent.discount).take(jnp.asarray(z.arrays[f"batch_{k}/indices"]))
        recorded = {name: z.array(f"batch_{k}/{name}") for name in (*names, "masks", "valid")}
        np.testing.assert_array_equal(batch.actions, recorded["actions"])
        np.testing.assert_array_equal(batch.valid, recorded["valid"])
        np.testing.assert_allclose(batch.rewards, recorded["rewards"][:, -1], rtol=1e-5)
        np.testing.assert_array_equal(batch.terminals, 1.0 - recorded["masks"][:, -1])
        np.testing.assert_array_equal(batch.observations, recorded["observations"])
        np.testing.assert_array_equal(batch.next_observations, recorded["next_observations"][:, -1])
        return [(agent.update, batch, z.draws(k, self.draw_names))]


class QCFQLCase(QCCase):
    nets = QCCase.nets | {"actor_onestep_flow": "actor"}
    loss_names = QCCase.loss_names | {"actor.distill_loss": "distillation_loss"}
    unreported = QCCase.unreported - {"actor.distill_loss"}
    not_used = {name: reason for name, reason in QCCase.not_used.items() if name != "alpha"} | {
        "actor_num_samples": "of chunks among which the critics choose"
    }

    def agent(self, z):
        return QCFQL(**self.shared(z, "critic_layer_norm"), alpha=z.float("alpha"))

    def state(self, z):
        return QCFQLState(**self.learners(z), target_critic=flax_normed(z.net("target_critic")))


class OGBenchIQLCase(OGBenchCase):
    nets = {"actor": "actor", "value": "value", "critic": "critic"}
    draw_names = {"policy": "eps_actor"}
    loss_names = {
        "actor.actor_loss": "actor_loss",
        "actor.adv": "advantage",
        "actor.bc_loss": "bc_loss",
        "actor.q_loss": "q_loss",
        "actor.q_mean": "q_policy",
        "critic.critic_loss": "critic_loss",
        "value.v_mean": "v",
        "value.value_loss": "value_loss",
    }
    # Of critics what the reference reports is of their targets; what it reports of the policy is in its losses.
    unreported = OGBenchCase.joined | {"critic.q_max", "critic.q_mean", "critic.q_min", "value.v_max", "value.v_min"}
    unreported |= {"actor.bc_log_prob", "actor.mse", "actor.q_abs_mean", "actor.std"}
    fixed = OGBenchCase.fixed | {"log_std_range": [-5, 2], "policy": re.compile(r"no tanh.*no squashing")}

    def agent(self, z):
        h = z.hparams
        weight = {"awr": "temperature", "ddpgbc": "cloning_weight"}[h["actor_loss"]]
        return IQL(
            **self.shared(z, "value_layer_norm"),
            joint=True,
            squash=False,
            learn_std=not h["const_std"],
            actor_objective=h["actor_loss"],
            actor_learning_rate=z.float("lr"),
            value_learning_rate=z.float("lr"),
            critic_learning_rate=z.float("lr"),
            expectile=z.float("expectile"),
            weight_clip=z.float("exp_advantage_clip"),
            **{weight: z.float("alpha")},
        )

    def state(self, z):
        learners = self.learners(z)
        log_std = z.scalar("actor/log_std", default=np.zeros(z.hparams["act"]))
        actor = Learner.create({"mean": learners["actor"].params, "log_std": log_std})
        return IQLState(**learners | {"actor": actor}, target_critic=flax_normed(z.net("target_critic")))

    @staticmethod
    def _named(nets):
        """The actor's tensors as they were recorded."""
        actor = nets["actor"]
        return nets | {"actor": {**without_flax(actor["mean"]), "log_std": actor["log_std"]}}

    def params(self, state):
        return self._named(super().params(state))

    def moments(self, state):
        return self._named(super().moments(state))


class OGBenchReBRACCase(OGBenchCase):
    nets = {"actor": "actor", "critic": "critic"}
    draw_names = {"policy_noise": "policy_noise"}
    loss_names = {
        "actor.mse": "bc_loss",
        "actor.total_loss": "actor_loss",
        "critic.critic_loss": "critic_loss",
        "critic.q_mean": "q_data",
    }
    # The two parts of the total, of which one is compared; the std of what has none; extremes.
    unreported = OGBenchCase.joined | {"actor.actor_loss", "actor.bc_loss", "actor.std"}
    unreported |= {"critic.q_max", "critic.q_min"}
    not_used = OGBenchCase.not_used | {
        "actor_fc_scale": "an initial value",
        "full_update": "actor_freq and steps tell it",
    }

    def updates_before(self, z):
        return z.hparams["steps"][0] - 1

    def agent(self, z):
        h = z.hparams
        return ReBRAC(
            **self.shared(z, "critic_layer_norm"),
            joint=True,
            squash=h["tanh_squash"],
            policy_freq=int(h["actor_freq"]),
            actor_learning_rate=z.float("lr"),
            critic_learning_rate=z.float("lr"),
            policy_noise=z.float("actor_noise"),
            noise_clip=z.float("actor_noise_clip"),
            actor_penalty=z.float("alpha_actor"),
            critic_penalty=z.float("alpha_critic"),
        )

    def state(self, z):
        return ReBRACState(
            **self.learners(z),
            target_actor=flax_normed(z.net("target_actor")),
            target_critic=flax_normed(z.net("target_critic")),
            updates=jnp.int32(0),
        )

    def params(self, state):
        return super().params(state) | {"target_actor": without_flax(state.target_actor)}


class AWACCase(Case):
    draw_names = {"next": "eps_next_actions", "policy": "eps_actor"}
    loss_names = {
        "critic_loss": "critic_loss",
        "actor_loss": "actor_loss",
        "adv_mean": "advantage",
        "weight_mean": "weight",
    }
    unreported = {"critic1_mse", "critic2_mse"}  # their sum is the critic loss
    fixed = {
        "log_std_clip": [-20, 2],
        "action_clip": [-1, 1],
        "policy": re.compile(r"no tanh.*clamped to \[-1, 1\], no squashing"),
    }
    not_used = {"n_hidden_layers": "a shape"}

    def agent(self, z):
        return AWAC(
            actor_learning_rate=z.float("learning_rate"),
            critic_learning_rate=z.float("learning_rate"),
            discount=z.float("discount"),
            tau=z.float("tau"),
            advantage_scale=z.float("awac_lambda"),
            weight_clip=z.float("exp_adv_max"),
        )

    def state(self, z):
        return AWACState(
            actor=Learner.create({"mean": z.net("actor"), "log_std": z.scalar("actor/log_std")}),
            critic=Learner.create(twins(z)),
            target_critic=twins(z, "target_"),
        )

    def params(self, state):
        targets = {f"target_{name}": net for name, net in by_member(state.target_critic).items()}
        return {**self._named(state.actor.params, state.critic.params), **targets}

    def moments(self, state):
        return self._named(state.actor.moments.mu, state.critic.moments.mu)

    @staticmethod
    def _named(actor, critic):
        return {"actor": {**actor["mean"], "log_std": actor["log_std"]}, **by_member(critic)}


class SACNCase(Case):
    kind = SACN
    draw_names = {"temperature": "eps_alpha", "policy": "eps_actor", "next": "eps_next_actions"}
    loss_names = {
        "alpha_loss": "temperature_loss",
        "critic_loss": "critic_loss",
        "actor_loss": "actor_loss",
        "batch_entropy": "entropy",
        "alpha": "temperature",
        "q_policy_std": "q_spread",
    }
    unreported = {"q_random_std"}  # of random actions
    fixed = {
        "log_std_clip": [-5, 2],
        "tanh_logdet_eps": 1e-6,
        "actor_net": re.compile(r"heads mean and log_std; action = max_action \* tanh"),
    }
    not_used = {
        "n_hidden_layers": "a shape",
        "shapes": "the arrays have them",
        "init_log_alpha": "an initial value, which is recorded",
        "target_entropy_rule": "target_entropy is what came of it",
    }

    def agent(self, z):
        return self.kind(
            members=int(z.hparams["num_critics"]),
            actor_learning_rate=z.float("actor_lr"),
            critic_learning_rate=z.float("critic_lr"),
            temperature_learning_rate=z.float("alpha_lr"),
            discount=z.float("discount"),
            tau=z.float("tau"),
            target_entropy_per_dimension=z.float("target_entropy") / z.arrays["batch_0/actions"].shape[-1],
            max_action=z.float("max_action"),
        )

    def state(self, z):
        return SACState(
            actor=Learner.create(joined_heads(z.net("actor"), "layer")),
            critic=Learner.create(z.net("critic")),
            log_temperature=Learner.create(z.scalar("log_alpha")),
            target_critic=z.net("target_critic"),
        )

    def params(self, state):
        learners = (state.actor, state.critic, state.log_temperature)
        return {**self._named(*(learner.params for learner in learners)), "target_critic": state.target_critic}

    def moments(self, state):
        learners = (state.actor, state.critic, state.log_temperature)
        return self._named(*(learner.moments.mu for learner in learners))

    @staticmethod
    def _named(actor, critic, log_temperature):
        return {"actor": split_heads(actor), "critic": critic, "log_alpha": log_temperature}


class EDACCase(SACNCase):
    kind = EDAC
    loss_names = SACNCase.loss_names | {"diversity_loss": "similarity", "td_loss": "td_loss"}

    def agent(self, z):
        return super().agent(z).replace(diversity_weight=z.float("eta"))


AGES = ("off", "on")


class OPTCase(Case):
    """What the recordings of both of OPT's phases share: twin critics, of one generation or of two."""

    fixed = {
        "layer_norm_eps": 1e-5,
        "layer_norm": re.compile("ReLU - LayerNorm"),
        "density_net": re.compile("ReLU on the output"),
    }
    not_used = {
        "vae_hidden": "a shape",
        "discount": "the one in effect is named by itself",
        "online_discount": "likewise",
        **dict.fromkeys(
            ("density_lr", "priority_temperature", "n_offline", "n_online", "priority_capacity"),
            "balanced replay's, whose tests read it",
        ),
    }

    def agent(self, z):
        h = z.hparams
        scale = z.float("max_action")
        for net, switch in (("target_actor", "actor_layer_norm"), ("target_critic_on0", "critic_layer_norm")):
            assert ("ln0" in z.net(net)) == h[switch]
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
        support = {
            "samples": int(h["support_num_samples"]),
            "importance_weighted": h["support_use_iwae"],
            "beta": z.float("vae_beta"),
            "support_weight": z.float("support_lambda"),
            "support_end": z.float("support_lambda_end"),
            "cooling_updates": z.float("online_steps") if h["support_lambda_cool"] else None,
        }
        if h["algo"] == "TD3":
            return OPT(backbone=TD3BC(**fields, cloning=False), inner_learning_rate=z.float("inner_lr"))
        return OPTSPOT(backbone=SPOT(**fields, **support, q_epsilon=1e-10), inner_learning_rate=z.float("inner_lr"))

    @staticmethod
    def _net(net):
        """A recorded network as ours, whose normalization after the ReLU is named so."""
        return {f"post_{name}" if name.startswith("ln") else name: layer for name, layer in net.items()}

    @staticmethod
    def _recorded(net):
        return {name.removeprefix("post_"): layer for name, layer in net.items()}

    def _generations(self, z, prefix, ages=AGES):
        pairs = [self._net(z.ensemble(*(f"{prefix}critic_{age}{i}" for i in range(2)))) for age in ages]
        return jax.tree.map(lambda *leaves: jnp.stack(leaves), *pairs)

    def _named(self, params, prefix=""):
        return {
            f"{prefix}critic_{age}{i}": self._recorded(jax.tree.map(lambda leaf, g=g, i=i: leaf[g, i], params))
            for g, age in enumerate(AGES)
            for i in range(2)
        }


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
    draw_names = {"vae_noise": "vae_eps"}

    def state(self, z):
        nets = {
            "actor": Learner.create(self._net(z.net("actor"))),
            "critic": jax.vmap(Learner.create)(self._generations(z, "")),
            "target_actor": self._net(z.net("target_actor")),
            "target_critic": self._generations(z, "target_"),
        }
        cooled = jnp.int32(z.hparams["online_updates_start"])
        if z.hparams["algo"] == "TD3":
            return OPTState(TD3BCState(**nets), jnp.int32(0))
        return OPTState(SPOTState(**nets, vae=vae_of(z.net("vae")), updates=cooled), jnp.int32(0))

    def updates_before(self, z):
        return z.hparams["total_updates_start"]

    def turns(self, agent, z, k):
        # The recording passes each update a kappa of its own.
        agent = agent.replace(kappa_start=z.hparams["kappas"][k], kappa_steps=0.0)
        pair = [z.array(f"draws_{k}/policy_noise_{age}_pair") for age in ("offline", "online")]
        return [
            (update, batch, draws | {"policy_noise": jnp.stack(pair)})
            for update, batch, draws in super().turns(agent, z, k)
        ]

    def params(self, state):
        return {
            "actor": self._recorded(state.backbone.actor.params),
            "target_actor": self._recorded(state.backbone.target_actor),
            **self._named(state.backbone.critic.params),
            **self._named(state.backbone.target_critic, "target_"),
        }

    def moments(self, state):
        actor = self._recorded(state.backbone.actor.moments.mu)
        return {"actor": actor, **self._named(state.backbone.critic.moments.mu)}


class OPTPretrainCase(OPTCase):
    loss_names = {name: name for name in ("offline_td_loss", "online_td_loss", "gradient_weight")}

    not_used = OPTCase.not_used | dict.fromkeys(
        ("kappas", "total_updates_start", "online_updates_start"), "fine-tuning's, of no account here"
    )

    def agent(self, z):
        return super().agent(z).online_pretraining()

    def state(self, z):
        actor = self._net(z.net("target_actor"))
        nets = {
            "actor": Learner.create(actor),
            # The new critics stand in the place of the old ones, too, which have no part in this.
            "critic": jax.vmap(Learner.create)(self._generations(z, "", ("on", "on"))),
            "target_actor": actor,
            "target_critic": self._generations(z, "target_", ("on", "on")),
        }
        if z.hparams["algo"] == "TD3":
            return OPTState(TD3BCState(**nets), jnp.int32(0))
        return OPTState(SPOTState(**nets, vae={}, updates=jnp.int32(0)), jnp.int32(0))

    def turns(self, agent, z, k):
        kinds = ("offline", "online")
        pair = tuple(z.batch(k, f"{kind}_") for kind in kinds)
        noise = jnp.stack([z.array(f"draws_{k}/policy_noise_{kind}") for kind in kinds])
        return [(agent.cycle()[k % len(agent.cycle())], pair, {"policy_noise": noise})]

    def params(self, state):
        return {
            "target_actor": self._recorded(state.backbone.target_actor),
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
    draw_names = {"next": "eps_next_action", "policy": "eps_action"}
    fixed = {"layer_norm_eps": 1e-5, "trunk": re.compile("Linear - LayerNorm.* - tanh, no ReLU")}
    not_used = dict.fromkeys(("image", "channels", "feature_dim", "repr_dim", "layout"), "a shape")

    def agent(self, z):
        h = z.hparams
        assert h["use_bc"] or not h["offline"], "ours has no offline training that scales Q but does not clone"
        start, end, steps = falling(h["stddev_schedule"])
        return (DrQBC if h["offline"] else DrQ)(
            strides=tuple(map(int, re.search(r"strides ([\d,]*\d)", h["encoder"]).group(1).split(","))),
            pad=int(h["pad"]),
            n_step=int(h["nstep"]),
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
            return {"trunk": self._trunk(layers), "net": numbered(layers, "layer")}

        def critic(prefix=""):
            twins = z.ensemble(*(f"{prefix}critic_q{i}" for i in range(2)))
            return {"trunk": self._trunk(z.net(f"{prefix}critic")), "twins": twins}

        encoder = z.net("encoder")
        self.channels = encoder[f"conv{len(encoder) - 1}"]["bias"].shape[0]

        learners = map(Learner.create, (encoder, actor(), critic()))
        every = z.hparams["update_every_steps"]
        assert z.hparams["steps"] == [z.hparams["step0"] + every * k for k in range(5)]
        return DrQState(*learners, target_critic=critic("target_"), steps=jnp.int32(z.hparams["step0"] // every))

    def turns(self, agent, z, k):
        batch = {name: z.array(f"batch_{k}/{name}") for name in ("actions", "rewards", "discounts")}
        for name in ("observations", "next_observations"):
            batch[name] = jnp.asarray(z.arrays[f"batch_{k}/{name}"].transpose(0, 2, 3, 1))
        batch["terminals"] = 1.0 - batch.pop("discounts") / agent.discount**agent.n_step
        draws = z.draws(k, self.draw_names)
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
        rows = jnp.arange(len(kernel)).reshape(self.channels, *self._sides(kernel)).transpose(1, 2, 0).ravel()
        return {"dense": {**layers["trunk"], "kernel": kernel[rows]}, "ln": layers["trunk_ln"]}

    def _recorded(self, trunk):
        kernel = trunk["dense"]["kernel"]
        rows = np.arange(len(kernel)).reshape(*self._sides(kernel), self.channels).transpose(2, 0, 1).ravel()
        return {"trunk": {**trunk["dense"], "kernel": kernel[rows]}, "trunk_ln": trunk["ln"]}

    def _sides(self, kernel):
        return (round((len(kernel) / self.channels) ** 0.5),) * 2


def falling(schedule):
    """Start, end and length of a noise's schedule, "linear(start,end,length)" or a number that it keeps."""
    numbers = [float(word) for word in schedule.removeprefix("linear(").removesuffix(")").split(",")]
    return numbers if len(numbers) == 3 else (*numbers, *numbers, 1.0)


CASES = {
    "td3bc": TD3BCCase(),
    "iql": IQLCase(),
    "cql": CQLCase(),
    "calql": CalQLCase(),
    "spot": SPOTCase(),
    "spot_vae": VAECase(),
    "rlpd": RLPDCase(),
    "pex": PEXCase(),
    "rebrac": ReBRACCase(),
    "fql": FQLCase(),
    "ifql": IFQLCase(),
    "qc": QCCase(),
    "qc_fql": QCFQLCase(),
    "ogb_iql": OGBenchIQLCase(),
    "ogb_rebrac": OGBenchReBRACCase(),
    "awac": AWACCase(),
    "sac_n": SACNCase(),
    "edac": EDACCase(),
    "opt_finetune": OPTFinetuneCase(),
    "opt_pretrain": OPTPretrainCase(),
    "drq": DrQCase(),
}
FILES = [pytest.param(CASES[kind_of(param.values[0])], *param.values, id=param.id) for param in recordings(*CASES)]


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
        result.params.append(jax.device_get(flat(case.params(state))))
        # Adam's first moment is 0.9 m + 0.1 g: the gradient it consumed can be read off it.
        gradients = {name: (after[name] - 0.9 * before[name]) / 0.1 for name in after}
        result.gradient_norms.append({name: float(np.linalg.norm(g)) for name, g in gradients.items()})
    return result


@pytest.mark.parametrize(("case", "path"), FILES)
class TestParity:
    def test_every_hyper_parameter_is_used_or_named(self, case, path):
        z = Recording(path, jnp.float32)
        z.hparams.fixed(case.fixed)
        agent, _ = case.agent(z), case.state(z)
        for k in range(5):
            list(case.turns(agent, z, k))
        assert z.hparams.overlooked(case.not_used) == []

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

    @pytest.mark.slow
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


@pytest.mark.parametrize("path", recordings("iql"))
def test_iql_reports_the_mean_of_its_critics(path):
    with jax.enable_x64(True):
        z = Recording(path, jnp.float64)
        ours = replay(CASES["iql"], z)
    for k in range(5):
        losses = z.losses(k)
        assert ours.metrics[k]["q"] == pytest.approx((losses["q1"] + losses["q2"]) / 2, rel=1e-10)


@pytest.mark.parametrize("path", recordings("pex"))
def test_pex_acts_as_the_reference(path):
    """Which of its two policies acts, in training and in evaluation, and with what probability."""
    with jax.enable_x64(True):
        z = Recording(path, jnp.float64)
        case = CASES["pex"]
        agent, params = case.agent(z), case.agent(z).policy(case.state(z))
        observations = z.array("acting/observations")
        for mode in ("train", "eval"):
            named = {
                "noise": "eps_new_action",
                "choice": "u_choice",
                "explore_action": "u_greedy_a2",
                "explore_choice": "u_greedy_w",
            }
            draws = {
                ours: z.array(f"acting/{mode}/{theirs}")
                for ours, theirs in named.items()
                if f"acting/{mode}/{theirs}" in z.arrays
            }
            draws = {name: value if name == "noise" else value[:, 0] for name, value in draws.items()}
            if mode == "train":
                actions, probabilities = agent.propose(params, observations, draws)
                np.testing.assert_allclose(probabilities, z.arrays["acting/train/probs"], rtol=1e-9)
            else:
                actions = agent.propose_in_evaluation(params, observations, draws)
            np.testing.assert_allclose(actions, z.arrays[f"acting/{mode}/action"], atol=1e-10)
        table = jax.nn.softmax(agent.choice_temperature * z.array("table/q_offline_new"), axis=-1)
        np.testing.assert_allclose(table, z.arrays["table/probs"], rtol=1e-9)


@pytest.mark.parametrize("path", recordings("ifql"))
def test_ifql_chooses_as_the_reference(path):
    """By the critics that have just been updated."""
    with jax.enable_x64(True):
        z = Recording(path, jnp.float64)
        case = CASES["ifql"]
        agent, state = case.agent(z), case.state(z)
        for k in range(5):
            state, _ = step(agent.update, state, z.batch(k), z.draws(k, case.draw_names))
            noise = z.array(f"draws_{k}/eps_choice")
            actions = agent.choose(agent.policy(state), z.batch(k).observations[: len(noise)], noise)
            np.testing.assert_allclose(actions, z.arrays[f"out_{k}/aux/choice_action"], atol=1e-10)


@pytest.mark.parametrize("path", recordings("drq_aug84"))
def test_images_are_shifted_and_encoded_as_the_reference_does(path):
    """At the real size of 84 pixels."""
    with jax.enable_x64(True):
        z = Recording(path, jnp.float64)
        images = jnp.asarray(z.arrays["observations"].transpose(0, 2, 3, 1))
        shifted = random_shift(images, jnp.asarray(z.arrays["shift"]), int(z.hparams["pad"]))
        np.testing.assert_array_equal(shifted.transpose(0, 3, 1, 2), z.arrays["out/aug_rounded_uint8"])
        encoder = z.net("encoder")
        features = np.asarray(encode(encoder, shifted, DrQ().strides))
    count, channels = len(images), encoder[f"conv{len(encoder) - 1}"]["bias"].shape[0]
    side = round((features.shape[-1] / channels) ** 0.5)
    encoded = features.reshape(count, side, side, channels).transpose(0, 3, 1, 2).reshape(count, -1)
    assert encoded.shape == tuple(z.arrays["out/encoded_shape"])
    assert z.hparams.overlooked({}) == []
    np.testing.assert_allclose(encoded[:, ::37], z.arrays["out/encoded_every_37th"], rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose((encoded**2).sum(axis=1), z.arrays["out/encoded_sumsq"], rtol=1e-9)


def altered(name, **changes):
    """One of our recordings, as if made with other switches."""
    z = Recording(OURS / f"{name}.npz", jnp.float32)
    z.hparams = HyperParameters(json.loads(str(z.arrays["hparams"])) | changes)
    return z


class TestSwitches:
    """They mean what they do in the code that a recording was made with, in combinations that ours do not have."""

    @pytest.mark.parametrize(
        ("switches", "cloning"),
        [
            ({"offline": True, "use_bc": True}, True),
            ({"offline": False, "use_bc": True}, False),
            ({"offline": False, "use_bc": False}, False),
        ],
    )
    def test_drq_clones_offline_alone(self, switches, cloning):
        assert CASES["drq"].agent(altered("drq", **switches)).cloning == cloning

    def test_drq_offline_without_cloning_is_not_ours(self):
        with pytest.raises(AssertionError, match="does not clone"):
            CASES["drq"].agent(altered("drq", offline=True, use_bc=False))

    def test_drqs_noise_may_stay(self):
        agent = CASES["drq"].agent(altered("drq", stddev_schedule="0.2"))
        np.testing.assert_allclose(agent.noise(jnp.array([0, 9])), 0.2, rtol=1e-6)

    def test_opts_support_follows_its_switches(self):
        backbone = CASES["opt_finetune"].agent(altered("opt_finetune_spot")).backbone
        assert (backbone.importance_weighted, backbone.cooling_updates) == (False, 20.0)
        switches = {"support_use_iwae": True, "support_lambda_cool": False}
        backbone = CASES["opt_finetune"].agent(altered("opt_finetune_spot", **switches)).backbone
        assert (backbone.importance_weighted, backbone.cooling_updates) == (True, None)

    def test_spot_cools_online_alone(self):
        agents = [CASES["spot"].agent(altered("spot_online", online=online)) for online in (True, False)]
        assert [agent.cooling_updates for agent in agents] == [1e6, None]

    def test_updates_are_counted_from_where_the_reference_began(self):
        z, case = altered("td3bc", total_it_start=1), CASES["td3bc"]
        agent = case.agent(z)
        assert [case.turns(agent, z, k)[0][0] == agent.update for k in range(4)] == [True, False, True, False]

    def test_opt_normalizes_after_the_relu(self, rng):
        """What its recordings name ln0, RLPD's name too, where it stands before."""
        weights, scale, shift = rng.standard_normal((6, 4)), rng.standard_normal(4), rng.standard_normal(4)
        kernels = {"layer0": weights[:2], "layer1": weights[2:]}
        layers = {name: {"kernel": jnp.asarray(kernel), "bias": jnp.zeros(4)} for name, kernel in kernels.items()}
        x = rng.standard_normal((5, 2))
        hidden = np.maximum(x @ weights[:2], 0)
        hidden = (hidden - hidden.mean(axis=1, keepdims=True)) / np.sqrt(hidden.var(axis=1, keepdims=True) + 1e-5)
        net = CASES["opt_finetune"]._net(layers | {"ln0": {"scale": jnp.asarray(scale), "bias": jnp.asarray(shift)}})
        np.testing.assert_allclose(
            mlp(net, jnp.asarray(x)), (hidden * scale + shift) @ weights[2:], rtol=1e-4, atol=1e-5
        )
        assert CASES["opt_finetune"]._recorded(net).keys() == {"layer0", "layer1", "ln0"}
