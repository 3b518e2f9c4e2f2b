"""In words: by which procedure, and of whose policies, a task's data is made."""

from moorl_jax.tasks import Task

_ROBOTS = {
    "embedded": {
        "random": "our SAC learner before its first update",
        "medium": "our SAC learner at D4RL's medium level",
        "medium-replay": "our SAC learner's policies up to the medium level, each for its share of the env steps",
        "expert": "our SAC learner that was shown an expert's episodes",
        "medium-expert": "our SAC learners at the medium level and at the expert's, half and half",
    },
    "recipe": {
        "random": "uniform random actions",
        "medium": "a public policy near D4RL's medium level",
        "medium-replay": "a public TRPO learner's policies up to the medium level, in equal shares",
        "full-replay": "a public TRPO learner's policies, in equal shares",
        "expert": "a public policy near D4RL's expert level",
        "medium-expert": "public policies near D4RL's medium and expert levels, half and half",
    },
}
_HANDS = {
    "human": "the human demonstrations behind D4RL's",
    "cloned": "episodes of a clone of the human demonstrations and these again and again, half and half, as D4RL's",
}
_PUBLISHED = {"d4rl": "D4RL's own", "minari": "Minari's own", "vd4rl": "V-D4RL's own"}


def procedure(task: Task, source: str) -> str:
    """Say of what a source's data of the task is made, in a few words that `from` may stand before."""
    ours = source == "embedded"
    if source in _PUBLISHED:
        return _PUBLISHED[source]
    if task.family == "antmaze":
        ant = "our ant, which learned from D4RL's walker," if ours else "D4RL's walker"
        return f"{ant} led along waypoints as D4RL's was, rewarded by one goal a file"
    if task.family == "adroit":
        expert = "our network, which learned from DAPG's policy" if ours else "DAPG's policy, as D4RL's"
        return _HANDS.get(task.level, expert)
    if task.pixels:
        return "films of uniform random actions" if task.level == "random" else "films of policies that SAC had"
    return _ROBOTS[source][task.level]
