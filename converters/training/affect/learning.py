"""Trains the network: one trunk on photographs and renders together, each output where its labels are known."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from converters.registry import Say
from converters.training.affect.augment import Views, plain_views, random_views
from converters.training.affect.labelled_faces import LabelledFaces
from converters.training.affect.network import OUTPUTS, SIDE_PX
from edge.errors import ConfigError

Answers = Mapping[str, NDArray[np.float32]]
NetworkT = TypeVar("NetworkT", bound=torch.nn.Module)

CHECKPOINT = "checkpoint.pt"
# Weights of the losses. Points are compared in parts of the crop's side, hence the large one.
_LOSSES = {"points": 8.0, "presence": 0.3, "seen": 1.0, "fer2013": 1.0, "units": 6.0}
_SMOOTHING = 0.1  # of FER2013's labels, which are wrong now and then
_AHEAD = 3  # batches that are prepared while one is learned from


@dataclass(frozen=True)
class Schedule:
    """How long and how fast.

    Attributes:
        epochs: Passes over all faces.
        batch: Faces in a step.
        peak: Largest learning rate; it rises over the first twentieth and falls to 0 like a cosine.
        decay: Weight decay.
        average: How slowly the averaged weights, which are the ones that are kept, follow.
        seed: Of every random number.
    """

    epochs: int
    batch: int = 128
    peak: float = 2e-3
    decay: float = 0.05
    average: float = 0.998
    seed: int = 1


@dataclass(frozen=True)
class Source:
    """Faces to learn from.

    Attributes:
        faces: The faces.
        are_crops: See `converters.training.affect.augment.plain_views`.
        share: How many of them are seen in an epoch, up to 1; others in the next.
        spoiled: How often they are spoiled as cameras do, of the usual 1.
    """

    faces: LabelledFaces
    are_crops: bool
    share: float = 1.0
    spoiled: float = 1.0

    @property
    def n_seen(self) -> int:
        """Faces that are seen in an epoch."""
        return round(len(self.faces) * self.share)


def train(build: Callable[[], NetworkT], sources: Sequence[Source], schedule: Schedule, folder: Path, *, say: Say) -> NetworkT:
    """Train, or go on where an earlier run of the same schedule was stopped.

    Args:
        build: Makes the network, with the outputs of `FaceNetwork`; the schedule's seed is set before.
        sources: What to learn from.
        schedule: How.
        folder: Gets a checkpoint after each epoch.
        say: Takes progress lines.

    Returns:
        The averaged weights, in evaluation mode, on the CPU.

    Raises:
        ConfigError: The folder holds the checkpoint of another schedule.
    """
    torch.manual_seed(schedule.seed)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    model = build()
    model.to(device)
    model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    averaged = copy.deepcopy(model).eval()
    # Source: 80 steps on 1,024 renders, not spoiled, bring AdamW to a loss of 0.23 for the units, and SGD with momentum to 0.39.
    optimizer = torch.optim.AdamW(_groups(model, schedule.decay), lr=schedule.peak)
    done, seconds = _resume(folder / CHECKPOINT, schedule, model, averaged, optimizer)
    if done:
        say(f"goes on after epoch {done} of {schedule.epochs}")
    steps = sum(source.n_seen for source in sources) // schedule.batch
    for epoch in range(done, schedule.epochs):
        # Each epoch by itself: a training that was interrupted goes on as it would have.
        torch.manual_seed(schedule.seed * 1000 + epoch + 1)
        start, losses = time.monotonic(), dict.fromkeys(OUTPUTS, 0.0)
        model.train()
        for step, views in enumerate(_batches(sources, schedule, epoch)):
            rate = _rate(schedule, (epoch * steps + step) / (schedule.epochs * steps))
            for group in optimizer.param_groups:
                group["lr"] = rate
            for name, loss in _step(model, optimizer, views, device).items():
                losses[name] += loss / steps
            _follow(averaged, model, min(schedule.average, (epoch * steps + step + 1) / (epoch * steps + step + 10)))
            if step and step % max(1, steps // 4) == 0:
                say(f"  epoch {epoch + 1}: {step}/{steps} batches, {time.monotonic() - start:.0f} s")
        words = ", ".join(f"{name} {loss:.4f}" for name, loss in losses.items())
        say(f"epoch {epoch + 1}/{schedule.epochs}: {time.monotonic() - start:.0f} s, rate {rate:.4f}, losses: {words}")
        seconds += time.monotonic() - start
        _keep(folder / CHECKPOINT, schedule, epoch + 1, seconds, model, averaged, optimizer)
    averaged.to("cpu")
    return averaged


def seconds_learned(folder: Path) -> float:
    """Return how long the training in a folder has learned so far, over all of its starts."""
    return float(torch.load(folder / CHECKPOINT, weights_only=True)["seconds"])


def answers(network: torch.nn.Module, source: Source, chosen: NDArray[np.int64], *, batch: int = 256) -> tuple[Views, Answers]:
    """Run a network on plain crops.

    Returns:
        The crops with their labels, and the outputs by name.
    """
    views = plain_views(source.faces, chosen, are_crops=source.are_crops)
    rows: dict[str, list[NDArray[np.float32]]] = {name: [] for name in OUTPUTS}
    with torch.inference_mode():
        for start in range(0, len(chosen), batch):
            for name, values in zip(OUTPUTS, network(torch.from_numpy(views.crops[start : start + batch])), strict=True):
                rows[name].append(values.numpy())
    return views, {name: np.concatenate(parts) for name, parts in rows.items()}


def _groups(model: torch.nn.Module, decay: float) -> list[dict[str, object]]:
    """Weights decay; biases and the scales of normalisation do not."""
    weights = [parameter for parameter in model.parameters() if parameter.ndim > 1]
    return [{"params": weights, "weight_decay": decay}, {"params": [each for each in model.parameters() if each.ndim <= 1], "weight_decay": 0.0}]


def _rate(schedule: Schedule, done: float) -> float:
    rise = 0.05
    return schedule.peak * (done / rise if done < rise else 0.5 * (1 + math.cos(math.pi * (done - rise) / (1 - rise))))


def _batches(sources: Sequence[Source], schedule: Schedule, epoch: int) -> Iterator[Views]:
    """The faces of an epoch in random order, those of all sources mixed."""
    rng = np.random.default_rng([schedule.seed, epoch])
    which = np.concatenate([np.full(source.n_seen, number) for number, source in enumerate(sources)])
    faces = np.concatenate([rng.permutation(len(source.faces))[: source.n_seen] for source in sources])
    order = rng.permutation(len(which))
    steps = len(order) // schedule.batch

    def make(step: int) -> Views:
        chosen = order[step * schedule.batch : (step + 1) * schedule.batch]
        own = np.random.default_rng([schedule.seed, epoch, step])
        parts = [
            random_views(source.faces, faces[chosen][which[chosen] == number], own, are_crops=source.are_crops, spoiled=source.spoiled)
            for number, source in enumerate(sources)
            if (which[chosen] == number).any()
        ]
        return Views(*(np.concatenate([getattr(part, name) for part in parts]) for name in Views.__dataclass_fields__))

    with ThreadPoolExecutor(1) as pool:
        ahead: list[Future[Views]] = [pool.submit(make, step) for step in range(min(_AHEAD, steps))]
        for step in range(steps):
            views = ahead.pop(0).result()
            if step + _AHEAD < steps:
                ahead.append(pool.submit(make, step + _AHEAD))
            yield views


def _step(model: torch.nn.Module, optimizer: torch.optim.Optimizer, views: Views, device: torch.device) -> dict[str, float]:
    crops = torch.from_numpy(views.crops).to(device, memory_format=torch.channels_last)
    with torch.autocast(device.type, dtype=torch.bfloat16):
        outputs = model(crops)
    losses = _losses(dict(zip(OUTPUTS, (output.float() for output in outputs), strict=True)), views, device)
    optimizer.zero_grad(set_to_none=True)
    torch.stack([_LOSSES[name] * loss for name, loss in losses.items()]).sum().backward()  # type: ignore[no-untyped-call]
    torch.nn.utils.clip_grad_norm_(model.parameters(), 5.0)
    optimizer.step()
    return {name: float(loss.detach()) for name, loss in losses.items()}


def _losses(outputs: Mapping[str, torch.Tensor], views: Views, device: torch.device) -> dict[str, torch.Tensor]:
    points, seen, units = (torch.from_numpy(values).to(device) for values in (views.points, views.seen, views.units))
    labels, presence = torch.from_numpy(views.labels).to(device), torch.from_numpy(views.presence).to(device)
    # Unknown labels count nothing in `_mean`, but a NaN would still reach the gradient.
    distance = (outputs["points"].reshape(points.shape) - points.nan_to_num()) / SIDE_PX
    voted = torch.isfinite(seen[:, 0])
    return {
        "points": _mean(functional.smooth_l1_loss(distance, torch.zeros_like(distance), beta=0.02, reduction="none"), torch.isfinite(points)),
        "presence": functional.binary_cross_entropy_with_logits(outputs["presence"][:, 0], presence),
        "seen": _mean(-(seen.nan_to_num() * functional.log_softmax(outputs["seen"], 1)).sum(1), voted),
        "fer2013": _mean(functional.cross_entropy(outputs["fer2013"], labels.clamp(min=0), label_smoothing=_SMOOTHING, reduction="none"), labels >= 0),
        "units": _mean(functional.binary_cross_entropy_with_logits(outputs["units"], units.nan_to_num(), reduction="none"), torch.isfinite(units)),
    }


def _mean(losses: torch.Tensor, known: torch.Tensor) -> torch.Tensor:
    return torch.where(known, losses, torch.zeros_like(losses)).sum() / known.sum().clamp(min=1)


@torch.no_grad()
def _follow(averaged: torch.nn.Module, model: torch.nn.Module, slowness: float) -> None:
    ours, theirs = averaged.state_dict(), model.state_dict()
    floats = [name for name, value in ours.items() if value.is_floating_point()]
    torch._foreach_lerp_([ours[name] for name in floats], [theirs[name] for name in floats], 1 - slowness)


def _keep(
    path: Path, schedule: Schedule, epoch: int, seconds: float, model: torch.nn.Module, averaged: torch.nn.Module, optimizer: torch.optim.Optimizer
) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    state = {
        "schedule": asdict(schedule),
        "epoch": epoch,
        "seconds": seconds,
        "model": model.state_dict(),
        "averaged": averaged.state_dict(),
        "optimizer": optimizer.state_dict(),
    }
    torch.save(state, path.with_suffix(".part"))
    path.with_suffix(".part").replace(path)


def _resume(path: Path, schedule: Schedule, model: torch.nn.Module, averaged: torch.nn.Module, optimizer: torch.optim.Optimizer) -> tuple[int, float]:
    if not path.exists():
        return 0, 0.0
    state = torch.load(path, weights_only=True)
    if state["schedule"] != asdict(schedule):
        raise ConfigError(f"{path} was made with {state['schedule']}, asked for is {asdict(schedule)}", hint="choose another folder, or remove it")
    model.load_state_dict(state["model"])
    averaged.load_state_dict(state["averaged"])
    optimizer.load_state_dict(state["optimizer"])
    return int(state["epoch"]), float(state["seconds"])
