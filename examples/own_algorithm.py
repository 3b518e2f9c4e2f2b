"""Write an algorithm, behaviour cloning weighted by returns to go, and train it beside BC."""

import jax
import jax.numpy as jnp
from flax import struct

import moorl_jax
from moorl_jax import Agent, Learner, static
from moorl_jax.nets import MLP, init_mlp, mlp
from moorl_jax.types import ReturnsToGo


class WeightedBCState(struct.PyTreeNode):
    """The whole of it is an actor."""

    actor: Learner


class WeightedBC(Agent):
    """Clones an action the more, the more was earned after it."""

    hidden: tuple[int, ...] = static((256, 256))
    learning_rate: float = 3e-4
    temperature: float = 1.0  #: of the weights, in standard deviations of the returns in a batch

    def init(self, key, example):
        """Initialize the actor."""
        net = MLP((*self.hidden, example.actions.shape[-1]))
        return WeightedBCState(Learner.create(init_mlp(key, net, example.observations)))

    def returns_to_go(self):
        """Ask for `mc_returns` in the batches."""
        return ReturnsToGo(0.99)

    def update(self, state, batch, draws):
        """Take one step on mean w |pi(s) - a|^2."""
        weights = jax.nn.softmax(jax.nn.standardize(batch.mc_returns) / self.temperature)

        def loss(actor):
            distance = jnp.sum((self.greedy(actor, batch.observations) - batch.actions) ** 2, axis=-1)
            return jnp.sum(weights * distance)

        value, gradients = jax.value_and_grad(loss)(state.actor.params)
        return WeightedBCState(state.actor.descend(gradients, self.learning_rate)), {"loss": value}

    def greedy(self, params, observations):
        """Return pi(s)."""
        return jnp.tanh(mlp(params, observations))


if __name__ == "__main__":
    moorl_jax.use_all_cores()
    for agent in ("bc", f"{__file__}:WeightedBC"):
        run = moorl_jax.train(
            agent,
            "hopper-medium-replay-v2",
            source="embedded",
            seeds=2,
            updates=1_000,
            evaluate_every=1_000,
            episodes=2,
        )
        print(agent, run.curves["score"].mean())
